"""What the papers say in passing: claims A18 to A22, B13 and B14 of two of them, C11 and C12 of the third.

Each is a handful of cells and a contrast or two between them; many cells are other notebooks' runs. `STATEMENTS` is the
whole of it: judge and draw are the same for all.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd

from repro import figures
from repro.bench.specs import ViewsSpec
from repro.claims import Claim, Drawing, Verdict, augmentations, batch_size, kit, msr_beta_decay, multi_augmentation
from repro.claims.kit import Plan, drawing, verdict
from repro.core.methods import BYOL, VICRegMultiView
from repro.core.profiles import Profile, base
from repro.core.spec import RunSpec, key, trains
from repro.stats import Part, eq, noninf, paired, ratio, sup
from repro.views.recipe import Recipe, preset

SGD_RATES = (0.1, 0.4, 1.2)  # of a batch of 256, in A22
Values = dict[str, np.ndarray]  # by a cell's name, a number a seed


@dataclass(frozen=True)
class Statement:
    """plan(profile): the cells, by the label `what`. contrasts(values): the parts of the verdict. read(frame): the cells'
    values, the linear probe's test accuracy at the rate that validates best if none is given; those of time have their
    own `unit`."""

    plan: Callable[[Profile], Plan]
    contrasts: Callable[[Values], list[Part]]
    read: Callable[[pd.DataFrame], Values] | None = None
    unit: str = ""


def _cells(profile: Profile, cells: dict[str, RunSpec]) -> Plan:
    plan = Plan(profile)
    for what, spec in cells.items():
        plan.add(spec, what=what)
    return plan.floors(next(iter(cells.values())))


def _enough(values: Values, none: str, some: str, whole: str, margin: float, names: tuple[str, str]) -> list[Part]:
    """`some` gains a point over `none`, and is as good as `whole` within the margin. names: of the two parts."""
    over, against = (paired(values[some], values[other]) for other in (none, whole))
    return [sup(names[0], over, 1.0), noninf(names[1], against, margin)]


# --- A: FFCV-SSL ------------------------------------------------------------------------------------------------------


def plan_cost(profile: Profile) -> Plan:
    """A18: notebook 02's times of making views."""
    timed = next(s for s in augmentations.plan(profile, ("SimCLR",)) if isinstance(s, ViewsSpec))
    return Plan(profile).add(timed)


def cost(values: Values) -> list[Part]:
    return [sup("views, all over crop+gray", ratio(values["all"], values["crop+gray"]), 1.2, 1.0, "ratio")]


def _costs(frame: pd.DataFrame) -> Values:
    return {s: frame[f"cost_{s}"].to_numpy(float) for s in ("crop", "crop+gray", "crop+jitter", "all")}


def plan_byol(profile: Profile) -> Plan:
    """A19: BYOL in notebook 07's recipe, on three of notebook 02's stacks."""
    spec = msr_beta_decay.standard(profile, BYOL(msr_beta_decay.SCALES[profile.name].ema), "AA")
    crop = spec.recipe.views[0].crop
    return _cells(profile, {s: spec.but(recipe=preset(s, crop=crop)) for s in ("crop", "crop+gray", "all")})


def plan_branch(profile: Profile) -> Plan:
    """A20: SimCLR with crops, and gray on neither, one or both branches."""
    spec = base(profile)
    both = preset("crop+gray", crop=spec.recipe.views[0].crop)
    crop, gray = replace(both.views[0], gray=0.0), both.views[1]
    recipes = {
        "neither": preset("crop", crop=crop.crop),
        "one": Recipe("gray on one branch", (crop, gray)),
        "both": both,
    }
    return _cells(profile, {name: spec.but(recipe=recipe) for name, recipe in recipes.items()})


def plan_projector(profile: Profile) -> Plan:
    """A21: SimCLR with the profile's projector and with none."""
    spec = base(profile)
    return _cells(profile, {"projector": spec, "none": spec.but(layers=0)})


def projector(values: Values) -> list[Part]:
    return [sup("projector over none", paired(values["projector"], values["none"]), 3.0)]


def plan_optimiser(profile: Profile) -> Plan:
    """A22: the smallest and the largest batch of notebook 01, with LARS at its rates (A5's runs) and with SGD."""
    lars, plan = [run for run in batch_size.plan_rates(profile) if trains(run)], Plan(profile)
    sizes = [run.batch_size for run in lars]
    names = {min(sizes): "small batches", max(sizes): "large batches"}
    for run in (run for run in lars if run.batch_size in names):
        what = names[run.batch_size]
        plan.add(run, seeds=(run.seed,), what=f"LARS, {what}")
        plan.add(*run.but(optimiser="sgd").grid(lr=SGD_RATES), seeds=(run.seed,), what=f"SGD, {what}")
    return plan.floors(lars[0])


