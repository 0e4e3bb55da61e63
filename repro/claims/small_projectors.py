"""Small projectors: claims C4 and C10 of the small projectors paper.

Every run trains the authors' Barlow Twins (`repro.ssl.losses.barlow_mean_target`) with their recipe: Adam at a constant
rate (here AdamW, whose decay is decoupled; at their 1e-6 either is next to none), projector linear(d) - batch norm -
ReLU - linear(d). Beta is tuned on the validation split; every accuracy shown is of the test split.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from repro import figures, stats
from repro.claims import Claim, Drawing, Verdict, kit, registry
from repro.claims.kit import Cells, Panel, Plan, column, page, read, trained, verdict
from repro.core.methods import BarlowMultiView
from repro.core.profiles import PROFILES, Profile, base
from repro.core.spec import Optimiser, Projector, RunSpec
from repro.stats import Part, eq, noninf, sup
from repro.views.recipe import preset, repeat


class Scale(NamedTuple):
    """dims: of the projector, () for the authors' own. products: d times beta, so that the grid moves with the dimension.
    small: the smallest dimension that is judged, of at least two outputs a class. fixed: d times each beta that every
    projector gets, at the largest; () for the authors' own baseline. rate: the authors' 1e-3, three times that where a run
    has 200 steps. epochs: two views of Barlow Twins need 10 to rise above the floors; at gpu, as many as fit its ten
    minutes. batch_size: 48 divides the digits' 1000, 500, 250 and 50 images into whole steps with little left over, 125
    the shares of 10,000 images."""

    dims: tuple[int, ...]
    products: tuple[float, ...]
    small: int
    epochs: int
    fixed: tuple[float, ...] = ()
    rate: float = 1e-3
    batch_size: int = 256


SCALES = {
    "smoke": Scale((8, 32), (0.2, 1.0, 5.0), 8, 1, (5.0,), 3e-3, 48),
    "quick": Scale((8, 32, 128, 512), (0.05, 0.2, 1.0, 5.0, 20.0), 32, 10, (5.0,), 3e-3, 48),
    "cpu": Scale((16, 64, 256, 1024), (0.5, 2.0, 5.0, 15.0, 45.0), 64, 10, (5.0, 20.0), batch_size=125),
    "gpu": Scale((64, 256, 1024, 8192), (2.0, 5.0), 64, 7),
    "paper": Scale((), (2.0, 5.0), 2048, 100),
}


class Authored(NamedTuple):
    """The authors' runs on a data set, by their public code (kumarkrishna/fastssl): pixels, backbone, epochs, batches of
    C4's runs and of C5's to C7's (`many`), whose projectors have `dim` outputs and the betas of 2, 4 and 8 views; in what
    their views differ from the recipe "simclr-small". small: as in Scale."""

    size: int
    backbone: str
    epochs: int
    batch_size: int
    many: int
    dim: int
    betas: tuple[float, float, float]
    views: dict[str, Any]
    small: int


AUTHORED = {  # STL-10's beta of 8 views is of runs on a quarter of the images, the only ones there are
    "cifar10": Authored(32, "resnet50", 100, 512, 128, 256, (0.02, 0.01, 0.01), {"crop": (0.08, 1.0), "hue": 0.0}, 64),
    "stl10": Authored(64, "resnet50", 50, 400, 100, 256, (0.008, 0.002, 0.006), {"gray": 0.1, "hue": 0.0}, 64),
    "imagenet100": Authored(
        128, "resnet18", 100, 256, 128, 512, (0.02, 0.01, 0.01), {"crop": (0.08, 1.0), "solarize": 0.2}, 256
    ),
}
DATASETS = {"cifar10": "CIFAR-10", "stl10": "STL-10", "imagenet100": "ImageNet-100"}  # of the betas in the registry
PAPER_SET = "imagenet100"

# --- plan -------------------------------------------------------------------------------------------------------------


def staged(profile: Profile) -> Profile:
    """The profile with the stand-in that these claims need, and a net wide enough for it: on made-up objects two views of
    Barlow Twins need longer to rise above the floors than on digits at random places."""
    if not (profile.small and profile.made_up):
        return profile
    wider = {"backbone": "convnet"} if profile.backbone == PROFILES[profile.name].backbone else {}
    return replace(profile, data="digits-placed", **wider)


def sets(profile: Profile) -> list[Profile]:
    """The profile for each data set of a plan: at paper the authors' three, or the reader's, with the authors' pixels and
    backbone where it is one of theirs; elsewhere the staged one."""
    if profile.name != "paper" or profile.data not in ("imagenet", *AUTHORED):
        return [staged(profile)]
    kept = {} if profile.backbone == PROFILES["paper"].backbone else {"backbone": profile.backbone}
    names = AUTHORED if profile.data == "imagenet" else (profile.data,)
    return [
        replace(profile, data=n, **{"size": AUTHORED[n].size, "backbone": AUTHORED[n].backbone} | kept) for n in names
    ]


def authored(profile: Profile) -> Authored | None:
    """The authors' runs on the profile's data set, at paper."""
    return AUTHORED.get(profile.data) if profile.name == "paper" else None


def scale_of(profile: Profile) -> Scale:
    scale, known = SCALES[profile.name], authored(profile)
    return scale._replace(small=known.small, epochs=known.epochs, batch_size=known.batch_size) if known else scale


def authors_run(
    profile: Profile, dim: int, beta: float, views: int = 2, epochs: int = 0, fraction: float = 1.0, **probes
) -> RunSpec:
    """The authors' recipe at a profile's scale; `profile` is one of `sets`. epochs 0: the profile's own, from SCALES.
    fraction: of the images that a run of the profile has."""
    spec, scale = base(profile), scale_of(profile)
    recipe = preset("simclr-small", **known.views) if (known := authored(profile)) else spec.recipe
    if profile.data in ("digits", "digits-placed"):  # they have no colour and must not be mirrored
        recipe = preset("crop", crop=(0.5, 1.0), flip=0.0)
        probes = {"labels": 0} | probes
    return spec.but(
        fraction=spec.data.fraction * fraction,
        recipe=repeat(recipe, views),
        method=BarlowMultiView(beta),
        projector=Projector(2, dim, dim),
        optimiser=Optimiser("adamw", scale.rate, 1e-6, warmup=0.0, schedule="constant"),
        batch_size=scale.batch_size,
        epochs=epochs or scale.epochs,
        **probes,
    )


def plan(profile: Profile) -> Plan:
    """dimension x (d beta), and every dimension at the fixed betas; at paper also the betas that the authors chose, on each
    of their data sets.

    Labels: product, d beta where it is of the grid; fixed, whether beta is a fixed one.
    """
    out = Plan(profile)
    for each in sets(profile):
        _plan_on(each, out)
    return out


def _plan_on(profile: Profile, out: Plan) -> None:
    known = registry.numbers("C4")
    scale, chosen = scale_of(profile), known["beta"][profile.data if authored(profile) else PAPER_SET]
    dims = scale.dims or tuple(chosen["d"])
    fixed = [p / max(dims) for p in scale.fixed] or [known["fixed_beta"]]
    products = {(d, p / d): p for d in dims for p in scale.products}
    cells = {*products, *((d, b) for d in dims for b in fixed)}
    if profile.name == "paper":
        cells |= set(zip(chosen["d"], chosen["beta"]))
    for d, beta in sorted(cells):
        run = authors_run(profile, d, beta, spectrum=True)
        out.add(run, product=products.get((d, beta), math.nan), fixed=beta in fixed)
    out.floors(base(profile), labels=run.probes.labels, spectrum=True)


# --- judge ------------------------------------------------------------------------------------------------------------


def by_dim(frame: pd.DataFrame, name: str = "") -> dict[int, Cells]:
    """The runs of each dimension as a grid over its betas; name: as for `kit.read`."""
    return {int(d): read(runs, "beta", name=name) for d, runs in kit.runs_by(frame, "dim").items()}


def _fixed(frame: pd.DataFrame) -> tuple[float, dict[int, np.ndarray]]:
    """The fixed beta that is best for the largest projector by validation, and each dimension's test accuracy (seeds,)
    with it."""
    grids = by_dim(frame[frame["fixed"].eq(True)])
    at = int(grids[max(grids)].best)
    return grids[max(grids)].levels[0][at], {d: got.test[:, at] for d, got in grids.items()}


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
    runs = trained(frame)
    # the grid of products alone: the fixed beta would refine it for some dimensions and not for others
    grid = runs[runs["product"].notna()] if runs["product"].nunique() > 2 else runs
    rows = []
    for dim, got in by_dim(grid).items():
        for seed, row in enumerate(got.val):
            beta, inside = best_beta(np.array(got.levels[0]), row)
            rows.append({"dim": dim, "seed": seed, "beta": beta, "inside": inside})
    return pd.DataFrame(rows)


def _slope(betas: pd.DataFrame) -> stats.Interval:
    """The slope of log best beta on log d, fitted for each seed; the interval is over seeds."""
    return stats.paired(
        [np.polyfit(np.log(rows["dim"]), np.log(rows["beta"]), 1)[0] for _, rows in betas.groupby("seed")]
    )


def _regained(loss: np.ndarray, gain: np.ndarray) -> stats.Interval:
    """gain over loss, in percent, each (seeds,): the ratio of their means with its error to first order. Not defined for
    a loss that is none."""
    whole = np.isfinite(loss) & np.isfinite(gain)
    loss, gain = loss[whole], gain[whole]
    if not len(loss) or loss.mean() <= 0:
        return stats.Interval(math.nan, math.nan, math.nan, len(loss))
    share = gain.mean() / loss.mean()
    half = 100 * stats.paired(gain, share * loss).high / loss.mean()
    return stats.Interval(100 * share, 100 * share - half, 100 * share + half, len(loss))


def _match(tuned: dict[int, np.ndarray]) -> Part:
    """Each dimension as good as the largest: NONINF(1.5), of which the weakest decides; contradicted by any (Bonferroni)."""
    *less, large = tuned
    name = f"tuned: the lowest of d = {', '.join(map(str, less))} against {large}"
    each = [noninf(name, stats.paired(tuned[d], tuned[large]), 1.5) for d in less]
    against = min(1.0, len(each) * min(part.contradicted for part in each))
    return replace(max(each, key=lambda part: part.supported), contradicted=against)


def judge(frame: pd.DataFrame) -> Verdict:
    """C4, for the smallest projector of two outputs a class: what it loses at the fixed beta, and that tuning regains it."""
    (beta, fixed), betas = _fixed(frame), best_betas(frame)
    small = scale_of(replace(PROFILES[kit.profile_name(frame)], data=frame["data"].iloc[0])).small
    tuned = {d: got.tuned() for d, got in by_dim(frame).items() if d >= small}
    large, slope = max(tuned), _slope(betas)
    loss, gain = fixed[large] - fixed[small], tuned[small] - fixed[small]
    share, left = _regained(loss, gain), stats.paired(tuned[small], tuned[large])
    edge = "" if betas["inside"].mean() > 0.5 else "most of the best betas lie on the edge of their grid"
    fall = eq("log best beta on log d", slope, 0.3, -1.0, "slope", registry.numbers("C4")["slope"]["cifar10"])
    parts = [
        sup("share of the loss at the fixed beta that tuning regains", share, 50, 50, "%"),
        sup(f"fixed beta: d = {large} over {small}", stats.paired(loss), 2.0),
        _match(tuned), replace(fall, cannot=edge),
    ]  # fmt: skip
    return verdict(
        frame, parts,
        f"Fixed beta {beta:.2g}: d = {small} against {large} {-stats.paired(loss).mean:+.1f} points; tuned, {left.mean:+.1f}; "
        f"log beta on log d has slope {slope.mean:.2f}.",
        cannot=kit.cannot_carry(frame) or kit.at_floor(frame, {f"d = {d}, tuned": v for d, v in tuned.items()}),
    )  # fmt: skip


def judge_alpha(frame: pd.DataFrame) -> Verdict:
    """C10: shown, not judged: the change of alpha from the smallest to the largest d beta of the grid."""
    products, alpha = _alpha_by_product(frame)
    change = stats.paired(alpha[:, -1], alpha[:, 0])
    return verdict(
        frame, [],
        f"Shown, not judged: from d beta {products[0]:g} to {products[-1]:g} alpha changes by {change.text(2)}.",
    )  # fmt: skip


def _alpha_by_product(frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """The products d beta of the grid (n,), and alpha's mean over dimensions (seeds, n)."""
    table = trained(frame).pivot_table(index="seed", columns="product", values="alpha", aggfunc="mean")
    return table.columns.to_numpy(float), table.to_numpy(float)


