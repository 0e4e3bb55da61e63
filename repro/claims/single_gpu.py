"""Tuning on one GPU at a small batch: claims A12-A15 (a grid a method) and A17 (the methods at their best cells).

Every cell's accuracy is of the test split; which cell is best is decided on the validation split. All four methods share
backbone, projector, recipe, batch and data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations

import numpy as np
import pandas as pd
from matplotlib.patches import Rectangle

from repro import figures, stats
from repro.claims import Claim, Drawing, Verdict, batch_size, kit, registry
from repro.claims.kit import Cells, Plan, column, page, read, tasks, verdict
from repro.core.methods import BYOL, BarlowTwins, Method, SimCLR, VICReg
from repro.core.profiles import Profile, base, several
from repro.core.spec import RunSpec
from repro.stats import eq, paired, sup

RANGE = 3.5  # how far a neighbour may be as a factor: about three, as in the paper's rates about its best, on rounded levels


@dataclass(frozen=True)
class Grid:
    """One method's grid: its loss parameter (`parameter` in the registry) by learning rate.

    levels, rates: by profile; at `paper` they are the paper's own, from the registry, and in STARS the rates are
    notebook 01's. make(level, profile): the method.
    """

    claim: str
    method: str
    title: str
    parameter: str
    symbol: str
    make: Callable[[float, Profile], Method]
    levels: dict[str, tuple[float, ...]]
    rates: dict[str, tuple[float, ...]]
    optimiser: str = "lars"


def _vicreg(coefficient: float, profile: Profile) -> VICReg:
    """Similarity and std weigh `coefficient` times the covariance. The CPU runs divide all three by 25, as notebook 01
    does: LARS leaves biases and batch norm unscaled, so that the loss's scale is a learning rate of theirs."""
    divided = profile.small or profile.name == "cpu"
    return VICReg(coefficient / 25, coefficient / 25, 0.04) if divided else VICReg(coefficient, coefficient, 1.0)


# At quick and cpu a grid is a star: the levels at the rate MIDDLE, and notebook 01's rates at the middle level, whose runs it
# shares.
GRIDS = (
    Grid(
        "A12", "SimCLR", "SimCLR", "tau", "temperature", lambda x, profile: SimCLR(x),
        {"smoke": (0.1, 0.5), "quick": (0.1, 0.2, 0.5), "cpu": (0.1, 0.2, 0.5), "gpu": (0.1, 0.2, 0.5)},
        {"smoke": (0.4, 4.0), "gpu": (0.3, 0.9, 2.7)},
    ),
    Grid(
        "A13", "VICReg", "VICReg", "coefficient", "coefficient", _vicreg,
        {"smoke": (25.0,), "quick": (8.0, 25.0, 75.0), "cpu": (8.0, 25.0, 75.0), "gpu": (8.0, 25.0, 75.0)},
        {"smoke": (0.4, 4.0), "gpu": (0.1, 0.3, 0.9)},
    ),
    Grid(
        "A14", "BarlowTwins", "Barlow Twins", "lambd", "lambda",
        lambda x, profile: BarlowTwins(x, 1.0 if profile.small else 0.1),
        {"smoke": (0.02,), "quick": (0.0067, 0.02, 0.06), "cpu": (0.0017, 0.0051, 0.0153),
         "gpu": (0.0025, 0.0051, 0.01)},
        {"smoke": (1e-3, 1e-2), "gpu": (1e-3, 3e-3, 1e-2)},
        optimiser="adamw",
    ),
    Grid(
        "A15", "BYOL", "BYOL", "momentum", "momentum", lambda x, profile: BYOL(x),
        {"smoke": (0.9,), "quick": (0.8, 0.9, 0.97), "cpu": (0.91, 0.97, 0.99), "gpu": (0.94, 0.98, 0.993)},
        {"smoke": (0.4, 4.0), "gpu": (0.3, 0.9, 2.7)},
    ),
)  # fmt: skip
STARS = ("quick", "cpu")
MIDDLE = 1  # which of their rates the levels are tried at, counted from the lowest
EPOCHS = {"gpu": 3}  # a short run, so that four grids fit into minutes of a GPU


def levels(g: Grid, profile: Profile) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The grid's loss parameters and learning rates at a profile."""
    if profile.name == "paper":
        own = registry.numbers(g.claim)["grid"]
        return tuple(own[g.parameter]), tuple(own["lr"])
    if profile.name in STARS:
        _, lars, adam = batch_size.small_batch(profile)
        return g.levels[profile.name], adam if g.optimiser == "adamw" else lars
    return g.levels[profile.name], g.rates[profile.name]


