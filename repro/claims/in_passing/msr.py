"""B13 to B21: what the MSR paper says in passing."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from repro.claims import kit, msr_beta_decay, msr_transfer, registry
from repro.claims.in_passing.statement import VIEWS_TIME, Statement, Values, cells_of, tuned
from repro.claims.kit import Plan
from repro.core.methods import MSR, Method, MoCo, SimCLR, SimSiam
from repro.core.profiles import Profile
from repro.core.spec import DataSpec, RunSpec
from repro.stats import Part, eq, noninf, paired, ratio, sup
from repro.views.recipe import Recipe

SPREAD_SEEDS = 20  # the fewest that say anything of a deviation


def staged_cost(values: Values) -> list[Part]:
    return [
        eq("four staged views over two aggressive", ratio(values["staged"]), 0.25, 1.0, unit="ratio"),
        sup(
            "four independent views over four staged", ratio(values["independent"], values["staged"]), 1.2, 1.0, "ratio"
        ),
    ]


def _staged_costs(frame: pd.DataFrame) -> Values:
    return {
        n: frame[f"views_{way}_ratio"].to_numpy(float) for n, way in (("staged", "msr"), ("independent", "independent"))
    }


def plan_base(profile: Profile) -> Plan:
    """B14: notebook 07's MSR at Table 1's beta_base and at the one tuned for Table 2."""
    return cells_of(profile, {"0.5": msr_beta_decay.variants(profile)["decay"], "tuned": msr_beta_decay.tuned(profile)})


def tuned_base(values: Values) -> list[Part]:
    return [sup("tuned beta_base over 0.5", paired(values["tuned"], values["0.5"]), 0.2)]


def plan_side(profile: Profile) -> Plan:
    """B15: notebook 07's MSR with weak targets alone (its beta 0), and the same with the views' sides changed."""
    weak, _, aggressive, _ = msr_beta_decay.views(profile)["MA"].views
    reverse = Recipe("MSR's views, sides changed", (replace(aggressive, parent=-1),) * 2 + (weak,) * 2)
    usual = msr_beta_decay.variants(profile)["beta 0"]
    return cells_of(profile, {"aggressive online": usual, "aggressive target": usual.but(recipe=reverse)})


def side(values: Values) -> list[Part]:
    usual, reverse = values["aggressive online"], values["aggressive target"]
    return [sup("aggressive views online over aggressive targets", paired(usual, reverse), 0.5)]


def usual_side(frame: pd.DataFrame) -> str:
    """The usual side alone must beat the random encoder: that the other does not can be the very effect."""
    return kit.at_floor(frame, {"aggressive online": tuned(frame)["aggressive online"]})


def plan_speed(profile: Profile) -> Plan:
    """B16: B2's short runs of MSR and long ones of BYOL."""
    short, long = msr_beta_decay.lengths(profile)
    cells = {"MSR, short": msr_beta_decay.tuned(profile, epochs=short)}
    return cells_of(profile, cells | {"BYOL, long": msr_beta_decay.variants(profile, epochs=long)["AA"]})


def speed(values: Values) -> list[Part]:
    return [noninf("short MSR against long BYOL", paired(values["MSR, short"], values["BYOL, long"]), 1.0)]


def plan_spread(profile: Profile) -> Plan:
    """B17: B2's runs of MSR and BYOL at the paper's shorter length, the standard one."""
    cells = {"MSR": msr_beta_decay.tuned(profile), "BYOL": msr_beta_decay.variants(profile)["AA"]}
    return cells_of(profile, cells)


def spread(values: Values) -> list[Part]:
    """By how much the seeds lie off their median (Brown and Forsythe 1974)."""
    off = {what: np.abs(v - np.median(v[np.isfinite(v)])) if np.isfinite(v).any() else v for what, v in values.items()}
    part = noninf("BYOL's deviations less MSR's", paired(off["BYOL"], off["MSR"]), 0.2)
    few = part.effect.n < SPREAD_SEEDS
    return [replace(part, cannot=f"a spread needs {SPREAD_SEEDS} seeds" if few else "")]


SETS = {"CIFAR-10": "cifar10", "CIFAR-100": "cifar100", "STL-10": "stl10", "Tiny ImageNet": "tiny_imagenet"}


def _on_each(profile: Profile, cells: dict[str, RunSpec]) -> Plan:
    """At paper, the cells on each of MSR's small and medium sets, named after the set; elsewhere nothing."""
    plan = Plan(profile)
    if profile.name == "paper":
        for title, name in SETS.items():
            for what, spec in cells.items():
                found = DataSpec(name, msr_beta_decay.PAPER_SETS[name])
                plan.add(spec.but(data=found, pairs=0), what=f"{title}: {what}")
                plan.floors(spec.but(pairs=0), data=found)
    return plan


def plan_classes(profile: Profile) -> Plan:
    """B18: Table 1's first two rows on its four small and medium sets."""
    runs = msr_beta_decay.variants(profile)
    return _on_each(profile, {v: runs[v] for v in ("AA", "AW")})