def _alpha_and_accuracy(frame: pd.DataFrame) -> stats.Interval:
    """Spearman's rho over a seed's runs, the mean over seeds."""
    seeds = trained(frame).groupby("seed")[["alpha", column(frame)]]
    return stats.correlation([rows.dropna().rank().corr().iloc[0, 1] for _, rows in seeds])


# --- draw -------------------------------------------------------------------------------------------------------------

PRODUCT_TICKS, BETA_TICKS = [0.05, 0.2, 1, 5, 20], [0.0001, 0.001, 0.01, 0.1, 1]


def draw(frame: pd.DataFrame) -> Drawing:
    grids, betas, (beta, fixed) = by_dim(frame), best_betas(frame), _fixed(frame)
    slope = _slope(betas)
    lines = {"tuned β": {d: got.tuned() for d, got in grids.items()}, f"β = {beta:.2g}": fixed}

    def tuned(ax: Axes) -> None:
        for i, (name, values) in enumerate(lines.items()):
            figures.band(ax, list(values), np.stack(list(values.values()), 1), name, i)
        kit.floors(ax, frame)
        kit.log_axis(ax, list(grids))
        ax.set(xlabel="projector dimension d", ylabel=kit.label(frame))

    said = ["; ".join(f"d = {d}: {v.mean():.1f} %" for d, v in values.items()) for values in lines.values()]
    peaks = ", ".join(f"{d * got.levels[0][int(got.best)]:.3g} (d = {d})" for d, got in grids.items())
    return page(
        frame, ("dim", "beta"),
        [tuned, lambda ax: _draw_best(ax, betas, slope), hills(frame, "", kit.label(frame)),
         hills(frame, "projection_rank", "directions that the projections span")],
        titles=("fixed and tuned β", "the best β", "the same runs over d × β", "which runs collapse"), mosaic="ab;cd",
        height=6.0,
        columns=[column(frame, "val"), column(frame), "projection_rank", "alpha", "rankme"],
        alt=f"a: test accuracy against the projector's dimension, at one fixed beta ({said[1]}) and at each dimension's "
        f"tuned beta ({said[0]}). b: the best beta falls with the dimension, slope {slope.text(2)} on logarithmic axes, "
        "beside the betas that the authors chose for three data sets. c: accuracy against d times beta, a line a "
        f"dimension; highest at {peaks}. d: how many directions the projections span in these runs.",
    )  # fmt: skip


