"""Small projectors: claims C4 and C10 of the small projectors paper.

Every run trains the authors' Barlow Twins (`repro.ssl.losses.barlow_mean_target`) with their recipe: Adam at a constant
rate (here AdamW, whose decay is decoupled; at their 1e-6 either is next to none), projector linear(d) - batch norm -
ReLU - linear(d). Beta is tuned on the validation split; every accuracy shown is of the test split.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib import ticker

from repro import figures, stats
from repro.claims import Claim, Drawing, Verdict, registry
from repro.claims.common import accuracy_column, floor_levels, floors, min_seeds, semantic, trained, verdict
from repro.core.methods import BarlowMultiView
from repro.core.profiles import Profile, base
from repro.core.spec import Optimiser, Projector, RunSpec
from repro.theory import linear_failure_beta
from repro.views.recipe import preset, repeat

DIMS = {"smoke": (8, 32), "quick": (8, 32, 128, 512), "gpu": (64, 256, 1024, 8192)}  # paper: the authors' own
PRODUCTS = {"smoke": (0.2, 1.0, 5.0), "quick": (0.05, 0.2, 1.0, 5.0, 20.0), "gpu": (2.0, 5.0), "paper": (2.0, 5.0)}
"""d times beta: the grid moves with the dimension."""
LARGEST = 5.0
"""At smoke and quick the fixed beta is the one whose product is this at the largest projector."""
EPOCHS = {"smoke": 1, "quick": 10, "gpu": 7, "paper": 100}
"""Two views of Barlow Twins need the 10 to rise above the floors; as many as fit the gpu profile's ten minutes."""
RATE = {"smoke": 3e-3, "quick": 3e-3, "gpu": 1e-3, "paper": 1e-3}
"""The authors' 1e-3, but three times that where a run has 200 steps."""
DATASET = {"gpu": "cifar10", "paper": "imagenet100"}  # of the authors' chosen betas in the registry
DATASETS = {"cifar10": "CIFAR-10", "stl10": "STL-10", "imagenet100": "ImageNet-100"}


def staged(profile: Profile) -> Profile:
    """The profile with the stand-in that these claims need: on the colour scenes two views of Barlow Twins hardly rise
    above the floors, on digits at random places they do."""
    small = profile.name in ("smoke", "quick") and profile.data == "scenes"
    return replace(profile, data="digits-placed") if small else profile


def authors_run(
    profile: Profile, dim: int, beta: float, views: int = 2, epochs: int = 0, fraction: float = 1.0, **probes
) -> RunSpec:
    """The authors' recipe at a profile's scale; `profile` is a staged one. epochs 0: the profile's own, from EPOCHS."""
    spec = base(profile)
    recipe = spec.recipe
    if profile.data in ("digits", "digits-placed"):  # they have no colour and must not be mirrored
        recipe = preset("crop", crop=(0.5, 1.0), flip=0.0)
        probes = {"labels": 0} | probes
    return replace(
        spec,
        data=replace(spec.data, fraction=fraction),
        recipe=repeat(recipe, views),
        method=BarlowMultiView(beta),
        projector=Projector(2, dim, dim),
        optimiser=Optimiser("adamw", RATE[profile.name], 1e-6, warmup=0.0, schedule="constant"),
        # 48 divides the digits' 1000, 500, 250 and 50 images into whole steps with little left over
        batch_size=48 if profile.name in ("smoke", "quick") else 256,
        epochs=epochs or EPOCHS[profile.name],
        probes=replace(spec.probes, **probes),
    )


def _dims(profile: Profile) -> tuple[int, ...]:
    return DIMS.get(profile.name) or tuple(registry.numbers("C4")["beta"][DATASET["paper"]]["d"])


def fixed_beta(profile_name: str, largest: int) -> float:
    """The beta that every projector gets: on large scales the authors' own baseline."""
    return LARGEST / largest if profile_name in ("smoke", "quick") else registry.numbers("C4")["fixed_beta"]


