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

from repro import data, figures, stats
from repro.claims import Claim, Drawing, Verdict, kit, registry
from repro.claims.kit import Cells, Part, Plan, column, drawing, eq, floor_levels, read, sup, tasks, verdict
from repro.core.methods import BYOL, BarlowTwins, Method, SimCLR, VICReg
from repro.core.profiles import Profile, base
from repro.core.spec import RunSpec


@dataclass(frozen=True)
class Grid:
    """One method's grid: its loss parameter (`parameter` in the registry) by learning rate.

    levels, rates: by profile; at `paper` they are the paper's own, from the registry. make(level, small): the method.
    """

    claim: str
    method: str
    title: str
    parameter: str
    symbol: str
    make: Callable[[float, bool], Method]
    levels: dict[str, tuple[float, ...]]
    rates: dict[str, tuple[float, ...]]
    optimiser: str = "lars"


def _vicreg(coefficient: float, small: bool) -> VICReg:
    """Similarity and std weigh `coefficient` times the covariance. The small runs divide all three by 25, as notebook 01
    does: LARS leaves biases and batch norm unscaled, so that the loss's scale is a learning rate of theirs."""
    return VICReg(coefficient / 25, coefficient / 25, 0.04) if small else VICReg(coefficient, coefficient, 1.0)


# The grids at quick began as three by three, moved or extended by a step wherever the best cell of a pilot (one seed,
# validation), and then of the first reference results, lay on an edge; the lines they share with notebook 01 are not run
# again. A rate at which a method diverges closes the grid.
GRIDS = (
    Grid(
        "A12", "SimCLR", "SimCLR", "tau", "temperature", lambda x, small: SimCLR(x),
        {"smoke": (0.1, 0.5), "quick": (0.05, 0.1, 0.2, 0.5), "gpu": (0.1, 0.2, 0.5)},
        {"smoke": (0.4, 4.0), "quick": (0.4, 1.2, 4.0, 12.0), "gpu": (0.3, 0.9, 2.7)},
    ),
    Grid(
        "A13", "VICReg", "VICReg", "coefficient", "coefficient", _vicreg,
        {"smoke": (25.0,), "quick": (25.0, 125.0, 625.0, 3125.0), "gpu": (5.0, 25.0, 125.0)},
        {"smoke": (0.4, 4.0), "quick": (0.4, 1.2, 4.0), "gpu": (0.1, 0.3, 0.9)},
    ),
    Grid(
        "A14", "BarlowTwins", "Barlow Twins", "lambd", "lambda",
        lambda x, small: BarlowTwins(x, 1.0) if small else BarlowTwins(x, 0.1),
        {"smoke": (0.02,), "quick": (0.00125, 0.005, 0.02, 0.08), "gpu": (0.0025, 0.0051, 0.01)},
        {"smoke": (1e-3, 1e-2), "quick": (1e-2, 3e-2, 1e-1), "gpu": (1e-3, 3e-3, 1e-2)},
        optimiser="adamw",
    ),
    Grid(
        "A15", "BYOL", "BYOL", "momentum", "momentum", lambda x, small: BYOL(x),
        {"smoke": (0.9,), "quick": (0.8, 0.9, 0.98), "gpu": (0.9, 0.98, 0.996)},
        {"smoke": (0.4, 4.0), "quick": (4.0, 12.0, 36.0, 108.0), "gpu": (0.3, 0.9, 2.7)},
    ),
)  # fmt: skip
EPOCHS = {"gpu": 3}  # a short run, so that four grids fit into minutes of a GPU


def levels(g: Grid, profile: Profile) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The grid's loss parameters and learning rates at a profile."""
    if profile.name == "paper":
        own = registry.numbers(g.claim)["grid"]
        return tuple(own[g.parameter]), tuple(own["lr"])
    return g.levels[profile.name], g.rates[profile.name]


def run(profile: Profile, g: Grid, level: float, lr: float) -> RunSpec:
    """One cell's run."""
    spec = base(profile).but(batch_size=64 if profile.small else 256, epochs=EPOCHS.get(profile.name, profile.epochs))
    method = g.make(level, profile.small)
    if method == spec.method:  # the line that notebook 01 has measured on every task
        spec = spec.but(tasks=data.tasks(profile.data))
    if profile.name == "paper":
        spec = spec.but(weight_decay=registry.numbers(g.claim).get("weight_decay", spec.optimiser.weight_decay))
    return spec.but(method=method, optimiser=g.optimiser, lr=lr)


def plan_grids(profile: Profile, grids: Sequence[Grid]) -> Plan:
    """Each method's loss parameter (its level, in the paper's unit) by learning rate."""
    plan = Plan(profile)
    for g in grids:
        across, along = levels(g, profile)
        for level in across:
            plan.add(*(run(profile, g, level, lr) for lr in along), level=level)
    return plan.floors()


# --- judge ------------------------------------------------------------------------------------------------------------


