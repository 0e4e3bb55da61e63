"""Small batches: claims A3-A7 and A16 of the FFCV-SSL paper.

The runs of the SimCLR grid (batch x learning rate) serve A3 and A5; tuning is on the validation split of the semantic
task, every number shown is of the test split.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd

from repro import data, figures, stats
from repro.claims import Claim, Drawing, Verdict, ledger
from repro.claims.common import (
    accuracy_column,
    accuracy_label,
    floor_levels,
    floors,
    grid,
    min_seeds,
    semantic,
    task_names,
    trained,
    tuned,
    verdict,
)
from repro.core.profiles import Profile, base
from repro.core.spec import RunSpec
from repro.ssl.methods import BYOL, BarlowTwins, SimCLR, VICReg

BATCHES = {"smoke": (16, 64), "quick": (16, 64, 256), "gpu": (128, 256, 1024), "paper": (256, 512, 1024, 2048)}
RATES = {  # LARS, base rate (times batch / 256)
    "smoke": (0.4, 4.0),
    "quick": (0.4, 1.2, 4.0, 12.0),
    "gpu": (0.1, 0.4, 1.6),
    "paper": (0.1, 0.3, 0.5, 1.0, 2.0, 3.0),
}
TEMPERATURES = {
    "smoke": (0.1, 0.5),
    "quick": (0.05, 0.1, 0.2, 0.5, 1.0),
    "gpu": (0.1, 0.2, 0.5),
    "paper": (0.1, 0.15, 0.25, 0.5),
}
LAYERS = {"smoke": (1, 2), "quick": (1, 2, 3), "gpu": (1, 2, 4), "paper": (1, 2, 3, 4, 5)}
ADAM_RATES = {
    "smoke": (1e-3, 1e-2),
    "quick": (1e-3, 3e-3, 1e-2, 3e-2),
    "gpu": (1e-4, 1e-3, 1e-2),
    "paper": (1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3),
}
ADAM_DEFAULT = 1e-3  # PyTorch's own
EPOCHS = {"gpu": 3}  # a hundred runs in ten minutes
PUBLISHED = 0.1  # the temperature at which the paper sees the gap


def _base(profile: Profile, **changes) -> RunSpec:
    return base(profile, epochs=EPOCHS.get(profile.name, profile.epochs), **changes)


def _seeded(specs: list[RunSpec], profile: Profile) -> list[RunSpec]:
    return [replace(s, seed=seed) for s in specs for seed in range(profile.seeds)]


def _rate(spec: RunSpec, lr: float, name: str = "lars") -> RunSpec:
    return replace(spec, optimiser=replace(spec.optimiser, name=name, lr=lr))


def _barlow(profile: Profile) -> BarlowTwins:
    # lambda for a projector of 64 outputs by the rule lambda = O(1/d) of the small projectors paper; the authors' else
    return BarlowTwins(0.0051, 0.1) if profile.name in ("gpu", "paper") else BarlowTwins(0.02, 1.0)


def plan_rates(profile: Profile, method: str) -> list[RunSpec]:
    """batch x learning rate (LARS) for one method; SimCLR's runs are probed on every task."""
    if method == "SimCLR":
        spec = _base(profile)
        spec = replace(spec, probes=replace(spec.probes, tasks=data.tasks(profile.data)))
    else:
        spec = _base(profile, method=_barlow(profile))
    cells = [replace(_rate(spec, lr), batch_size=b) for b in BATCHES[profile.name] for lr in RATES[profile.name]]
    return _seeded(cells, profile) + floors(profile, tasks=spec.probes.tasks)


