"""Claim D1: a method in a file of the reader's against SimCLR, at the same images, views, epochs, networks and optimiser,
each at the best of the same rates. What is shipped is LeJEPA's SIGReg, in `notebooks/my_method.py`."""

from __future__ import annotations

import numpy as np
import pandas as pd

from repro import figures, stats
from repro.claims import Claim, Drawing, Verdict, kit
from repro.claims.kit import Plan, drawing, read, verdict
from repro.core import own, places
from repro.core.profiles import Profile, base
from repro.stats import sup

TAKES = ("method", "recipe")
SHIPPED = "my_method.py:SIGReg"
FACTORS = {"smoke": (1.0,), "quick": (1 / 3, 1.0, 3.0, 9.0)}
"""Of the profile's rate, the same for both methods; a third, one and three where none are named."""


def plan(profile: Profile) -> Plan:
    spec, mine = base(profile), profile.method or own.method(str(places.notebooks() / SHIPPED))
    rates = [spec.optimiser.lr * factor for factor in FACTORS.get(profile.name, (1 / 3, 1.0, 3.0))]
    plan = Plan(profile)
    for method, who in ((mine, "own"), (spec.method, "SimCLR")):
        plan.add(*spec.but(method=method).grid(lr=rates), who=who)
    return plan.floors()


def _name(frame: pd.DataFrame) -> str:
    return frame.loc[frame["who"] == "own", "method"].iloc[0]


def judge(frame: pd.DataFrame) -> Verdict:
    """SUP(1), paired over seeds, each at the rate that validates best: the rates are part of the budget. SimCLR must be
    above the floors; that one's own method is not says something about it, and is no reason to leave it unjudged."""
    values, name = read(frame, "who", "lr").tuned(), _name(frame)
    gain = stats.paired(values[:, 0], values[:, 1])
    mine, simclr = values.mean(0)
    return verdict(
        frame, [sup(f"{name} over SimCLR", gain, 1.0)],
        f"{name} reaches {mine:.1f} %, SimCLR {simclr:.1f} %, each at the best of the same rates.",
        cannot=kit.cannot_carry(frame[frame["who"] != "own"]),
    )  # fmt: skip


def draw(frame: pd.DataFrame) -> Drawing:
    got, name = read(frame, "who", "lr"), _name(frame)
    fig, (left, right) = figures.figure(1, 2, height=3.4)
    said = []
    for i, who in enumerate((name, "SimCLR")):
        figures.band(left, np.array(got.levels[1]), got.test[:, i], who, i)
        best = got.tuned()[:, i]
        kit.dots(right, i, best, i)
        said.append(f"{who} {best.mean():.1f} % at {got.levels[1][got.best[i]]:g}")
    kit.log_axis(left, got.levels[1])
    for ax in (left, right):
        kit.floors(ax, frame, labels=ax is right)
    left.set(xlabel="learning rate", ylabel=kit.label(frame))
    right.set_xticks((0, 1), (name, "SimCLR"))
    right.set(xlim=(-0.6, 2.2))
    figures.panel_labels((left, right), ("every rate", "the best by validation"))
    alt = f"Left: accuracy against the learning rate, a line a method. Right: each at its best rate: {', '.join(said)}."
    return drawing(fig, frame, ["who", "lr", "recipe"], alt)


CLAIMS = (Claim("D1", plan, judge, draw),)
