"""A figure without pyplot, and its bytes: the same figure gives the same SVG and PNG each time."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from repro.figures.style import WIDTH, theme

DPI = 160  # of a PNG
TALLEST = 3000  # pixels: a taller one has fewer dots an inch


class Picture(Figure):
    """A figure that a notebook shows as a picture where it is a cell's last value. IPython itself shows figures only once
    pyplot has been imported, which nothing here does. alt: the picture in words."""

    alt = ""

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict, dict]:
        with theme("light"):
            return bundle(png(self), self.alt)


def figure(
    rows: int = 1, cols: int = 1, height: float = 0.0, width: float = WIDTH, **subplots: Any
) -> tuple[Picture, Any]:
    """A figure and its axes, as `Figure.subplots` gives them, without pyplot. `height` in inches; 0 takes 2.7 a row."""
    fig = Picture(figsize=(width, height or 0.5 + 2.7 * rows))
    return fig, fig.subplots(rows, cols, **subplots)


def images(rows: Mapping[str, Sequence[Any]], height: float = 0.0, width: float = WIDTH, into: Any = None) -> tuple:
    """Images (H, W, 3) in named rows of equal length, without axes; the figure and its axes. into: a part of a figure."""
    columns = max(map(len, rows.values()))
    fig = into or Picture(figsize=(width, height or 1.05 * len(rows)))
    axes = fig.subplots(len(rows), columns, squeeze=False)
    for (name, row), line in zip(rows.items(), axes):
        for image, ax in zip(row, line):
            ax.imshow(image, interpolation="nearest")
            ax.grid(visible=False)
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
        line[0].set_ylabel(name)
    return fig, axes


def bundle(image: bytes, alt: str) -> tuple[dict[str, str], dict[str, Any]]:
    """A PNG of DPI dots an inch as a notebook's output: data and metadata that show it at its size in inches."""
    pixels = int.from_bytes(image[16:20], "big")  # its header's width
    data = {"image/png": base64.b64encode(image).decode(), "text/plain": alt or "a figure"}
    return data, {"image/png": {"width": round(96 * pixels / DPI), **({"alt": alt} if alt else {})}}


def png(fig: Figure) -> bytes:
    buffer = io.BytesIO()
    dpi = min(DPI, TALLEST / fig.get_figheight())
    fig.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


def svg(fig: Figure, salt: str, alt: str) -> bytes:
    """salt: names the SVG's internal ids, which are the same each time. alt: the picture in words."""
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": salt}):
        metadata = {"Date": None, "Creator": None, "Description": alt}
        fig.savefig(buffer, format="svg", transparent=True, metadata=metadata)
    text = buffer.getvalue()

    # A hundredth of a point is below any eye and any printer; shorter numbers make the file about a third smaller.
    def shorten(match: re.Match) -> str:
        return re.sub(r"-?\d+\.\d{3,}", lambda m: f"{float(m[0]):.2f}".rstrip("0").rstrip("."), match[0])

    text = re.sub(r'(?<= d=")[^"]*', shorten, text)
    return re.sub(r"(?<=<use )[^>]*", shorten, text).encode()
