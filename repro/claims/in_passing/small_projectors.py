"""C11 to C13: what the small projectors paper says in passing."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd

from repro.claims import kit, multi_augmentation
from repro.claims.in_passing.statement import Statement, Values, cells_of
from repro.claims.kit import Plan
from repro.core.methods import VICRegMultiView
from repro.core.profiles import Profile
from repro.core.spec import key
from repro.stats import Part, paired, rise, sup


def plan_samples(profile: Profile) -> Plan:
    """C11: notebook 10's runs of two views on a quarter, half and all of the images, at equal epochs, with their
    floors, which have no label; at paper on the first of its data sets."""
    whole = multi_augmentation.plan_fractions(profile)
    plan = Plan(whole.profile)
    for run in whole:
        known = whole.labels[key(run)]
        if run.data.name == whole[0].data.name and known.get("views", 2) == 2 and known.get("times", 1) == 1:
            plan.append(run)
            plan.labels[key(run)] = {"cell": known["cell"]}
            if "share" in known:
                plan.labels[key(run)]["what"] = f"{100 * known['share']:g} %"
    return plan


def samples(values: Values) -> list[Part]:
    shares = sorted(values, key=lambda what: float(what.split()[0]))
    return [
        sup(f"{more} of the images over {less}", paired(values[more], values[less]), 0.5)
        for less, more in itertools.pairwise(shares)
    ]


def plan_vicreg(profile: Profile) -> Plan:
    """C12: notebook 10's runs with VICReg against the mean of the other views, at the same rate; at paper on the first set."""
    first = multi_augmentation.sets(profile)[0]
    cells = {"2 views": (2, 1), "2 views, twice as long": (2, 2), "4 views": (4, 1)}
    runs = {
        what: multi_augmentation.run_of(first, multi_augmentation.Cell(views, times=times)).but(
            method=VICRegMultiView(), every=0, averaged=0
        )
        for what, (views, times) in cells.items()
    }
    return cells_of(first, runs)


def vicreg(values: Values) -> list[Part]:
    four = values["4 views"]
    return [
        sup("4 over 2 views, equal epochs", paired(four, values["2 views"]), 1.0),
        sup("4 over 2 views, equal views", paired(four, values["2 views, twice as long"]), 1.0),
    ]


def plan_dynamics(profile: Profile) -> Plan:
    """C13: notebook 10's recipe with 2, 4 and 8 views for half of its epochs; at paper on the first set."""
    first = multi_augmentation.sets(profile)[0]
    runs = {
        f"{v} views": multi_augmentation.run_of(first, multi_augmentation.Cell(v)) for v in multi_augmentation.VIEWS
    }
    early = {
        what: run.but(epochs=max(1, run.epochs // 2), every=0, averaged=0, spectrum=True) for what, run in runs.items()
    }
    return cells_of(first, early)


def _rankme(frame: pd.DataFrame) -> Values:
    return {what: runs["rankme"].to_numpy(float) for what, runs in kit.runs_by(frame, "what").items()}


def dynamics(values: Values) -> list[Part]:
    views = [int(what.split()[0]) for what in values]
    return [rise("RankMe by views", views, np.stack(list(values.values()), 1))]


STATEMENTS = {
    "C11": Statement(plan_samples, samples),
    "C12": Statement(plan_vicreg, vicreg),
    "C13": Statement(plan_dynamics, dynamics, _rankme, "RankMe of the features"),
}  # fmt: skip
