"""Tuning on one GPU at a small batch: claims A12-A15 (a grid a method) and A17 (the methods at their best cells).

Every cell's accuracy is of the test split; which cell is best is decided on the validation split. All four methods share
backbone, projector, recipe, batch and data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations

import numpy as np
import pandas as pd
from matplotlib.patches import Rectangle

from repro import data, figures, stats
from repro.claims import Claim, Drawing, Verdict, registry
from repro.claims.common import cannot_carry, floor_levels, floors, grid, min_seeds, semantic, tuned, verdict
from repro.core.profiles import Profile, base
from repro.core.spec import RunSpec
from repro.ssl.methods import BYOL, BarlowTwins, Method, SimCLR, VICReg


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


def cell(profile: Profile, g: Grid, level: float, lr: float) -> RunSpec:
    """One cell's run, seed 0."""
    small = profile.name in ("smoke", "quick")
    spec = base(profile, batch_size=64 if small else 256)
    method, probes, decay = g.make(level, small), spec.probes, spec.optimiser.weight_decay
    if method == spec.method:  # the line that notebook 01 has measured on every task
        probes = replace(probes, tasks=data.tasks(profile.data))
    if profile.name == "paper":
        decay = registry.numbers(g.claim).get("weight_decay", decay)
    return replace(
        spec,
        method=method,
        epochs=EPOCHS.get(profile.name, spec.epochs),
        optimiser=replace(spec.optimiser, name=g.optimiser, lr=lr, weight_decay=decay),
        probes=probes,
    )


def plan_grid(profile: Profile, g: Grid) -> list[RunSpec]:
    across, along = levels(g, profile)
    runs = [cell(profile, g, level, lr) for level in across for lr in along]
    return [replace(r, seed=seed) for r in runs for seed in range(profile.seeds)] + floors(profile)


def plan_methods(profile: Profile) -> list[RunSpec]:
    return list(dict.fromkeys(s for g in GRIDS for s in plan_grid(profile, g)))  # the floors once


# ----------------------------------------------------------------------------------------------------------- judging


def _level(frame: pd.DataFrame, g: Grid) -> pd.Series:
    """The loss parameter of each run, in the paper's unit."""
    if g.method == "VICReg":
        return (frame["invariance"] / frame["covariance"]).round(6)
    return frame[{"SimCLR": "temperature", "BarlowTwins": "lambda_", "BYOL": "ema"}[g.method]]


@dataclass(frozen=True)
class Cells:
    """One method's grid as measured. validation, test: (seeds, levels, rates). best, worst: cells by the validation mean,
    a diverged cell being neither."""

    levels: list[float]
    rates: list[float]
    validation: np.ndarray
    test: np.ndarray
    best: tuple[int, int]
    worst: tuple[int, int]


def cells(frame: pd.DataFrame, g: Grid) -> Cells:
    runs = frame[frame["method"] == g.method]
    runs = runs.assign(level=_level(runs, g))
    task = semantic(frame)
    validation, (levels, rates) = grid(runs, ("level", "lr"), f"linear_val_{task}")
    test, _ = grid(runs, ("level", "lr"), f"linear_test_{task}")
    mean = validation.mean(0)
    best = np.unravel_index(np.where(np.isnan(mean), -np.inf, mean).argmax(), mean.shape)
    worst = np.unravel_index(np.where(np.isnan(mean), np.inf, mean).argmin(), mean.shape)
    return Cells(levels, rates, validation, test, tuple(map(int, best)), tuple(map(int, worst)))


def _named(g: Grid, got: Cells, at: tuple[int, int]) -> str:
    return f"{g.symbol} {got.levels[at[0]]:g}, lr {got.rates[at[1]]:g}"


def judge_grid(frame: pd.DataFrame, g: Grid) -> Verdict:
    """OPT on validation, seed by seed, and SUP(3) of the best cell over the worst, on test."""
    got, need = cells(frame, g), min_seeds(frame)
    found = stats.optimum(got.validation)
    spread = stats.paired(got.test[:, *got.best], got.test[:, *got.worst])
    word = stats.combine([stats.optimum_word(found, need), stats.sup(spread, 3.0, need)])
    sides = {(0, -1): f"the lowest {g.symbol}", (0, 1): f"the highest {g.symbol}",
             (1, -1): "the lowest learning rate", (1, 1): "the highest learning rate"}  # fmt: skip
    edges = " and ".join(sides[e] for e in found.edges)
    where = f"strictly inside the grid for {found.inside:.0%} of the seeds" if found.n else "nowhere"
    where += f" (else at {edges})" if edges and 0 < found.inside < 1 else f" (it lies at {edges})" if edges else ""
    broken = int(np.isnan(got.test).any(0).sum())
    diverged = f" {broken} of {got.test[0].size} cells diverged and are left out of the spread." if broken else ""
    return verdict(
        frame, word, spread, "points",
        f"The best cell is {_named(g, got, got.best)}; on validation it lies {where} (asked: more than half). It "
        f"beats the worst cell, {_named(g, got, got.worst)}, by {spread.text()} points (asked: 3).{diverged}",
        f"linear_test_{semantic(frame)}",
    )  # fmt: skip


