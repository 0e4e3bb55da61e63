"""One style for every figure, the marks they share, and saving them with their numbers and their provenance.

A figure is drawn twice by the same function, once under each theme, so nothing may carry a fixed colour:
take colours from PALETTE ("C0" to "C5", which the theme in force fills), `ordered` for values with an order (batch
sizes, betas), and `ink`, `muted`, `paper` for the rest. Every colour comes with a marker and a line style, so a gray
print reads as well.

    def draw(frame):
        fig, ax = figure()
        band(ax, frame.batch.unique(), values, label="tuned", index=0)
        floors(ax, {"random encoder": 18.0, "raw pixels": 40.0})
        return Drawing(fig, table, alt="Accuracy rises with ...")

    save(lambda: draw(frame), folder, "A4", caption(frame, "quick"), "batch_size", "quick")
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import math
import os
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns  # also registers its colour maps: crest, mako, vlag, icefire
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation
from matplotlib.transforms import IdentityTransform
from scipy import stats

from repro.errors import ReproError

# --- colours, markers, verdict signs --------------------------------------------------------------------------------

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
    "partly": Sign("◐", "#855000", "#f0b45a"),
    "not reproduced": Sign("✗", "#ad1f3a", "#ff8d98"),
    "not judged": Sign("–", "#565d68", "#a7b0bc"),
    "not yet": Sign("·", "#565d68", "#a7b0bc"),
}

# --- the theme ------------------------------------------------------------------------------------------------------

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


class Picture(Figure):
    """A figure that a notebook shows as a picture where it is a cell's last value. IPython itself knows how to show one only
    once pyplot has been imported, which nothing here does. alt: its text for who cannot see it."""

    alt = ""

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict, dict]:
        with theme("light"):
            png = _png(self)
        return _bundle(png, self.alt or repr(self)), {"image/png": _look(png, self.alt)}


def figure(
    rows: int = 1, cols: int = 1, height: float = 0.0, width: float = WIDTH, **subplots: Any
) -> tuple[Picture, Any]:
    """A figure and its axes, as `Figure.subplots` gives them, without pyplot. `height` in inches; 0 takes 2.7 a row."""
    fig = Picture(figsize=(width, height or 0.5 + 2.7 * rows))
    return fig, fig.subplots(rows, cols, **subplots)


def ink() -> str:
    return mpl.rcParams["text.color"]


def muted() -> str:
    """The quieter ink of reference lines and notes; still readable as text (>= 4.5:1)."""
    return mpl.rcParams["xtick.color"]


def paper() -> str:
    """The ground, for halos and hollow markers."""
    return mpl.rcParams["axes.facecolor"]


def sequential() -> ListedColormap:
    """The map of ordered values, e.g. of heat maps: low near the ground, high far from it, no value lost in it."""
    low, high = (0.02, 1.0) if _is_light() else (0.28, 1.0)
    return ListedColormap(mpl.colormaps[mpl.rcParams["image.cmap"]](np.linspace(low, high, 256)))


def ordered(n: int) -> list[tuple[float, float, float]]:
    """n colours for values with an order, from near the ground to far from it, each >= 3:1 on it."""
    low, high = (0.36, 1.0) if _is_light() else (0.5, 0.97)
    values = np.linspace(low, high, n) if n > 1 else [0.75]
    return [tuple(float(v) for v in c[:3]) for c in mpl.colormaps[mpl.rcParams["image.cmap"]](values)]


def bars(ax: Any, values: np.ndarray, labels: list[str], names: list[str], colours: Any, floor_of: list[dict]) -> None:
    """Grouped bars with intervals. values: (seeds, groups, bars); floor_of: each group's floors, drawn as lines."""
    width = 0.84 / len(labels)
    for i, label in enumerate(labels):
        mean, low, high = mean_interval(values[:, :, i])
        x = np.arange(len(names)) + (i - (len(labels) - 1) / 2) * width
        ax.bar(x, mean, width * 0.9, color=colours[i], label=label)
        ax.errorbar(x, mean, [mean - low, high - mean], fmt="none", ecolor=ink(), elinewidth=0.9)
    for j, levels in enumerate(floor_of):
        for (name, level), dash in zip(levels.items(), ("-", (0, (1, 1)))):
            label = f"floor: {name}" if j == 0 else None
            ax.plot([j - 0.46, j + 0.46], [level] * 2, color=ink(), linestyle=dash, linewidth=1.3, label=label)
    ax.set_ylim(bottom=0)
    ax.set_xticks(range(len(names)), names, fontsize=7.5)
    ax.grid(visible=False, axis="x")


