"""Many views of an image: claims C5, C6, C7 and C8 of the small projectors paper.

C5 to C7 share their runs: the authors' Barlow Twins (`small_projectors.authors_run`) at d 256 and the betas the authors
chose for 2, 4 and 8 views. The rate is constant, so a checkpoint is a shorter run; curves are of the validation split,
and the test split is read once, at the last epoch. Time is of training, making views included and probing left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from repro import figures, stats
from repro.bench.specs import FORMS, LossSpec
from repro.claims import Claim, Drawing, Verdict, kit, registry
from repro.claims.kit import Panel, Plan, column, page, trained, verdict
from repro.claims.small_projectors import authored, authors_run, each_set, first_set, sets
from repro.core.profiles import Profile, base
from repro.core.spec import RunSpec
from repro.errors import ReproError
from repro.stats import holds, noninf, sup


class Cell(NamedTuple):
    """Runs that differ in their seed alone. fraction: of the profile's images; times: the epochs over those of a standard
    run."""

    views: int
    fraction: float = 1.0
    times: int = 1


EPOCHS = {"smoke": 1, "quick": 10, "cpu": 10, "gpu": 3, "paper": 100}  # of a standard run
SCARCE = {"smoke": 0.2, "quick": 0.05, "cpu": 0.05, "gpu": 0.05, "paper": 0.05}
VIEWS, FRACTIONS = (2, 4, 8), (0.25, 0.5, 1.0)
LONG = 10  # times: how much longer the scarce runs go through their few images
EQUAL_EPOCHS = [Cell(v, f) for v in VIEWS for f in FRACTIONS]
EQUAL_VIEWS = [Cell(v, 1.0, max(VIEWS) // v) for v in VIEWS[:-1]]  # as many views as eight an epoch take in all
UNIQUE = Cell(2, 0.2, LONG)  # the scarce runs' control at cpu: two views of four times the images
EQUAL_COMPUTE = [Cell(2, f, round(1 / f)) for f in FRACTIONS if f < 1]  # the compute of two views on all of the data
CHECKPOINTS = 5
SPEEDUP = 1.2

# --- plan -------------------------------------------------------------------------------------------------------------


def chosen_beta(views: int) -> float:
    """The authors' beta for so many views, at the registry's dimension."""
    known = registry.numbers("C5")
    return dict(zip(known["views"], known["beta"]))[views]


def run_of(profile: Profile, cell: Cell, factor: float = 1.0, form: str = "own") -> RunSpec:
    """A run of a cell. factor: of the authors' beta. Checkpoints are kept at that beta alone and not in the scarce runs; the
    mean over many test views is probed on all of the data. form: "mean" for two views against their mean, as more views
    are."""
    known, theirs, plain = registry.numbers("C5"), authored(profile), factor == 1 and form == "own"
    epochs = (theirs.epochs if theirs else EPOCHS[profile.name]) * cell.times
    beta = theirs.betas[VIEWS.index(cell.views)] if theirs else chosen_beta(cell.views)
    curves = CHECKPOINTS * (2 if cell.times > 1 and cell.fraction == 1 else 1)
    run = authors_run(
        profile, theirs.dim if theirs else known["dim"], beta * factor, cell.views, epochs, cell.fraction,
        every=max(1, epochs // curves) if plain and cell.times < LONG else 0,
        averaged=known["test_views"] if plain and cell.fraction == 1 else 0,
    ).but(against_mean=form == "mean")  # fmt: skip
    return run.but(batch_size=theirs.many) if theirs else run


def _plan(profile: Profile, cells: Sequence[Cell], others: Sequence[tuple[Cell, float, str]] = ()) -> Plan:
    """The runs of cells, and others at a factor of the authors' beta in a form of the loss. Labels: views, share (of the
    profile's images), times, factor and form."""
    plan, averaged = Plan(profile), registry.numbers("C5")["test_views"]
    for each in sets(profile):
        for cell, factor, form in [*((c, 1.0, "own") for c in cells), *others]:
            run = run_of(each, cell, factor, form)
            plan.add(run, views=cell.views, share=cell.fraction, times=cell.times, factor=factor, form=form)
        plan.floors(base(each), labels=run.probes.labels, averaged=averaged)
    return plan