def optimiser(values: Values) -> list[Part]:
    lars, sgd = (values[f"{o}, large batches"] - values[f"{o}, small batches"] for o in ("LARS", "SGD"))
    return [sup("gap between batches, SGD less LARS", paired(sgd, lars), 1.0)]


# --- B: MSR -----------------------------------------------------------------------------------------------------------


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
    return _cells(profile, {"0.5": msr_beta_decay.variants(profile)["decay"], "tuned": msr_beta_decay.tuned(profile)})


def tuned_base(values: Values) -> list[Part]:
    return [sup("tuned beta_base over 0.5", paired(values["tuned"], values["0.5"]), 0.2)]


# --- C: small projectors ----------------------------------------------------------------------------------------------


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
    return _cells(first, runs)


def vicreg(values: Values) -> list[Part]:
    four = values["4 views"]
    return [
        sup("4 over 2 views, equal epochs", paired(four, values["2 views"]), 1.0),
        sup("4 over 2 views, equal views", paired(four, values["2 views, twice as long"]), 1.0),
    ]


# --- judge and draw ---------------------------------------------------------------------------------------------------

STATEMENTS = {
    "A18": Statement(plan_cost, cost, _costs, "times cropping's"),
    "A19": Statement(plan_byol, partial(
        _enough, none="crop", some="crop+gray", whole="all", margin=2.0,
        names=("crop+gray over crop", "crop+gray against all"),
    )),
    "A20": Statement(plan_branch, partial(
        _enough, none="neither", some="one", whole="both", margin=1.0,
        names=("gray on one branch over none", "gray on one branch against both"),
    )),
    "A21": Statement(plan_projector, projector),
    "A22": Statement(plan_optimiser, optimiser),
    "B13": Statement(msr_beta_decay.plan_time, staged_cost, _staged_costs, "times two aggressive views'"),
    "B14": Statement(plan_base, tuned_base),
    "C11": Statement(plan_samples, samples),
    "C12": Statement(plan_vicreg, vicreg),
}  # fmt: skip


def _values(frame: pd.DataFrame, statement: Statement) -> Values:
    if statement.read:
        return statement.read(frame)
    return {what: kit.read(runs, "lr").tuned() for what, runs in kit.runs_by(frame, "what").items()}


def judge(frame: pd.DataFrame, statement: Statement) -> Verdict:
    """Each contrast is a part; cells that accuracy is compared of must beat the random encoder."""
    values = _values(frame, statement)
    parts = statement.contrasts(values)
    said = "; ".join(f"{p.name} {p.effect.mean:+.1f} points" if p.unit == "points" else
                     f"{p.name} {p.effect.mean:.2f} times" for p in parts)  # fmt: skip
    finding = f"{said[:1].upper()}{said[1:]}."
    if statement.read:
        return verdict(frame, parts, finding, on=_images(frame), backbone="no network")
    return verdict(frame, parts, finding, cannot=kit.cannot_carry(frame) or kit.at_floor(frame, values))


def _images(frame: pd.DataFrame) -> str:
    known = frame["data_title"].dropna().unique() if "data_title" in frame else ()
    return " and ".join(known) or f"random images of {int(frame['size'].iloc[0])} pixels"


def draw(frame: pd.DataFrame, statement: Statement) -> Drawing:
    values = _values(frame, statement)
    fig, ax = figures.figure(height=3.2, width=5.6)
    for i, cell in enumerate(values.values()):
        kit.dots(ax, i, cell, i)
    ax.set_xticks(range(len(values)), values)
    ax.set_xlim(-0.6, len(values) - 0.4)
    if statement.read:
        ax.axhline(1, color=figures.muted(), linewidth=0.9)
        ax.set_ylabel(f"time to make the views,\n{statement.unit} (×)")
    else:
        kit.floors(ax, frame)
        ax.set_ylabel(kit.label(frame))
    unit = " times" if statement.read else " %"
    alt = f"A dot a seed, with means and 95 % intervals: {'; '.join(f'{k} {v.mean():.1f}{unit}' for k, v in values.items())}."
    if statement.read:
        table = pd.DataFrame({"seed": frame["seed"], **values})
        return Drawing(fig, table.reset_index(drop=True), alt)
    return drawing(fig, frame.assign(what=frame["what"].fillna("floor")), ["what", "method", "lr"], alt)


CLAIMS = tuple(
    Claim(id, s.plan, partial(judge, statement=s), partial(draw, statement=s)) for id, s in STATEMENTS.items()
)