def contrast(a: Any, b: Any) -> float:
    """The contrast ratio of two colours, 1 to 21, as WCAG 2 defines it; text needs 4.5, lines and marks 3."""
    low, high = sorted((_luminance(a), _luminance(b)))
    return (high + 0.05) / (low + 0.05)


def text_colour(color: Any) -> tuple[float, float, float]:
    """`color`, moved towards the ink only as far as text needs to be read on the ground (4.5:1)."""
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


# --- marks ----------------------------------------------------------------------------------------------------------


def mean_interval(values: Any, level: float = 0.95) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean over the first axis (seeds) with its t interval, leaving out NaN (diverged runs).

    values (seeds, n) -> mean, low, high, each (n,). The interval of one value alone is NaN; of none, all three are.
    """
    v = np.atleast_2d(np.asarray(values, float))
    n = np.isfinite(v).sum(axis=0)
    mean = np.where(n > 0, np.nansum(v, axis=0) / np.maximum(n, 1), np.nan)
    variance = np.nansum((v - mean) ** 2, axis=0) / np.maximum(n - 1, 1)
    half = stats.t.ppf(0.5 + level / 2, np.maximum(n - 1, 1)) * np.sqrt(variance / np.maximum(n, 1))
    half = np.where(n > 1, half, np.nan)
    return mean, mean - half, mean + half


def style(index: int) -> dict[str, Any]:
    """Colour, marker and line style that belong together, for `Axes.plot`."""
    return {
        "color": PALETTE[index % len(PALETTE)],
        "marker": MARKERS[index % len(MARKERS)],
        "linestyle": LINESTYLES[index % len(LINESTYLES)],
    }


def band(
    ax: Axes,
    x: Sequence[float],
    values_by_seed: Any,
    label: str = "",
    index: int = 0,
    color: Any = None,
    marker: str | None = None,
    linestyle: Any = None,
) -> None:
    """The mean over seeds as a line, its 95 % interval as a band, and the label at the line's end. Of two seeds, whose
    interval would be as wide as the axes, the band is from one to the other.

    x (n,), values_by_seed (seeds, n). NaN is a diverged run: where some seeds diverged the marker is hollow and the
    line to it dotted; where all did, an x stands at the foot of the axes. `index` picks colour, marker and line style
    together; the other three override it, e.g. with `ordered`. label="" writes none.
    """
    x = np.asarray(x, float)
    v = np.atleast_2d(np.asarray(values_by_seed, float))
    if v.shape[1] != len(x):
        raise ValueError(f"values_by_seed has shape {v.shape}, but x has {len(x)} values: give one column for each x")
    look = style(index)
    color = look["color"] if color is None else color
    marker = look["marker"] if marker is None else marker
    linestyle = look["linestyle"] if linestyle is None else linestyle
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


def diverged(ax: Axes, x: Iterable[float], color: Any = None, label: str = "") -> None:
    """An x at the foot of the axes for each setting whose runs all diverged; `label` is written beside the last."""
    x = np.asarray(list(x), float)
    at_foot = ax.get_xaxis_transform()
    ax.plot(x, np.full(len(x), 0.03), color=color or ink(), linestyle="", marker="x", transform=at_foot, clip_on=False)
    if label and len(x):
        ax.annotate(label, (x[-1], 0.03), xycoords=at_foot, xytext=(6, 0), textcoords="offset points", va="center",
                    color=muted(), fontsize=7.5)  # fmt: skip


class _EndLabel(Annotation):
    """A label right of a line's end; the labels of one axes move apart before the first of them is drawn."""

    def draw(self, renderer: Any) -> None:
        _spread([t for t in self.axes.texts if isinstance(t, _EndLabel)], renderer)
        super().draw(renderer)