def _marks(ax: Axes, x: ArrayLike, y: ArrayLike, index: int, label: str, **look: Any) -> None:
    ax.plot(x, y, **figures.style(index) | {"linestyle": "", "markersize": 4, "label": label} | look)


def _draw_best(ax: Axes, betas: pd.DataFrame, slope: stats.Interval) -> None:
    jitter, chosen = 1 + 0.06 * (betas["seed"] - betas["seed"].mean()), registry.numbers("C4")["beta"]
    _marks(ax, betas["dim"] * jitter, betas["beta"], 0, "best here, a mark a seed")
    for i, (name, title) in enumerate(DATASETS.items(), 1):
        _marks(ax, chosen[name]["d"], chosen[name]["beta"], i, f"authors: {title}", markerfacecolor=figures.paper())
    x = np.array([betas["dim"].min(), betas["dim"].max()], float)
    centre = np.log(betas["beta"]).mean() - slope.mean * np.log(betas["dim"]).mean()
    ax.plot(x, np.exp(centre + slope.mean * np.log(x)), color=figures.PALETTE[0], linewidth=1)
    kit.log_axis(ax, [8, 64, 512, 4096])
    kit.log_axis(ax, BETA_TICKS, along="y")
    ax.annotate(f"slope {slope.text(2)}", (0.03, 0.05), xycoords="axes fraction", fontsize=8)
    ax.legend(fontsize=7, loc="upper right")
    ax.set(xlabel="projector dimension d", ylabel="β")