def plan_views(profile: Profile) -> Plan:
    """C5: all the data; 2, 4 and 8 views at equal epochs and at equal numbers of views. At cpu also two views in the form
    of more, at the beta of either; elsewhere other betas for 2 and 4 views."""
    others = [(Cell(v), factor, "own") for v in VIEWS[:-1] for factor in (0.25, 4.0)]
    if profile.name == "cpu":
        others = [(Cell(2), factor, "mean") for factor in (1.0, chosen_beta(4) / chosen_beta(2))]
    return _plan(profile, [Cell(v) for v in VIEWS] + EQUAL_VIEWS, others)


def plan_fractions(profile: Profile) -> Plan:
    """C6: views x fraction, the controls of equal compute, and the scarce regime."""
    scarce = [Cell(v, SCARCE[profile.name], LONG) for v in (min(VIEWS), max(VIEWS))]
    return _plan(profile, EQUAL_EPOCHS + EQUAL_COMPUTE + scarce + [UNIQUE] * (profile.name == "cpu"))


def plan_time(profile: Profile) -> Plan:
    """C7: everything of C5 and C6 at the authors' betas, but for the scarce runs."""
    return _plan(profile, EQUAL_EPOCHS + EQUAL_VIEWS + EQUAL_COMPUTE)


def plan_loss(profile: Profile) -> Plan:
    """C8: the loss alone, on made-up projections."""
    size = {"smoke": 32, "quick": 128}.get(profile.name, 512)
    views, repeats = ((2, 4), 1) if profile.name == "smoke" else ((2, 4, 8, 16), 5)
    return Plan(profile).add(*(LossSpec(m, size, size, repeats) for m in views))


# --- read -------------------------------------------------------------------------------------------------------------


def cells(frame: pd.DataFrame) -> dict[Cell, pd.DataFrame]:
    """The runs of each cell at the authors' betas, sorted by seed."""
    parts = kit.runs_by(frame[frame["factor"].eq(1) & frame["form"].eq("own")], "views", "share", "times")
    return {Cell(int(v), float(f), int(t)): rows for (v, f, t), rows in sorted(parts.items())}


def scores(frame: pd.DataFrame, probe: str = "linear") -> dict[Cell, np.ndarray]:
    """Test accuracy of each cell, (seeds,), NaN where a run diverged."""
    name = column(frame, probe=probe)
    return {c: rows[name].to_numpy(float) for c, rows in cells(frame).items() if name in rows}


def _epochs(frame: pd.DataFrame, times: int = 1) -> int:
    """The epochs of a run that is so many times as long as a standard one."""
    return int(trained(frame)["epochs"].min()) * times


def seconds(row: pd.Series) -> np.ndarray:
    """Training seconds at the end of each epoch (epochs,): the run's median epoch, as often as there are epochs, since
    all epochs do the same work and a hiccup of the machine is no part of it."""
    ends = kit.epoch_ends(row)
    return np.median(np.diff(ends, prepend=0.0)) * np.arange(1, len(ends) + 1)


class Curve(NamedTuple):
    """The checkpoints of a cell: epochs (n + 1,), seconds and validation accuracy (seeds, n + 1). The first is the random
    encoder, before any training."""

    epochs: np.ndarray
    seconds: np.ndarray
    accuracy: np.ndarray


def curves(frame: pd.DataFrame) -> dict[Cell, Curve]:
    """The curve of every cell that kept checkpoints."""
    return {c: _curve(frame, rows) for c, rows in cells(frame).items() if rows["every"].iloc[0]}