def _tuned(frame: pd.DataFrame) -> dict[str, np.ndarray]:
    """Test accuracy (seeds,) of each method's best cell."""
    out = {}
    for g in GRIDS:
        got = cells(frame, g)
        flat = [v.reshape(len(v), -1) for v in (got.validation, got.test)]
        out[g.title] = tuned(*flat)[0]
    return out


def judge_methods(frame: pd.DataFrame) -> Verdict:
    """A17: EQ(2) between every two methods at their best cells. A method near the floors would compare nothing."""
    column, best = f"linear_test_{semantic(frame)}", _tuned(frame)
    pairs = {(a, b): stats.eq(best[a], best[b], 2.0, min_seeds(frame)) for a, b in combinations(best, 2)}
    word = stats.combine([w for _, w in pairs.values()])
    (first, second), (gap, _) = max(pairs.items(), key=lambda p: abs(np.nan_to_num(p[1][0].mean, nan=-1.0)))
    weak = []
    for g in GRIDS:
        reason = cannot_carry(frame[frame["method"].isin((g.method, "Untrained"))], column)
        weak += [f"{g.title}: {reason}"] if reason else []
    means = ", ".join(f"{name} {np.nanmean(v) if np.isfinite(v).any() else np.nan:.1f}" for name, v in best.items())
    sentence = (
        f"At their best cells: {means} %. The widest gap is {first} over {second}, {gap.text()} points, 90 % interval "
        f"(asked: every pair within 2), with one projector for all."
    )
    if weak:
        word, sentence = stats.NOT_JUDGED, f"Not judged: {'; '.join(weak)}. {sentence}"
    return verdict(frame, word, gap, "points", sentence)


# ----------------------------------------------------------------------------------------------------------- drawing


def _place(value: float, levels: list[float]) -> tuple[float, bool]:
    """Where a number lies among the (log-spaced) levels of an axis, counted in cells, and whether it is beyond them."""
    x = np.log(np.array([value, *levels], float))
    return float(np.interp(x[0], x[1:], np.arange(len(levels)))), not levels[0] <= value <= levels[-1]


