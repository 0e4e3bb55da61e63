"""What the statements in passing share: a few cells, a contrast or two between them, one way to judge and to draw."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from repro import figures
from repro.claims import Drawing, Verdict, kit
from repro.claims.kit import Plan, drawing, verdict
from repro.core.profiles import Profile
from repro.core.spec import RunSpec
from repro.stats import Part, paired

VIEWS_TIME = "time to make the views,\ntimes {}'s (×)"
NOTHING = "nothing is read that it compares"
Values = dict[str, np.ndarray]  # by a cell's name, a number a seed


@dataclass(frozen=True)
class Statement:
    """plan(profile): the cells, by the label `what`. contrasts(values): the parts of the verdict. read(frame): the cells'
    values, the linear probe's test accuracy at the rate that validates best if none is given. axis: what else they are.
    cannot(frame): why the data cannot carry it. cited(): the paper's own values, drawn where nothing is measured. several:
    whether it rests on several tasks."""

    plan: Callable[[Profile], Plan]
    contrasts: Callable[[Values], list[Part]]
    read: Callable[[pd.DataFrame], Values] | None = None
    axis: str = ""
    cannot: Callable[[pd.DataFrame], str] = kit.cannot_carry
    cited: Callable[[], dict[str, float]] = dict
    several: bool = False


def cells_of(profile: Profile, cells: dict[str, RunSpec]) -> Plan:
    plan = Plan(profile)
    for what, spec in cells.items():
        plan.add(spec, what=what)
    return plan.floors(next(iter(cells.values())))


def tuned(frame: pd.DataFrame, task: str = "") -> Values:
    """Test accuracy on a task, the first if none is named, of each cell at the rate that validates best."""
    return {what: kit.read(runs, "lr", task=task).tuned() for what, runs in kit.runs_by(frame, "what").items()}


def _values(frame: pd.DataFrame, statement: Statement) -> Values:
    return (statement.read or tuned)(frame)


def _said(part: Part) -> str:
    mean = part.effect.mean
    return f"{part.name} " + {"points": f"{mean:+.1f} points", "ratio": f"{mean:.2f} times"}.get(
        part.unit, f"{mean:.2f} {part.unit}"
    )


def judge(frame: pd.DataFrame, statement: Statement) -> Verdict:
    """Each contrast is a part; cells that accuracy is compared of must beat the random encoder."""
    if frame.empty:
        return kit.not_planned("it takes the paper's own data, and is planned at the paper profile alone", "points")
    values = _values(frame, statement)
    parts = statement.contrasts(values)
    said = "; ".join(map(_said, parts)) or NOTHING
    finding = f"{said[:1].upper()}{said[1:]}."
    if _untrained(frame):
        return verdict(frame, parts, finding, on=_images(frame), backbone="no network")
    low = "" if statement.read else kit.at_floor(frame, values)
    return verdict(frame, parts, finding, cannot=statement.cannot(frame) or low, several=statement.several)


def _untrained(frame: pd.DataFrame) -> bool:
    """Whether the claim is of views alone."""
    return "method" not in frame


def _images(frame: pd.DataFrame) -> str:
    known = frame["data_title"].dropna().unique() if "data_title" in frame else ()
    return " and ".join(known) or f"random images of {int(frame['size'].iloc[0])} pixels"


def draw(frame: pd.DataFrame, statement: Statement) -> Drawing:
    values = {k: np.array([v]) for k, v in statement.cited().items()} if frame.empty else _values(frame, statement)
    fig, ax = figures.figure(height=3.2, width=5.6)
    for i, cell in enumerate(values.values()):
        kit.dots(ax, i, cell, i)
    crowded = len(values) > 4 or len("".join(values)) > 60
    ax.set_xticks(range(len(values)), values, **({"fontsize": 7, "rotation": 20, "ha": "right"} if crowded else {}))
    ax.set_xlim(-0.6, len(values) - 0.4)
    each = "; ".join(f"{k} {paired(v).mean:.1f}" for k, v in values.items())
    if frame.empty:
        ax.set(ylabel=statement.axis or "accuracy (%)", title="the paper's own numbers; nothing is measured")
        alt = f"A dot a cell, the paper's own number as cited; nothing is measured here: {each}."
        return Drawing(fig, pd.DataFrame({"cell": list(values), "paper": [v[0] for v in values.values()]}), alt)
    if "×" in statement.axis:
        ax.axhline(1, color=figures.muted(), linewidth=0.9)
    elif not statement.axis:
        kit.floors(ax, frame)
    ax.set(ylabel=statement.axis or kit.label(frame), title="" if values else NOTHING)
    alt = f"A dot a seed, with means and 95 % intervals, of {' '.join(ax.get_ylabel().split())}: {each}."
    if _untrained(frame):
        table = pd.DataFrame({"seed": frame["seed"], **values})
        return Drawing(fig, table.reset_index(drop=True), alt)
    return drawing(fig, frame.assign(what=frame["what"].fillna("floor")), ["what", "method", "lr"], alt)