def _curve(frame: pd.DataFrame, rows: pd.DataFrame) -> Curve:
    """Raises ReproError where no run came to its first checkpoint."""
    name = column(frame, "val")
    untrained = frame[(frame["method"] == "Untrained") & (frame["backbone"] != "pixels")].set_index("seed")[name]
    epochs, times, accuracy = np.array([0]), [], []
    for _, row in rows.iterrows():
        at = np.asarray(row["curves"].get("probe_epoch", []), int)  # a run that diverged keeps few or none
        times.append([0.0, *seconds(row)[at - 1]] if len(at) else [0.0])
        accuracy.append([untrained.get(row["seed"], math.nan), *row["curves"].get(name, [])])
        epochs = max(epochs, np.array([0, *at]), key=len)
    width = len(epochs)
    if width < 2:
        raise ReproError("No run of a cell came to its first checkpoint: give a lower rate, or more images.")
    return Curve(
        epochs, *(np.array([[*v, *[math.nan] * (width - len(v))] for v in part]) for part in (times, accuracy))
    )


# --- judge: C5 and C6 -------------------------------------------------------------------------------------------------


def _cannot(frame: pd.DataFrame, found: dict[Cell, np.ndarray], compared: Iterable[Cell]) -> str:
    names = {f"{c.views} views on {100 * c.fraction:g} %": found[c] for c in compared}
    return kit.cannot_carry(frame) or kit.at_floor(frame, names)


def judge_views(frame: pd.DataFrame) -> Verdict:
    """C5: 4 and 8 over 2 views SUP(1), at equal epochs and at equal numbers of views; over two in the form of more too."""
    found = scores(frame)
    whole, alike = ({v: found[Cell(v, 1.0, t)] for v, t in zip(VIEWS, times)} for times in ((1, 1, 1), (4, 2, 1)))
    gains = {
        f"{v} over 2 views, equal {name}": stats.paired(values[v], values[2])
        for name, values in (("epochs", whole), ("views", alike)) for v in VIEWS[1:]
    }  # fmt: skip
    mean = frame[frame["form"].eq("mean")]
    if len(mean):
        gains["4 over 2 views in the form of more, equal epochs"] = stats.paired(
            whole[4], kit.read(mean, "beta").tuned()
        )
    four, eight, four_alike, eight_alike, *_ = (gain.mean for gain in gains.values())
    return verdict(
        frame, [sup(name, gain, 1.0) for name, gain in gains.items()],
        f"Over 2 views, 4 gain {four:.1f} points at equal epochs, {four_alike:.1f} at equal views; 8 gain {eight:.1f} and "
        f"{eight_alike:.1f}.",
        cannot=_cannot(frame, found, [Cell(v) for v in VIEWS]),
    )  # fmt: skip


def last_fifth(curve: Curve) -> stats.Interval:
    """What the last fifth of a run still gained, in points of validation accuracy."""
    before = int(np.searchsorted(curve.epochs, 0.8 * curve.epochs[-1]))
    return stats.paired(curve.accuracy[:, -1], curve.accuracy[:, min(before, len(curve.epochs) - 2)])


def _converged(frame: pd.DataFrame) -> str:
    """One sentence on whether the curves have come to their end."""
    found = curves(frame)
    said = "; ".join(
        f"{c.views} views, {_epochs(frame, c.times)} epochs: {last_fifth(found[c]).text()}"
        for c in (Cell(2), Cell(2, 1.0, 4), Cell(8))
    )
    return f"The last fifth of a run still adds on validation: {said}."


def judge_fractions(frame: pd.DataFrame) -> Verdict:
    """C6: 4 views on half and 8 on a quarter as good as 2 on all, NONINF(1.5); 4 on half over 2 on half SUP(1); where it
    was run, 8 on the fewest images as good as 2 on four times as many."""
    found = scores(frame)
    whole, half, four, eight = (found[c] for c in (Cell(2), Cell(2, 0.5), Cell(4, 0.5), Cell(8, 0.25)))
    half_data, quarter, gain = (stats.paired(a, b) for a, b in ((four, whole), (eight, whole), (four, half)))
    parts = [
        noninf("4 views on 50 % against 2 on 100 %", half_data, 1.5), noninf("8 on 25 % against 2 on 100 %", quarter, 1.5),
        sup("4 on 50 % over 2 on 50 %", gain, 1.0),
    ]  # fmt: skip
    _, many, *more = _scarce(found)
    for other in more:
        name = f"8 on {100 * many.fraction:g} % against 2 on {100 * other.fraction:g} %, long runs"
        parts.append(noninf(name, stats.paired(found[many], found[other]), 1.5))
    return verdict(
        frame, parts,
        f"4 views on half of the images against 2 on all: {half_data.mean:+.1f} points; 8 on a quarter: "
        f"{quarter.mean:+.1f}.",
        cannot=_cannot(frame, found, (Cell(2), Cell(2, 0.5), Cell(4, 0.5), Cell(8, 0.25))),
    )  # fmt: skip


