"""May the data carry a claim at all? The first notebook asks that before any claim is judged.

Tuned SimCLR must beat the random encoder and raw pixels by ten points on the semantic task: else no claim is judged. And
eight checks ask whether methods and probes rank on the data as they do on photographs. One long run a method then shows how
far this machine comes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from repro import figures, stats
from repro.claims import Claim, Drawing, Verdict, instance_simclr, kit, msr_beta_decay, multi_augmentation
from repro.claims.kit import CARRIES, Plan, column, curve, drawing, floor_levels, runs_by, tasks, verdict
from repro.core import datasets
from repro.core.methods import BYOL, SimSiam, Supervised
from repro.core.profiles import Profile, base
from repro.core.spec import Optimiser, Projector, RunSpec
from repro.errors import ReproError
from repro.stats import Part, sup
from repro.views.recipe import Recipe, noisy, preset

CEILING = 20.0  # points by which a supervised twin must beat SSL: with less there is little left to learn
RANK = 100 / 3  # percent of SimCLR's effective rank that a method without negatives must reach: less is a collapse
ASKED = (kit.CELL, 0.0, 0.0, 0.0, 0.0, CEILING, RANK, RANK)  # of the checks, in their order
LENGTHS = {"smoke": 1, "quick": 70, "cpu": 50, "gpu": 50}  # epochs of the long runs; at cpu less than an hour each
TWO, EIGHT = "Barlow Twins, 2 views", "Barlow Twins, 8 views"
PROBES = {"linear": "linear probe", "online": "online probe", "knn": "kNN"}


def run(profile: Profile) -> RunSpec:
    """One SimCLR run of the profile, probed after every epoch, or ten times along a long one; at cpu on all images, in three
    minutes, since a standard run of one is too short to be far above raw pixels."""
    spec = base(profile).but(every=max(1, profile.epochs // 10), knn=True, online=True)
    spec = spec.but(tasks=spec.probes.tasks[:1])
    return spec.but(fraction=1.0, epochs=8) if profile.name == "cpu" else spec


def plan(profile: Profile) -> Plan:
    spec = run(profile)
    return Plan(profile).add(spec).floors(knn=True, tasks=spec.probes.tasks)


def judge(frame: pd.DataFrame) -> Verdict:
    """SUP(10) over the higher of the two floors."""
    levels = floor_levels(frame)
    floor = max(levels, key=levels.get)
    gain = stats.paired(kit.by(frame, "method")["SimCLR"] - levels[floor])
    return verdict(
        frame, [sup(f"SimCLR over {floor}", gain, CARRIES)],
        f"SimCLR is {gain.mean:.1f} points above the higher floor, {floor}; {CARRIES:.0f} are asked for.",
        cannot="",
    )  # fmt: skip


def draw(frame: pd.DataFrame) -> Drawing:
    runs = runs_by(frame, "method")["SimCLR"]
    whole = runs[runs["diverged"] == 0]
    fig, (left, right) = figures.figure(1, 2, height=3.2)
    if len(whole):
        epochs = whole["curves"].iloc[0]
        figures.band(left, epochs["epoch"], curve(whole, "loss"))
        for i, (probe, name) in enumerate(PROBES.items()):
            figures.band(right, epochs["probe_epoch"], curve(whole, column(frame, "val", probe=probe)), name, i)
    kit.floors(right, frame, column(frame, "val"))
    left.set(xlabel="epoch", ylabel="SimCLR loss")
    right.set(xlabel="epoch", ylabel=f"{tasks(frame)[0]} accuracy, validation (%)")
    figures.panel_labels((left, right), ("loss", "what a probe reads"))
    floors = " and ".join(f"{name} {level:.1f} %" for name, level in floor_levels(frame).items())
    return drawing(
        fig, frame, ["backbone"],
        f"Left: SimCLR's loss falls over the epochs. Right: validation accuracy on {tasks(frame)[0]} rises by linear, online "
        f"and nearest-neighbour probes. On the test split the linear probe reaches {runs[column(frame)].mean():.1f} %, the "
        f"floors are {floors}.",
        [column(frame, split, probe=probe) for probe in PROBES for split in ("val", "test")],
    )  # fmt: skip


# --- the checks -------------------------------------------------------------------------------------------------------


def plan_checks(profile: Profile) -> Plan:
    """SimCLR on crops alone, on all views, on one image at a time and on noise (at quick runs of notebooks 02 and 04); and,
    read by a linear and an MLP probe and by the spectrum, SimCLR, BYOL and SimSiam (in notebook 07's recipe) and a
    supervised twin."""
    spec = base(profile)
    shared, read = spec.but(tasks=datasets.tasks(profile.data)), spec.but(mlp=True, spectrum=True)
    instance = instance_simclr.run(profile, instance_simclr.settings(profile)[0])
    cells = {
        "crop": shared.but(recipe=preset("crop", crop=spec.recipe.views[0].crop)),
        "all": shared,
        "instance": instance,
        "noise": shared.but(recipe=noisy(0.2), lr=instance.optimiser.lr),
        "SimCLR": read,
        "supervised": read.but(
            method=Supervised(), projector=Projector(1, 128, 1000), optimiser=Optimiser("adamw", lr=3e-3)
        ),
    }
    for method in (BYOL(msr_beta_decay.SCALES[profile.name].ema), SimSiam()):
        own = msr_beta_decay.standard(profile, method, "AA", epochs=spec.epochs)
        cells[type(method).__name__] = replace(own, data=spec.data, recipe=spec.recipe, probes=read.probes)
    plan = Plan(profile if profile.judged else replace(profile, seeds=1))
    for what, run in cells.items():
        plan.add(run, what=what)
    return plan.floors(read)


def checks(frame: pd.DataFrame) -> list[Part]:
    """What any photographs should pass, SUP of what each has in ASKED: points of accuracy above 0, percent above RANK."""
    linear, mlp, rank = (kit.by(frame, "what", name=n) for n in ("", column(frame, probe="mlp"), "rankme"))
    random, pixels = (
        floor_levels(frame)["random encoder"],
        floor_levels(frame, column(frame, probe="mlp"))["raw pixels"],
    )
    effects = {
        "crops alone over random encoder": stats.paired(linear["crop"], random),
        "all views over crops alone": stats.paired(linear["all"], linear["crop"]),
        "all views over instance SimCLR": stats.paired(linear["all"], linear["instance"]),
        "all views over noise": stats.paired(linear["all"], linear["noise"]),
        "by an MLP, SimCLR over pixels": stats.paired(mlp["SimCLR"], pixels),
        "supervised over SimCLR": stats.paired(linear["supervised"], linear["SimCLR"]),
    }
    ranks = {m: stats.paired(100 * rank[m] / rank["SimCLR"]) for m in ("BYOL", "SimSiam")}
    parts = [sup(name, effect, d) for (name, effect), d in zip(effects.items(), ASKED)]
    return parts + [sup(f"effective rank, {m} of SimCLR", effect, RANK, RANK, "%") for m, effect in ranks.items()]


def judge_checks(frame: pd.DataFrame) -> Verdict:
    parts = checks(frame)
    passed = stats.found(parts).count(stats.SUPPORTED)
    return verdict(
        frame, parts, f"The data pass {passed} of {len(parts)} checks that any photographs should pass.", cannot=""
    )


def draw_checks(frame: pd.DataFrame) -> Drawing:
    parts = checks(frame)
    words = stats.found(parts)
    fig, ax = figures.figure(height=3.6, width=6.4)
    figures.intervals(ax, {f"{part.name}\n{word}": part.effect for part, word in zip(parts, words)})
    for y, asked in enumerate(reversed(ASKED)):
        ax.plot([asked, asked], [y - 0.3, y + 0.3], color=figures.ink(), linewidth=1.6)
    ax.set_xlabel("points, or percent of SimCLR's rank (bar: asked for)")
    said = "; ".join(f"{p.name} {p.effect.mean:.1f} ({w})" for p, w in zip(parts, words))
    columns = [column(frame), column(frame, probe="mlp"), "rankme"]
    labelled = frame.assign(what=frame["what"].fillna("floor"))
    return drawing(fig, labelled, ["what", "method"], f"A row a check, with its 95 % interval: {said}.", columns)


# --- the long runs ----------------------------------------------------------------------------------------------------


def long_runs(profile: Profile, epochs: int = 0) -> dict[str, RunSpec]:
    """One run a method on all of the profile's images, in its own notebook's recipe, probed about ten times. epochs: 0 for
    those of LENGTHS; with eight views they are a quarter, so that about as many views are seen."""
    spec, byol = base(profile), BYOL(msr_beta_decay.SCALES[profile.name].ema)
    runs = {
        "SimCLR": spec,
        "BYOL": msr_beta_decay.standard(profile, byol, "AA"),
        "MSR": msr_beta_decay.tuned(profile),
        TWO: multi_augmentation.run_of(profile, multi_augmentation.Cell(2)),
        EIGHT: multi_augmentation.run_of(profile, multi_augmentation.Cell(8)),
    }
    epochs, out = epochs or LENGTHS[profile.name], {}
    for name, run in runs.items():
        length = max(1, epochs // 4) if name == EIGHT else epochs
        run = run.but(data=spec.data, fraction=1.0, epochs=length)
        out[name] = run.but(every=max(1, length // 10), knn=True, averaged=0, tasks=spec.probes.tasks[:1])
    return out


def plan_long(profile: Profile) -> Plan:
    plan = Plan(profile)
    for what, run in long_runs(profile).items() if profile.name in LENGTHS else ():
        plan.add(run, seeds=1, what=what)
    return plan


def _reached(frame: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """Each method's minutes of training, and its accuracy on the test split; without one that diverged."""
    ends = ((what, run) for what, runs in runs_by(frame, "what").items() for _, run in runs.iterrows())
    return {what: (kit.epoch_ends(run)[-1] / 60, run[column(frame)]) for what, run in ends if not run["diverged"]}


def judge_long(frame: pd.DataFrame) -> Verdict:
    if frame.empty:
        return replace(kit.not_planned("", "points"), sentence="Not judged: it has no long run at this profile.")
    found = "; ".join(
        f"{what} {accuracy:.1f} % in {minutes:.1f} min" for what, (minutes, accuracy) in _reached(frame).items()
    )
    return verdict(frame, [], f"{found}.", cannot="one run a method shows how far it comes, and ranks none")


def draw_long(frame: pd.DataFrame) -> Drawing:
    """Validation accuracy against minutes of training."""
    fig, ax = figures.figure(height=3.6, width=6.4)
    if frame.empty:
        ax.set_title("nothing is planned at this profile")
        return Drawing(fig, frame, "An empty figure, since nothing is planned at this profile.")
    for i, (what, runs) in enumerate(runs_by(frame, "what").items()):
        for _, run in runs[runs["diverged"] == 0].iterrows():  # one, or none
            read = [epoch - 1 for epoch in run["curves"]["probe_epoch"]]
            minutes, accuracy = kit.epoch_ends(run)[read] / 60, run["curves"][column(frame, "val")]
            ax.plot(minutes, accuracy, label=what, **figures.style(i))
    if ax.lines:  # not all diverged
        ax.legend(loc="lower right", fontsize=8)
    ax.set(xlabel="minutes of training, on one core or one GPU", ylabel=f"{tasks(frame)[0]} accuracy, validation (%)")
    ends = "; ".join(f"{what} {accuracy:.1f} %" for what, (_, accuracy) in _reached(frame).items())
    alt = f"Validation accuracy against minutes of training, a line a method. At the end, on the test split: {ends}."
    columns = [column(frame, split, probe=probe) for probe in ("linear", "knn") for split in ("val", "test")]
    shown = frame.assign(minutes=[kit.epoch_ends(run)[-1] / 60 for _, run in frame.iterrows()])
    return drawing(fig, shown, ["what", "epochs"], alt, [*columns, "minutes"])


def pictures(
    name: str, recipe: Recipe, size: int = 0, first: int = 0, names: Sequence[str] = (),
    options: tuple[tuple[str, float], ...] = (), into: Any = None,
) -> Figure:  # fmt: skip
    """Six images of a data set from number `first` on, and below each its views: what the branches of a method see.

    names: of the views, in place of their numbers. into: a part of a figure, in place of a new one. Raises ReproError if
    there is no image `first`.
    """
    import torch

    from repro import data
    from repro.views import batched

    split = data.load(name, size, options).train
    index = torch.arange(first, min(first + 6, len(split.images)))
    if not len(index):
        raise ReproError(f"There is no image {first}: {data.title(name)} has {len(split.images)}.")
    images = split.images[index].to("cpu")
    labels = names or [f"view {i + 1}" for i in range(len(recipe.views))]
    rows = dict(zip(["image", *labels], [images.float() / 255, *batched.make(images, recipe, 0, 0, index)]))
    fig, axes = figures.images({name: row.permute(0, 2, 3, 1).numpy() for name, row in rows.items()}, into=into)
    fig.alt = f"Images of {data.title(name)}; below each: {', '.join(labels)}."
    task, classes = next(iter(split.labels.items()))
    for number, ax in zip(index, axes[0]):
        ax.set_title(f"{task} {int(classes[number])}", fontsize=8, loc="center", fontweight="normal")
    return fig


CLAIMS = (
    Claim("stand_in", plan, judge, draw),
    Claim("checks", plan_checks, judge_checks, draw_checks),
    Claim("long", plan_long, judge_long, draw_long),
)
