"""A18 to A26: what the FFCV-SSL paper says in passing."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd

from repro.bench.specs import ViewsSpec
from repro.claims import augmentations, batch_size, kit, msr_beta_decay, registry
from repro.claims.in_passing.statement import VIEWS_TIME, Statement, Values, cells_of, tuned
from repro.claims.kit import Plan
from repro.core import datasets
from repro.core.methods import BYOL
from repro.core.profiles import Profile, base, several
from repro.core.spec import key, trains
from repro.stats import Part, noninf, paired, ratio, sup
from repro.views.recipe import Recipe, preset

SGD_RATES = (0.1, 0.4, 1.2)  # of a batch of 256, in A22


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
    return cells_of(profile, {s: spec.but(recipe=preset(s, crop=crop)) for s in ("crop", "crop+gray", "all")})


def _enough(values: Values, none: str, some: str, whole: str, margin: float, names: tuple[str, str]) -> list[Part]:
    """`some` gains a point over `none`, and is as good as `whole` within the margin. names: of the two parts."""
    over, against = (paired(values[some], values[other]) for other in (none, whole))
    return [sup(names[0], over, 1.0), noninf(names[1], against, margin)]


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
    return cells_of(profile, {name: spec.but(recipe=recipe) for name, recipe in recipes.items()})


def plan_projector(profile: Profile) -> Plan:
    """A21: SimCLR with the profile's projector and with none."""
    spec = base(profile)
    return cells_of(profile, {"projector": spec, "none": spec.but(layers=0)})


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
        plan.add(*run.but(optimiser="sgd", transfer=()).grid(lr=SGD_RATES), seeds=(run.seed,), what=f"SGD, {what}")
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
    return plan.floors(**several(profile))


def _task_gains(frame: pd.DataFrame) -> Values:
    stacks = {task: tuned(frame, task) for task in kit.tasks(frame)}
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
    return kit.cannot_carry(frame) or kit.at_floor(frame, tuned(frame))


def plan_ranks(profile: Profile) -> Plan:
    """A24: the runs of A3 and of A8's SimCLR, each combination of knobs a cell."""
    plan = Plan(profile)
    for run in (*batch_size.plan_rates(profile), *augmentations.plan(profile, ("SimCLR",))):
        if trains(run) and key(run) not in plan.labels:
            about = f"{run.recipe.name}, batch {run.batch_size}, lr {run.optimiser.lr:g}"
            plan.add(run, seeds=(run.seed,), what=about)
    return plan.floors(**several(profile))


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
    return cells_of(profile, {"offline": spec, "online": spec.but(online=True, linear=False)})


def _whole_seconds(frame: pd.DataFrame) -> Values:
    return {what: runs["wall_seconds"].to_numpy(float) for what, runs in kit.runs_by(frame, "what").items()}


def online(values: Values) -> list[Part]:
    return [sup("a run with the offline probe over one with the online", ratio(values["offline"], values["online"]),
                1.05, 1.0, "ratio")]  # fmt: skip


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
    "A23": Statement(plan_tasks, task_gains, _task_gains, "all views, points over cropping alone", _tasks_carry, several=True),
    "A24": Statement(plan_ranks, ranks, _ranks, "rank correlation with the first task", _ranks_carry, several=True),
    "A25": Statement(plan_gap, gap, cited=_gap_cited),
    "A26": Statement(plan_online, online, _whole_seconds, "seconds of a whole run"),
}  # fmt: skip