def _scarce(found: Iterable[Cell]) -> list[Cell]:
    """The cells of 2 and of 8 views on the fewest images, and of 2 on four times as many where they were run."""
    return sorted((c for c in found if c.fraction < min(FRACTIONS)), key=lambda c: (c.fraction, c.views))


# --- judge: C7, time to an error --------------------------------------------------------------------------------------


def time_to(found: dict[Cell, Curve], target: float) -> pd.DataFrame:
    """Training seconds until the validation error first falls to `target` percent: a row a seed, a column a cell."""
    return pd.DataFrame(
        {c: [_first_below(*run, target) for run in zip(v.seconds, 100 - v.accuracy)] for c, v in found.items()}
    )


def _first_below(t: np.ndarray, error: np.ndarray, target: float) -> float:
    """Between checkpoints the error is taken as straight. The first time where it starts there, infinite where it never
    gets there."""
    if error[0] <= target:
        return float(t[0])
    at = stats.crossing(t, -error, -target)
    return math.inf if math.isnan(at) else at


def fastest(times: pd.DataFrame, pool: Sequence[Cell]) -> pd.Series:
    """Each seed's time in the cell of `pool` that is the fastest on the other seeds: chosen without looking at what it
    is then timed on. Infinite where that cell never got there."""
    log = np.log(times[pool].clip(lower=1e-9))  # at once, where the random encoder is there already
    picked = {}
    for seed in times.index:
        others = log.drop(seed) if len(log) > 1 else log
        mean = others.mean()
        picked[seed] = times.loc[seed, mean.idxmin()] if np.isfinite(mean).any() else math.inf
    return pd.Series(picked)


def pools(found: Iterable[Cell]) -> tuple[list[Cell], list[Cell]]:
    """The cells with two views, and those with more."""
    return [c for c in found if c.views == 2], [c for c in found if c.views > 2]


def speedup(found: dict[Cell, Curve], target: float) -> stats.Interval:
    """Time to a target, the fastest of two views over the fastest of more, of the cells that come there with every seed;
    not defined where there is none."""
    times = time_to(found, target)
    there = [[c for c in pool if (np.isfinite(times[c]) & (times[c] > 0)).all()] for pool in pools(found)]
    if not all(there):
        return stats.Interval(math.nan, math.nan, math.nan, 0, scale="log")
    two, more = (fastest(times, pool).to_numpy() for pool in there)
    return stats.ratio(two, more)


def speedups(found: dict[Cell, Curve]) -> dict[float, stats.Interval]:
    """At multiples of 2.5 % error, below what two views on all the data have at their first checkpoint."""
    first = 100 - found[Cell(2)].accuracy[:, 1].mean()
    ratios = {float(t): speedup(found, t) for t in np.arange(97.5, 0, -2.5) if t < first}
    return {target: ratio for target, ratio in ratios.items() if ratio.n}


def judged_targets(found: dict[Cell, Curve]) -> dict[str, float]:
    """The two errors that are judged, fixed by a rule and not by how the ratio turns out: to which two views on all of the
    data come with every seed, and half-way to there from their first checkpoint."""
    error = 100 - found[Cell(2)].accuracy
    first, end = np.nanmean(error[:, 1]), np.nanmax(error[:, -1])
    return {"to which 2 views come": end, "half-way to there": (first + end) / 2}