def _spread(labels: list[_EndLabel], renderer: Any) -> None:
    pixel = 72 / labels[0].figure.dpi
    for t in labels:
        t.set_position((t.get_position()[0], 0.0))
    boxes = {t: t.get_window_extent(renderer) for t in labels}
    order = sorted(labels, key=lambda t: boxes[t].y0 + boxes[t].y1)
    # Isotonic regression (pool adjacent violators): the smallest moves after which no two labels touch.
    blocks: list[list[float]] = []  # of [sum of wanted positions minus stacking offsets, members]
    offsets, stack = [], 0.0
    for i, t in enumerate(order):
        if i:
            stack += 0.5 * (boxes[order[i - 1]].height + boxes[t].height)
        offsets.append(stack)
        blocks.append([0.5 * (boxes[t].y0 + boxes[t].y1) - stack, 1])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] > blocks[-1][0] / blocks[-1][1]:
            total, members = blocks.pop()
            blocks[-1][0] += total
            blocks[-1][1] += members
    wanted = [b[0] / b[1] for b in blocks for _ in range(int(b[1]))]
    for t, offset, start in zip(order, offsets, wanted):
        move = start + offset - 0.5 * (boxes[t].y0 + boxes[t].y1)
        t.set_position((t.get_position()[0], move * pixel))


def end_label(ax: Axes, x: float | None, y: float, label: str, color: Any, fontsize: float = 8) -> None:
    """Write `label` right of (x, y), or of the axes' right edge at height y if x is None; labels of one axes part."""
    where = {"xycoords": ax.get_yaxis_transform()} if x is None else {}
    t = _EndLabel(
        label,
        (1 if x is None else x, y),
        xytext=(4 if x is None else 7, 0),
        textcoords="offset points",
        va="center",
        color=text_colour(color),
        fontsize=fontsize,
        annotation_clip=False,
        **where,
    )
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


def paper_value(ax: Axes, y: float, x: float | None = None, label: str = "paper", text: str | None = None) -> None:
    """Mark a number the paper printed: a hollow star at (x, y), or a line across at y, with the number beside it.

    `y` belongs on this axis only where the paper measured the same thing; the number itself comes from the registry.
    `text` replaces "paper <y>"; "" writes none.
    """
    text = f"{label} {y:g}" if text is None else text
    if x is None:
        ax.axhline(y, color=ink(), linewidth=1, linestyle=(0, (8, 2, 1, 2)), zorder=1)
        if text:
            end_label(ax, None, y, text, ink(), fontsize=7.5)
        return
    ax.plot([x], [y], marker="*", markersize=9, linestyle="", markerfacecolor=paper(), markeredgecolor=ink(), zorder=5)
    halo = [withStroke(linewidth=2.5, foreground=paper())]
    ax.annotate(text, (x, y), xytext=(0, 7), textcoords="offset points", ha="center", fontsize=7.5, path_effects=halo)


def intervals(ax: Axes, rows: Sequence[tuple[str, float, float, float]], zero: bool = True) -> None:
    """Effects with their intervals, one a line, first on top: rows of (label, mean, low, high)."""
    y = np.arange(len(rows))[::-1]
    for i, (yi, (_, mean, low, high)) in enumerate(zip(y, rows)):
        color, marker = PALETTE[i % len(PALETTE)], MARKERS[i % len(MARKERS)]
        ax.plot([low, high], [yi, yi], color=color, linewidth=2, solid_capstyle="round")
        ax.plot([mean], [yi], color=color, marker=marker, markersize=6, markeredgecolor=paper())
    ax.set_yticks(y, [r[0] for r in rows])
    ax.set_ylim(-0.6, len(rows) - 0.4)
    ax.grid(axis="x")
    ax.grid(visible=False, axis="y")
    ax.spines["left"].set_visible(False)
    if zero:
        ax.axvline(0, color=ink(), linewidth=0.9)


