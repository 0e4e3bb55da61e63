"""What the papers say in passing: claims A18 to A26, B13 to B21, and C11 to C13.

Each is a handful of cells and a contrast or two between them; many cells are other notebooks' runs. `STATEMENTS` is the
whole of it: judge and draw are the same for all. Those that take the papers' own data are planned at paper alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from repro import figures
from repro.bench.specs import ViewsSpec
from repro.claims import (
    Claim,
    Drawing,
    Verdict,
    augmentations,
    batch_size,
    kit,
    msr_beta_decay,
    msr_transfer,
    multi_augmentation,
    registry,
)
from repro.claims.kit import Plan, drawing, verdict
from repro.core import datasets
from repro.core.methods import BYOL, MSR, Method, MoCo, SimCLR, SimSiam, VICRegMultiView
from repro.core.profiles import Profile, base
from repro.core.spec import DataSpec, RunSpec, key, trains
from repro.stats import Part, eq, noninf, paired, ratio, rise, sup
from repro.views.recipe import Recipe, preset

SGD_RATES = (0.1, 0.4, 1.2)  # of a batch of 256, in A22
SPREAD_SEEDS = 20  # the fewest that say anything of a deviation
VIEWS_TIME = "time to make the views,\ntimes {}'s (×)"
Values = dict[str, np.ndarray]  # by a cell's name, a number a seed


@dataclass(frozen=True)
class Statement:
    """plan(profile): the cells, by the label `what`. contrasts(values): the parts of the verdict. read(frame): the cells'
    values, the linear probe's test accuracy at the rate that validates best if none is given. axis: what else they are.
    cannot(frame): why the data cannot carry it. cited(): the paper's own values, drawn where nothing is measured."""

    plan: Callable[[Profile], Plan]
    contrasts: Callable[[Values], list[Part]]
    read: Callable[[pd.DataFrame], Values] | None = None
    axis: str = ""
    cannot: Callable[[pd.DataFrame], str] = kit.cannot_carry
    cited: Callable[[], dict[str, float]] = dict


def _cells(profile: Profile, cells: dict[str, RunSpec]) -> Plan:
    plan = Plan(profile)
    for what, spec in cells.items():
        plan.add(spec, what=what)
    return plan.floors(next(iter(cells.values())))


def _tuned(frame: pd.DataFrame, task: str = "") -> Values:
    """Test accuracy on a task, the first if none is named, of each cell at the rate that validates best."""
    return {what: kit.read(runs, "lr", task=task).tuned() for what, runs in kit.runs_by(frame, "what").items()}


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


def plan_tasks(profile: Profile) -> Plan:
    """A23: SimCLR with crops alone and with all augmentations, A8's runs."""
    runs, plan = augmentations.plan(profile, ("SimCLR",)), Plan(profile)
    for run in runs:
        if (stack := runs.labels[key(run)].get("stack")) in ("crop", "all"):
            plan.add(run, seeds=(run.seed,), what=stack)
    return plan.floors(tasks=datasets.tasks(profile.data))


def _task_gains(frame: pd.DataFrame) -> Values:
    stacks = {task: _tuned(frame, task) for task in kit.tasks(frame)}
    return {task: by["all"] - by["crop"] for task, by in stacks.items()}


def task_gains(values: Values) -> list[Part]:
    (task, first), *rest = values.items()
    parts = [sup(f"all over crop on {task}", paired(first), 1.0)]
    if rest:
        others = np.mean([gain for _, gain in rest], 0)
        parts.append(sup("that gain over the other tasks' mean gain", paired(first, others), 1.0))
    return parts


def _tasks_carry(frame: pd.DataFrame) -> str:
    if len(kit.tasks(frame)) < 2:
        return "the claim needs several tasks"
    return kit.cannot_carry(frame) or kit.at_floor(frame, _tuned(frame))


def plan_ranks(profile: Profile) -> Plan:
    """A24: the runs of A3 and of A8's SimCLR, each combination of knobs a cell."""
    plan = Plan(profile)
    for run in (*batch_size.plan_rates(profile), *augmentations.plan(profile, ("SimCLR",))):
        if trains(run) and key(run) not in plan.labels:
            about = f"{run.recipe.name}, batch {run.batch_size}, lr {run.optimiser.lr:g}"
            plan.add(run, seeds=(run.seed,), what=about)
    return plan.floors(tasks=datasets.tasks(profile.data))