def cells(frame: pd.DataFrame, g: Grid) -> Cells:
    """One method's grid: accuracy (seeds, levels, rates)."""
    return read(frame[frame["method"] == g.method], "level", "lr")


def _ends(got: Cells) -> tuple[tuple[int, int], ...]:
    """The cells that validate best and worst in the mean; a diverged cell is neither."""
    mean = got.val.mean(0)
    best, worst = (np.nan_to_num(mean, nan=none) for none in (-np.inf, np.inf))
    return divmod(int(best.argmax()), mean.shape[1]), divmod(int(worst.argmin()), mean.shape[1])


def _named(g: Grid, got: Cells, at: tuple[int, int]) -> str:
    return f"{g.symbol} {got.levels[0][at[0]]:g}, lr {got.levels[1][at[1]]:g}"


def judge_grid(frame: pd.DataFrame, g: Grid) -> Verdict:
    """OPT on validation, seed by seed, and SUP(3) of the best cell over the worst, on test."""
    got = cells(frame, g)
    (best, worst), optimum = _ends(got), stats.optimum(got.val)
    spread = stats.paired(got.test[:, *best], got.test[:, *worst])
    sides = {(0, -1): f"the lowest {g.symbol}", (0, 1): f"the highest {g.symbol}",
             (1, -1): "the lowest learning rate", (1, 1): "the highest learning rate"}  # fmt: skip
    edges = " and ".join(sides[e] for e in optimum.edges)
    where = f"strictly inside the grid for {optimum.inside:.0%} of the seeds" if optimum.n else "nowhere"
    where += f" (else at {edges})" if edges and 0 < optimum.inside < 1 else f" (it lies at {edges})" if edges else ""
    broken = int(np.isnan(got.test).any(0).sum())
    diverged = f" {broken} of {got.test[0].size} cells diverged and are left out of the spread." if broken else ""
    return verdict(
        frame, [Part(stats.optimum_word(optimum, 0), optimum.n), sup(spread, 3.0)], spread, "points",
        f"The best cell is {_named(g, got, best)}; on validation it lies {where} (asked: more than half). It "
        f"beats the worst cell, {_named(g, got, worst)}, by {spread.text()} points (asked: 3).{diverged}",
    )  # fmt: skip


def _tuned(frame: pd.DataFrame) -> dict[str, np.ndarray]:
    """Test accuracy (seeds,) of each method's best cell."""
    grids = {g.title: cells(frame, g) for g in GRIDS}
    return {title: got.test[:, *_ends(got)[0]] for title, got in grids.items()}


def judge_methods(frame: pd.DataFrame) -> Verdict:
    """A17: EQ(2) between every two methods at their best cells. A method near the floors would compare nothing."""
    best = _tuned(frame)
    pairs = {(a, b): eq(best[a], best[b], 2.0) for a, b in combinations(best, 2)}
    (first, second), (gap, _) = max(pairs.items(), key=lambda p: abs(np.nan_to_num(p[1][0].mean, nan=-1.0)))
    means = ", ".join(f"{name} {np.nanmean(v) if np.isfinite(v).any() else np.nan:.1f}" for name, v in best.items())
    return verdict(
        frame, [part for _, part in pairs.values()], gap, "points",
        f"At their best cells: {means} %. The widest gap is {first} over {second}, {gap.text()} points, 90 % interval "
        "(asked: every pair within 2), with one projector for all.",
        cannot=kit.cannot_carry_each(frame, {g.method: g.title for g in GRIDS}),
    )  # fmt: skip


# --- draw -------------------------------------------------------------------------------------------------------------


def _place(value: float, levels: list[float]) -> tuple[float, bool]:
    """Where a number lies among the (log-spaced) levels of an axis, counted in cells, and whether it is beyond them."""
    x = np.log(np.array([value, *levels], float))
    return float(np.interp(x[0], x[1:], np.arange(len(levels)))), not levels[0] <= value <= levels[-1]


def draw_grid(frame: pd.DataFrame, g: Grid) -> Drawing:
    got, task, paper = cells(frame, g), tasks(frame)[0], registry.numbers(g.claim)
    fig, (left, right) = figures.figure(1, 2, height=3.4, gridspec_kw={"width_ratios": (1.15, 1)})
    beyond = _draw_map(left, frame, g)
    rate = "learning rate (AdamW)" if g.optimiser == "adamw" else "base learning rate (LARS)"
    left.set(xlabel=rate, ylabel=g.symbol)
    kit.curves(frame, "lr", "level", "{:g}", xlabel=rate, ylabel=f"{task} accuracy (%)")(right)
    right.tick_params(axis="x", labelsize=7)
    figures.panel_labels((left, right), (f"{g.title}: mean over seeds", f"a line a {g.symbol}"))
    best, broken = _ends(got)[0], int(np.isnan(got.test).any(0).sum())
    floors = " and ".join(f"{k} {v:.1f} %" for k, v in floor_levels(frame).items())
    edge = ", beyond this grid and drawn at its edge" if beyond else ""
    crosses = f" {broken} cells diverged and show a cross." if broken else ""
    drawn = drawing(
        fig, frame, ["level", "lr", "epochs"],
        f"Left: a heat map of {g.title}'s test accuracy on {task} over {g.symbol} and learning rate; the frame is our best "
        f"cell on validation ({_named(g, got, best)}: {got.test.mean(0)[best]:.1f} %), the star the numbers of the "
        f"paper's best cell on ImageNet ({g.symbol} {paper['best'][g.parameter]:g}, lr {paper['best']['lr']:g}: "
        f"{paper['linear']:g} %){edge}; the lines on the colour bar are the floors, {floors}. Right: the same against the "
        f"learning rate, a line a {g.symbol}.{crosses}",
        [column(frame, "val"), column(frame), "diverged"],
    )  # fmt: skip
    return replace(drawn, table=drawn.table.rename(columns={"level": g.parameter}))