def heat(ax: Axes, table: pd.DataFrame, fmt: str = ".1f", best: bool = True, label: str = "", **heatmap: Any) -> None:
    """A heat map with its numbers written in; a NaN cell (diverged) shows an x; the best cell is framed.

    `label` names the colour bar; further arguments (vmin, vmax, cmap, cbar) go to `seaborn.heatmap`.
    """
    look = {"cmap": sequential(), "linewidths": 1.5, "linecolor": paper(), "annot_kws": {"fontsize": 8}} | heatmap
    values = table.to_numpy(float)
    if not np.isfinite(values).any():
        look |= {"vmin": 0, "vmax": 1}  # seaborn would look for them among no numbers
    sns.heatmap(table, ax=ax, annot=True, fmt=fmt, cbar_kws={"label": label, "shrink": 0.85}, **look)
    ax.grid(visible=False)
    ax.tick_params(length=0)
    ax.tick_params(axis="y", rotation=0)
    for i, j in np.argwhere(np.isnan(values)):
        ax.text(j + 0.5, i + 0.5, "×", ha="center", va="center", color=muted())
    if best and np.isfinite(values).any():
        i, j = np.unravel_index(np.nanargmax(values), values.shape)
        ax.add_patch(Rectangle((j, i), 1, 1, fill=False, edgecolor=PALETTE[1], linewidth=2.4, clip_on=False, zorder=4))


def panel_labels(axes: Iterable[Axes], titles: Sequence[str] = ()) -> None:
    """a, b, c ... at the top left of each panel, each with its title where there is one."""
    for i, ax in enumerate(np.ravel(np.asarray(axes, dtype=object))):
        ax.set_title(f"{chr(97 + i)}   {titles[i]}" if i < len(titles) else chr(97 + i))


# --- saving ---------------------------------------------------------------------------------------------------------

DPI = 160  # of a PNG
SVG_LIMIT = 200_000  # bytes; a page of six figures stays light


def save(
    draw: Callable[[], Any], folder: str | Path, claim_id: str, caption: str, slug: str, profile: str
) -> list[Path]:
    """Draw under both themes and write <id>.svg, <id>-dark.svg, <id>.png (light), <id>.csv and <id>.json.

    `draw()` returns a `repro.claims.Drawing` (figure, table, alt) and is called once a theme. Nothing is written unless
    both drawings succeed; each file is replaced whole; the same numbers give the same bytes. Returns the paths.
    """
    folder = Path(folder)
    files: dict[str, bytes] = {}
    for name in ("light", "dark"):
        with theme(name):
            drawing = draw()
            if not drawing.alt.strip():
                raise ReproError(f"Figure {claim_id} has no alt text: say in words what is to be seen in it.")
            files[f"{claim_id}{'' if name == 'light' else '-dark'}.svg"] = _svg(drawing.figure, claim_id, drawing.alt)
            if name == "light":
                with mpl.rc_context({"figure.constrained_layout.use": False}):
                    drawing.figure.set_layout_engine(None)  # it stays as it was laid out for the SVG
                files[f"{claim_id}.png"] = _png(drawing.figure)
                files[f"{claim_id}.csv"] = drawing.table.to_csv(index=False, lineterminator="\n").encode()
                about = {"id": claim_id, "slug": slug, "profile": profile, "alt": drawing.alt, "caption": caption}
                files[f"{claim_id}.json"] = (json.dumps(about, indent=1, ensure_ascii=False) + "\n").encode()
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        if name.endswith(".svg") and len(data) > SVG_LIMIT:
            warnings.warn(
                f"{name} has {len(data) // 1000} kB: draw its densest marks with rasterized=True", stacklevel=2
            )
        _replace(folder / name, data)
    return [folder / name for name in files]


def show(folder: str | Path, claim_id: str) -> None:
    """Display a saved figure in a notebook; the output is marked with the claim's id, where the gallery then puts the
    SVG."""
    from IPython.display import display

    png = (Path(folder) / f"{claim_id}.png").read_bytes()
    alt = json.loads((Path(folder) / f"{claim_id}.json").read_text(encoding="utf-8"))["alt"]
    data = _bundle(png, f"Figure {claim_id}: {alt}")
    display(data, raw=True, metadata={"image/png": _look(png, alt), "repro": {"figure": claim_id}})