def _ranks(frame: pd.DataFrame) -> Values:
    """Spearman's correlation over the cells between the first task and each other one that some cell reads."""
    cells, out = kit.trained(frame), {}
    names = dict(zip(kit.tasks(frame), kit.task_columns(frame)))
    each = {task: cells.pivot_table(index="seed", columns="what", values=name) for task, name in names.items()}
    first, *others = names
    for task in others:
        if each[task].mean().max() - kit.floor_levels(frame, names[task])["random encoder"] >= kit.CELL:
            both = [(each[first].loc[seed], each[task].loc[seed]) for seed in each[first].index]
            out[task] = np.array([a.corr(b, method="spearman") for a, b in both])
    return out


def ranks(values: Values) -> list[Part]:
    if not values:
        return []
    apart = 1 - np.mean(list(values.values()), 0)
    return [sup("1 less the rank correlation with other tasks", paired(apart), 0.3, 0.3, "1 - rho")]


def _ranks_carry(frame: pd.DataFrame) -> str:
    return kit.cannot_carry(frame) or ("" if _ranks(frame) else "the claim needs several tasks that are read")


def plan_gap(profile: Profile) -> Plan:
    """A25: A5's runs of batch 256 and of the largest batch, at paper."""
    plan = Plan(profile)
    if profile.name == "paper":
        runs = [run for run in batch_size.plan_rates(profile) if trains(run)]
        for run in (r for r in runs if r.batch_size in (256, max(r.batch_size for r in runs))):
            what = "batch 256" if run.batch_size == 256 else "large batch"
            plan.add(run, seeds=(run.seed,), what=what)
        plan.floors(runs[0])
    return plan


def _gap_cited() -> dict[str, float]:
    return dict(registry.numbers("A25"))


def gap(values: Values) -> list[Part]:
    large = paired(values["large batch"], values["batch 256"])
    less, cited = paired(values["batch 256"], values["large batch"]), _gap_cited()
    paper = round(cited["large batch"] - cited["batch 256"], 1)
    return [sup("large batch over 256", large, 0.0, paper=paper), noninf("batch 256 against the large", less, 5.0)]


def plan_online(profile: Profile) -> Plan:
    """A26: SimCLR with an online linear probe alone, and with an offline one on all labels alone."""
    spec = base(profile).but(labels=0, tasks=datasets.tasks(profile.data)[:1])  # that which the online probe reads
    return _cells(profile, {"offline": spec, "online": spec.but(online=True, linear=False)})


def _whole_seconds(frame: pd.DataFrame) -> Values:
    return {what: runs["wall_seconds"].to_numpy(float) for what, runs in kit.runs_by(frame, "what").items()}


def online(values: Values) -> list[Part]:
    return [sup("a run with the offline probe over one with the online", ratio(values["offline"], values["online"]),
                1.05, 1.0, "ratio")]  # fmt: skip


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


def plan_side(profile: Profile) -> Plan:
    """B15: notebook 07's MSR with weak targets alone (its beta 0), and the same with the views' sides changed."""
    weak, _, aggressive, _ = msr_beta_decay.views(profile)["MA"].views
    reverse = Recipe("MSR's views, sides changed", (replace(aggressive, parent=-1),) * 2 + (weak,) * 2)
    usual = msr_beta_decay.variants(profile)["beta 0"]
    return _cells(profile, {"aggressive online": usual, "aggressive target": usual.but(recipe=reverse)})


def side(values: Values) -> list[Part]:
    usual, reverse = values["aggressive online"], values["aggressive target"]
    return [sup("aggressive views online over aggressive targets", paired(usual, reverse), 0.5)]


def plan_speed(profile: Profile) -> Plan:
    """B16: B2's short runs of MSR and long ones of BYOL."""
    short, long = msr_beta_decay.lengths(profile)
    cells = {"MSR, short": msr_beta_decay.tuned(profile, epochs=short)}
    return _cells(profile, cells | {"BYOL, long": msr_beta_decay.variants(profile, epochs=long)["AA"]})


def speed(values: Values) -> list[Part]:
    return [noninf("short MSR against long BYOL", paired(values["MSR, short"], values["BYOL, long"]), 1.0)]


