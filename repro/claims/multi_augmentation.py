"""Many views of an image: claims C5, C6, C7 and C8 of the small projectors paper.

C5 to C7 share their runs: the authors' Barlow Twins (`small_projectors.authors_run`) at d 256 and the betas the authors
chose for 2, 4 and 8 views. The rate is constant, so a checkpoint is a shorter run; curves are of the validation split,
and the test split is read once, at the last epoch. Time is of training, making views included and probing left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from repro import figures, stats
from repro.bench.loss import FORMS, LossSpec
from repro.claims import Claim, Drawing, Verdict, kit, registry
from repro.claims.kit import Plan, column, drawing, eq, sup, trained, verdict
from repro.claims.small_projectors import authors_run, plain_log, staged
from repro.core.profiles import Profile
from repro.core.spec import RunSpec
from repro.errors import ReproError


class Cell(NamedTuple):
    """Runs that differ in their seed alone. fraction: of the images; times: the epochs over those of a standard run."""

    views: int
    fraction: float = 1.0
    times: int = 1


EPOCHS = {"smoke": 1, "quick": 10, "gpu": 3, "paper": 100}  # of a standard run
SCARCE = {"smoke": 0.2, "quick": 0.05, "gpu": 0.05, "paper": 0.05}
VIEWS, FRACTIONS = (2, 4, 8), (0.25, 0.5, 1.0)
LONG = 10  # times: how much longer the scarce runs go through their few images
EQUAL_EPOCHS = [Cell(v, f) for v in VIEWS for f in FRACTIONS]
EQUAL_VIEWS = [Cell(v, 1.0, max(VIEWS) // v) for v in VIEWS[:-1]]  # as many views as eight an epoch take in all
EQUAL_COMPUTE = [Cell(2, f, round(1 / f)) for f in FRACTIONS if f < 1]  # the compute of two views on all of the data
CHECKPOINTS = 5
SPEEDUP = 1.2

# --- plan -------------------------------------------------------------------------------------------------------------


def chosen_beta(views: int) -> float:
    """The authors' beta for so many views, at the registry's dimension."""
    known = registry.numbers("C5")
    return dict(zip(known["views"], known["beta"]))[views]


def _run(profile: Profile, cell: Cell, factor: float = 1.0) -> RunSpec:
    """factor: of the authors' beta. Checkpoints are kept at that beta alone and not in the scarce runs; the mean over many
    test views is probed on all of the data."""
    epochs, known = EPOCHS[profile.name] * cell.times, registry.numbers("C5")
    curves = CHECKPOINTS * (2 if cell.times > 1 and cell.fraction == 1 else 1)
    return authors_run(
        profile, known["dim"], chosen_beta(cell.views) * factor, cell.views, epochs, cell.fraction,
        every=max(1, epochs // curves) if factor == 1 and cell.times < LONG else 0,
        averaged=known["test_views"] if factor == 1 and cell.fraction == 1 else 0,
    )  # fmt: skip


def _plan(profile: Profile, cells: Sequence[Cell], factors: Sequence[float] = ()) -> Plan:
    """The runs of cells, and of 2 and 4 views at other factors of the authors' beta; labels: views, times and factor."""
    profile = staged(profile)
    plan = Plan(profile)
    runs = [(c, 1.0) for c in cells] + [(Cell(v), factor) for v in VIEWS[:-1] for factor in factors]
    for cell, factor in runs:
        plan.add(_run(profile, cell, factor), views=cell.views, times=cell.times, factor=factor)
    return plan.floors(labels=plan[0].probes.labels, averaged=registry.numbers("C5")["test_views"])


def plan_views(profile: Profile) -> Plan:
    """C5: all the data; 2, 4 and 8 views at equal epochs and at equal numbers of views; and other betas for 2 and 4."""
    return _plan(profile, [Cell(v) for v in VIEWS] + EQUAL_VIEWS, factors=(0.25, 4.0))