def _draw_map(ax, frame: pd.DataFrame, g: Grid) -> bool:
    """The heat map with our best cell framed, the paper's as a star, and the floors on the scale of the colours. Returns
    whether the paper's cell lies beyond our grid."""
    got, paper, floors = cells(frame, g), registry.numbers(g.claim)["best"], floor_levels(frame)
    mean, (levels, rates), best = got.test.mean(0), got.levels, _ends(got)[0]
    table = pd.DataFrame(mean, [f"{x:g}" for x in levels], [f"{x:g}" for x in rates])
    lowest = float(np.nanmin([*floors.values(), *mean[np.isfinite(mean)]]))
    small = {"annot_kws": {"fontsize": 8 if mean.size <= 20 else 6}}
    figures.heat(ax, table, label=f"{tasks(frame)[0]} accuracy (%)", vmin=lowest, **small)
    bar = ax.collections[0].colorbar.ax
    for (name, level), dash in zip(floors.items(), (":", "--")):
        bar.axhline(level, color=figures.paper(), linewidth=3)
        bar.axhline(level, color=figures.ink(), linewidth=1.3, linestyle=dash, label=name)
    look = {"fill": False, "edgecolor": figures.PALETTE[1], "linewidth": 2.4, "clip_on": False, "zorder": 4}
    ax.add_patch(Rectangle((best[1], best[0]), 1, 1, **look))
    (y, out_y), (x, out_x) = _place(paper[g.parameter], levels), _place(paper["lr"], rates)
    star = {"marker": "*", "markersize": 14, "markerfacecolor": figures.paper(), "markeredgecolor": figures.ink()}
    ax.plot([x + 0.5], [y + 0.2], linestyle="", clip_on=False, zorder=5, **star)
    if len(rates) > 5:
        ax.tick_params(axis="x", rotation=45)
    return out_y or out_x


def draw_methods(frame: pd.DataFrame) -> Drawing:
    best, paper = _tuned(frame), registry.numbers("A17")["best"]
    fig, axes = figures.figure(1, 2, height=3.2, gridspec_kw={"width_ratios": (1.5, 1)})
    mean, low, high = figures.mean_interval(np.stack(list(best.values()), 1))
    for i, (name, values) in enumerate(best.items()):
        look = figures.style(i) | {"linestyle": "", "capsize": 3, "markersize": 7}
        axes[0].errorbar(i, mean[i], [[mean[i] - low[i]], [high[i] - mean[i]]], **look)
        axes[0].plot(np.full(len(values), i) + 0.18, values, ".", color=figures.muted())
        figures.paper_value(axes[1], paper[name], i, text=f"{paper[name]:g}")
    kit.floors(axes[0], frame)
    for ax, label in zip(axes, (f"{tasks(frame)[0]} accuracy, best cell (%)", "ImageNet accuracy, linear probe (%)")):
        ax.set_xticks(np.arange(len(best)), [name.replace(" ", "\n") for name in best], fontsize=7.5)
        ax.set_xlim(-0.6, len(best) - 0.4)
        ax.set_ylabel(label)
    axes[1].margins(y=0.25)
    figures.panel_labels(axes, ("here", "the paper's grids"))
    ours = ", ".join(f"{name} {v:.1f} %" for name, v in zip(best, mean))
    papers = ", ".join(f"{name} {paper[name]:g} %" for name in best)
    drawn = drawing(
        fig, frame, ["lr", "temperature", "invariance", "lambda_", "ema", "epochs"],
        f"Left: test accuracy on {tasks(frame)[0]} of each method at its best cell, mean with interval and every seed as a "
        f"dot, with the floors: {ours}. Right: the best cells of the paper's grids on ImageNet, {papers}.",
        [column(frame, "val"), column(frame), "diverged"],
    )  # fmt: skip
    return replace(drawn, table=drawn.table.sort_values(["method", "lr", "seed"], ignore_index=True))


CLAIMS = (
    *(Claim(g.claim, partial(plan_grids, grids=[g]), partial(judge_grid, g=g), partial(draw_grid, g=g)) for g in GRIDS),
    Claim("A17", partial(plan_grids, grids=GRIDS), judge_methods, draw_methods),
)