def plan(profile: Profile) -> list[RunSpec]:
    """dimension x (d beta), and every dimension at the fixed beta; on large scales also the betas the authors chose."""
    profile = staged(profile)
    dims = _dims(profile)
    cells = {(d, p / d) for d in dims for p in PRODUCTS[profile.name]}
    cells |= {(d, fixed_beta(profile.name, max(dims))) for d in dims}
    if profile.name == "paper":
        chosen = registry.numbers("C4")["beta"][DATASET["paper"]]
        cells |= set(zip(chosen["d"], chosen["beta"]))
    specs = [authors_run(profile, d, b, spectrum=True) for d, b in sorted(cells)]
    own = {"labels": specs[0].probes.labels, "spectrum": True}
    return [replace(s, seed=seed) for s in specs for seed in range(profile.seeds)] + floors(profile, **own)


# ----------------------------------------------------------------------------------------------------------- judging


def by_beta(runs: pd.DataFrame, dim: int, column: str) -> tuple[np.ndarray, np.ndarray]:
    """The betas of one dimension (n,), rising, and a column's values (seeds, n); NaN where a run diverged."""
    mine = runs[runs["dim"] == dim].pivot_table(index="seed", columns="beta", values=column, dropna=False)
    mine = mine.reindex(sorted(runs["seed"].unique())).sort_index(axis=1)
    return mine.columns.to_numpy(float), mine.to_numpy(float)


def tuned(runs: pd.DataFrame, dim: int, frame: pd.DataFrame) -> tuple[float, np.ndarray]:
    """The beta with the best validation mean for a dimension, and its test accuracy (seeds,)."""
    betas, validation = by_beta(runs, dim, accuracy_column(frame, "val"))
    _, test = by_beta(runs, dim, accuracy_column(frame))
    best = np.where(np.isfinite(validation), validation, -np.inf).mean(0).argmax()
    return float(betas[best]), test[:, best]


def best_beta(betas: np.ndarray, values: np.ndarray) -> tuple[float, bool]:
    """Where a curve over betas (n,) peaks, between the grid's points by a parabola through the best and its neighbours
    in log beta; and whether it lies inside the grid."""
    values = np.where(np.isfinite(values), values, -np.inf)
    i = int(values.argmax())
    if i in (0, len(betas) - 1) or not np.isfinite(values[i - 1 : i + 2]).all():
        return float(betas[i]), 0 < i < len(betas) - 1
    x, y = np.log(betas[i - 1 : i + 2]), values[i - 1 : i + 2]
    a, b, _ = np.polyfit(x - x[1], y, 2)
    peak = x[1] - b / (2 * a) if a < 0 else x[1]
    return float(np.exp(np.clip(peak, x[0], x[2]))), True


def best_betas(frame: pd.DataFrame) -> pd.DataFrame:
    """Each seed's best beta by validation: columns dim, seed, beta, inside."""
    runs, rows = trained(frame), []
    for dim in sorted(runs["dim"].unique()):
        betas, values = by_beta(runs, dim, accuracy_column(frame, "val"))
        # the grid of products alone: the fixed beta would refine it for some dimensions and not for others
        grid = np.isclose((betas * dim)[:, None], PRODUCTS[_profile(frame)]).any(1)
        keep = grid if grid.sum() > 2 else np.ones(len(betas), bool)
        for seed, row in zip(sorted(runs["seed"].unique()), values):
            beta, inside = best_beta(betas[keep], row[keep])
            rows.append({"dim": int(dim), "seed": int(seed), "beta": beta, "inside": inside})
    return pd.DataFrame(rows)


def _profile(frame: pd.DataFrame) -> str:
    return frame.attrs.get("profile", "quick")


def _slope(best: pd.DataFrame) -> stats.Interval:
    return stats.slope(np.log(best["dim"]), np.log(best["beta"]))


