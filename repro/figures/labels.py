"""Words in a figure: labels at the ends of lines that move apart, reference lines, the panels' letters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation
from matplotlib.transforms import IdentityTransform
from scipy.optimize import isotonic_regression

from repro.figures.style import ink, muted, paper, text_colour


class _EndLabel(Annotation):
    """A label right of a line's end; the labels of one axes move apart before the first of them is drawn."""

    def draw(self, renderer: Any) -> None:
        _spread([t for t in self.axes.texts if isinstance(t, _EndLabel)], renderer)
        super().draw(renderer)


def _spread(labels: list[_EndLabel], renderer: Any) -> None:
    pixel = 72 / labels[0].figure.dpi
    for t in labels:
        t.set_position((t.get_position()[0], 0.0))
    boxes = [t.get_window_extent(renderer) for t in labels]
    middle, height = np.array([(b.y0 + b.y1) / 2 for b in boxes]), np.array([b.height for b in boxes])
    order = np.argsort(middle, kind="stable")
    # Isotonic regression of the places less a stack of the labels: the smallest moves after which no two touch.
    stack = np.concatenate([[0.0], np.cumsum((height[order][:-1] + height[order][1:]) / 2)])
    for i, place in zip(order, isotonic_regression(middle[order] - stack).x + stack):
        labels[i].set_position((labels[i].get_position()[0], (place - middle[i]) * pixel))


def end_label(ax: Axes, x: float | None, y: float, label: str, color: Any, fontsize: float = 8) -> None:
    """Write `label` right of (x, y), or of the axes' right edge at height y if x is None; labels of one axes part."""
    where = {"xycoords": ax.get_yaxis_transform()} if x is None else {}
    t = _EndLabel(
        label, (1 if x is None else x, y), xytext=(4 if x is None else 7, 0), textcoords="offset points", va="center",
        color=text_colour(color), fontsize=fontsize, annotation_clip=False, **where,
    )  # fmt: skip
    t.set_transform(IdentityTransform())  # as Axes.annotate does: its offset is in points, and may be 0 on a log axis
    ax.add_artist(t)
    t.set_clip_on(False)


def floors(ax: Axes, levels: Mapping[str, float], labels: bool = True, inside: bool = False) -> None:
    """Horizontal reference lines, labelled at the right edge: what costs nothing (random encoder, raw pixels, chance).

    labels=False draws the lines alone, for all but the last of a row of panels. inside: the labels stand on the lines'
    right ends, where a panel has no room beside it.
    """
    dashes = ((0, (1, 1.5)), (0, (4, 2)), (0, (6, 2, 1, 2)))
    for i, (label, y) in enumerate(levels.items()):
        ax.axhline(y, color=muted(), linewidth=1, linestyle=dashes[i % 3], zorder=1)
        if labels and inside:
            look = {"va": "bottom", "ha": "right", "fontsize": 7, "color": muted()}
            ax.text(0.99, y, label, transform=ax.get_yaxis_transform(), **look)
        elif labels:
            end_label(ax, None, y, label, muted(), fontsize=7.5)


def paper_value(ax: Axes, y: float, x: float, text: str) -> None:
    """Mark a number the paper printed by a hollow star at (x, y), with `text` above it.

    `y` belongs on this axis only where the paper measured the same thing; the number itself comes from the registry.
    """
    ax.plot([x], [y], marker="*", markersize=9, linestyle="", markerfacecolor=paper(), markeredgecolor=ink(), zorder=5)
    halo = [withStroke(linewidth=2.5, foreground=paper())]
    ax.annotate(text, (x, y), xytext=(0, 7), textcoords="offset points", ha="center", fontsize=7.5, path_effects=halo)


def panel_labels(axes: Iterable[Axes], titles: Sequence[str] = ()) -> None:
    """a, b, c ... at the top left of each panel, each with its title where there is one."""
    for i, ax in enumerate(np.ravel(np.asarray(axes, dtype=object))):
        ax.set_title(f"{chr(97 + i)}   {titles[i]}" if i < len(titles) else chr(97 + i))
