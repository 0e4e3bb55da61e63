"""May the data carry a claim at all? The first notebook asks that before any claim is judged.

Tuned SimCLR must beat the random encoder and raw pixels by ten points on the semantic task.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from repro import figures, stats
from repro.claims import Claim, Drawing, Verdict, kit
from repro.claims.kit import CARRIES, Plan, column, curve, drawing, floor_levels, runs_by, tasks, verdict
from repro.core.profiles import Profile, base
from repro.core.spec import RunSpec
from repro.errors import ReproError
from repro.stats import sup
from repro.views.recipe import Recipe

PROBES = {"linear": "linear probe", "online": "online probe", "knn": "kNN"}


def run(profile: Profile) -> RunSpec:
    """One SimCLR run of the profile, probed after every epoch, or ten times along a long one; at cpu on all images, in three
    minutes, since a standard run of one is too short to be far above raw pixels."""
    spec = base(profile).but(every=max(1, profile.epochs // 10), knn=True, online=True)
    return spec.but(fraction=1.0, epochs=8) if profile.name == "cpu" else spec


def plan(profile: Profile) -> Plan:
    return Plan(profile).add(run(profile)).floors(knn=True)


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


CLAIMS = (Claim("stand_in", plan, judge, draw),)