def _slope_word(slope: stats.Interval, inside: float, seeds: int, need: int) -> str:
    """The interval holds -1 and not 0 -> reproduced; only not 0 -> partly; so is an optimum on the grid's edge."""
    if seeds < need:
        return stats.NOT_JUDGED
    if not slope.high < 0:
        return stats.NOT_REPRODUCED
    holds = slope.low - 1e-9 <= -1 <= slope.high + 1e-9
    return stats.REPRODUCED if holds and inside > 0.5 else stats.PARTLY


def judge(frame: pd.DataFrame) -> Verdict:
    """C4: at the fixed beta large over small SUP(2); each at its tuned beta EQ(1.5); the slope holds -1 and not 0."""
    runs, need = trained(frame), min_seeds(frame)
    dims = sorted(int(d) for d in runs["dim"].unique())
    small, large = dims[0], dims[-1]
    fixed = fixed_beta(_profile(frame), large)
    at_fixed = {}
    for d in (small, large):
        betas, test = by_beta(runs, d, accuracy_column(frame))
        at_fixed[d] = test[:, np.isclose(betas, fixed).argmax()]
    gap = stats.paired(at_fixed[large], at_fixed[small])
    best = {d: tuned(runs, d, frame) for d in dims}
    equal, equal_word = stats.eq(best[small][1], best[large][1], 1.5, need)
    betas = best_betas(frame)
    slope, inside = _slope(betas), betas["inside"].mean()
    slope_word = _slope_word(slope, inside, betas["seed"].nunique(), need)
    words = [stats.sup(gap, 2.0, need), equal_word, slope_word]
    match = [d for d in dims[:-1] if stats.eq(best[d][1], best[large][1], 1.5, need)[1] == stats.REPRODUCED]
    near = {d: stats.paired(best[d][1], best[large][1]).mean for d in dims[1:-1]}
    between = "; ".join(f"d = {d} by {v:+.1f}" for d, v in near.items())
    between = f" (between them, {between})" if between else ""
    from_ = f" Equivalent to d = {large} by that test: {', '.join(f'd = {d}' for d in match) or 'none'}."
    return verdict(
        frame, stats.combine(words), stats.paired(best[small][1], best[large][1]), "points",
        f"At the fixed beta {fixed:.2g} the projector of d = {large} beats that of d = {small} by {gap.text()} points "
        f"(asked: 2). Each at its tuned beta, d = {small} differs from d = {large} by {equal.text()} points, a 90 % "
        f"interval (asked: within 1.5){between}.{from_} Log best beta falls on log d with slope {slope.text(2)} (asked: "
        f"-1 inside, 0 outside), the best inside the grid for {100 * inside:.0f} % of seeds and dimensions.",
        accuracy_column(frame),
    )  # fmt: skip


def judge_alpha(frame: pd.DataFrame) -> Verdict:
    """C10: shown, not judged. The effect is the change of alpha from the smallest to the largest d beta of the grid."""
    runs = trained(frame)
    products, alpha = _mean_over_dims(frame, "alpha")
    change = stats.paired(alpha[:, -1], alpha[:, 0])
    rho = _rank_correlation(runs, "alpha", accuracy_column(frame))
    return verdict(
        frame, stats.NOT_JUDGED, change, "alpha",
        f"Shown, not judged: from d beta {products[0]:g} to {products[-1]:g} the eigenspectrum's decay changes by "
        f"{change.text(2)}, the mean over dimensions; over all runs of a seed alpha and accuracy correlate by "
        f"{rho.text(2)} (Spearman).",
    )  # fmt: skip


def _mean_over_dims(frame: pd.DataFrame, column: str) -> tuple[np.ndarray, np.ndarray]:
    """The products that every dimension has (n,), and a column's mean over dimensions (seeds, n)."""
    runs = trained(frame)
    runs = runs.assign(product=(runs["beta"] * runs["dim"]).map(lambda p: float(f"{p:.4g}")))
    shared = [p for p, rows in runs.groupby("product") if rows["dim"].nunique() == runs["dim"].nunique()]
    table = runs.pivot_table(index="seed", columns="product", values=column, aggfunc="mean")[shared]
    return table.columns.to_numpy(float), table.to_numpy(float)


