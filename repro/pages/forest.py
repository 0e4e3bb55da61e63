"""The forest plot: every part of every claim at one profile, what was measured beside what is asked and what the paper
found."""

from __future__ import annotations

import itertools
import math
import re
import textwrap
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.patches import Patch

from repro import figures, stats
from repro.claims import EVIDENCE, Drawing, Verdict
from repro.claims.registry import load
from repro.pages import verdicts

LOOKS = dict(zip(EVIDENCE, map(figures.style, (3, 4, 1, 0, 2))))  # colour and marker of each class of evidence
POINTS = (-50, -20, -10, -5, -2, 0, 2, 5, 10, 20, 50)  # ticks: as they are up to 5, then on a logarithmic scale
ZONE = 0.17  # how dark what a rule asks is drawn
RATIOS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)


def save(found: Mapping[str, Verdict], folder: Path, profile: str) -> bool:
    """Draw and save forest.svg and its kin into a folder; returns whether there are parts to draw."""
    table = rows(found)
    if not table.empty:
        caption = (
            f"Profile {profile}: every part of every claim, mean and 95 % interval over seeds; the gray zone is what the "
            "rule asks, the star the paper's own number for the same contrast. Hollow marks are not judged."
        )
        figures.save(partial(draw, table, profile), folder, "forest", caption, "", profile, limit=1_000_000)
    return not table.empty


def rows(found: Mapping[str, Verdict]) -> pd.DataFrame:
    """A row a part, in the registry's order of claims."""
    parts = [(c, found[c], p) for c in load().claims if c in found for p in verdicts.parts(found[c])]
    return pd.DataFrame([{"claim": c, **asdict(p), "evidence": v.evidence, "data": v.data} for c, v, p in parts])


def draw(table: pd.DataFrame, profile: str) -> Drawing:
    measured = table[table["mean"].notna()]
    points, ratios = measured["unit"] == "points", (measured["unit"] == "ratio") & (measured["mean"] > 0)
    groups = [g for g in (measured[points], measured[ratios], measured[~points & ~ratios]) if len(g)]
    heights = [len(g) + 1.5 for g in groups]
    fig, axes = figures.figure(
        max(1, len(groups)), 1, height=1.2 + 0.19 * sum(heights), width=9.6, squeeze=False, height_ratios=heights or [1]
    )
    for ax, group in zip(axes[:, 0], groups):
        _panel(ax, group, str(group["unit"].iloc[0]))
    classes = [c for c in EVIDENCE if c in set(measured["evidence"])]
    axes[0, 0].legend(
        handles=[_mark(axes[0, 0], math.nan, math.nan, LOOKS[c], label=c) for c in classes]
        + [_star(axes[0, 0], math.nan, math.nan, "the paper"), Patch(color=figures.muted(), alpha=ZONE, label="asked")],
        ncols=len(classes) + 2, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.3,
    )  # fmt: skip
    counts = Counter(table["word"])
    said = ", ".join(f"{counts[w]} {w}" for w in (*stats.PART_WORDS, stats.NOT_JUDGED) if counts[w])
    return Drawing(fig, table, f"A forest plot of the {len(table)} parts of the claims at profile {profile}: {said}.")


def _panel(ax: Any, group: pd.DataFrame, unit: str) -> None:
    """The parts in points, or in ratios, against one axis; those in other units as text."""
    y, of_one_unit = np.arange(len(group))[::-1], unit in ("points", "ratio")
    if of_one_unit:
        ticks, neutral = (POINTS, 0) if unit == "points" else (RATIOS, 1)
        numbers = group[["mean", "low", "high", "paper"]].to_numpy(float)
        least, most = (f(numbers, initial=neutral, where=np.isfinite(numbers)) for f in (np.min, np.max))
        lowest = max([t for t in ticks if t < least] or ticks[:1])
        limits = lowest, min([t for t in ticks if t > most] or [most * 1.1])
        ax.set_xscale("log") if unit == "ratio" else ax.set_xscale("symlog", linthresh=5)
        ax.set_xlim(limits)
        shown = [t for t in ticks if limits[0] <= t <= limits[1]]
        ax.set_xticks(shown, [f"{t:g}" for t in shown])
        ax.axvline(neutral, color=figures.ink(), linewidth=0.8, zorder=1)
        ax.set_xlabel("points (logarithmic beyond 5)" if unit == "points" else "ratio (logarithmic)")
    else:
        ax.set_xlim(0, 1)
        ax.set_xticks([])
    ax.minorticks_off()
    for at, part in zip(y, group.itertuples()):
        look = LOOKS.get(part.evidence, figures.style(5))
        if of_one_unit:
            zone = asked(part.rule)
            if zone:
                ax.fill_betweenx(
                    [at - 0.38, at + 0.38], *np.clip(zone, *limits), color=figures.muted(), alpha=ZONE, lw=0
                )
            if pd.notna(part.low) and pd.notna(part.high):
                ax.plot([part.low, part.high], [at, at], color=look["color"], linewidth=1.8, solid_capstyle="round")
            _mark(ax, part.mean, at, look, hollow=part.word == stats.NOT_JUDGED)
            if pd.notna(part.paper):
                _star(ax, part.paper, at)
        else:
            text = verdicts.interval(*_known(part.mean, part.low, part.high), part.unit)
            _mark(ax, 0.02, at, look, hollow=part.word == stats.NOT_JUDGED)
            told = f"{text}, asked: {part.rule}" + (f", the paper: {part.paper:g}" if pd.notna(part.paper) else "")
            ax.text(0.045, at, told, va="center", fontsize=7.5)
        ax.text(
            1.01, at, f"{figures.SIGNS[part.word].sign} {part.word}", color=figures.word_colour(part.word),
            transform=ax.get_yaxis_transform(), va="center", fontsize=7.5,
        )  # fmt: skip
    names = [f"{textwrap.shorten(p.name, 60, placeholder=' …')}   {p.claim}" for p in group.itertuples()]
    ax.set_yticks(y, names, fontsize=7.5)
    ax.set_ylim(-0.7, len(group) - 0.3)
    ax.grid(visible=False, axis="y")
    ax.grid(visible=of_one_unit, axis="x")
    ax.spines[["left", "bottom"]].set_visible(False)
    claims = list(group["claim"])
    for at, (claim, below) in zip(y, itertools.pairwise(claims)):
        if claim != below:
            ax.axhline(at - 0.5, color=figures.muted(), linewidth=0.4, alpha=0.5, zorder=0)


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


def _known(*values: float) -> list[float | None]:
    return [None if pd.isna(v) else v for v in values]


def _mark(ax: Any, x: float, y: float, look: Mapping[str, Any], hollow: bool = False, label: str = "") -> Any:
    face = figures.paper() if hollow else look["color"]
    return ax.plot(
        [x], [y], color=look["color"], marker=look["marker"], markersize=5, linestyle="", markerfacecolor=face,
        label=label, zorder=3,
    )[0]  # fmt: skip


def _star(ax: Any, x: float, y: float, label: str = "") -> Any:
    return ax.plot(
        [x], [y], marker="*", markersize=8, linestyle="", markerfacecolor=figures.paper(),
        markeredgecolor=figures.ink(), markeredgewidth=0.9, label=label, zorder=4,
    )[0]  # fmt: skip