def plan_temperatures(profile: Profile) -> list[RunSpec]:
    """batch x temperature, at equal epochs, and at the number of steps that the largest batch takes."""
    batches, spec = BATCHES[profile.name], _base(profile)
    cells = [replace(spec, batch_size=b, method=SimCLR(t)) for b in batches for t in TEMPERATURES[profile.name]]
    steps = spec.epochs * max(1, ledger.images_of(spec.data) // max(batches))
    cells += [replace(c, steps=steps) for c in cells if c.batch_size != max(batches)]
    return _seeded(cells, profile) + floors(profile)


def plan_layers(profile: Profile) -> list[RunSpec]:
    spec = _base(profile)
    spec = replace(spec, probes=replace(spec.probes, mlp=True))
    ends = (min(BATCHES[profile.name]), max(BATCHES[profile.name]))
    cells = [
        replace(spec, batch_size=b, projector=replace(spec.projector, layers=n))
        for b in ends
        for n in LAYERS[profile.name]
    ]
    return _seeded(cells, profile) + floors(profile, mlp=True)


def _vicreg_and_byol(profile: Profile) -> tuple[VICReg, BYOL]:
    """The published settings on large scales. The small runs take a few hundred steps, in which an EMA of .99 hardly
    moves; and VICReg's weights are divided by 25, their ratio kept, since LARS leaves biases and batch norm unscaled."""
    if profile.name in ("gpu", "paper"):
        return VICReg(), BYOL()
    return VICReg(1.0, 1.0, 0.04), BYOL(ema=0.9)


def plan_methods(profile: Profile) -> list[RunSpec]:
    """VICReg and BYOL with LARS, Barlow Twins with AdamW, at one small batch."""
    batch = 256 if profile.name in ("gpu", "paper") else 64
    spec = _base(profile, batch_size=batch)
    rates = sorted({*RATES[profile.name], spec.optimiser.lr})
    cells = [_rate(replace(spec, method=m), lr) for m in _vicreg_and_byol(profile) for lr in rates]
    barlow = replace(spec, method=_barlow(profile))
    cells += [_rate(barlow, lr, "adamw") for lr in ADAM_RATES[profile.name]]
    return _seeded(cells, profile) + floors(profile)


# ----------------------------------------------------------------------------------------------------------- judging


def _by_task(frame: pd.DataFrame) -> tuple[np.ndarray, list, list[str], np.ndarray]:
    """Test accuracy (seeds, batches, tasks) at each batch's tuned rate; batches; tasks; the index of the rate."""
    runs, tasks = trained(frame), data.tasks(frame["data"].iloc[0])
    validation, (batches, _) = grid(runs, ("batch_size", "lr"), accuracy_column(frame, "val"))
    columns = []
    for task in tasks:
        values, _ = grid(runs, ("batch_size", "lr"), accuracy_column(frame, "test", task))
        picked, best = tuned(validation, values)
        columns.append(picked)
    return np.stack(columns, -1), batches, list(tasks), best


def judge_tasks(frame: pd.DataFrame) -> Verdict:
    """A3: batch and task interact (p < .05), and the best batch differs for at least one task."""
    values, batches, tasks, _ = _by_task(frame)
    if len(tasks) < 2:
        gain = stats.paired(values[:, -1, 0], values[:, 0, 0])
        return verdict(
            frame, stats.NOT_JUDGED, gain, "points", "These data have one task, and the claim needs several."
        )
    best = values.mean(0).argmax(0)
    differs = len(set(best.tolist())) > 1
    p = stats.interaction(values)
    word = stats.NOT_JUDGED
    if len(values) >= min_seeds(frame):
        word = stats.combine([stats.REPRODUCED if ok else stats.NOT_REPRODUCED for ok in (p < 0.05, differs)])
    gain = values[:, -1] - values[:, 0]
    effect = stats.paired(gain[:, 0], gain[:, 1:].mean(1))
    where = ", ".join(f"{t} {batches[b]}" for t, b in zip(tasks, best))
    return verdict(
        frame, word, effect, "points",
        f"Batch and task interact with {stats.p_text(p)} (asked: below 0.05); the best batch is {where}. The effect is what "
        f"batch {batches[-1]} gains over {batches[0]} on {tasks[0]}, less its mean gain on the other tasks.",
        accuracy_column(frame),
    )  # fmt: skip


def _gaps(validation: np.ndarray, test: np.ndarray, fixed: int) -> tuple[np.ndarray, np.ndarray]:
    """(seeds,) the gap between the largest and the smallest batch at the fixed setting, and with each batch tuned. Both
    are counted positive in the direction of their mean, so that noise around zero does not look like a gap."""
    picked, _ = tuned(validation, test)
    gaps = [test[:, -1, fixed] - test[:, 0, fixed], picked[:, -1] - picked[:, 0]]
    return tuple(g * np.sign(stats.paired(g).mean) for g in gaps)


def _stable_differs(test: np.ndarray) -> bool:
    """Whether some run diverged and, for more than half of the seeds, the largest setting that did not depends on the
    batch; test: (seeds, batches, settings)."""
    ends = np.where(np.isfinite(test), np.arange(test.shape[2]), -1).max(2)  # (seeds, batches)
    return bool(np.mean(ends.max(1) > ends.min(1)) > 0.5)


def _judge_gap(frame: pd.DataFrame, axis: str, fixed: float, name: str) -> tuple[list[str], stats.Interval, str]:
    """The word of each part, by how much the gap shrinks, and the sentence."""
    runs = trained(frame)
    validation, (batches, levels) = grid(runs, ("batch_size", axis), accuracy_column(frame, "val"))
    test, _ = grid(runs, ("batch_size", axis), accuracy_column(frame))
    at_fixed, at_best = _gaps(validation, test, levels.index(fixed))
    effect = stats.paired(at_fixed, at_best)
    shrinks = stats.sup(effect, 1.0, min_seeds(frame))
    best, p, differs = stats.best_differs(test, min_seeds=min_seeds(frame))
    stable = axis == "lr" and differs != stats.NOT_JUDGED and _stable_differs(test)
    words = [shrinks, stats.REPRODUCED if stable else differs]
    if effect.high < 0:  # the gap grows with tuning: whatever the best setting does, that is not the claim
        words = [stats.NOT_REPRODUCED]
    where = ", ".join(f"{levels[i]:g} for batch {b}" for b, i in zip(batches, best))
    ends = " The largest rate that does not diverge depends on the batch for most seeds." if stable else ""
    return words, effect, (
        f"The gap between batch {batches[-1]} and {batches[0]} is {stats.paired(at_fixed).text()} points at "
        f"{name} {fixed:g} and {stats.paired(at_best).text()} with each batch tuned; it shrinks by {effect.text()} "
        f"(asked: 1). The best {name} is {where} (batch x {name} interaction {stats.p_text(p)}).{ends}"
    )  # fmt: skip


def judge_temperature(frame: pd.DataFrame) -> Verdict:
    """A4: the gap at temperature .1 less the tuned gap, SUP(1), and the best temperature depends on the batch; at equal
    epochs, whose effect is given, and at equal steps."""
    equal_epochs, equal_steps = _by_budget(frame)
    words, effect, sentence = _judge_gap(equal_epochs, "temperature", PUBLISHED, "temperature")
    more, _, other = _judge_gap(equal_steps, "temperature", PUBLISHED, "temperature")
    sentence = f"At equal epochs: {sentence} At equal steps: {other}"
    return verdict(equal_epochs, stats.combine(words + more), effect, "points", sentence, accuracy_column(equal_epochs))


def _by_budget(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A4's runs at equal epochs, and those at the largest batch's number of steps; the floors in both."""
    untrained = frame["method"] == "Untrained"
    largest = frame["batch_size"] == trained(frame)["batch_size"].max()
    return frame[(frame["steps"] == 0) | untrained], frame[(frame["steps"] > 0) | largest | untrained]


def judge_rate(frame: pd.DataFrame) -> Verdict:
    """A5, A6: the gap at the grid's lowest rate (the paper's text has .1) less the tuned gap, SUP(1); and the best rate,
    or the largest that does not diverge, depends on the batch."""
    words, effect, sentence = _judge_gap(frame, "lr", min(trained(frame)["lr"]), "learning rate")
    return verdict(frame, stats.combine(words), effect, "points", sentence, accuracy_column(frame))


def judge_layers(frame: pd.DataFrame) -> Verdict:
    """A7: a second layer helps, SUP(1), and depth narrows the gap between the batches, SUP(.5).

    The paper probes with an MLP. Where an MLP on raw pixels beats every probe of a trained backbone, as on the scenes, an
    MLP probe measures the probe: then the linear one judges, and the sentence says so.
    """
    runs = trained(frame)
    mlp = f"mlp_test_{semantic(frame)}"
    by_pixels = floor_levels(frame, mlp)["raw pixels"] > runs.groupby(["batch_size", "layers"])[mlp].mean().max()
    column = accuracy_column(frame) if by_pixels else mlp
    values, (batches, layers) = grid(runs, ("batch_size", "layers"), column)
    second = stats.paired((values[:, :, 1] - values[:, :, 0]).mean(1))
    gap = values[:, -1] - values[:, 0]
    narrows = stats.paired((gap[:, 0] - gap[:, -1]) * np.sign(stats.paired(gap[:, 0]).mean))
    need = min_seeds(frame)
    word = stats.combine([stats.sup(second, 1.0, need), stats.sup(narrows, 0.5, need)])
    probe = "a linear probe, since an MLP on raw pixels beats every MLP probe here" if by_pixels else "an MLP probe"
    return verdict(
        frame, word, second, "points",
        f"A second projector layer gains {second.text()} points (asked: 1); from {layers[0]} to {layers[-1]} layers the "
        f"gap between batch {batches[-1]} and {batches[0]} narrows by {narrows.text()} (asked: 0.5). Judged by {probe}.",
        column,
    )  # fmt: skip


def _methods(frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame, float]]:
    """(title, runs, default rate) of A16's three sweeps. The default is the rate of the profile's SimCLR recipe, carried
    over without tuning; with AdamW, PyTorch's own."""
    runs = trained(frame)
    out = []
    for method, title in (("VICReg", "VICReg"), ("BYOL", "BYOL"), ("BarlowTwins", "Barlow Twins")):
        mine = runs[runs["method"] == method]
        adam = method == "BarlowTwins"
        name = frame.attrs.get("profile", "quick")
        default = ADAM_DEFAULT if adam else {"gpu": 0.4, "paper": 1.0}.get(name, 1.2)
        out.append((f"{title}, {'AdamW' if adam else 'LARS'}", mine, default))
    return out


def judge_methods(frame: pd.DataFrame) -> Verdict:
    """A16: tuning gains over the default rate, SUP(1), for each of the three methods; the effect is the least of them."""
    words, parts, effects = [], [], []
    for title, runs, default in _methods(frame):
        validation, (rates,) = grid(runs, ("lr",), accuracy_column(frame, "val"))
        test, _ = grid(runs, ("lr",), accuracy_column(frame))
        picked, best = tuned(validation, test)
        gain = stats.paired(picked, test[:, rates.index(default)])
        words.append(stats.sup(gain, 1.0, min_seeds(frame)))
        effects.append(gain)
        parts.append(f"{title}: {gain.text()} points at {rates[int(best)]:g} over {default:g}")
    least = min(effects, key=lambda e: e.mean)
    return verdict(
        frame, stats.combine(words), least, "points",
        f"What tuning the learning rate gains over a default: {'; '.join(parts)} (asked: 1 each; the least is given).",
        accuracy_column(frame),
    )  # fmt: skip


# ----------------------------------------------------------------------------------------------------------- drawing


def _table(frame: pd.DataFrame, axes: list[str], columns: list[str]) -> pd.DataFrame:
    """The numbers behind a figure: a row a run."""
    axes = [a for a in ("method", *axes, "seed") if a in frame]
    return frame[[*axes, "backbone", *columns]].sort_values(axes).reset_index(drop=True)


def _curves(ax, frame: pd.DataFrame, axis: str, column: str) -> str:
    """Accuracy against `axis`, a line a batch; says in words which is best."""
    runs = trained(frame)
    values, (batches, levels) = grid(runs, ("batch_size", axis), column)
    colours = figures.ordered(len(batches))
    for i, batch in enumerate(batches):
        figures.band(ax, levels, values[:, i], f"batch {batch}", i, color=colours[i])
    ax.set_xscale("log")
    ax.set_xticks(levels, [f"{x:g}" for x in levels])
    ax.minorticks_off()
    figures.floors(ax, floor_levels(frame, column))
    best = np.where(np.isnan(values).any(0), -np.inf, values.mean(0)).argmax(1)
    return ", ".join(f"{levels[b]:g} for batch {batch}" for batch, b in zip(batches, best))


def draw_tasks(frame: pd.DataFrame) -> Drawing:
    values, batches, tasks, _ = _by_task(frame)
    fig, ax = figures.figure(height=3.4)
    name = frame["data"].iloc[0]
    levels = [floor_levels(frame, accuracy_column(frame, task=t)) for t in tasks]
    labels = [f"batch {b}" for b in batches]
    figures.bars(ax, values.swapaxes(1, 2), labels, task_names(name), figures.ordered(len(batches)), levels)
    ax.set_ylabel("linear probe accuracy (%)")
    ax.legend(ncols=len(batches) + 2, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    best = values.mean(0).argmax(0)
    where = "; ".join(f"{t}: batch {batches[b]}" for t, b in zip(tasks, best))
    table = _table(frame, ["batch_size", "lr"], [accuracy_column(frame, "test", t) for t in tasks])
    return Drawing(
        fig, table, f"Bars of test accuracy by task, one bar a batch size, each at its tuned learning rate, with the "
        f"random encoder's and raw pixels' accuracy as lines. Best batch by task: {where}.",
    )  # fmt: skip


def draw_temperature(frame: pd.DataFrame) -> Drawing:
    column = accuracy_column(frame)
    equal_epochs, equal_steps = _by_budget(frame)
    fig, axes = figures.figure(1, 2, height=3.3, sharey=True)
    best = _curves(axes[0], equal_epochs, "temperature", column)
    _curves(axes[1], equal_steps, "temperature", column)
    figures.panel_labels(axes, ("equal epochs", "equal steps"))
    for ax in axes:
        ax.set_xlabel("temperature")
    axes[0].set_ylabel(accuracy_label(frame))
    return Drawing(
        fig, _table(frame, ["batch_size", "temperature", "steps"], [accuracy_column(frame, "val"), column]),
        "Accuracy against SimCLR's temperature, a line a batch size; left all batches see the same number of epochs, "
        f"right they take the same number of steps. Best temperature at equal epochs: {best}.",
    )  # fmt: skip


def draw_rate(frame: pd.DataFrame) -> Drawing:
    column = accuracy_column(frame)
    fig, ax = figures.figure(height=3.3, width=5.4)
    best = _curves(ax, frame, "lr", column)
    ax.set(xlabel="base learning rate (LARS; times batch / 256)", ylabel=accuracy_label(frame))
    method = trained(frame)["method"].iloc[0]
    broken = int(trained(frame)["diverged"].sum())
    ended = f" {broken} runs diverged and are drawn hollow or as crosses." if broken else ""
    return Drawing(
        fig, _table(frame, ["batch_size", "lr"], [accuracy_column(frame, "val"), column, "diverged"]),
        f"Accuracy of {method} against the learning rate, a line a batch size. Best rate: {best}.{ended}",
    )  # fmt: skip


def draw_layers(frame: pd.DataFrame) -> Drawing:
    runs, task = trained(frame), semantic(frame)
    fig, axes = figures.figure(1, 2, height=3.3)
    said = []
    for ax, probe, title in zip(axes, ("mlp", "linear"), ("MLP probe, as in Table 1", "linear probe")):
        column = f"{probe}_test_{task}"
        values, (batches, layers) = grid(runs, ("batch_size", "layers"), column)
        for i, (batch, colour) in enumerate(zip(batches, figures.ordered(len(batches)))):
            figures.band(ax, layers, values[:, i], f"batch {batch}", i, color=colour)
            said.append(f"{title}, batch {batch}: " + ", ".join(f"{v:.1f}" for v in values[:, i].mean(0)))
        figures.floors(ax, floor_levels(frame, column))
        ax.set(xlabel="projector layers", xticks=layers)
    figures.panel_labels(axes, ("MLP probe, as in Table 1", "linear probe"))
    axes[0].set_ylabel(f"{task} accuracy (%)")
    columns = [f"{p}_{s}_{task}" for p in ("mlp", "linear") for s in ("val", "test")]
    return Drawing(
        fig, _table(frame, ["batch_size", "layers"], columns),
        f"Accuracy against the number of projector layers, a line a batch size. Means: {'; '.join(said)}.",
    )  # fmt: skip


def draw_methods(frame: pd.DataFrame) -> Drawing:
    column, sweeps = accuracy_column(frame), _methods(frame)
    fig, axes = figures.figure(1, len(sweeps), height=3.1, sharey=True)
    said = []
    for i, (ax, (title, runs, default)) in enumerate(zip(axes, sweeps)):
        values, (rates,) = grid(runs, ("lr",), column)
        figures.band(ax, rates, values, "", i)
        ax.set_xscale("log")
        names = [f"{x:g}" if x >= 0.01 else f"{x:.0e}".replace("e-0", "e-") for x in rates]
        ax.set_xticks(rates, names, fontsize=7)
        ax.minorticks_off()
        ax.axvline(default, color=figures.muted(), linestyle=":", linewidth=1)
        ax.annotate("default", (default, 0.02), xycoords=ax.get_xaxis_transform(), xytext=(3, 0),
                    textcoords="offset points", fontsize=7.5, color=figures.muted())  # fmt: skip
        figures.floors(ax, floor_levels(frame, column), labels=i == len(sweeps) - 1)
        ax.set_xlabel("learning rate")
        best = np.where(np.isnan(values).any(0), -np.inf, values.mean(0)).argmax()
        said.append(f"{title} is best at {rates[best]:g}, the default is {default:g}")
    figures.panel_labels(axes, [title for title, _, _ in sweeps])
    axes[0].set_ylabel(accuracy_label(frame))
    return Drawing(
        fig, _table(frame, ["optimiser", "lr", "batch_size"], [accuracy_column(frame, "val"), column, "diverged"]),
        f"Accuracy against the learning rate at one small batch, a panel a method. {'; '.join(said)}.",
    )  # fmt: skip


CLAIMS = (
    Claim("A3", partial(plan_rates, method="SimCLR"), judge_tasks, draw_tasks),
    Claim("A4", plan_temperatures, judge_temperature, draw_temperature),
    Claim("A5", partial(plan_rates, method="SimCLR"), judge_rate, draw_rate),
    Claim("A6", partial(plan_rates, method="BarlowTwins"), judge_rate, draw_rate),
    Claim("A7", plan_layers, judge_layers, draw_layers),
    Claim("A16", plan_methods, judge_methods, draw_methods),
)
