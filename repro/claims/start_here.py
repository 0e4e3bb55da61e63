"""The house's own check, before any claim: may the stand-in carry one?

Tuned SimCLR must beat the random encoder and raw pixels by ten points on the semantic task.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from repro import data, figures, stats
from repro.claims import Claim, Drawing, Verdict
from repro.claims.common import CARRIES, floor_levels, floors, min_seeds, semantic, trained, verdict
from repro.core.profiles import Profile, base
from repro.core.spec import RunSpec
from repro.errors import ReproError
from repro.views import batched
from repro.views.recipe import Recipe

ID = "stand_in"


def run(profile: Profile, seed: int = 0) -> RunSpec:
    """One SimCLR run of the profile, probed after every epoch, or ten times along a long one."""
    spec = base(profile, seed=seed)
    every = max(1, spec.epochs // 10)
    return replace(spec, probes=replace(spec.probes, every=every, knn=True, online=True))


def plan(profile: Profile) -> list[RunSpec]:
    return [run(profile, seed) for seed in range(profile.seeds)] + floors(profile, knn=True)


def _gains(frame: pd.DataFrame) -> tuple[np.ndarray, dict[str, float]]:
    column = f"linear_test_{semantic(frame)}"
    levels = floor_levels(frame, column)
    return trained(frame).sort_values("seed")[column].to_numpy() - max(levels.values()), levels


def judge(frame: pd.DataFrame) -> Verdict:
    """SUP(10) over the higher of the two floors."""
    gains, levels = _gains(frame)
    gain = stats.paired(gains)
    word = stats.sup(gain, CARRIES, min_seeds(frame))
    title, task = frame["data_title"].iloc[0], semantic(frame)
    may = "may carry claims" if word == stats.REPRODUCED else "may not carry claims yet"
    return verdict(
        frame, word, gain, "points",
        f"SimCLR beats the higher of the two floors ({max(levels, key=levels.get)}) by {gain.text()} points in {task} "
        f"accuracy (asked: {CARRIES:.0f}), so {title} {may}.",
    )  # fmt: skip


def draw(frame: pd.DataFrame) -> Drawing:
    runs, task = trained(frame).sort_values("seed"), semantic(frame)
    curves = runs.loc[runs["diverged"] == 0, "curves"].tolist()
    fig, axes = figures.figure(1, 2, height=3.2)
    if curves:
        figures.band(axes[0], curves[0]["epoch"], np.array([c["loss"] for c in curves], float), "")
    axes[0].set(xlabel="epoch", ylabel="SimCLR loss")
    shown = [("linear", "linear probe"), ("online", "online probe"), ("knn", "kNN")]
    for i, (name, label) in enumerate(shown if curves else ()):
        at = curves[0]["probe_epoch"]
        figures.band(axes[1], at, np.array([c[f"{name}_val_{task}"] for c in curves], float), label, i)
    levels = floor_levels(frame, f"linear_val_{task}")
    figures.floors(axes[1], levels)
    axes[1].set(xlabel="epoch", ylabel=f"{task} accuracy, validation (%)")
    figures.panel_labels(axes, ("loss", "what a probe reads"))
    columns = [f"{p}_{s}_{task}" for p in ("linear", "online", "knn") for s in ("val", "test")]
    table = frame[["method", "backbone", "seed", *[c for c in columns if c in frame]]]
    final = runs[f"linear_test_{task}"].mean()
    floors_said = " and ".join(f"{k} {v:.1f} %" for k, v in floor_levels(frame, f"linear_test_{task}").items())
    return Drawing(
        fig, table.sort_values(["method", "backbone", "seed"]).reset_index(drop=True),
        f"Left: SimCLR's loss falls over the epochs. Right: validation accuracy on {task} rises by linear, online and "
        f"nearest-neighbour probes. On the test split the linear probe reaches {final:.1f} %, the floors are "
        f"{floors_said}.",
    )  # fmt: skip


def pictures(
    name: str,
    recipe: Recipe,
    size: int = 0,
    count: int = 6,
    seed: int = 0,
    first: int = 0,
    names: Sequence[str] = (),
    options: tuple[tuple[str, float], ...] = (),
    into: Any = None,
) -> Figure:
    """`count` images of a data set from number `first` on, and below each its views: what the branches of a method see.

    names: of the views, in place of their numbers. into: a part of a figure, in place of a new one.
    """
    split = data.load(name, size, options).train
    index = torch.arange(first, min(first + count, len(split.images)))
    if not len(index):
        raise ReproError(f"There is no image {first}: {data.title(name)} has {len(split.images)}.")
    images = split.images[index].to("cpu")
    views = batched.make(images, recipe, seed, 0, index)
    rows = [images.float() / 255, *views]
    if into is None:
        fig, axes = figures.figure(len(rows), len(index), height=1.05 * len(rows), squeeze=False)
        fig.alt = f"Images of {data.title(name)}; below each: {', '.join(names) or f'{len(views)} views of it'}."
    else:
        fig, axes = into, into.subplots(len(rows), len(index), squeeze=False)
    labels = ["image", *(names or [f"view {i + 1}" for i in range(len(views))])]
    for i, row in enumerate(rows):
        for j, ax in enumerate(axes[i]):
            ax.imshow(row[j].permute(1, 2, 0), interpolation="nearest")
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
        axes[i, 0].set_ylabel(labels[i])
    task, classes = next(iter(split.labels.items()))
    for number, ax in zip(index, axes[0]):
        ax.set_title(f"{task} {int(classes[number])}", fontsize=8, loc="center", fontweight="normal")
    return fig


CLAIMS = (Claim(ID, plan, judge, draw),)
