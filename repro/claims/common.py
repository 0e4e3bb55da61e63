"""What the claims about accuracy share: floors, grids as arrays, and the sentence of a verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from repro import data, stats
from repro.claims import Verdict
from repro.core.methods import Untrained
from repro.core.profiles import Profile, base
from repro.core.spec import RunSpec

CARRIES = 10.0  # points by which tuned SSL must beat both floors before a stand-in may carry a claim


def floors(profile: Profile, **probes) -> list[RunSpec]:
    """The random encoder, one a seed, and raw pixels: what every accuracy is compared with."""
    spec = base(profile, method=Untrained())
    spec = replace(spec, probes=replace(spec.probes, **probes))
    random = [replace(spec, seed=s) for s in range(profile.seeds)]
    return [*random, replace(spec, backbone="pixels")]


def trained(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame["method"] != "Untrained"]


def semantic(frame: pd.DataFrame) -> str:
    """The semantic task of the frame's data set, e.g. "shape"."""
    return data.tasks(frame["data"].iloc[0])[0]


def accuracy_column(frame: pd.DataFrame, split: str = "test", task: str = "", probe: str = "linear") -> str:
    """The frame's column of a probe's accuracy on a split; of the semantic task if none is named."""
    return f"{probe}_{split}_{task or semantic(frame)}"


def accuracy_label(frame: pd.DataFrame) -> str:
    """The axis of that column, for the linear probe and the semantic task."""
    return f"{semantic(frame)} accuracy, linear probe (%)"


STANDS = {"shape": "ImageNet, CIFAR-10", "count": "CLEVR-C", "distance": "CLEVR-D", "texture": "EuroSAT, Places"}


def task_names(name: str) -> list[str]:
    """The tasks of a data set as a figure's axis names them, with what they stand for in the paper."""
    return [f"{t}\n(for {STANDS[t]})" if name == "scenes" and t in STANDS else t for t in data.tasks(name)]


def floor_levels(frame: pd.DataFrame, column: str) -> dict[str, float]:
    """Mean accuracy of the floors in a frame, ready for `figures.floors`."""
    untrained = frame[frame["method"] == "Untrained"]
    pixels = untrained["backbone"] == "pixels"
    return {
        "random encoder": float(untrained.loc[~pixels, column].mean()),
        "raw pixels": float(untrained.loc[pixels, column].mean()),
    }


def cannot_carry(frame: pd.DataFrame, column: str) -> str:
    """Why these data cannot carry a claim: the best cell's mean is not CARRIES points above both floors; "" if it is."""
    levels = floor_levels(frame, column)
    runs = trained(frame)
    names = "method recipe optimiser batch_size lr temperature lambda_ invariance variance ema layers steps epochs"
    cell = [c for c in f"{names} beta dim fraction".split() if c in runs]
    best = runs.groupby(cell, dropna=False)[column].mean().max()
    highest = max(levels, key=levels.get)
    if best - levels[highest] >= CARRIES:
        return ""
    return f"tuned SSL reaches {best:.1f} %, less than {CARRIES:.0f} points above the floor {highest} ({levels[highest]:.1f} %)"


def grid(frame: pd.DataFrame, axes: Sequence[str], column: str) -> tuple[np.ndarray, list[list]]:
    """Values (seeds, *axes) of a column, NaN where a run diverged or is not there, and the levels of each axis."""
    levels = [sorted(frame[a].unique()) for a in ("seed", *axes)]
    index = pd.MultiIndex.from_product(levels, names=["seed", *axes])
    values = frame.drop_duplicates(["seed", *axes]).set_index(["seed", *axes])[column].reindex(index)
    return values.to_numpy(float).reshape([len(x) for x in levels]), levels[1:]


def tuned(validation: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tune on validation, read on test. Both (seeds, ..., settings); the setting with the best validation mean over
    seeds is taken. Returns its test values (seeds, ...) and its index (...). A setting that diverged for any seed is
    never taken."""
    best = np.where(np.isfinite(validation), validation, -np.inf).mean(0).argmax(-1)
    return np.take_along_axis(test, np.broadcast_to(best, test.shape[:-1])[..., None], -1)[..., 0], best


def verdict(
    frame: pd.DataFrame, word: str, effect: stats.Interval, unit: str, sentence: str, column: str = ""
) -> Verdict:
    """A verdict that names its data and backbone; with `column`, one that the floors can turn into "not judged"."""
    runs = trained(frame)
    cannot = cannot_carry(frame, column) if column else ""
    if cannot:
        word, sentence = stats.NOT_JUDGED, f"Not judged: {cannot}. {sentence}"
    numbers = [None if not math.isfinite(v) else float(v) for v in (effect.mean, effect.low, effect.high)]
    titles = " and ".join(sorted(runs["data_title"].unique()))
    backbones = " and ".join(sorted(runs["backbone"].unique()))
    return Verdict(word, *numbers, unit, int(effect.n), titles, backbones, sentence)


def min_seeds(frame: pd.DataFrame) -> int:
    return stats.min_seeds(frame.attrs.get("profile", "quick"))