def run(profile: Profile, g: Grid, level: float, lr: float) -> RunSpec:
    """One cell's run."""
    batch = batch_size.small_batch(profile)[0]
    spec = base(profile).but(batch_size=batch, epochs=EPOCHS.get(profile.name, profile.epochs))
    method = g.make(level, profile)
    if method == spec.method:  # the line that notebook 01 has measured on every task
        spec = spec.but(**several(profile))
    if profile.name == "paper":
        spec = spec.but(weight_decay=registry.numbers(g.claim).get("weight_decay", spec.optimiser.weight_decay))
    return spec.but(method=method, optimiser=g.optimiser, lr=lr)


def plan_grids(profile: Profile, grids: Sequence[Grid]) -> Plan:
    """Each method's loss parameter (its level, in the paper's unit) by learning rate."""
    plan = Plan(profile)
    for g in grids:
        across, along = levels(g, profile)
        for i, level in enumerate(across):
            rates = along if profile.name not in STARS or i == len(across) // 2 else along[MIDDLE : MIDDLE + 1]
            plan.add(*(run(profile, g, level, lr) for lr in rates), level=level)
    return plan.floors()


# --- judge ------------------------------------------------------------------------------------------------------------


def cells(frame: pd.DataFrame, g: Grid) -> Cells:
    """One method's grid: accuracy (seeds, levels, rates)."""
    return read(frame[frame["method"] == g.method], "level", "lr")


def _best(got: Cells) -> tuple[int, int]:
    """The cell that validates best in the mean; one that diverged for a seed never is."""
    mean = got.val.mean(0)
    return divmod(int(np.nan_to_num(mean, nan=-np.inf).argmax()), mean.shape[1])


def _around(g: Grid, got: Cells) -> tuple[tuple[int, int], str]:
    """Of the cells within RANGE of the best one on both axes (a momentum m as 1 - m), that which validates worst; and why
    they are no neighbourhood, if they have a single level or rate."""
    best, mean, near = _best(got), got.val.mean(0), np.isfinite(got.val.mean(0))
    for axis in (0, 1):
        x = np.array(got.levels[axis], float)
        x = 1 - x if (axis, g.parameter) == (0, "momentum") else x
        within = np.abs(np.log(x / x[best[axis]])) <= np.log(RANGE)
        near &= within[:, None] if axis == 0 else within
    alone = [name for axis, name in enumerate((g.symbol, "learning rate")) if near.any(1 - axis).sum() < 2]
    why = f"no second {' or '.join(alone)} within a factor of three of the best was measured" if alone else ""
    return divmod(int(np.where(near, mean, np.inf).argmin()), mean.shape[1]), why


def _edge(g: Grid, got: Cells) -> str:
    """Where the best cell lies on the edge of its grid; "" if it is inside."""
    sides = {(0, -1): f"the lowest {g.symbol}", (0, 1): f"the highest {g.symbol}",
             (1, -1): "the lowest learning rate", (1, 1): "the highest learning rate"}  # fmt: skip
    return " and ".join(sides[e] for e in stats.edges(got.val.mean(0, keepdims=True)))


def _named(g: Grid, got: Cells, at: tuple[int, int]) -> str:
    return f"{g.symbol} {got.levels[0][at[0]]:g}, lr {got.levels[1][at[1]]:g}"


def _spread(g: Grid, got: Cells) -> stats.Interval:
    """Test points from the best cell to the worst around it, each seed's by the cells that the others choose."""
    chosen = [(_best(rest), _around(g, rest)[0]) for rest in batch_size.others(got)]
    return paired([got.test[i, *best] - got.test[i, *worst] for i, (best, worst) in enumerate(chosen)])


def judge_grid(frame: pd.DataFrame, g: Grid) -> Verdict:
    """Of the best cell over the worst within a factor of three, both by validation, SUP(3) on test. Where the best lies on
    the edge of the grid, this is a lower bound."""
    got = cells(frame, g)
    best, edge, spread = _best(got), _edge(g, got), _spread(g, got)
    part = sup("the best cell over the worst within a factor of three", spread, 3.0)
    part = replace(batch_size.at_least(part) if edge else part, cannot=_around(g, got)[1])
    return verdict(
        frame, [part],
        f"Within a factor of three of the best, {_named(g, got, best)}{' (on the edge)' if edge else ''}, accuracy varies by "
        f"{spread.mean:.1f} points.",
    )  # fmt: skip


def _regret(g: Grid, got: Cells) -> float:
    """Points that the paper's own loss parameter loses here: the best cell over the nearest level at its best rate."""
    paper, levels = registry.numbers(g.claim)["best"][g.parameter], np.array(got.levels[0])
    nearest = int(np.abs(np.log(levels / paper)).argmin())
    return float((got.test[:, *_best(got)] - got.tuned()[:, nearest]).mean())


def _tuned(frame: pd.DataFrame) -> dict[str, np.ndarray]:
    """Test accuracy (seeds,) of each method's best cell."""
    grids = {g.title: cells(frame, g) for g in GRIDS}
    return {title: got.test[:, *_best(got)] for title, got in grids.items()}


