"""Claim D1: a method in a file of the reader's against SimCLR, at the same images, views, epochs, networks and optimiser,
each at the best of the same rates. What is shipped is LeJEPA's SIGReg, in `notebooks/my_method.py`."""

from __future__ import annotations

import pandas as pd

from repro import stats
from repro.claims import Claim, Drawing, Verdict, kit
from repro.claims.kit import Plan, page, read, verdict
from repro.core import own, places
from repro.core.profiles import Profile, base
from repro.stats import sup

TAKES = ("method", "recipe")
SHIPPED = "my_method.py:SIGReg"
FACTORS = {"smoke": (1.0,), "quick": (1 / 3, 1.0, 10 / 3)}
"""Of the profile's rate, the same for both methods; a third, one and three where none are named. SimCLR's runs at quick are
notebook 01's."""


def plan(profile: Profile) -> Plan:
    spec, mine = base(profile), profile.method or own.method(str(places.notebooks() / SHIPPED))
    rates = [float(f"{spec.optimiser.lr * factor:.2g}") for factor in FACTORS.get(profile.name, (1 / 3, 1.0, 3.0))]
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
    got, names = read(frame, "who", "lr"), (_name(frame), "SimCLR")
    each = (f"{who} {got.tuned()[:, i].mean():.1f} % at {got.levels[1][got.best[i]]:g}" for i, who in enumerate(names))
    alt = f"Accuracy against the learning rate, a line a method, and the floors. At its best rate: {', '.join(each)}."
    lines = kit.curves(frame, "lr", by="method", xlabel="learning rate", ylabel=kit.label(frame))
    return page(frame, ["who", "lr", "recipe"], [lines], alt, height=3.4, width=6.0)


CLAIMS = (Claim("D1", plan, judge, draw),)