def hills(frame: pd.DataFrame, name: str, label: str) -> Panel:
    """A panel: a column against d times beta, a line a dimension; accuracy with the floors. name: as for `kit.read`."""
    grids = by_dim(frame, name)

    def panel(ax: Axes) -> None:
        for i, ((d, got), colour) in enumerate(zip(grids.items(), figures.ordered(len(grids)))):
            figures.band(ax, np.array(got.levels[0]) * d, got.test, f"d = {d}", i, color=colour)
        if not name:
            kit.floors(ax, frame)
        kit.log_axis(ax, PRODUCT_TICKS)
        ax.set(xlabel="d × β", ylabel=label)

    return panel


def draw_alpha(frame: pd.DataFrame) -> Drawing:
    products, alpha = _alpha_by_product(frame)

    def against(ax: Axes) -> None:
        dims = kit.runs_by(frame, "dim")
        for i, ((d, runs), colour) in enumerate(zip(sorted(dims.items()), figures.ordered(len(dims)))):
            _marks(ax, runs["alpha"], runs[column(frame)], i, f"d = {d:g}", color=colour)
        untrained = frame[(frame["method"] == "Untrained") & (frame["backbone"] != "pixels")]
        _marks(ax, untrained["alpha"], untrained[column(frame)], 0, "random encoder", marker="x", color=figures.muted())
        ax.legend(fontsize=6.5)
        ax.set(xlabel="α", ylabel=f"{kit.tasks(frame)[0]} accuracy (%)")

    return page(
        frame, ("dim", "beta"),
        [hills(frame, "alpha", "eigenspectrum decay α"), hills(frame, "rankme", "RankMe of the features"), against],
        titles=("decay of the spectrum", "effective rank", "accuracy against α"), height=3.2,
        columns=["alpha", "rankme", column(frame)],
        alt="a: the decay alpha of the features' eigenspectrum against d times beta, a line a dimension; its mean goes from "
        f"{alpha[:, 0].mean():.2f} at {products[0]:g} to {alpha[:, -1].mean():.2f} at {products[-1]:g}. b: RankMe of the "
        f"same features. c: accuracy against alpha, a mark a run (Spearman's rho within a seed "
        f"{_alpha_and_accuracy(frame).text(2)}).",
    )  # fmt: skip