def judge_time(frame: pd.DataFrame) -> Verdict:
    """C7: two views take 1.2 times the time of more or longer, the interval too, to each of two targets."""
    found, known, parts, said = curves(frame), registry.numbers("C7"), [], []
    for name, target in judged_targets(found).items():
        ratio = speedup(found, target)
        part = sup(f"time to {target:.1f} % error, {name}", ratio, SPEEDUP, SPEEDUP, "ratio", known["speedup"])
        parts.append(replace(part, cannot="" if ratio.n else "not reached by both with every seed"))
        said.append(f"{ratio.mean:.2f} times to {target:.1f} % error")
    return verdict(
        frame, parts, f"Two views over more views, training time: {', '.join(said)}.",
        cannot=_cannot(frame, scores(frame), [Cell(2)]),
    )  # fmt: skip


# --- judge: C8, the loss ----------------------------------------------------------------------------------------------


def judge_loss(frame: pd.DataFrame) -> Verdict:
    """C8: the memory that the mean form keeps grows as the views; the identity to 1e-6, the worst run of each seed."""
    worst, largest = stats.paired(frame.groupby("seed")["identity_error"].max()), frame["identity_error"].max()
    few, most = (int(v) for v in (frame["views"].min(), frame["views"].max()))
    grown = {way: _growth(frame, f"invariance_{way}_mb") for way in ("mean", "pairs")}
    each = [_growth(rows, "invariance_mean_mb") for _, rows in frame.groupby("seed")]
    power = stats.paired(np.log(each) / math.log(most / few))
    return verdict(
        frame,
        [holds("memory against the mean, as a power of the views", abs(power.mean - 1) < 0.1, power, "1 +- 0.1", "power"),
         holds("mean form less pairs, in float64", largest < 1e-6, worst, "< 1e-6", "relative error")],
        f"From {few} to {most} views memory grows {grown['mean']:.0f} times against the mean, {grown['pairs']:.0f} times "
        "over pairs; their numbers agree.",
        on="generated projections", backbone="no network", evidence="identity or theory",
    )  # fmt: skip


def _growth(frame: pd.DataFrame, name: str) -> float:
    """A column's mean at the most views over that at the fewest."""
    mean = frame.groupby("views")[name].mean()
    return mean.iloc[-1] / mean.iloc[0]


# --- draw -------------------------------------------------------------------------------------------------------------

KNOBS = ("method", "backbone", "views", "fraction", "beta", "epochs")


def _page(frame: pd.DataFrame, panels: Sequence[Panel], alt: str, **look: Any) -> Drawing:
    """With a row a run, and what it cost."""
    timed = [isinstance(ends, list) for ends in frame["epoch_seconds"]]
    frame = frame.assign(seconds=[seconds(row)[-1] if t else math.nan for t, (_, row) in zip(timed, frame.iterrows())])
    columns = ["seconds", column(frame, "val"), column(frame), column(frame, probe="averaged")]
    return page(frame, KNOBS, panels, alt, columns, **look)


def _mark(ax: Axes, x: ArrayLike, y: ArrayLike, views: int, hollow: bool = False, **look: Any) -> None:
    """Marks of a number of views, which have one colour and shape in every figure."""
    face = {"markerfacecolor": figures.paper()} if hollow else {}
    ax.plot(x, y, **figures.style(VIEWS.index(views)) | {"linestyle": ""} | face | look)


def _dot(ax: Axes, x: float, values: np.ndarray, views: int, hollow: bool = False) -> None:
    """The mean over seeds with its interval."""
    mean, low, high = figures.mean_interval(values[:, None])
    ax.plot([x, x], [low[0], high[0]], color=figures.PALETTE[VIEWS.index(views)], linewidth=1.2)
    _mark(ax, [x], mean, views, hollow, markersize=6)


def _legend(ax: Axes) -> None:
    for m in VIEWS:
        _mark(ax, [], [], m, label=f"{m} views")
    ax.legend(fontsize=6.5)