def judge_methods(frame: pd.DataFrame) -> Verdict:
    """A17: EQ(2) between every two methods at their best cells, where each of these lies inside its grid."""
    best, paper = _tuned(frame), registry.numbers("A17")["best"]
    parts = [
        eq(f"{a} over {b}", paired(best[a], best[b]), 2.0, paper=round(paper[a] - paper[b], 2))
        for a, b in combinations(best, 2)
    ]
    open_ends = [f"{g.title}'s best has {edge}" for g in GRIDS if (edge := _edge(g, cells(frame, g)))]
    means = ", ".join(f"{name} {np.nanmean(v) if np.isfinite(v).any() else np.nan:.1f}" for name, v in best.items())
    return verdict(
        frame, parts, f"At their best cells: {means} %.",
        headline=int(np.argmax([abs(np.nan_to_num(p.effect.mean, nan=-1.0)) for p in parts])),
        cannot=kit.cannot_carry_each(frame, {g.method: g.title for g in GRIDS})
        or (f"not bracketed: {'; '.join(open_ends)}" if open_ends else ""),
    )  # fmt: skip


# --- draw -------------------------------------------------------------------------------------------------------------


def draw_grid(frame: pd.DataFrame, g: Grid) -> Drawing:
    """The grid as a heat map with its best cell framed, and a line a level."""
    got, task, paper = cells(frame, g), tasks(frame)[0], registry.numbers(g.claim)
    best, mean, rate = (
        _best(got),
        got.test.mean(0),
        "learning rate (AdamW)" if g.optimiser == "adamw" else "learning rate",
    )
    cited = f"{g.symbol} {paper['best'][g.parameter]:g}, lr {paper['best']['lr']:g}"

    def heat(ax) -> None:
        table = pd.DataFrame(mean, *([f"{x:g}" for x in levels] for levels in got.levels))
        figures.heat(ax, table, f"{task} accuracy (%)", got.ran, annot_kws={"fontsize": 8 if mean.size <= 20 else 6})
        look = {"fill": False, "edgecolor": figures.PALETTE[1], "linewidth": 2.4, "clip_on": False, "zorder": 4}
        ax.add_patch(Rectangle(best[::-1], 1, 1, **look))
        ax.set(xlabel=rate, ylabel=g.symbol)

    broken = int((np.isnan(got.test).any(0) & got.ran).sum())
    drawn = page(
        frame, ["level", "lr", "epochs"],
        [heat, kit.curves(frame, "lr", "level", "{:g}", xlabel=rate, ylabel=f"{task} accuracy (%)")],
        titles=(f"{g.title}, mean over seeds", f"a line a {g.symbol}"), height=3.4, width_ratios=(1.15, 1),
        columns=[column(frame, "val"), column(frame), "diverged"],
        alt=f"Left: a heat map of {g.title}'s test accuracy on {task} over {g.symbol} and learning rate; the frame is our best "
        f"cell on validation ({_named(g, got, best)}: {mean[best]:.1f} %). The paper's best cell on ImageNet is {cited}: "
        f"{paper['linear']:g} %; with its {g.symbol}, or the nearest here, at its best rate {_regret(g, got):.1f} points are "
        f"lost. Right: the same against the learning rate, a line a {g.symbol}, with the floors."
        + f" {broken} cells diverged and show a cross." * bool(broken),
    )  # fmt: skip
    return replace(drawn, table=drawn.table.rename(columns={"level": g.parameter}))


def draw_methods(frame: pd.DataFrame) -> Drawing:
    best, paper = _tuned(frame), registry.numbers("A17")["best"]

    def here(ax) -> None:
        kit.dots_beside(ax, best, {})
        kit.floors(ax, frame)
        ax.set_ylabel(f"{tasks(frame)[0]} accuracy, best cell (%)")

    def cited(ax) -> None:
        kit.dots_beside(ax, {}, {name: paper[name] for name in best}, digits=2)
        ax.set_ylabel("ImageNet accuracy, linear probe (%)")

    ours = ", ".join(f"{name} {stats.paired(v).mean:.1f} %" for name, v in best.items())
    papers = ", ".join(f"{name} {paper[name]:g} %" for name in best)
    return page(
        frame, ["lr", "temperature", "invariance", "lambda_", "ema", "epochs"], [here, cited], height=3.2,
        titles=("here", "the paper's grids"), columns=[column(frame, "val"), column(frame), "diverged"],
        alt=f"Left: test accuracy on {tasks(frame)[0]} of each method at its best cell, mean with interval and every seed as "
        f"a dot, with the floors: {ours}. Right: the best cells of the paper's grids on ImageNet, {papers}.",
    )  # fmt: skip


CLAIMS = (
    *(Claim(g.claim, partial(plan_grids, grids=[g]), partial(judge_grid, g=g), partial(draw_grid, g=g)) for g in GRIDS),
    Claim("A17", partial(plan_grids, grids=GRIDS), judge_methods, draw_methods),
)