def _bundle(png: bytes, text: str) -> dict[str, str]:
    return {"image/png": base64.b64encode(png).decode(), "text/plain": text}


def _look(png: bytes, alt: str) -> dict[str, Any]:
    """How a notebook is to show a PNG of DPI dots an inch: at its size in inches."""
    pixels = int.from_bytes(png[16:20], "big")  # its header's width
    return {"width": round(96 * pixels / DPI), **({"alt": alt} if alt else {})}


def _svg(fig: Figure, salt: str, alt: str) -> bytes:
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": salt}):
        fig.savefig(buffer, format="svg", transparent=True,
                    metadata={"Date": None, "Creator": None, "Description": alt})  # fmt: skip
    text = buffer.getvalue()

    # A hundredth of a point is below any eye and any printer; shorter numbers make the file about a third smaller.
    def shorten(match: re.Match) -> str:
        return re.sub(r"-?\d+\.\d{3,}", lambda m: f"{float(m[0]):.2f}".rstrip("0").rstrip("."), match[0])

    text = re.sub(r'(?<= d=")[^"]*', shorten, text)
    return re.sub(r"(?<=<use )[^>]*", shorten, text).encode()


def _png(fig: Figure) -> bytes:
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


def _replace(path: Path, data: bytes) -> None:
    tmp = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with tmp.open("wb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        os.replace(tmp, path)
    except OSError as e:
        tmp.unlink(missing_ok=True)
        raise ReproError(
            f"{path} cannot be written ({e.strerror}): free some space or check permissions, and redraw."
        ) from e


# --- provenance -----------------------------------------------------------------------------------------------------

# Data that stand in for a paper's own; a caption always says so.
_STAND_INS = ("digits", "scenes", "colou", "rings", "clouds", "toy", "shapes", "generated")


def data_title(name: str) -> str:
    """The name for a caption of a data set or its folder; stand-ins are called so."""
    name = name.rstrip("/").rsplit("/", 1)[-1]  # of a folder its last part: a caption names no one's disk
    if "stand-in" not in name and name.lower().startswith(_STAND_INS):
        return f"{name} (stand-in)"
    return name


def caption(frame: pd.DataFrame, profile: str) -> str:
    """Where a figure's numbers come from: data, backbone, profile, seeds, runs, time, hardware, commit, versions, date.

    Reads the columns of `repro.core.store.frame`; what a column lacks is left out.
    """

    def names(column: str) -> list[str]:
        return sorted({str(v) for v in frame[column].dropna()}) if column in frame else []

    if frame.empty:
        return f"The paper's numbers, as cited; nothing is measured at profile {profile}."
    data = " and ".join(names("data_title") or [data_title(n) for n in names("data")])
    first = ", ".join(s for s in (f"Data: {data}" if data else "", " and ".join(names("backbone"))) if s)
    n, seeds = len(frame), len(names("seed"))
    scale = f"{n} run{'s' * (n != 1)}" + (f" over {seeds} seed{'s' * (seeds != 1)}" if seeds else "")
    if "wall_seconds" in frame and frame["wall_seconds"].notna().any():
        scale += f", {_duration(frame['wall_seconds'].sum())} in all"
    parts = [first, f"profile {profile}: {scale}"]
    if names("hardware"):
        parts.append("measured on " + " and ".join(names("hardware")))
    if names("commit"):
        parts.append("commit " + ", ".join(c[:7] + "+" * c.endswith("+") for c in names("commit")))
    if "versions" in frame:
        found = {str(k): str(v) for d in frame["versions"] if isinstance(d, Mapping) for k, v in d.items()}
        text = ", ".join(f"{k} {found[k]}" for k in ("python", "torch", "numpy") if k in found)
        parts += [text] if text else []
    if names("started"):
        parts.append(names("started")[-1][:10])
    text = "; ".join(p for p in parts if p) + "."
    return text[0].upper() + text[1:]


def _duration(seconds: float) -> str:
    if not math.isfinite(seconds) or seconds < 0:
        return "unknown time"
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 1 else "under 1 s"