def draw_views(frame: pd.DataFrame) -> Drawing:
    test_views = registry.numbers("C5")["test_views"]
    against = {"epoch": lambda c: c.epochs, "training seconds": lambda c: np.nanmean(c.seconds, 0)}
    values = {form: scores(frame, probe) for form, probe in (("clean", "linear"), ("mean", "averaged"))}
    groups = {"equal epochs": (1, 1, 1), "equal views": (4, 2, 1)}
    said = [
        f"{name}, {m} views "
        + " and ".join(f"{stats.paired(v[Cell(m, 1.0, t)]).mean:.1f}" for v in values.values())
        + " %"
        for name, times in groups.items()
        for m, t in zip(VIEWS, times)
    ]
    return _page(
        frame,
        [*(partial(_draw_curves, frame=frame, x=x, label=label) for label, x in against.items()),
         partial(_draw_dots, frame=frame, values=values, groups=groups), partial(_draw_betas, frame=frame)],
        mosaic="aaabbb;ccccdd", height=6.2,
        titles=("by epoch", "by training time", f"test: clean view, and mean of {test_views}", "other betas"),
        alt="Accuracy of 2, 4 and 8 views. a: against the epoch, where more views cost more; b: against the seconds of "
        "training without probing. c: test accuracy at equal epochs and at equal numbers "
        f"of views, probed on the clean view (filled) and on features averaged over {test_views} views (hollow): "
        f"{'; '.join(said)}. d: at equal epochs, by beta. {_converged(frame)}",
    )  # fmt: skip


