"""The forest plot: every part of every claim at one profile, what was measured beside what is asked and what the paper
found."""

from __future__ import annotations

import math
import re
import textwrap
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.patches import Patch

from repro import figures, stats
from repro.claims import EVIDENCE, Drawing, Found
from repro.claims.registry import load
from repro.pages import verdicts

LOOKS = dict(zip(EVIDENCE, map(figures.style, (3, 4, 1, 0, 2))))  # colour and marker of each class of evidence
TICKS = {"points": (-50, -20, -10, -5, -2, 0, 2, 5, 10, 20, 50), "ratio": (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)}
AXIS = {"points": "points (logarithmic beyond 5)", "ratio": "ratio (logarithmic)"}
ZONE = 0.17  # how dark what a rule asks is drawn


class Row(NamedTuple):
    claim: str
    evidence: str
    part: Found


def save(folder_of: Callable[[str], Path], profile: str, folder: Path) -> bool:
    """Draw a profile's verdicts as forest.svg and its kin in a folder; whether there are parts at all. folder_of(slug): where
    the results of a notebook are."""
    files = (folder_of(slug) / "verdicts.json" for slug in load().notebooks)
    found = {claim: verdict for file in files for claim, verdict in verdicts.load(file).items()}
    rows = [Row(c, found[c].evidence, p) for c in load().claims if c in found for p in verdicts.parts(found[c])]
    caption = (
        f"Profile {profile}: every part of every claim, mean and 95 % interval over seeds; the gray zone is what the rule "
        "asks, the star the paper's own number for the same contrast. Hollow marks are not judged."
    )
    if rows:
        figures.save(partial(draw, rows, profile), folder, "forest", caption, "", profile, limit=1_000_000)
    return bool(rows)


def draw(rows: Sequence[Row], profile: str) -> Drawing:
    """A panel for points, one for ratios, and the parts in other units as text; the claims in the registry's order."""
    groups: dict[str, list[Row]] = {unit: [] for unit in (*TICKS, "")}
    for row in rows:
        known = [v for v in (row.part.mean, row.part.low, row.part.paper) if v is not None]
        if row.part.mean is not None:  # a logarithm wants numbers above zero
            drawn = row.part.unit == "points" or (row.part.unit == "ratio" and min(known) > 0)
            groups[row.part.unit if drawn else ""].append(row)
    groups = {unit: group for unit, group in groups.items() if group} or {"": []}
    heights = [len(group) + 1.5 for group in groups.values()]
    fig, axes = figures.figure(
        len(groups), 1, height=1.2 + 0.19 * sum(heights), width=9.6, squeeze=False, height_ratios=heights
    )
    for ax, (unit, group) in zip(axes[:, 0], groups.items()):
        _panel(ax, unit, group)
    top, classes = axes[0, 0], [c for c in EVIDENCE if c in {row.evidence for row in rows}]
    marks = [_mark(top, math.nan, math.nan, label=c, **_look(c)) for c in classes]
    marks += [_star(top, math.nan, math.nan, "the paper"), Patch(color=figures.muted(), alpha=ZONE, label="asked")]
    top.legend(handles=marks, ncols=len(marks), loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.3)
    counts = Counter(row.part.word for row in rows)
    said = ", ".join(f"{counts[w]} {w}" for w in (*stats.PART_WORDS, stats.NOT_JUDGED) if counts[w])
    table = pd.DataFrame([{"claim": row.claim, "evidence": row.evidence, **asdict(row.part)} for row in rows])
    return Drawing(fig, table, f"A forest plot of the {len(rows)} parts of the claims at profile {profile}: {said}.")