def _rank_correlation(runs: pd.DataFrame, x: str, y: str) -> stats.Interval:
    """Spearman's rho over a seed's runs, the mean over seeds with its interval, both taken on Fisher's z."""
    each = [rows[[x, y]].dropna().rank().corr().iloc[0, 1] for _, rows in runs.groupby("seed")]
    z = stats.paired(np.arctanh(np.clip(each, -1 + 1e-9, 1 - 1e-9)))
    return replace(z, mean=math.tanh(z.mean), low=math.tanh(z.low), high=math.tanh(z.high))


# ----------------------------------------------------------------------------------------------- theory beside practice


def failure(frame: pd.DataFrame) -> pd.DataFrame:
    """The beta at which projections collapse, measured and as the linear model predicts it: dim, measured (the mean over
    seeds, in log beta), low, high, predicted.

    Collapsed is a projector whose outputs span fewer directions than half of the smallest projector has. The
    prediction takes one measured number, the largest projector's; NaN where the grid does not reach down to it.
    """
    runs, rows = trained(frame), []
    dims = sorted(int(d) for d in runs["dim"].unique())
    level = dims[0] / 2
    for d in dims:
        betas, rank = by_beta(runs, d, "projection_rank")
        crossed = stats.paired(np.array([_rises_through(np.log(betas), np.log(row), math.log(level)) for row in rank]))
        rows.append({"dim": d, "measured": crossed.mean, "low": crossed.low, "high": crossed.high})
    table = pd.DataFrame(rows)
    table[["measured", "low", "high"]] = np.exp(table[["measured", "low", "high"]])
    known = table["measured"].iloc[-1]
    table["predicted"] = linear_failure_beta(table["dim"], dims[-1], known) if known > 0 else math.nan
    return table


def _rises_through(x: np.ndarray, y: np.ndarray, level: float) -> float:
    """Where y first rises through `level`, by linear interpolation; NaN if it starts above or never gets there."""
    above = np.flatnonzero(y >= level)
    if not len(above) or above[0] == 0:
        return math.nan
    i = above[0]
    return float(x[i - 1] + (level - y[i - 1]) / (y[i] - y[i - 1]) * (x[i] - x[i - 1]))


# ----------------------------------------------------------------------------------------------------------- drawing