# --- several sets ------------------------------------------------------------------------------------------------------


def each_set(judge: Callable[[pd.DataFrame], Verdict]) -> Callable[[pd.DataFrame], Verdict]:
    """A judge of one data set's runs as one of several sets': it judges each, and their parts decide together."""

    def whole(frame: pd.DataFrame) -> Verdict:
        found = {title: judge(part) for title, part in by_set(frame).items()}
        first = next(iter(found.values()))
        if len(found) == 1:
            return first
        parts = tuple(replace(p, name=f"{title}: {p.name}") for title, v in found.items() for p in v.parts)
        judged = parts and all(v.verdict != stats.NOT_JUDGED for v in found.values())
        said = [
            " ".join(f"{title}: {getattr(v, kind)}" for title, v in found.items()) for kind in ("sentence", "finding")
        ]
        return replace(
            first, verdict=stats.combine(p.word for p in parts) if judged else stats.NOT_JUDGED, data=" and ".join(found),
            backbone=" and ".join(sorted({v.backbone for v in found.values()})), sentence=said[0], finding=said[1],
            parts=parts,
        )  # fmt: skip

    return whole


def first_set(draw: Callable[[pd.DataFrame], Drawing]) -> Callable[[pd.DataFrame], Drawing]:
    """A figure of one data set's runs as one of several sets': of the first, which its words say; its table has all runs."""

    def of_all(frame: pd.DataFrame) -> Drawing:
        (shown, first), *others = drawn = [(title, draw(rows)) for title, rows in by_set(frame).items()]
        if not others:
            return first
        words = f"Drawn is {shown}; these words, the table and the verdict are also of {' and '.join(t for t, _ in others)}."
        table = pd.concat({title: d.table for title, d in drawn}, names=["data"]).reset_index("data")
        return replace(first, table=table, alt=" ".join([words, *(f"{title}: {d.alt}" for title, d in drawn)]))

    return of_all


def by_set(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The runs by their data set's title, in the plan's order; frames of one set, or of none, as they are."""
    if "data" not in frame or frame["data"].nunique() < 2:
        return {"": frame}
    parts = {title: rows.dropna(axis=1, how="all") for title, rows in frame.groupby("data_title", sort=False)}
    for rows in parts.values():
        rows.attrs |= frame.attrs
    return parts


CLAIMS = (
    Claim("C4", plan, each_set(judge), first_set(draw)),
    Claim("C10", plan, each_set(judge_alpha), first_set(draw_alpha)),
)