def _draw_curves(ax: Axes, frame: pd.DataFrame, x: Callable[[Curve], np.ndarray], label: str) -> None:
    """Validation accuracy along the longest runs on all of the data."""
    found, name = curves(frame), column(frame, "val")
    for m in VIEWS:
        curve = found[Cell(m, 1.0, max(VIEWS) // m)]
        figures.band(ax, x(curve), curve.accuracy, f"{m} views", VIEWS.index(m))
    ax.set_xlim(0, ax.get_xlim()[1] * 1.32)
    figures.floors(ax, kit.floor_levels(frame, name), inside=True)
    if label == "epoch":
        ax.axvline(_epochs(frame), color=figures.muted(), linewidth=0.8, linestyle=":")
        ax.set_ylabel(f"{kit.tasks(frame)[0]} accuracy, validation (%)")
    ax.set_xlabel(label)


def _draw_dots(ax: Axes, frame: pd.DataFrame, values: dict[str, dict], groups: dict[str, tuple[int, ...]]) -> None:
    """Test accuracy at equal epochs and at equal numbers of views."""
    ticks = {}
    for g, (name, times) in enumerate(groups.items()):
        for x, (m, t) in enumerate(zip(VIEWS, times), 4 * g):
            ticks[x] = f"{m} views\n{_epochs(frame, t)} ep."
            for at, form in ((x - 0.12, "clean"), (x + 0.12, "mean")):
                _dot(ax, at, values[form][Cell(m, 1.0, t)], m, hollow=form == "mean")
        ax.text(4 * g + 1, 0.95, name, transform=ax.get_xaxis_transform(), ha="center", color=figures.muted())
    ax.set_xticks(list(ticks), list(ticks.values()), fontsize=7.5)
    ax.margins(y=0.2)
    ax.set_ylabel(f"{kit.tasks(frame)[0]} accuracy, test (%)")


def _draw_betas(ax: Axes, frame: pd.DataFrame) -> None:
    runs = frame[(frame["times"] == 1) & (frame["share"] == 1)]
    for (m, form), rows in kit.runs_by(runs, "views", "form").items():
        got, mean = kit.read(rows, "beta"), form == "mean"
        figures.band(ax, got.levels[0], got.test, f"{m:g} views{', mean form' * mean}", VIEWS.index(m) + 3 * mean)
    ticks = sorted(trained(runs)["beta"].unique())
    kit.log_axis(ax, ticks, [f"{b:g}".lstrip("0") for b in ticks], fontsize=7)
    ax.set_xlim(None, ax.get_xlim()[1] * 2.2)
    ax.set(xlabel="β", ylabel="test accuracy (%)")


def draw_fractions(frame: pd.DataFrame) -> Drawing:
    rows = _differences(scores(frame))

    def differences(ax: Axes) -> None:
        figures.intervals(ax, rows)
        ax.axvspan(-1.5, ax.get_xlim()[1], color=figures.muted(), alpha=0.12, linewidth=0)
        ax.tick_params(axis="y", labelsize=7.5)
        ax.set_xlabel("points; shaded: as good")

    said = "; ".join(f"{label.replace(chr(10), ' ')} {gain.mean:+.1f}" for label, gain in rows.items())
    return _page(
        frame, [partial(_draw_shares, frame=frame), differences], height=3.9, width_ratios=(1.15, 1),
        titles=("test accuracy by share of the images", "differences, 95 % intervals"),
        alt="a: test accuracy of 2, 4 and 8 views on all, half and a quarter of the images at equal epochs; hollow, 2 views "
        "on half and a quarter for as many epochs as make the compute equal; and the scarce regime, with more epochs. b: "
        f"paired differences in points: {said}.",
    )  # fmt: skip


def _draw_shares(ax: Axes, frame: pd.DataFrame) -> None:
    """Test accuracy in groups: of each share of the images, of equal compute, and of the fewest images."""
    found, x, ticks, controls = scores(frame), 0.0, {}, EQUAL_COMPUTE[::-1]
    for group in (*([Cell(m, f) for m in VIEWS] for f in reversed(FRACTIONS)), controls, _scarce(found)):
        shares = ", ".join(f"{100 * share:g}" for share in sorted({c.fraction for c in group}))
        same = (
            "2 views,\nsame\ncompute" if group is controls else f"{shares} %\n{_epochs(frame, group[0].times)}\nepochs"
        )
        ticks[x + 0.4 * (len(group) - 1)] = same
        for cell in group:
            _dot(ax, x, found[cell], cell.views, hollow=group is controls)
            x += 0.8
        x += 0.9
    ax.set_xticks(list(ticks), list(ticks.values()), fontsize=7.5)
    _legend(ax)
    ax.axhline(np.nanmean(found[Cell(2)]), color=figures.PALETTE[0], linewidth=0.8, linestyle=":")
    figures.floors(ax, kit.floor_levels(frame), inside=True)
    ax.set_ylabel(f"{kit.tasks(frame)[0]} accuracy, test (%)")


def _differences(found: dict[Cell, np.ndarray]) -> dict[str, stats.Interval]:
    """C6's paired differences."""
    few, many, *more = _scarce(found)
    pairs = [
        (Cell(4, 0.5), Cell(2)),
        (Cell(8, 0.25), Cell(2)),
        (Cell(4, 0.5), Cell(2, 0.5)),
        (Cell(4, 0.5), Cell(2, 0.5, 2)),
        (Cell(8, 0.25), Cell(2, 0.25, 4)),
        (many, few),
        *((many, c) for c in more),
    ]

    def name(a: Cell, b: Cell) -> str:
        note = ",\nlong runs" if b in more else ",\nsame compute" if b.times > 1 and b != few else ""
        return f"{a.views}@{100 * a.fraction:g} % − {b.views}@{100 * b.fraction:g} %{note}"

    return {name(a, b): stats.paired(found[a], found[b]) for a, b in pairs}  # fmt: skip


def draw_time(frame: pd.DataFrame) -> Drawing:
    found = curves(frame)
    judged = {target: speedup(found, target) for target in judged_targets(found).values()}
    said = "; ".join(f"{target:.1f} %: {r.mean:.2f} times" for target, r in judged.items() if r.n)
    return _page(
        frame,
        [partial(draw_ends, frame=frame, found=found), partial(_draw_ratios, table=speedups(found), judged=judged)],
        titles=("ends at equal epochs", "time to a target"), height=3.7,
        alt="a: test error against training seconds at the end of runs of equal epochs, a line a number of views, from a "
        "quarter of the images to all: the paper's own picture. b: time to a "
        f"target error, the fastest of two views over the fastest of more; diamonds are judged: {said or 'not reached'}. "
        "Time is of training with making views, without probing.",
    )  # fmt: skip


def draw_ends(ax: Axes, frame: pd.DataFrame, found: dict[Cell, Curve]) -> None:
    """Test error against time at the end of runs of equal epochs, a line a number of views."""
    for m in VIEWS:
        ends = [Cell(m, f) for f in FRACTIONS]
        error = 100 - np.stack([scores(frame)[c] for c in ends], 1)
        figures.band(ax, [np.nanmean(found[c].seconds[:, -1]) for c in ends], error, f"{m}", VIEWS.index(m))
    kit.log_axis(ax)
    ax.set(xlabel="training seconds", ylabel=f"test error (%), {_epochs(frame)} epochs")


def _draw_ratios(ax: Axes, table: dict[float, stats.Interval], judged: dict[float, stats.Interval]) -> None:
    """How many times faster more views reach each target, beside what is asked and what the paper has."""
    if table:
        low, mean, high = ([getattr(r, end) for r in table.values()] for end in ("low", "mean", "high"))
        ax.fill_between(list(table), low, high, color=figures.PALETTE[2], alpha=0.16, linewidth=0)
        ax.plot(list(table), mean, color=figures.PALETTE[2], marker="o", markersize=4)
    for target, r in judged.items():
        ax.plot([target, target], [r.low, r.high], color=figures.ink(), linewidth=1.2)
        ax.plot(target, r.mean, color=figures.ink(), marker="D", markersize=5)
    ax.invert_xaxis()
    figures.floors(ax, {"equal": 1.0, f"asked {SPEEDUP:g}": SPEEDUP, "paper": registry.numbers("C7")["speedup"]})
    kit.log_axis(ax, [0.5, 1, 1.2, 2, 3], along="y")
    ax.set(xlabel="target error (%)", ylabel="time, 2 views over more")


ERRORS = ("identity_error", "vicreg_error", "identity_error_single")


def draw_loss(frame: pd.DataFrame) -> Drawing:
    views = sorted(int(v) for v in frame["views"].unique())

    def cost(ax: Axes, unit: str, label: str) -> None:
        """Time or memory of each loss both ways."""
        for i, form in enumerate(FORMS):
            for way, dash in (("mean", "-"), ("pairs", "--")):
                values, name = _by_views(frame, f"{form}_{way}_{unit}"), f"{form}, {way}" if unit == "ms" else ""
                figures.band(ax, views, values.to_numpy(float), name, i, linestyle=dash)
        kit.log_axis(ax, views)
        ax.set(yscale="log", xlabel="views", ylabel=label, xlim=(None, views[-1] * (6 if unit == "ms" else 1.2)))

    grown = {form: [_growth(frame, f"{form}_{way}_mb") for way in ("mean", "pairs")] for form in FORMS}
    said = "; ".join(f"{form} {mean:.1f} and {pairs:.1f}" for form, (mean, pairs) in grown.items())
    costs = [partial(cost, unit="ms", label="forward and backward (ms)"),
             partial(cost, unit="mb", label="kept for backward (MB)")]  # fmt: skip
    return page(
        frame, ("views", "images", "dim"), costs, titles=("time", "memory"), height=3.3,
        columns=[*ERRORS, *(f"{f}_{w}_{u}" for f in FORMS for w in ("mean", "pairs") for u in ("mb", "ms"))],
        alt="Cost of three losses against the number of views, worked out against the mean of the views (solid) and over all "
        f"pairs (dashed). a: time. b: memory kept for the backward pass; from {views[0]} to {views[-1]} views it grows by "
        f"these factors, mean and pairs: {said}. In float64 both ways of invariance differ by at most "
        f"{frame['identity_error'].max():.0e}.",
    )  # fmt: skip


def _by_views(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """A column by seed (rows) and number of views (columns)."""
    return frame.pivot_table(index="seed", columns="views", values=name)


CLAIMS = (
    Claim("C5", plan_views, each_set(judge_views), first_set(draw_views)),
    Claim("C6", plan_fractions, each_set(judge_fractions), first_set(draw_fractions)),
    Claim("C7", plan_time, each_set(judge_time), first_set(draw_time)),
    Claim("C8", plan_loss, judge_loss, draw_loss),
)
