"""Marks that claims share: lines with bands, bars, heat maps, effects with intervals, the paper's own numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from repro import stats
from repro.figures.labels import end_label
from repro.figures.style import PALETTE, ink, muted, paper, sequential, style


def mean_interval(values: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean over the first axis (seeds) with its 95 % t interval, leaving out NaN (diverged runs).

    values (seeds, n) -> mean, low, high, each (n,). The interval of one value alone is NaN; of none, all three are.
    """
    found = [stats.paired(column) for column in np.atleast_2d(np.asarray(values, float)).T]
    return tuple(np.array([[i.mean, i.low, i.high] for i in found]).reshape(-1, 3).T)


def band(
    ax: Axes,
    x: Sequence[float],
    values_by_seed: Any,
    label: str = "",
    index: int = 0,
    color: Any = None,
    linestyle: Any = None,
) -> None:
    """The mean over seeds as a line, its 95 % interval as a band, and the label at the line's end. With two seeds, whose
    interval would be as wide as the axes, the band goes from one to the other.

    x (n,), values_by_seed (seeds, n). NaN is a diverged run: where some seeds diverged the marker is hollow and the
    line to it dotted; where all did, an x stands at the foot of the axes. `index` picks colour, marker and line style
    together; `color` (e.g. of `ordered`) and `linestyle` override it. label="" writes none.
    """
    x = np.asarray(x, float)
    v = np.atleast_2d(np.asarray(values_by_seed, float))
    if v.shape[1] != len(x):
        raise ValueError(f"values_by_seed has shape {v.shape}, but x has {len(x)} values: give one column for each x")
    look = style(index)
    color = look["color"] if color is None else color
    marker, linestyle = look["marker"], look["linestyle"] if linestyle is None else linestyle
    mean, low, high = mean_interval(v)
    if len(v) < 3:
        low, high = v.min(axis=0), v.max(axis=0)
    some, every = np.isnan(v).any(axis=0), np.isnan(v).all(axis=0)

    ax.fill_between(x, low, high, color=color, alpha=0.16, linewidth=0)
    for i in range(len(x) - 1):
        if not (every[i] or every[i + 1]) and (some[i] or some[i + 1]):
            ax.plot(x[i : i + 2], mean[i : i + 2], color=color, linestyle=":", linewidth=1.2)
    solid = np.where(some, np.nan, mean)
    dense = len(x) > 24  # a curve over steps: markers would hide it
    ax.plot(x, solid, color=color, linestyle=linestyle)
    if not dense:
        ax.plot(x[~some], mean[~some], color=color, linestyle="", marker=marker)
        part = some & ~every
        ax.plot(x[part], mean[part], color=color, linestyle="", marker=marker, markerfacecolor=paper())
    if every.any():
        diverged(ax, x[every], color=color)
    if label and not every.all():
        last = np.flatnonzero(~every)[-1]
        end_label(ax, x[last], mean[last], label, color)


def diverged(ax: Axes, x: Sequence[float], color: Any) -> None:
    """An x at the foot of the axes for each setting whose runs all diverged."""
    at_foot = ax.get_xaxis_transform()
    ax.plot(x, np.full(len(x), 0.03), color=color, linestyle="", marker="x", transform=at_foot, clip_on=False)


def intervals(ax: Axes, rows: Mapping[str, stats.Interval]) -> None:
    """Effects by name with their intervals and a line at zero, the first on top."""
    y = np.arange(len(rows))[::-1]
    for i, (yi, effect) in enumerate(zip(y, rows.values())):
        look = style(i) | {"linestyle": "-", "markersize": 6, "markeredgecolor": paper()}
        ax.plot([effect.low, effect.high], [yi, yi], color=look["color"], linewidth=2, solid_capstyle="round")
        ax.plot([effect.mean], [yi], **look)
    ax.set_yticks(y, list(rows))
    ax.set_ylim(-0.6, len(rows) - 0.4)
    ax.grid(axis="x")
    ax.grid(visible=False, axis="y")
    ax.spines["left"].set_visible(False)
    ax.axvline(0, color=ink(), linewidth=0.9)


def heat(ax: Axes, table: pd.DataFrame, label: str, ran: Any = True, **heatmap: Any) -> None:
    """A heat map with its numbers written in; a NaN cell that ran (diverged) shows an x.

    `label` names the colour bar; ran: which cells did, all if not given; further arguments (vmin, annot_kws) go to
    `seaborn.heatmap`.
    """
    look = {"cmap": sequential(), "linewidths": 1.5, "linecolor": paper(), "annot_kws": {"fontsize": 8}} | heatmap
    values = table.to_numpy(float)
    if not np.isfinite(values).any():
        look |= {"vmin": 0, "vmax": 1}  # seaborn would look for them among no numbers
    sns.heatmap(table, ax=ax, annot=True, fmt=".1f", cbar_kws={"label": label, "shrink": 0.85}, **look)
    ax.grid(visible=False)
    ax.tick_params(length=0)
    ax.tick_params(axis="y", rotation=0)
    for i, j in np.argwhere(np.isnan(values) & ran):
        ax.text(j + 0.5, i + 0.5, "×", ha="center", va="center", color=muted())


def bars(
    ax: Axes, values: np.ndarray, labels: Sequence[str], names: Sequence[str], colours: Any = PALETTE,
    floor_of: Sequence[Mapping[str, float]] = (), hatch: bool = False,
) -> None:  # fmt: skip
    """Grouped bars with intervals. values: (seeds, groups, bars); labels: of the bars; names: of the groups; floor_of: each
    group's floors, drawn as lines; hatch: for a gray print, where bars are few, since it makes an SVG large."""
    width = 0.84 / len(labels)
    for i, label in enumerate(labels):
        mean, low, high = mean_interval(values[:, :, i])
        x = np.arange(len(names)) + (i - (len(labels) - 1) / 2) * width
        ax.bar(
            x,
            np.nan_to_num(mean),
            width * 0.9,
            color=colours[i],
            label=label,
            hatch=("", "///", "...")[i % 3] if hatch else "",
        )
        ax.errorbar(x, mean, [mean - low, high - mean], fmt="none", ecolor=ink(), elinewidth=0.9)
    for j, levels in enumerate(floor_of):
        for (name, level), dash in zip(levels.items(), ("-", (0, (1, 1)))):
            label = f"floor: {name}" if j == 0 else None
            ax.plot([j - 0.46, j + 0.46], [level] * 2, color=ink(), linestyle=dash, linewidth=1.3, label=label)
    ax.set_ylim(bottom=0)
    ax.set_xticks(range(len(names)), names, fontsize=7.5)
    ax.grid(visible=False, axis="x")