def plan_spread(profile: Profile) -> Plan:
    """B17: B2's runs of MSR and BYOL at the paper's shorter length, the standard one."""
    cells = {"MSR": msr_beta_decay.tuned(profile), "BYOL": msr_beta_decay.variants(profile)["AA"]}
    return _cells(profile, cells)


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
    return _cells(profile, {"prediction": decay, "target's projection": decay.but(through_target=True, pairs=0)})


def projection(values: Values) -> list[Part]:
    return [eq("prediction for projection", paired(values["prediction"], values["target's projection"]), 1.0)]


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


def plan_dynamics(profile: Profile) -> Plan:
    """C13: notebook 10's recipe with 2, 4 and 8 views for half of its epochs; at paper on the first set."""
    first = multi_augmentation.sets(profile)[0]
    runs = {
        f"{v} views": multi_augmentation.run_of(first, multi_augmentation.Cell(v)) for v in multi_augmentation.VIEWS
    }
    early = {
        what: run.but(epochs=max(1, run.epochs // 2), every=0, averaged=0, spectrum=True) for what, run in runs.items()
    }
    return _cells(first, early)


def _rankme(frame: pd.DataFrame) -> Values:
    return {what: runs["rankme"].to_numpy(float) for what, runs in kit.runs_by(frame, "what").items()}


def dynamics(values: Values) -> list[Part]:
    views = [int(what.split()[0]) for what in values]
    return [rise("RankMe by views", views, np.stack(list(values.values()), 1))]


# --- judge and draw ---------------------------------------------------------------------------------------------------

_of_msr = partial(Statement, cannot=msr_beta_decay.cannot_carry)

STATEMENTS = {
    "A18": Statement(plan_cost, cost, _costs, VIEWS_TIME.format("cropping")),
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
    "A23": Statement(plan_tasks, task_gains, _task_gains, "all views, points over cropping alone", _tasks_carry),
    "A24": Statement(plan_ranks, ranks, _ranks, "rank correlation with the first task", _ranks_carry),
    "A25": Statement(plan_gap, gap, cited=_gap_cited),
    "A26": Statement(plan_online, online, _whole_seconds, "seconds of a whole run"),
    "B13": Statement(msr_beta_decay.plan_time, staged_cost, _staged_costs, VIEWS_TIME.format("two aggressive views")),
    "B14": Statement(plan_base, tuned_base),
    "B15": _of_msr(plan_side, side),
    "B16": _of_msr(plan_speed, speed),
    "B17": _of_msr(plan_spread, spread),
    "B18": Statement(plan_classes, classes, cited=_table_1),
    "B19": Statement(plan_base_by_set, bases, _bases, "best beta_base", cited=_tuned_bases),
    "B20": Statement(plan_others, others, _large, "top-1 accuracy, linear probe (%)", lambda frame: "", _table_4),
    "B21": _of_msr(plan_projection, projection),
    "C11": Statement(plan_samples, samples),
    "C12": Statement(plan_vicreg, vicreg),
    "C13": Statement(plan_dynamics, dynamics, _rankme, "RankMe of the features"),
}  # fmt: skip


def _values(frame: pd.DataFrame, statement: Statement) -> Values:
    return (statement.read or _tuned)(frame)


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
    said = "; ".join(_said(p) for p in parts)
    finding = f"{said[:1].upper()}{said[1:]}."
    if _untrained(frame):
        return verdict(frame, parts, finding, on=_images(frame), backbone="no network")
    low = "" if statement.read else kit.at_floor(frame, values)
    return verdict(frame, parts, finding, cannot=statement.cannot(frame) or low)


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
    ax.set_xticks(
        range(len(values)), values, **({"fontsize": 7, "rotation": 20, "ha": "right"} if len(values) > 4 else {})
    )
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
    ax.set_ylabel(statement.axis or kit.label(frame))
    alt = f"A dot a seed, with means and 95 % intervals, of {' '.join(ax.get_ylabel().split())}: {each}."
    if _untrained(frame):
        table = pd.DataFrame({"seed": frame["seed"], **values})
        return Drawing(fig, table.reset_index(drop=True), alt)
    return drawing(fig, frame.assign(what=frame["what"].fillna("floor")), ["what", "method", "lr"], alt)


CLAIMS = tuple(
    Claim(id, s.plan, partial(judge, statement=s), partial(draw, statement=s)) for id, s in STATEMENTS.items()
)
