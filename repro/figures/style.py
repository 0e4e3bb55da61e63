"""The style of every figure: colours, markers and verdict signs, under a light and a dark theme."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import seaborn  # noqa: F401  (registers its colour maps: crest, mako, vlag, icefire)
from matplotlib.colors import ListedColormap, to_rgb

from repro.errors import ReproError

PALETTE = tuple(f"C{i}" for i in range(6))  # resolved by the theme in force
MARKERS = ("o", "s", "^", "D", "v", "P")
LINESTYLES = ("-", (0, (5, 1.6)), (0, (1, 1.2)), (0, (6, 1.5, 1.2, 1.5)), (0, (3, 1.2)), (0, (6, 1.2, 1, 1.2, 1, 1.2)))

# Found by a search over hues: >= 3:1 on their ground, and apart from each other in normal, deuteranope and protanope
# vision and in gray (tests/test_figures.py holds them to it).
COLOURS = {
    "light": ("#0f4a94", "#d47b0f", "#1f9173", "#7c3662", "#7a6b1e", "#b71344"),
    "dark": ("#4a9fd0", "#e0913a", "#62e6bd", "#e9b0f0", "#aeb878", "#df5555"),
}
_GROUND = {"light": "#ffffff", "dark": "#15181c"}
_INK = {"light": "#1d2126", "dark": "#e4e7ea"}
_MUTED = {"light": "#5c646d", "dark": "#a3abb5"}
_RULE = {"light": "#e2e4e6", "dark": "#2e343b"}


class Sign(NamedTuple):
    """A verdict's sign and its text colour on a light and on a dark ground (both >= 4.5:1)."""

    sign: str
    light: str
    dark: str


VERDICTS = {
    "reproduced": Sign("✓", "#00685a", "#5fd6b4"),
    "mixed": Sign("◐", "#855000", "#f0b45a"),
    "contradicted": Sign("✗", "#ad1f3a", "#ff8d98"),
    "inconclusive": Sign("?", "#3d5a99", "#9db8f2"),
    "not judged": Sign("–", "#565d68", "#a7b0bc"),
    "not yet": Sign("·", "#565d68", "#a7b0bc"),
}

SIGNS = VERDICTS | {  # of a claim's parts as well
    "supported": VERDICTS["reproduced"],
    "too small": VERDICTS["contradicted"]._replace(sign="<"),
}

WIDTH = 7.2  # inches, the text column of a page


@contextlib.contextmanager
def theme(name: str = "light") -> Iterator[None]:
    """Draw under the "light" or the "dark" theme: same layout, other colours. Raises ReproError for another name."""
    if name not in COLOURS:
        raise ReproError(f"Unknown theme {name!r}: choose light or dark.")
    with mpl.rc_context(_rc(name)):
        yield


def _rc(name: str) -> dict[str, Any]:
    ink, muted, rule = _INK[name], _MUTED[name], _RULE[name]
    return {
        "figure.figsize": (WIDTH, 3.4),
        "figure.dpi": 100,
        "figure.facecolor": _GROUND[name],
        "figure.constrained_layout.use": True,
        "figure.constrained_layout.w_pad": 0.06,
        "figure.constrained_layout.h_pad": 0.06,
        # DejaVu Sans comes with matplotlib, so every machine draws the same glyphs; as paths they need no font to view
        "font.family": ["DejaVu Sans"],
        "font.size": 8.5,
        "mathtext.fontset": "dejavusans",
        "svg.fonttype": "path",
        "text.color": ink,
        "axes.facecolor": _GROUND[name],
        "axes.edgecolor": muted,
        "axes.labelcolor": ink,
        "axes.labelsize": 8.5,
        "axes.titlesize": 9,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.titlepad": 8,
        "axes.linewidth": 0.7,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "axes.axisbelow": True,
        "axes.prop_cycle": mpl.cycler(color=COLOURS[name]),
        "grid.color": rule,
        "grid.linewidth": 0.7,
        "xtick.color": muted,
        "ytick.color": muted,
        "xtick.labelcolor": ink,
        "ytick.labelcolor": ink,
        "xtick.labelsize": 8,
        "ytick.labelsize": 8,
        "xtick.major.size": 3,
        "ytick.major.size": 0,
        "xtick.minor.size": 0,
        "ytick.minor.size": 0,
        "lines.linewidth": 1.6,
        "lines.markersize": 4.5,
        "lines.markeredgewidth": 1.1,
        "patch.edgecolor": _GROUND[name],
        "hatch.color": _GROUND[name],
        "legend.frameon": False,
        "legend.fontsize": 8,
        "legend.title_fontsize": 8,
        "image.cmap": "crest" if name == "light" else "mako",
    }


def ink() -> str:
    return mpl.rcParams["text.color"]


def muted() -> str:
    """The quieter ink of reference lines and notes; still readable as text (>= 4.5:1)."""
    return mpl.rcParams["xtick.color"]


def paper() -> str:
    """The ground, for halos and hollow markers."""
    return mpl.rcParams["axes.facecolor"]


def word_colour(word: str) -> str:
    """The colour of a verdict's or a part's word under the theme in force."""
    return SIGNS[word].light if _is_light() else SIGNS[word].dark


def sequential() -> ListedColormap:
    """The map of ordered values, e.g. of heat maps: low near the ground, high far from it, no value lost in it."""
    low, high = (0.02, 1.0) if _is_light() else (0.28, 1.0)
    return ListedColormap(mpl.colormaps[mpl.rcParams["image.cmap"]](np.linspace(low, high, 256)))


def ordered(n: int) -> list[tuple[float, float, float]]:
    """n colours for values with an order, from near the ground to far from it, each >= 3:1 on it."""
    low, high = (0.36, 1.0) if _is_light() else (0.5, 0.97)
    values = np.linspace(low, high, n) if n > 1 else [0.75]
    return [tuple(float(v) for v in c[:3]) for c in mpl.colormaps[mpl.rcParams["image.cmap"]](values)]


def style(index: int) -> dict[str, Any]:
    """Colour, marker and line style that belong together, for `Axes.plot`."""
    return {
        "color": PALETTE[index % len(PALETTE)],
        "marker": MARKERS[index % len(MARKERS)],
        "linestyle": LINESTYLES[index % len(LINESTYLES)],
    }


def contrast(a: Any, b: Any) -> float:
    """The contrast ratio of two colours, 1 to 21, as WCAG 2 defines it; text needs 4.5, lines and marks 3."""
    low, high = sorted((_luminance(a), _luminance(b)))
    return (high + 0.05) / (low + 0.05)


def text_colour(color: Any) -> tuple[float, float, float]:
    """The colour nearest to `color`, on the way to the ink, that text can have on the ground (4.5:1)."""
    start, end = np.array(to_rgb(color)), np.array(to_rgb(ink()))
    for share in np.linspace(0, 1, 21):
        mixed = tuple(float(v) for v in (1 - share) * start + share * end)
        if contrast(mixed, paper()) >= 4.5:
            break
    return mixed


def _luminance(color: Any) -> float:
    c = np.array(to_rgb(color))
    return float(np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722])


def _is_light() -> bool:
    return mpl.rcParams["image.cmap"] == "crest"