def plan_fractions(profile: Profile) -> Plan:
    """C6: views x fraction, the controls of equal compute, and the scarce regime."""
    scarce = [Cell(v, SCARCE[profile.name], LONG) for v in (min(VIEWS), max(VIEWS))]
    return _plan(profile, EQUAL_EPOCHS + EQUAL_COMPUTE + scarce)


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
    parts = kit.runs_by(frame[frame["factor"].eq(1)], "views", "fraction", "times")
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


def judge_views(frame: pd.DataFrame) -> Verdict:
    """C5: 4 over 2 views SUP(1) at equal epochs; what equal views and equal time say is told beside it."""
    found, averaged, curve = scores(frame), scores(frame, "averaged"), curves(frame)
    two, four, eight = (found[Cell(v)] for v in VIEWS)
    gain, eight_gain = stats.paired(four, two), stats.paired(eight, four)
    two_long, four_long = (Cell(v, 1.0, max(VIEWS) // v) for v in VIEWS[:-1])
    by_views = stats.paired(found[four_long], found[two_long])
    eight_by_views = stats.paired(eight, found[two_long])
    by_time = _at_equal_time(curve[four_long], curve[two_long])
    by_average = stats.paired(averaged[Cell(4)], averaged[Cell(2)])
    return verdict(
        frame, [sup(gain, 1.0)], gain, "points",
        f"At equal epochs 4 views gain {gain.text()} points over 2 (asked: 1), and 8 another {eight_gain.text()}. At "
        f"equal numbers of views 4 over 2 is {by_views.text()} ({sup(by_views, 1.0).word}) and 8 over 2 "
        f"{eight_by_views.text()}; at equal training time, on validation, 4 over 2 is {by_time.text()} "
        f"({sup(by_time, 1.0).word}). With features averaged over {registry.numbers('C5')['test_views']} views, as the "
        f"authors do, 4 over 2 at equal epochs is {by_average.text()}. {_converged(frame)}",
    )  # fmt: skip


def _at_equal_time(a: Curve, b: Curve) -> stats.Interval:
    """Validation accuracy of a less b, seed by seed, when the sooner of the two ends."""
    values = []
    for i in range(len(a.seconds)):
        when = min(c.seconds[i][-1] for c in (a, b))
        at = [np.interp(when, c.seconds[i], c.accuracy[i]) for c in (a, b)]
        values.append(at[0] - at[1])
    return stats.paired(np.array(values))


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
    """C6: 4 views on half against 2 on all EQ(1.5); 4 on half over 2 on half SUP(1)."""
    found = scores(frame)
    whole, four = found[Cell(2)], found[Cell(4, 0.5)]
    equal, same = eq(four, whole, 1.5)
    quarter, same_quarter = eq(found[Cell(8, 0.25)], whole, 1.5)
    gain, same_compute = (stats.paired(four, found[Cell(2, 0.5, times)]) for times in (1, 2))
    few, many = _scarce(found)
    return verdict(
        frame, [same, sup(gain, 1.0)], stats.paired(four, whole), "points",
        f"4 views on 50 % differ from 2 on 100 % by {equal.text()} points, a 90 % interval (asked: within 1.5), and gain "
        f"{gain.text()} over 2 on 50 % at equal epochs (asked: 1); over 2 views on 50 % for twice the epochs, the same "
        f"compute, they gain {same_compute.text()}. 8 views on 25 % differ from 2 on 100 % by {quarter.text()} "
        f"({same_quarter.word} by the same test). On {100 * few.fraction:g} % of the data, {_epochs(frame, few.times)} "
        f"epochs, 8 views gain {stats.paired(found[many], found[few]).text()} over 2.",
    )  # fmt: skip


def _scarce(found: Iterable[Cell]) -> list[Cell]:
    """The cells of 2 and of 8 views on the fewest images."""
    return [c for c in found if c.fraction < min(FRACTIONS)]


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


def targets(found: dict[Cell, Curve]) -> list[float]:
    """Multiples of 2.5 % error, below what two views on all the data have at their first checkpoint, which the fastest
    cells of both pools reach on every seed."""
    first, out = 100 - found[Cell(2)].accuracy[:, 1].mean(), []
    for target in np.arange(97.5, 0, -2.5):
        if target < first:
            times = time_to(found, target)
            if all((np.isfinite(t) & (t > 0)).all() for t in (fastest(times, pool) for pool in pools(found))):
                out.append(float(target))
    return out


def ratios(found: dict[Cell, Curve]) -> pd.DataFrame:
    """Time to each target: the fastest of two views over the fastest of more: target, mean, low, high, n, and standard,
    the same with two views on all the data instead."""
    rows, standard = [], [c for c in found if c.views == 2 and c.fraction == 1]
    for target in targets(found):
        times = time_to(found, target)
        two, more, plain = (fastest(times, pool) for pool in (*pools(found), standard))
        ratio = stats.ratio(two.to_numpy(), more.to_numpy())
        other = stats.ratio(plain.to_numpy(), more.to_numpy()).mean if np.isfinite(plain).all() else math.nan
        rows.append((target, ratio.mean, ratio.low, ratio.high, ratio.n, other))
    return pd.DataFrame(rows, columns=["target", "mean", "low", "high", "n", "standard"])


def hypervolume(found: dict[Cell, Curve], pool: Iterable[Cell]) -> np.ndarray:
    """The share of the plane of time and error that each seed's checkpoints of `pool` dominate, (seeds,), of the
    rectangle from nothing to the longest run's time and the random encoder's error."""
    pool, out = list(pool), []
    end = max(c.seconds[:, -1].max() for c in found.values())
    for i in range(len(found[pool[0]].seconds)):
        points = [
            (t, 100 - a) for c in pool for t, a in zip(found[c].seconds[i], found[c].accuracy[i]) if np.isfinite(a)
        ]
        out.append(_dominated(points, end, worst=max(e for t, e in points if t == 0)))
    return np.array(out)


def _front(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points (time, error) that no other dominates, by rising time."""
    out: list[tuple[float, float]] = []
    for t, e in sorted(points):
        if not out or e < out[-1][1]:
            out.append((t, e))
    return out


def _dominated(points: Iterable[tuple[float, float]], end: float, worst: float) -> float:
    """The share of [0, end] x [0, worst] that lies above and right of some point (time, error)."""
    front = _front(points)
    until = [*(t for t, _ in front[1:]), end]
    return sum((worst - e) * (then - t) for (t, e), then in zip(front, until)) / (end * worst)


def judge_time(frame: pd.DataFrame) -> Verdict:
    """C7: time ratio above 1.2, the interval too, at two or more targets; a mean above 1 at any target -> partly."""
    found = curves(frame)
    table = ratios(found)
    if table.empty:
        none = "No target error is reached by two views and by more."
        return verdict(frame, [], stats.paired(np.full(1, math.nan)), "ratio", none)
    held = table[table["low"] > SPEEDUP]
    part = kit.holds(len(held) >= 2, int(table["n"].min()), partly=bool((table["mean"] > 1).any()))
    best = table.loc[(held if len(held) else table)["mean"].idxmax()]
    effect = stats.Interval(best["mean"], best["low"], best["high"], int(best["n"]), 0.95)
    twice = "reaches" if best["mean"] >= registry.numbers("C7")["speedup"] else "does not reach"
    listed = "; ".join(
        f"{r.target:g} %: {r.mean:.2f} [{r.low:.2f}, {r.high:.2f}]" for r in table.itertuples() if np.isfinite(r.mean)
    )
    return verdict(
        frame, [part], effect, "ratio",
        f"Training time to a validation error, the fastest of two views over the fastest of more: {listed}; above "
        f"{SPEEDUP:g} with its interval at {len(held)} of {len(table)} targets (asked: two), and it {twice} twice as fast. "
        f"Against two views on all the data alone it is {table['standard'].max():.2f} at most. More views add "
        f"{_volume_added(found).text()} points to the share of the plane of time and error that is dominated. Time is of "
        "training with making views, without probing.",
    )  # fmt: skip


def _volume_added(found: dict[Cell, Curve]) -> stats.Interval:
    """What more than two views add to the dominated share of the plane of time and error, in points."""
    two, _ = pools(found)
    return stats.paired(100 * hypervolume(found, found), 100 * hypervolume(found, two))


# --- judge: C8, the loss ----------------------------------------------------------------------------------------------


def judge_loss(frame: pd.DataFrame) -> Verdict:
    """C8: the identity to 1e-6, the worst run of each seed; what time and memory do is told beside it."""
    worst, largest = stats.paired(frame.groupby("seed")["identity_error"].max()), frame["identity_error"].max()
    few, most = (int(v) for v in (frame["views"].min(), frame["views"].max()))
    grown = {way: _growth(frame, f"invariance_{way}_mb") for way in ("mean", "pairs")}
    at_most = frame[frame["views"] == most].sort_values("seed")
    slower = ", ".join(f"{form} {stats.ratio(at_most[f'{form}_ratio']).mean:.1f}" for form in FORMS)
    return verdict(
        frame, [kit.holds(largest < 1e-6, worst.n)], worst, "relative error",
        f"The spread about the mean and the mean over pairs differ by {largest:.1e} at most in float64 (asked: 1e-6), "
        f"VICReg as a whole by {frame['vicreg_error'].max():.1e}. From {few} to {most} views the memory kept grows "
        f"{grown['mean']:.1f} times against the mean and {grown['pairs']:.1f} times over pairs; at {most} views all "
        f"pairs take longer by a factor of: {slower}. The identity is of the invariance: Barlow Twins against the mean, as "
        "coded, is another objective than over all pairs.",
        on="generated projections", backbone="no network",
    )  # fmt: skip


def _growth(frame: pd.DataFrame, name: str) -> float:
    """A column's mean at the most views over that at the fewest."""
    mean = frame.groupby("views")[name].mean()
    return mean.iloc[-1] / mean.iloc[0]


# --- draw -------------------------------------------------------------------------------------------------------------


def _drawing(fig: Any, frame: pd.DataFrame, alt: str) -> Drawing:
    """With a row a run, and what it cost."""
    timed = [isinstance(ends, list) for ends in frame["epoch_seconds"]]
    frame = frame.assign(seconds=[seconds(row)[-1] if t else math.nan for t, (_, row) in zip(timed, frame.iterrows())])
    columns = ["seconds", column(frame, "val"), column(frame), column(frame, probe="averaged")]
    return drawing(fig, frame, ("method", "backbone", "views", "fraction", "beta", "epochs"), alt, columns)


def _index(views: int) -> int:
    """Of the colour, marker and line of a number of views, the same in every figure."""
    return VIEWS.index(views)


def _look(views: int) -> dict[str, Any]:
    """Marks without a line."""
    return figures.style(_index(views)) | {"linestyle": ""}


def _mark(ax: Axes, x: float, values: np.ndarray, views: int, hollow: bool, size: float) -> None:
    """The mean over seeds with its interval."""
    look = _look(views)
    mean, low, high = figures.mean_interval(values[:, None])
    ax.plot([x, x], [low[0], high[0]], color=look["color"], linewidth=1.2)
    ax.plot([x], mean, markersize=size, markerfacecolor=figures.paper() if hollow else look["color"], **look)


def _test_axis(frame: pd.DataFrame) -> str:
    return f"{kit.tasks(frame)[0]} accuracy, test (%)"


def draw_views(frame: pd.DataFrame) -> Drawing:
    fig = figures.Figure(figsize=(figures.WIDTH, 6.2))
    grid = fig.add_gridspec(2, 6)
    top = [fig.add_subplot(grid[0, 2 * i : 2 * i + 2]) for i in range(3)]
    dots, betas = fig.add_subplot(grid[1, :4]), fig.add_subplot(grid[1, 4:])
    _draw_curves(top, frame)
    said = _draw_dots(dots, frame)
    _draw_betas(betas, frame)
    test_views = registry.numbers("C5")["test_views"]
    figures.panel_labels(
        [*top, dots, betas],
        ("by epoch", "by views seen", "by training time", f"test: clean view, and mean of {test_views}", "other betas"),
    )
    return _drawing(
        fig, frame,
        "Accuracy of 2, 4 and 8 views. a: against the epoch, where more views cost more; b: against the number of views "
        "seen; c: against the seconds of training without probing. d: test accuracy at equal epochs and at equal numbers "
        f"of views, probed on the clean view (filled) and on features averaged over {test_views} views (hollow): {said}. "
        f"e: at equal epochs, with a quarter of and four times the authors' beta. {_converged(frame)}",
    )  # fmt: skip


def _draw_curves(axes: Sequence[Axes], frame: pd.DataFrame) -> None:
    """Validation accuracy along the longest runs on all of the data, by epoch, by views seen and by time."""
    images, found = _images(frame), curves(frame)
    for m in VIEWS:
        curve = found[Cell(m, 1.0, max(VIEWS) // m)]
        for ax, x in zip(axes, (curve.epochs, curve.epochs * m * images / 1000, np.nanmean(curve.seconds, 0))):
            figures.band(ax, x, curve.accuracy, f"{m} views", _index(m))
    for ax, label in zip(axes, ("epoch", "views seen (thousands)", "training seconds")):
        ax.set_xlabel(label)
        ax.margins(x=0.02)
        ax.set_xlim(0, ax.get_xlim()[1] * 1.32)
        figures.floors(ax, kit.floor_levels(frame, column(frame, "val")), inside=True)
    axes[0].axvline(_epochs(frame), color=figures.muted(), linewidth=0.8, linestyle=":")
    axes[0].set_ylabel(f"{kit.tasks(frame)[0]} accuracy, validation (%)")
    for ax in axes[1:]:
        ax.tick_params(labelleft=False)
    lows, highs = zip(*(ax.get_ylim() for ax in axes))
    for ax in axes:
        ax.set_ylim(min(lows), max(highs))


def _images(frame: pd.DataFrame) -> int:
    """Images of an epoch: whole batches of two views on all the data, from the steps that were done."""
    rows = trained(frame)
    rows = rows[rows["fraction"] == 1]
    return int((rows["steps_done"] / rows["epochs"] * rows["batch_size"]).max())  # one that diverged did fewer


def _draw_dots(ax: Axes, frame: pd.DataFrame) -> str:
    """Test accuracy at equal epochs and at equal numbers of views, in words too."""
    clean, average = scores(frame), scores(frame, "averaged")
    groups = {
        "equal epochs": [Cell(m) for m in VIEWS],
        "equal views": [Cell(m, 1.0, max(VIEWS) // m) for m in VIEWS],
    }
    ticks, said = {}, []
    for g, (name, shown) in enumerate(groups.items()):
        for x, cell in enumerate(shown, 4 * g):
            ticks[x] = f"{cell.views} views\n{_epochs(frame, cell.times)} ep."
            _mark(ax, x - 0.12, clean[cell], cell.views, hollow=False, size=6)
            _mark(ax, x + 0.12, average[cell], cell.views, hollow=True, size=6)
            means = [stats.paired(values[cell]).mean for values in (clean, average)]
            said.append(f"{name}, {cell.views} views {means[0]:.1f} and {means[1]:.1f} %")
    ax.set_xticks(list(ticks), list(ticks.values()), fontsize=7.5)
    for g, name in enumerate(groups):
        ax.annotate(name, (4 * g + 1, 1), xycoords=("data", "axes fraction"), xytext=(0, -9), ha="center", fontsize=8,
                    textcoords="offset points", color=figures.muted())  # fmt: skip
    ax.margins(y=0.2)
    ax.set_ylabel(_test_axis(frame))
    return "; ".join(said)


def _draw_betas(ax: Axes, frame: pd.DataFrame) -> None:
    runs = frame[(frame["times"] == 1) & (frame["fraction"] == 1)]
    for m, rows in kit.runs_by(runs, "views").items():
        got = kit.read(rows, "beta")
        figures.band(ax, got.levels[0], got.test, f"{m:g} views", _index(m))
    ticks = sorted(trained(runs)["beta"].unique())
    kit.log_axis(ax, ticks, [f"{b:g}".lstrip("0") for b in ticks], fontsize=7)
    ax.set_xlim(None, ax.get_xlim()[1] * 2.2)
    ax.set(xlabel="β", ylabel="test accuracy (%)")


def draw_fractions(frame: pd.DataFrame) -> Drawing:
    fig, (left, right) = figures.figure(1, 2, height=3.9, width_ratios=(1.15, 1))
    _draw_shares(left, frame)
    rows = _differences(scores(frame))
    figures.intervals(right, rows)
    right.axvspan(-1.5, 1.5, color=figures.muted(), alpha=0.12, linewidth=0)
    right.tick_params(axis="y", labelsize=7.5)
    right.set_xlabel("points; shaded: equivalent")
    figures.panel_labels((left, right), ("test accuracy by share of the images", "differences, 95 % intervals"))
    said = "; ".join(f"{label.replace(chr(10), ' ')} {mean:+.1f}" for label, mean, _, _ in rows)
    return _drawing(
        fig, frame,
        "a: test accuracy of 2, 4 and 8 views on all, half and a quarter of the images at equal epochs; hollow, 2 views on "
        "half and a quarter for as many epochs as make the compute equal; and the scarce regime, with more epochs. b: "
        f"paired differences in points: {said}.",
    )  # fmt: skip


def _draw_shares(ax: Axes, frame: pd.DataFrame) -> None:
    """Test accuracy in groups: of each share of the images, of equal compute, and of the fewest images."""
    found, x, ticks = scores(frame), 0.0, []
    groups = [[Cell(m, f) for m in VIEWS] for f in reversed(FRACTIONS)]
    controls = EQUAL_COMPUTE[::-1]
    for group in (*groups, controls, _scarce(found)):
        for cell in group:
            _mark(ax, x, found[cell], cell.views, hollow=group is controls, size=5.5)
            x += 0.8
        name = f"{100 * group[0].fraction:g} %\n{_epochs(frame, group[0].times)}\nepochs"
        ticks.append((x - 0.8 * (len(group) + 1) / 2, "2 views,\nsame\ncompute" if group is controls else name))
        x += 0.9
    ax.set_xticks([at for at, _ in ticks], [name for _, name in ticks], fontsize=7.5)
    for m in VIEWS:
        ax.plot([], [], label=f"{m} views", **_look(m))
    ax.legend(fontsize=7, loc="best")
    ax.axhline(np.nanmean(found[Cell(2)]), color=figures.PALETTE[0], linewidth=0.8, linestyle=":")
    figures.floors(ax, kit.floor_levels(frame), inside=True)
    ax.set_ylabel(_test_axis(frame))


def _differences(found: dict[Cell, np.ndarray]) -> list[tuple[str, float, float, float]]:
    """C6's paired differences as `figures.intervals` takes them."""
    few, many = _scarce(found)
    pairs = {
        "4@50 % − 2@100 %": (Cell(4, 0.5), Cell(2)),
        "8@25 % − 2@100 %": (Cell(8, 0.25), Cell(2)),
        "4@50 % − 2@50 %": (Cell(4, 0.5), Cell(2, 0.5)),
        "4@50 % − 2@50 %,\nsame compute": (Cell(4, 0.5), Cell(2, 0.5, 2)),
        "8@25 % − 2@25 %,\nsame compute": (Cell(8, 0.25), Cell(2, 0.25, 4)),
        f"8@{100 * few.fraction:g} % − 2@{100 * few.fraction:g} %": (many, few),
    }
    gains = {label: stats.paired(found[a], found[b]) for label, (a, b) in pairs.items()}
    return [(label, gain.mean, gain.low, gain.high) for label, gain in gains.items()]


def draw_time(frame: pd.DataFrame) -> Drawing:
    found = curves(frame)
    table = ratios(found)
    fig, axes = figures.figure(1, 3, height=3.7, width_ratios=(1.25, 1, 1))
    _draw_checkpoints(axes[0], found)
    draw_ends(axes[1], frame, found)
    _draw_ratios(axes[2], table)
    figures.panel_labels(axes, ("every checkpoint", "ends at equal epochs", "time to a target"))
    told = "; ".join(f"{r.target:g} %: {r.mean:.2f} times" for r in table.itertuples())
    return _drawing(
        fig, frame,
        "a: validation error against training seconds at every checkpoint, the mean over seeds; hollow points are "
        "dominated; lines are the Pareto fronts of two views alone and of all. b: test error at the end of runs of equal "
        "epochs, a line a number of views, from a quarter of the images to all: the paper's own picture. c: time to a "
        f"target error, the fastest of two views over the fastest of more: {told}. More views add "
        f"{_volume_added(found).text()} points to the dominated share of panel a's plane. Time is of training with making "
        "views, without probing.",
    )  # fmt: skip


def draw_ends(ax: Axes, frame: pd.DataFrame, found: dict[Cell, Curve]) -> None:
    """Test error against time at the end of runs of equal epochs, a line a number of views."""
    for m in VIEWS:
        ends = [Cell(m, f) for f in FRACTIONS]
        error = 100 - np.stack([scores(frame)[c] for c in ends], 1)
        figures.band(ax, [np.nanmean(found[c].seconds[:, -1]) for c in ends], error, f"{m}", _index(m))
    plain_log(ax, "x")
    ax.set(xlabel="training seconds", ylabel=f"test error (%), {_epochs(frame)} epochs")


def _draw_checkpoints(ax: Axes, found: dict[Cell, Curve]) -> None:
    """Validation error against time, with the Pareto fronts of two views and of all."""
    mean = {c: (np.nanmean(v.seconds, 0)[1:], 100 - np.nanmean(v.accuracy, 0)[1:]) for c, v in found.items()}
    two, every = (_front(point for c in pool for point in zip(*mean[c])) for pool in (pools(found)[0], found))
    for cell, (t, e) in mean.items():
        look = _look(cell.views)
        inside = np.array([point in every for point in zip(t, e)])
        ax.plot(t[~inside], e[~inside], markersize=2.8, markerfacecolor=figures.paper(), markeredgewidth=0.6, alpha=0.6,
                **look)  # fmt: skip
        ax.plot(t[inside], e[inside], markersize=5, **look)
    lines = {
        "front, 2 views": {"color": figures.PALETTE[0], "linestyle": (0, (4, 2))},
        "front, all": {"color": figures.ink(), "linestyle": "-"},
    }
    for front, look in zip((two, every), lines.values()):
        ax.step(*np.array(front).T, where="post", linewidth=1.1, **look)
    for m in VIEWS:
        ax.plot([], [], label=f"{m} views", **_look(m))
    for label, look in lines.items():
        ax.plot([], [], label=label, **look)
    ax.legend(fontsize=6.5)
    plain_log(ax, "x")
    ax.set(xlabel="training seconds", ylabel="validation error (%)")


def _draw_ratios(ax: Axes, table: pd.DataFrame) -> None:
    """How many times faster more views reach each target, beside what is asked and what the paper has."""
    if len(table):
        ax.fill_between(table["target"], table["low"], table["high"], color=figures.PALETTE[2], alpha=0.16, linewidth=0)
        ax.plot(table["target"], table["mean"], color=figures.PALETTE[2], marker="o")
        ax.invert_xaxis()
    for level, label in ((1.0, "equal"), (SPEEDUP, f"asked {SPEEDUP:g}"), (registry.numbers("C7")["speedup"], "paper")):
        ax.axhline(level, color=figures.muted(), linewidth=0.9, linestyle=(0, (4, 2)), zorder=1)
        figures.end_label(ax, None, level, label, figures.muted(), fontsize=7)
    ax.set_yscale("log")
    ax.set_yticks([0.5, 1, 1.2, 2, 3], ["0.5", "1", "1.2", "2", "3"])
    ax.minorticks_off()
    ax.set(xlabel="target error (%)", ylabel="time, 2 views over more")


ERRORS = {"identity_error": "invariance", "vicreg_error": "VICReg", "identity_error_single": "invariance, float32"}


def draw_loss(frame: pd.DataFrame) -> Drawing:
    views = sorted(int(v) for v in frame["views"].unique())
    fig, axes = figures.figure(1, 3, height=3.3)
    for ax, unit, label in zip(axes, ("ms", "mb"), ("forward and backward (ms)", "kept for backward (MB)")):
        _draw_cost(ax, frame, unit)
        ax.set_ylabel(label)
    axes[0].set_xlim(None, views[-1] * 6)
    for i, (name, label) in enumerate(ERRORS.items()):
        worst = _by_views(frame, name).clip(lower=1e-18).max()
        axes[2].plot(views, worst, label=label, **figures.style(i))
    axes[2].axhline(1e-6, color=figures.ink(), linewidth=0.9, linestyle=(0, (4, 2)))
    axes[2].annotate("asked: 1e-6", (1, 1e-6), xycoords=axes[2].get_yaxis_transform(), ha="right", xytext=(0, 3),
                     textcoords="offset points", fontsize=7)  # fmt: skip
    axes[2].set_xscale("log", base=2)
    axes[2].set_yscale("log")
    axes[2].legend(fontsize=7)
    axes[2].set_ylabel("relative difference")
    for ax in axes:
        ax.set_xlabel("views")
        ax.set_xticks(views, [str(v) for v in views])
    figures.panel_labels(axes, ("time", "memory", "the same number"))
    grown = {form: [_growth(frame, f"{form}_{way}_mb") for way in ("mean", "pairs")] for form in FORMS}
    told = "; ".join(f"{form} {mean:.1f} and {pairs:.1f}" for form, (mean, pairs) in grown.items())
    costs = [f"{f}_{w}_{u}" for f in FORMS for w in ("mean", "pairs") for u in ("mb", "ms")]
    return drawing(
        fig, frame, ("views", "images", "dim"),
        "Cost of three losses against the number of views, worked out against the mean of the views (solid) and over all "
        f"pairs (dashed). a: time. b: memory kept for the backward pass; from {views[0]} to {views[-1]} views it grows by "
        f"these factors, mean and pairs: {told}. c: the relative difference of both ways, in float64 far below 1e-6.",
        [*ERRORS, *costs],
    )  # fmt: skip


def _by_views(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """A column by seed (rows) and number of views (columns)."""
    return frame.pivot_table(index="seed", columns="views", values=name)


def _draw_cost(ax: Axes, frame: pd.DataFrame, unit: str) -> None:
    """Time (ms) or memory (mb) of each loss both ways; the lines are named where there is room."""
    names = {"barlow": "Barlow", "vicreg": "VICReg", "invariance": "invariance"}
    for i, form in enumerate(FORMS):
        for way, dash in (("mean", "-"), ("pairs", (0, (4, 2)))):
            values = _by_views(frame, f"{form}_{way}_{unit}")
            label = f"{names[form]}, {way}" if unit == "ms" else ""
            figures.band(ax, values.columns, values.to_numpy(float), label, i, linestyle=dash)
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")


CLAIMS = (
    Claim("C5", plan_views, judge_views, draw_views),
    Claim("C6", plan_fractions, judge_fractions, draw_fractions),
    Claim("C7", plan_time, judge_time, draw_time),
    Claim("C8", plan_loss, judge_loss, draw_loss),
)
