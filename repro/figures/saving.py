"""Saving a figure with its numbers, and the caption that says where these come from."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd

from repro.core.io import write_atomic
from repro.errors import ReproError
from repro.figures.picture import bundle, png, svg
from repro.figures.style import theme

SVG_LIMIT = 200_000  # bytes; a page of six figures stays light


def save(
    draw: Callable[[], Any], folder: str | Path, claim_id: str, caption: str, slug: str, profile: str,
    limit: int = 0,
) -> list[Path]:  # fmt: skip
    """Draw under both themes and write <id>.svg, <id>-dark.svg, <id>.png (light), <id>.csv and <id>.json.

    `draw()` returns a `repro.claims.Drawing` (figure, table, alt) and is called once a theme. Nothing is written unless
    both drawings succeed; each file is replaced whole; the same numbers give the same bytes. Returns the paths. An SVG
    above `limit` bytes (0: SVG_LIMIT) gives a warning.
    """
    files: dict[Path, bytes] = {}
    for name, suffix in (("dark", "-dark"), ("light", "")):
        with theme(name):
            drawing = draw()
            if not drawing.alt.strip():
                raise ReproError(f"Figure {claim_id} has no alt text: say in words what it shows.")
            files[Path(folder, f"{claim_id}{suffix}.svg")] = svg(drawing.figure, claim_id, drawing.alt)
    with theme("light"), mpl.rc_context({"figure.constrained_layout.use": False}):
        drawing.figure.set_layout_engine(None)  # the PNG keeps the layout of the SVG
        files[Path(folder, f"{claim_id}.png")] = png(drawing.figure)
    files[Path(folder, f"{claim_id}.csv")] = drawing.table.to_csv(index=False, lineterminator="\n").encode()
    about = {"id": claim_id, "slug": slug, "profile": profile, "alt": drawing.alt, "caption": caption}
    files[Path(folder, f"{claim_id}.json")] = (json.dumps(about, indent=1, ensure_ascii=False) + "\n").encode()
    for path, content in files.items():
        if path.suffix == ".svg" and len(content) > (limit or SVG_LIMIT):
            size = len(content) // 1000
            warnings.warn(f"{path.name} has {size} kB: draw its densest marks with rasterized=True", stacklevel=2)
        write_atomic(path, content)
    return list(files)


def show(folder: str | Path, claim_id: str) -> None:
    """Display a saved figure in a notebook. The output's metadata name the claim; the gallery puts the SVG there."""
    from IPython.display import display

    alt = json.loads(Path(folder, f"{claim_id}.json").read_text(encoding="utf-8"))["alt"]
    data, metadata = bundle(Path(folder, f"{claim_id}.png").read_bytes(), alt)
    display(data, raw=True, metadata=metadata | {"repro": {"figure": claim_id}})


def caption(frame: pd.DataFrame, profile: str) -> str:
    """Where a figure's numbers come from: data, backbone, profile, seeds, runs, time, hardware, commit, versions, date.

    Reads the columns of `repro.core.store.frame`; what a column lacks is left out.
    """

    def names(column: str) -> list[str]:
        return sorted({str(v) for v in frame[column].dropna()}) if column in frame else []

    if frame.empty:
        return f"The paper's numbers, as cited; nothing is measured at profile {profile}."
    data = " and ".join(names("data_title")) + "".join(f"; probed on {others}, too" for others in names("probed_on"))
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