def draw_grid(frame: pd.DataFrame, g: Grid) -> Drawing:
    got, task = cells(frame, g), semantic(frame)
    column, paper = f"linear_test_{task}", registry.numbers(g.claim)
    mean, levels, rates = got.test.mean(0), got.levels, got.rates
    below = floor_levels(frame, column)
    fig, axes = figures.figure(1, 2, height=3.4, gridspec_kw={"width_ratios": (1.15, 1)})

    table = pd.DataFrame(mean, [f"{x:g}" for x in levels], [f"{x:g}" for x in rates])
    lowest = float(np.nanmin([*below.values(), *mean[np.isfinite(mean)]]))
    small = {"annot_kws": {"fontsize": 8 if mean.size <= 20 else 6}}
    figures.heat(axes[0], table, best=False, label=f"{task} accuracy (%)", vmin=lowest, **small)
    bar = axes[0].collections[0].colorbar.ax
    for (name, level), dash in zip(below.items(), (":", "--")):  # the floors, on the scale of the colours
        bar.axhline(level, color=figures.paper(), linewidth=3)
        bar.axhline(level, color=figures.ink(), linewidth=1.3, linestyle=dash, label=name)
    look = {"fill": False, "edgecolor": figures.PALETTE[1], "linewidth": 2.4, "clip_on": False, "zorder": 4}
    axes[0].add_patch(Rectangle((got.best[1], got.best[0]), 1, 1, **look))
    (y, out_y), (x, out_x) = _place(paper["best"][g.parameter], levels), _place(paper["best"]["lr"], rates)
    star = {"marker": "*", "markersize": 14, "markerfacecolor": figures.paper(), "markeredgecolor": figures.ink()}
    axes[0].plot([x + 0.5], [y + 0.2], linestyle="", clip_on=False, zorder=5, **star)
    axes[0].set(xlabel=_rate(g), ylabel=g.symbol)
    if len(rates) > 5:
        axes[0].tick_params(axis="x", rotation=45)

    for i, (level, colour) in enumerate(zip(levels, figures.ordered(len(levels)))):
        figures.band(axes[1], rates, got.test[:, i], f"{level:g}", i, color=colour)
    figures.floors(axes[1], below)
    axes[1].set_xscale("log")
    axes[1].set_xticks(rates, [f"{r:g}" for r in rates], fontsize=7)
    axes[1].minorticks_off()
    axes[1].set(xlabel=_rate(g), ylabel=f"{task} accuracy (%)")
    figures.panel_labels(axes, (f"{g.title}: mean over seeds", f"a line a {g.symbol}"))
    beyond = ", beyond this grid and drawn at its edge" if out_x or out_y else ""
    columns = [f"linear_val_{task}", column, "diverged"]
    runs = frame.assign(level=np.nan)
    runs.loc[runs["method"] == g.method, "level"] = _level(runs[runs["method"] == g.method], g)
    keep = ["method", "level", "lr", "epochs", "seed", "backbone", *[c for c in columns if c in runs]]
    broken = int(np.isnan(got.test).any(0).sum())
    crosses = f" {broken} cells diverged and show a cross." if broken else ""
    return Drawing(
        fig, runs[keep].sort_values(keep[:5]).reset_index(drop=True).rename(columns={"level": g.parameter}),
        f"Left: a heat map of {g.title}'s test accuracy on {task} over {g.symbol} and learning rate; the frame is our best "
        f"cell on validation ({_named(g, got, got.best)}: {mean[got.best]:.1f} %), the star the numbers of the "
        f"paper's best cell on ImageNet ({g.symbol} {paper['best'][g.parameter]:g}, lr {paper['best']['lr']:g}: "
        f"{paper['linear']:g} %){beyond}; the lines on the colour bar are the floors, "
        f"{' and '.join(f'{k} {v:.1f} %' for k, v in below.items())}. Right: the same against the learning rate, a line a "
        f"{g.symbol}.{crosses}",
    )  # fmt: skip


def _rate(g: Grid) -> str:
    return "learning rate (AdamW)" if g.optimiser == "adamw" else "base learning rate (LARS)"


def draw_methods(frame: pd.DataFrame) -> Drawing:
    best, task = _tuned(frame), semantic(frame)
    column, paper = f"linear_test_{task}", registry.numbers("A17")["best"]
    fig, axes = figures.figure(1, 2, height=3.2, gridspec_kw={"width_ratios": (1.5, 1)})
    x = np.arange(len(best))
    mean, low, high = figures.mean_interval(np.stack(list(best.values()), 1))
    for i in x:
        look = figures.style(i) | {"linestyle": ""}
        axes[0].errorbar(i, mean[i], [[mean[i] - low[i]], [high[i] - mean[i]]], capsize=3, markersize=7, **look)
        axes[0].plot(np.full(len(best[list(best)[i]]), i) + 0.18, best[list(best)[i]], ".", color=figures.muted())
        figures.paper_value(axes[1], paper[list(best)[i]], i, text=f"{paper[list(best)[i]]:g}")
    figures.floors(axes[0], floor_levels(frame, column))
    for ax, label in zip(axes, (f"{task} accuracy, best cell (%)", "ImageNet accuracy, linear probe (%)")):
        ax.set_xticks(x, [name.replace(" ", "\n") for name in best], fontsize=7.5)
        ax.set_xlim(-0.6, len(best) - 0.4)
        ax.set_ylabel(label)
    axes[1].margins(y=0.25)
    figures.panel_labels(axes, ("here", "the paper's grids"))
    said = ", ".join(f"{name} {v:.1f} %" for name, v in zip(best, mean))
    keep = ["method", "lr", "temperature", "invariance", "lambda_", "ema", "epochs", "seed", "backbone",
            f"linear_val_{task}", column, "diverged"]  # fmt: skip
    table = frame[[c for c in keep if c in frame]]
    return Drawing(
        fig, table.sort_values(["method", "lr", "seed"]).reset_index(drop=True),
        f"Left: test accuracy on {task} of each method at its best cell, mean with interval and every seed as a dot, with "
        f"the floors: {said}. Right: the best cells of the paper's grids on ImageNet, "
        + ", ".join(f"{name} {paper[name]:g} %" for name in best) + ".",
    )  # fmt: skip


CLAIMS = (
    *(Claim(g.claim, partial(plan_grid, g=g), partial(judge_grid, g=g), partial(draw_grid, g=g)) for g in GRIDS),
    Claim("A17", plan_methods, judge_methods, draw_methods),
)