def _table_1() -> dict[str, float]:
    known = registry.numbers("B1")
    at = {title: known["data"].index(title) for title in SETS}
    return {f"{title}: {v}": known[v][i] for title, i in at.items() for v in ("AA", "AW")}


def _class_gains(values: dict[str, Any]) -> tuple[Any, Any]:
    """AW over AA: on the two sets of many classes less the two of few, and on STL-10 the other way."""
    gains = {title: values[f"{title}: AW"] - values[f"{title}: AA"] for title in SETS}
    many, few = ((gains[a] + gains[b]) / 2 for a, b in (("CIFAR-100", "Tiny ImageNet"), ("CIFAR-10", "STL-10")))
    return many - few, -gains["STL-10"]


def classes(values: Values) -> list[Part]:
    (more, lost), paper = _class_gains(values), [round(x, 2) for x in _class_gains(_table_1())]
    return [sup("AW over AA: many classes less few", paired(more), 0.5, paper=paper[0]),
            sup("STL-10: AA over AW", paired(lost), 0.0, paper=paper[1])]  # fmt: skip


def plan_base_by_set(profile: Profile) -> Plan:
    """B19: B7's beta_bases on the four sets."""
    decay = msr_beta_decay.variants(profile)["decay"]
    return _on_each(profile, {f"{b:g}": decay.but(beta=b) for b in msr_beta_decay.SCALES[profile.name].betas})


def _bases(frame: pd.DataFrame) -> Values:
    """The beta_base above 0 that validates best, of each seed, by set."""
    name = kit.column(frame, "val")
    by_set: dict[str, pd.DataFrame] = {}
    for title in SETS:
        rows = kit.trained(frame)[lambda f, title=title: f["what"].str.startswith(f"{title}:") & (f["beta"] > 0)]
        by_set[title] = rows.pivot_table(index="seed", columns="beta", values=name)
    return {title: table.idxmax(axis=1).to_numpy(float) for title, table in by_set.items()}


def _tuned_bases() -> dict[str, float]:
    known = registry.numbers("B2")["beta_base"]
    return {title: known[name] for title, name in SETS.items()}


def _medium_less_small(values: dict[str, Any]) -> Any:
    """Of values by set, seeds' or the paper's."""
    small, medium = ((values[a] + values[b]) / 2 for a, b in (("CIFAR-10", "CIFAR-100"), ("STL-10", "Tiny ImageNet")))
    return medium - small


def bases(values: Values) -> list[Part]:
    paper = round(_medium_less_small(_tuned_bases()), 2)
    more = paired(_medium_less_small(values))
    return [sup("best beta_base: medium sets less small", more, 0.0, unit="beta_base", paper=paper)]


LARGE_METHODS: dict[str, Method] = {
    "SimCLR": SimCLR(), "MoCo v2": MoCo(queue=65_536), "SimSiam": SimSiam(), "MSR": MSR(msr_transfer.BETA),
}  # fmt: skip


def plan_others(profile: Profile) -> Plan:
    """B20: the other methods of Table 4 that are built here, on ImageNet by MSR's recipe, after its 200 epochs."""
    plan = Plan(profile)
    for what, method in LARGE_METHODS.items() if profile.name == "paper" else ():
        plan.add(msr_transfer.large(profile, method, max(registry.numbers("B4")["epochs"])), what=what)
    return plan


def _large(frame: pd.DataFrame) -> Values:
    runs = kit.runs_by(frame, "what")
    return {what: runs[what][msr_transfer.LARGE].to_numpy(float) for what in LARGE_METHODS}


def _table_4() -> dict[str, float]:
    rows = {r["method"]: r["top1"] for r in registry.numbers("B4")["rows"]}  # of each method its longest
    return {what: rows[what] for what in LARGE_METHODS}


def others(values: Values) -> list[Part]:
    cited = _table_4()
    return kit.contrasts(values, [("MSR", m) for m in values if m != "MSR"], 0.5, cited)


def plan_projection(profile: Profile) -> Plan:
    """B21: notebook 07's MSR, and the same with the target's projection of aggressive views."""
    decay = msr_beta_decay.variants(profile)["decay"]
    return cells_of(profile, {"prediction": decay, "target's projection": decay.but(through_target=True, pairs=0)})


def projection(values: Values) -> list[Part]:
    return [eq("prediction for projection", paired(values["prediction"], values["target's projection"]), 1.0)]


_of_msr = partial(Statement, cannot=msr_beta_decay.cannot_carry)

STATEMENTS = {
    "B13": Statement(msr_beta_decay.plan_time, staged_cost, _staged_costs, VIEWS_TIME.format("two aggressive views")),
    "B14": Statement(plan_base, tuned_base),
    "B15": Statement(plan_side, side, tuned, cannot=usual_side),
    "B16": _of_msr(plan_speed, speed),
    "B17": _of_msr(plan_spread, spread),
    "B18": Statement(plan_classes, classes, cited=_table_1),
    "B19": Statement(plan_base_by_set, bases, _bases, "best beta_base", cited=_tuned_bases),
    "B20": Statement(plan_others, others, _large, "top-1 accuracy, linear probe (%)", lambda frame: "", _table_4),
    "B21": _of_msr(plan_projection, projection),
}  # fmt: skip