def _panel(ax: Any, unit: str, group: Sequence[Row]) -> None:
    limits = _axis(ax, unit, [v for _, _, p in group for v in (p.mean, p.low, p.high, p.paper) if v is not None])
    y = np.arange(len(group))[::-1]
    for i, (at, (claim, evidence, part)) in enumerate(zip(y, group)):
        look, hollow, zone = _look(evidence), part.word == stats.NOT_JUDGED, asked(part.rule)
        if unit:
            if zone:
                ax.fill_betweenx(
                    [at - 0.38, at + 0.38], *np.clip(zone, *limits), color=figures.muted(), alpha=ZONE, lw=0
                )
            if part.low is not None and part.high is not None:
                ax.plot([part.low, part.high], [at, at], color=look["color"], linewidth=1.8, solid_capstyle="round")
            if part.paper is not None:
                _star(ax, part.paper, at)
        else:
            ax.text(0.045, at, f"{verdicts.cells(part)[1]}, asked: {part.rule}", va="center", fontsize=7.5)
        _mark(ax, part.mean if unit else 0.02, at, hollow, **look)
        word, colour = f"{figures.SIGNS[part.word].sign} {part.word}", figures.word_colour(part.word)
        ax.text(1.01, at, word, color=colour, transform=ax.get_yaxis_transform(), va="center", fontsize=7.5)
        if i and claim != group[i - 1].claim:
            ax.axhline(at + 0.5, color=figures.muted(), linewidth=0.4, alpha=0.5, zorder=0)
    names = [f"{textwrap.shorten(row.part.name, 60, placeholder=' …')}   {row.claim}" for row in group]
    ax.set_yticks(y, names, fontsize=7.5)
    ax.set_ylim(-0.7, max(1, len(group)) - 0.3)
    ax.grid(visible=False, axis="y")
    ax.grid(visible=bool(unit), axis="x")
    ax.spines[["left", "bottom"]].set_visible(False)


def _axis(ax: Any, unit: str, values: Sequence[float]) -> tuple[float, float]:
    """Scale and ticks of a panel; returns its limits, the next ticks beyond all values."""
    if not unit:
        ax.set(xlim=(0, 1), xticks=[])
        return 0, 1
    ticks, neutral = TICKS[unit], float(unit == "ratio")
    least, most = min(neutral, *values), max(neutral, *values)
    limits = max([t for t in ticks if t < least] or [least]), min([t for t in ticks if t > most] or [most])
    ax.set_xscale("log") if unit == "ratio" else ax.set_xscale("symlog", linthresh=5)
    shown = [t for t in ticks if limits[0] <= t <= limits[1]]
    ax.set_xticks(shown, [f"{t:g}" for t in shown])
    ax.minorticks_off()
    ax.set(xlim=limits, xlabel=AXIS[unit])
    ax.axvline(neutral, color=figures.ink(), linewidth=0.8, zorder=1)
    return limits


def asked(rule: str) -> tuple[float, float] | None:
    """Where a rule wants the mean, from its short form: SUP(1) at 1 or more, EQ(2 around 5) from 3 to 7, NONINF(1.5) at
    -1.5 or more, LARGEST and CROSS above 0; None for one that has no such zone."""
    if rule in ("LARGEST", "CROSS"):
        return 0.0, math.inf
    found = re.fullmatch(r"(SUP|EQ|NONINF)\(([-\d.e+]+)(?:,? (?:above|around) ([-\d.e+]+))?\)", rule)
    if not found:
        return None
    margin, around = float(found[2]), float(found[3] or 0)
    if found[1] == "EQ":
        return around - margin, around + margin
    return (-margin if found[1] == "NONINF" else max(margin, around)), math.inf


def _look(evidence: str) -> dict[str, Any]:
    return LOOKS.get(evidence, figures.style(5)) | {"linestyle": ""}


def _mark(ax: Any, x: float, y: float, hollow: bool = False, **look: Any) -> Any:
    face = figures.paper() if hollow else look["color"]
    return ax.plot([x], [y], markersize=5, markerfacecolor=face, zorder=3, **look)[0]


def _star(ax: Any, x: float, y: float, label: str = "") -> Any:
    look = {"marker": "*", "linestyle": "", "markerfacecolor": figures.paper(), "markeredgecolor": figures.ink()}
    return ax.plot([x], [y], markersize=8, markeredgewidth=0.9, zorder=4, label=label, **look)[0]