def _table(frame: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    axes = ["method", "dim", "beta", "seed"]
    return frame[[*axes, "backbone", *[c for c in columns if c in frame]]].sort_values(axes).reset_index(drop=True)


def plain_log(ax, axis: str, ticks: list[float] | None = None) -> None:
    """A logarithmic axis with plain numbers, at powers of ten and their doubles and halves unless `ticks` are given."""
    getattr(ax, f"set_{axis}scale")("log")
    line = getattr(ax, f"{axis}axis")
    line.set_major_locator(ticker.FixedLocator(ticks) if ticks is not None else ticker.LogLocator(subs=(1, 2, 5)))
    line.set_major_formatter(ticker.FuncFormatter(lambda v, _: f"{v:g}"))
    line.set_minor_formatter(ticker.NullFormatter())
    line.set_minor_locator(ticker.NullLocator())


PRODUCT_TICKS, BETA_TICKS = [0.05, 0.2, 1, 5, 20], [0.0001, 0.001, 0.01, 0.1, 1]


def draw(frame: pd.DataFrame) -> Drawing:
    runs, column = trained(frame), accuracy_column(frame)
    dims = sorted(int(d) for d in runs["dim"].unique())
    colours, fixed = figures.ordered(len(dims)), fixed_beta(_profile(frame), dims[-1])
    fig, axes = figures.figure(2, 2, height=6.0)
    levels = floor_levels(frame, column)

    at_fixed = []
    for d in dims:
        betas, test = by_beta(runs, d, column)
        at_fixed.append(test[:, np.isclose(betas, fixed).argmax()])
    best = {d: tuned(runs, d, frame) for d in dims}
    at_best = np.stack([best[d][1] for d in dims], 1)
    figures.band(axes[0, 0], dims, at_best, "tuned β", 0)
    figures.band(axes[0, 0], dims, np.stack(at_fixed, 1), f"β = {fixed:.2g}", 1)
    figures.floors(axes[0, 0], levels)
    plain_log(axes[0, 0], "x", dims)
    axes[0, 0].set(xlabel="projector dimension d", ylabel=f"{semantic(frame)} accuracy, linear probe (%)")

    betas = best_betas(frame)
    slope = _slope(betas)
    _draw_best(axes[0, 1], betas, slope)

    theory = failure(frame)
    for ax, y in ((axes[1, 0], column), (axes[1, 1], "projection_rank")):
        for i, (d, colour) in enumerate(zip(dims, colours)):
            b, values = by_beta(runs, d, y)
            x = b * d if ax is axes[1, 0] else b
            figures.band(ax, x, values, "", i, color=colour)
            if ax is axes[1, 0]:
                ax.plot([], [], color=colour, marker=figures.MARKERS[i % 6], linestyle=figures.LINESTYLES[i % 6],
                        label=f"d = {d}")  # fmt: skip
    figures.floors(axes[1, 0], levels)
    # between the curves and the floors
    axes[1, 0].legend(fontsize=7, ncols=2, loc="lower left", bbox_to_anchor=(0, 0.27))
    plain_log(axes[1, 0], "x", PRODUCT_TICKS)
    axes[1, 0].set(xlabel="d × β", ylabel="accuracy (%)")
    level = dims[0] / 2
    ax = axes[1, 1]
    ax.axhline(level, color=figures.muted(), linewidth=0.9, linestyle=(0, (4, 2)), zorder=1)
    ax.annotate("collapsed below", (1, level), xycoords=ax.get_yaxis_transform(), ha="right", xytext=(0, -9),
                textcoords="offset points", fontsize=7, color=figures.muted())  # fmt: skip
    for (_, row), colour in zip(theory.iterrows(), colours):
        if math.isfinite(row["predicted"]):
            ax.plot(row["predicted"], level, marker="*", markersize=11, color=colour, markeredgecolor=figures.ink(),
                    markeredgewidth=0.7, linestyle="", zorder=5)  # fmt: skip
    ax.plot([], [], marker="*", markersize=9, linestyle="", color=figures.muted(), markeredgecolor=figures.ink(),
            label="linear model")  # fmt: skip
    ax.legend(fontsize=7, loc="upper left")
    plain_log(ax, "x", BETA_TICKS)
    ax.set_yscale("log", base=2)
    ax.yaxis.set_major_formatter(ticker.FuncFormatter(lambda v, _: f"{v:g}"))
    ax.set(xlabel="β", ylabel="directions that the projections span")
    figures.panel_labels(
        axes.ravel(), ("fixed and tuned β", "the best β", "the same runs over d × β", "which β collapses")
    )
    said = "; ".join(f"d = {d}: {at_best[:, i].mean():.1f} %" for i, d in enumerate(dims))
    said_fixed = "; ".join(f"d = {d}: {v.mean():.1f} %" for d, v in zip(dims, at_fixed))
    peaks = ", ".join(f"{d * best[d][0]:.3g} (d = {d})" for d in dims)
    ratio = theory["measured"] / theory["predicted"]
    told = "; ".join(f"d = {int(d)}: {r:.2f}" for d, r in zip(theory["dim"][:-1], ratio[:-1]) if math.isfinite(r))
    told = f" Measured over predicted failing beta: {told}." if told else ""
    columns = [accuracy_column(frame, "val"), column, "projection_rank", "alpha", "rankme"]
    return Drawing(
        fig, _table(frame, columns),
        f"a: test accuracy against the projector's dimension, at one fixed beta ({said_fixed}) and at each dimension's "
        f"tuned beta ({said}). b: the best beta falls with the dimension, slope {slope.text(2)} on logarithmic axes, "
        "beside the betas that the authors chose for three data sets. c: accuracy against d times beta, a line a "
        f"dimension; highest at {peaks}. d: how many directions the projections span against beta, with "
        f"stars where the linear model, told only the largest projector's, expects the collapse.{told}",
    )  # fmt: skip


def _draw_best(ax, betas: pd.DataFrame, slope: stats.Interval) -> None:
    jitter = 1 + 0.06 * (betas["seed"] - betas["seed"].mean())
    ax.plot(betas["dim"] * jitter, betas["beta"], linestyle="", marker="o", color=figures.PALETTE[0], markersize=4,
            label="best here, a mark a seed")  # fmt: skip
    chosen = registry.numbers("C4")["beta"]
    for i, (name, title) in enumerate(DATASETS.items()):
        ax.plot(chosen[name]["d"], chosen[name]["beta"], linestyle="", marker=figures.MARKERS[i + 1], markersize=4.5,
                markerfacecolor=figures.paper(), color=figures.PALETTE[i + 1], label=f"authors: {title}")  # fmt: skip
    x = np.array([betas["dim"].min(), betas["dim"].max()], float)
    centre = np.log(betas["beta"]).mean() - slope.mean * np.log(betas["dim"]).mean()
    ax.plot(x, np.exp(centre + slope.mean * np.log(x)), color=figures.PALETTE[0], linewidth=1)
    plain_log(ax, "x", [8, 64, 512, 4096])
    plain_log(ax, "y", BETA_TICKS)
    ax.annotate(f"slope {slope.text(2)}", (0.03, 0.05), xycoords="axes fraction", fontsize=8)
    ax.legend(fontsize=7, loc="upper right")
    ax.set(xlabel="projector dimension d", ylabel="β")


def draw_alpha(frame: pd.DataFrame) -> Drawing:
    runs, column = trained(frame), accuracy_column(frame)
    dims = sorted(int(d) for d in runs["dim"].unique())
    colours = figures.ordered(len(dims))
    fig, axes = figures.figure(1, 3, height=3.2)
    for i, (d, colour) in enumerate(zip(dims, colours)):
        for ax, y in ((axes[0], "alpha"), (axes[1], "rankme")):
            betas, values = by_beta(runs, d, y)
            figures.band(ax, betas * d, values, "", i, color=colour)
        mine = runs[runs["dim"] == d]
        axes[2].plot(mine["alpha"], mine[column], linestyle="", marker=figures.MARKERS[i % 6], markersize=3.5,
                     color=colour, label=f"d = {d}")  # fmt: skip
    untrained = frame[(frame["method"] == "Untrained") & (frame["backbone"] != "pixels")]
    axes[2].plot(untrained["alpha"], untrained[column], linestyle="", marker="x", color=figures.muted(),
                 label="random encoder")  # fmt: skip
    axes[2].legend(fontsize=6.5)
    for ax in axes[:2]:
        plain_log(ax, "x", PRODUCT_TICKS)
        ax.set_xlabel("d × β")
    axes[0].set_ylabel("eigenspectrum decay α")
    axes[1].set_ylabel("RankMe of the features")
    axes[2].set(xlabel="α", ylabel=f"{semantic(frame)} accuracy (%)")
    figures.panel_labels(axes, ("decay of the spectrum", "effective rank", "accuracy against α"))
    rho = _rank_correlation(runs, "alpha", column)
    products, alpha = _mean_over_dims(frame, "alpha")
    return Drawing(
        fig, _table(frame, ["alpha", "rankme", column]),
        f"a: the decay alpha of the features' eigenspectrum against d times beta, a line a dimension; its mean goes from "
        f"{alpha[:, 0].mean():.2f} at {products[0]:g} to {alpha[:, -1].mean():.2f} at {products[-1]:g}. b: RankMe of the "
        f"same features. c: accuracy against alpha, a mark a run (Spearman's rho within a seed {rho.text(2)}).",
    )  # fmt: skip


CLAIMS = (Claim("C4", plan, judge, draw), Claim("C10", plan, judge_alpha, draw_alpha))
