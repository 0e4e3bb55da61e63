"""Many views of an image: claims C5, C6, C7 and C8 of the small projectors paper.

C5 to C7 share their runs: the authors' Barlow Twins (`small_projectors.authors_run`) at d 256 and the betas the authors
chose for 2, 4 and 8 views. The rate is constant, so a checkpoint is a shorter run; curves are of the validation split,
and the test split is read once, at the last epoch. Time is of training, making views included and probing left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from repro import figures, stats
from repro.bench.loss import FORMS, LossSpec
from repro.claims import Claim, Drawing, Verdict, registry
from repro.claims.common import accuracy_column, floor_levels, floors, min_seeds, semantic, trained, verdict
from repro.claims.small_projectors import authors_run, plain_log, staged
from repro.core.profiles import Profile
from repro.core.spec import RunSpec
from repro.errors import ReproError

EPOCHS = {"smoke": 1, "quick": 10, "gpu": 3, "paper": 100}  # of a standard run; others are four and ten times as long
FRACTIONS = (0.25, 0.5, 1.0)
SCARCE = {"smoke": 0.2, "quick": 0.05, "gpu": 0.05, "paper": 0.05}
LONG = 10
"""The scarce runs go through their few images so many times as often."""
CHECKPOINTS = 5
SPEEDUP = 1.2


def chosen_beta(views: int) -> float:
    """The authors' beta for so many views, at the registry's dimension."""
    said = registry.numbers("C5")
    return dict(zip(said["views"], said["beta"]))[views]


def _views() -> tuple[int, ...]:
    return tuple(registry.numbers("C5")["views"])


def _run(
    profile: Profile, views: int, fraction: float = 1.0, times: int = 1, factor: float = 1.0, averaged: bool = False
) -> RunSpec:
    """`times` the profile's epochs; `factor` times the authors' beta."""
    epochs = EPOCHS[profile.name] * times
    said = registry.numbers("C5")
    curves = 0 if times == LONG or factor != 1 else CHECKPOINTS * (2 if times > 1 and fraction == 1 else 1)
    every = max(1, epochs // curves) if curves else 0
    many = said["test_views"] if averaged else 0
    beta = chosen_beta(views) * factor
    return authors_run(profile, said["dim"], beta, views, epochs, fraction, every=every, averaged=many)


def grid_runs(profile: Profile) -> list[RunSpec]:
    """views x fraction at equal epochs; on all of the data also 2 and 4 views for as long as 8 views take."""
    cells = [_run(profile, v, f, averaged=f == 1) for v in _views() for f in FRACTIONS]
    most = max(_views())
    return cells + [_run(profile, v, times=most // v, averaged=True) for v in _views() if v < most]


def control_runs(profile: Profile) -> list[RunSpec]:
    """Two views on a part of the data, for as many epochs as make up for it: the compute of two views on all of it."""
    return [_run(profile, min(_views()), f, times=round(1 / f)) for f in FRACTIONS if f < 1]


def _seeded(specs: list[RunSpec], profile: Profile) -> list[RunSpec]:
    labels = specs[0].probes.labels
    said = {"labels": labels, "averaged": registry.numbers("C5")["test_views"]}
    return [replace(s, seed=seed) for s in specs for seed in range(profile.seeds)] + floors(profile, **said)


def plan_views(profile: Profile) -> list[RunSpec]:
    """C5: all the data; 2, 4 and 8 views at equal epochs and at equal numbers of views; and other betas for 2 and 4."""
    profile = staged(profile)
    cells = [s for s in grid_runs(profile) if s.data.fraction == 1]
    cells += [_run(profile, v, factor=x) for v in _views()[:2] for x in (0.25, 4.0)]
    return _seeded(cells, profile)


def plan_fractions(profile: Profile) -> list[RunSpec]:
    """C6: views x fraction, the controls of equal compute, and the scarce regime."""
    profile = staged(profile)
    few = SCARCE[profile.name]
    scarce = [_run(profile, v, few, times=LONG) for v in (min(_views()), max(_views()))]
    cells = [s for s in grid_runs(profile) if s.epochs == EPOCHS[profile.name]]
    return _seeded(cells + control_runs(profile) + scarce, profile)


def plan_time(profile: Profile) -> list[RunSpec]:
    """C7: everything of C5 and C6 at the authors' betas, but for the scarce runs."""
    profile = staged(profile)
    return _seeded(grid_runs(profile) + control_runs(profile), profile)


def plan_loss(profile: Profile) -> list[LossSpec]:
    """C8: the loss alone, on made-up projections."""
    size = {"smoke": 32, "quick": 128}.get(profile.name, 512)
    views = (2, 4) if profile.name == "smoke" else (2, 4, 8, 16)
    repeats = 1 if profile.name == "smoke" else 5
    return [LossSpec(m, size, size, repeats, seed) for m in views for seed in range(profile.seeds)]


# ------------------------------------------------------------------------------------------------- reading the frame


@dataclass(frozen=True)
class Cell:
    """Runs that differ in their seed alone."""

    views: int
    fraction: float
    epochs: int

    def text(self) -> str:
        return f"{self.views}@{100 * self.fraction:g} %"


def _own(frame: pd.DataFrame) -> pd.DataFrame:
    """The trained runs at the authors' betas, with their number of views in the column `m`."""
    runs = trained(frame)
    runs = runs.assign(m=runs["recipe"].str.extract(r" x(\d+)$")[0].astype(int))
    return runs[np.isclose(runs["beta"], runs["m"].map(chosen_beta))]


def cells(frame: pd.DataFrame) -> dict[Cell, pd.DataFrame]:
    """The runs of each cell, sorted by seed."""
    runs = _own(frame)
    keys = ["m", "fraction", "epochs"]
    return {Cell(int(m), float(f), int(e)): rows.sort_values("seed") for (m, f, e), rows in runs.groupby(keys)}


def _base(frame: pd.DataFrame) -> int:
    """The epochs of a standard run: the least of all runs."""
    return int(_own(frame)["epochs"].min())


def scores(frame: pd.DataFrame, column: str = "") -> dict[Cell, np.ndarray]:
    """Test accuracy of each cell, (seeds,), NaN where a run is not there or diverged."""
    seeds = sorted(_own(frame)["seed"].unique())
    column = column or accuracy_column(frame)
    return {c: rows.set_index("seed")[column].reindex(seeds).to_numpy(float) for c, rows in cells(frame).items()}


def seconds(row: pd.Series) -> np.ndarray:
    """Training seconds at the end of each epoch (epochs,): the run's median epoch, as often as there are epochs, since
    all epochs do the same work and a hiccup of the machine is no part of it. On a CPU the process's own clock counts."""
    clock = "epoch_cpu_seconds" if str(row.get("device", "cpu")).startswith("cpu") else "epoch_seconds"
    ends = np.asarray(row[clock], float)
    return np.median(np.diff(ends, prepend=0.0)) * np.arange(1, len(ends) + 1)


Curve = tuple[np.ndarray, np.ndarray, np.ndarray]


def curves(frame: pd.DataFrame) -> dict[Cell, Curve]:
    """`curve` of every cell that kept checkpoints."""
    kept = {c: rows for c, rows in cells(frame).items() if rows["every"].iloc[0]}
    return {c: _curve(frame, rows) for c, rows in kept.items()}


def curve(frame: pd.DataFrame, cell: Cell) -> Curve:
    """A cell's checkpoints: epochs (n + 1,), seconds (seeds, n + 1) and validation accuracy (seeds, n + 1); the first is
    the random encoder, before any training."""
    return _curve(frame, cells(frame)[cell])


def _curve(frame: pd.DataFrame, rows: pd.DataFrame) -> Curve:
    name = accuracy_column(frame, "val")
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
    fill = [[*t, *[math.nan] * (width - len(t))] for t in (*times, *accuracy)]
    return epochs, np.array(fill[: len(times)], float), np.array(fill[len(times) :], float)


# ----------------------------------------------------------------------------------------------------------- judging


def judge_views(frame: pd.DataFrame) -> Verdict:
    """C5: 4 over 2 views SUP(1) at equal epochs; what equal views and equal time say is told beside it."""
    need, base_, found = min_seeds(frame), _base(frame), scores(frame)
    two, four, eight = (found[Cell(m, 1.0, base_)] for m in _views())
    gain = stats.paired(four, two)
    eight_gain = stats.paired(eight, four)
    longest = found[Cell(2, 1.0, 4 * base_)]
    four_long = found[Cell(4, 1.0, 2 * base_)]
    by_views = stats.paired(four_long, longest)
    eight_by_views = stats.paired(eight, longest)
    by_time = _at_equal_time(frame, Cell(4, 1.0, 2 * base_), Cell(2, 1.0, 4 * base_))
    words = {k: stats.sup(v, 1.0, need) for k, v in (("views", by_views), ("time", by_time))}
    average = scores(frame, accuracy_column(frame, probe="averaged"))
    by_average = stats.paired(average[Cell(4, 1.0, base_)], average[Cell(2, 1.0, base_)])
    return verdict(
        frame, stats.sup(gain, 1.0, need), gain, "points",
        f"At equal epochs 4 views gain {gain.text()} points over 2 (asked: 1), and 8 another {eight_gain.text()}. At "
        f"equal numbers of views 4 over 2 is {by_views.text()} ({words['views']}) and 8 over 2 {eight_by_views.text()}; "
        f"at equal training time, on validation, 4 over 2 is {by_time.text()} ({words['time']}). With features averaged "
        f"over {registry.numbers('C5')['test_views']} views, as the authors do, 4 over 2 at equal epochs is "
        f"{by_average.text()}. {_converged(frame)}",
        accuracy_column(frame),
    )  # fmt: skip


def _at_equal_time(frame: pd.DataFrame, a: Cell, b: Cell) -> stats.Interval:
    """Validation accuracy of a less b, seed by seed, when the sooner of the two ends."""
    ends = [curve(frame, c) for c in (a, b)]
    values = []
    for i in range(len(ends[0][1])):
        when = min(times[i][-1] for _, times, _ in ends)
        at = [np.interp(when, times[i], accuracy[i]) for _, times, accuracy in ends]
        values.append(at[0] - at[1])
    return stats.paired(np.array(values))


def last_fifth(frame: pd.DataFrame, cell: Cell) -> stats.Interval:
    """What the last fifth of a run still gained, in points of validation accuracy."""
    epochs, _, accuracy = curve(frame, cell)
    before = int(np.searchsorted(epochs, 0.8 * epochs[-1]))
    return stats.paired(accuracy[:, -1], accuracy[:, min(before, len(epochs) - 2)])


def _converged(frame: pd.DataFrame) -> str:
    """One sentence on whether the curves have come to their end."""
    base_ = _base(frame)
    shown = [c for c in (Cell(2, 1.0, base_), Cell(2, 1.0, 4 * base_), Cell(8, 1.0, base_)) if c in cells(frame)]
    said = "; ".join(f"{c.views} views, {c.epochs} epochs: {last_fifth(frame, c).text()}" for c in shown)
    return f"The last fifth of a run still adds on validation: {said}."


def judge_fractions(frame: pd.DataFrame) -> Verdict:
    """C6: 4 views on half against 2 on all EQ(1.5); 4 on half over 2 on half SUP(1)."""
    need, base_, found = min_seeds(frame), _base(frame), scores(frame)
    whole, half = found[Cell(2, 1.0, base_)], found[Cell(2, 0.5, base_)]
    four, eight = found[Cell(4, 0.5, base_)], found[Cell(8, 0.25, base_)]
    equal, word = stats.eq(four, whole, 1.5, need)
    gain = stats.paired(four, half)
    same_compute = stats.paired(four, found[Cell(2, 0.5, 2 * base_)])
    quarter, quarter_word = stats.eq(eight, whole, 1.5, need)
    scarce = sorted((c for c in found if c.fraction < min(FRACTIONS)), key=lambda c: c.views)
    few = stats.paired(found[scarce[-1]], found[scarce[0]])
    return verdict(
        frame, stats.combine([word, stats.sup(gain, 1.0, need)]), stats.paired(four, whole), "points",
        f"4 views on 50 % differ from 2 on 100 % by {equal.text()} points, a 90 % interval (asked: within 1.5), and gain "
        f"{gain.text()} over 2 on 50 % at equal epochs (asked: 1); over 2 views on 50 % for twice the epochs, the same "
        f"compute, they gain {same_compute.text()}. 8 views on 25 % differ from 2 on 100 % by {quarter.text()} "
        f"({quarter_word} by the same test). On {100 * scarce[0].fraction:g} % of the data, {scarce[0].epochs} epochs, 8 "
        f"views gain {few.text()} over 2.",
        accuracy_column(frame),
    )  # fmt: skip


# --------------------------------------------------------------------------------------------------- C7: time to error


def time_to(found: dict[Cell, Curve], target: float) -> pd.DataFrame:
    """Training seconds until the validation error first falls to `target` percent: a row a seed, a column a cell;
    infinite where it never does. Between checkpoints the error is taken as straight."""
    return pd.DataFrame(
        {
            c: [_first_below(t, 100 - a, target) for t, a in zip(times, accuracy)]
            for c, (_, times, accuracy) in found.items()
        }
    )


def _first_below(t: np.ndarray, error: np.ndarray, target: float) -> float:
    below = np.flatnonzero(error <= target)
    if not len(below):
        return math.inf
    i = below[0]
    if i == 0:
        return float(t[0])
    return float(t[i - 1] + (error[i - 1] - target) / (error[i - 1] - error[i]) * (t[i] - t[i - 1]))


def fastest(times: pd.DataFrame, pool: list[Cell]) -> pd.Series:
    """Each seed's time in the cell of `pool` that is the fastest on the other seeds: chosen without looking at what it
    is then timed on. Infinite where that cell never got there."""
    log = np.log(times[pool].clip(lower=1e-9))  # at once, where the random encoder is there already
    picked = {}
    for seed in times.index:
        others = log.drop(seed) if len(log) > 1 else log
        mean = others.mean()
        picked[seed] = times.loc[seed, mean.idxmin()] if np.isfinite(mean).any() else math.inf
    return pd.Series(picked)


def targets(frame: pd.DataFrame, found: dict[Cell, Curve]) -> list[float]:
    """Multiples of 2.5 % error, below what two views on all the data have at their first checkpoint, which the fastest
    cells of both pools reach on every seed."""
    first = 100 - found[Cell(2, 1.0, _base(frame))][2][:, 1].mean()
    out = []
    for target in np.arange(97.5, 0, -2.5):
        if target < first:
            times = time_to(found, target)
            fast = [fastest(times, pool) for pool in pools(times)]
            if all((np.isfinite(t) & (t > 0)).all() for t in fast):
                out.append(float(target))
    return out


def pools(times: Iterable[Cell]) -> tuple[list[Cell], list[Cell]]:
    """The cells with two views, and those with more."""
    return [c for c in times if c.views == 2], [c for c in times if c.views > 2]


def ratios(frame: pd.DataFrame) -> pd.DataFrame:
    """Time to each target: the fastest of two views over the fastest of more: target, mean, low, high, n, and standard,
    the same with two views on all the data instead."""
    rows, all_curves = [], curves(frame)
    standard = [c for c in all_curves if c.views == 2 and c.fraction == 1]
    for target in targets(frame, all_curves):
        times = time_to(all_curves, target)
        two, more = (fastest(times, pool) for pool in pools(times))
        found = stats.ratio(two.to_numpy(), more.to_numpy())
        plain = fastest(times, standard)
        other = stats.ratio(plain.to_numpy(), more.to_numpy()).mean if np.isfinite(plain).all() else math.nan
        rows.append({"target": target, "mean": found.mean, "low": found.low, "high": found.high, "n": found.n,
                     "standard": other})  # fmt: skip
    return pd.DataFrame(rows, columns=["target", "mean", "low", "high", "n", "standard"])


def hypervolume(frame: pd.DataFrame, pool: list[Cell]) -> np.ndarray:
    """The share of the plane of time and error that each seed's checkpoints of `pool` dominate, (seeds,), of the
    rectangle from nothing to the longest run's time and the random encoder's error."""
    all_curves = curves(frame)
    end = max(times[:, -1].max() for _, times, _ in all_curves.values())
    seeds = len(next(iter(all_curves.values()))[1])
    out = []
    for i in range(seeds):
        points = [
            (t, 100 - a) for c in pool for t, a in zip(all_curves[c][1][i], all_curves[c][2][i]) if np.isfinite(a)
        ]
        worst = max(e for t, e in points if t == 0)
        out.append(_dominated(points, end, worst))
    return np.array(out)


def _dominated(points: list[tuple[float, float]], end: float, worst: float) -> float:
    """The share of [0, end] x [0, worst] that lies above and right of some point (time, error)."""
    area, best, since = 0.0, worst, 0.0
    for t, e in sorted(points):
        if e < best:
            area += (worst - best) * (t - since)
            best, since = e, t
    return (area + (worst - best) * (end - since)) / (end * worst)


def judge_time(frame: pd.DataFrame) -> Verdict:
    """C7: time ratio above 1.2, the interval too, at two or more targets; a mean above 1 at any target -> partly."""
    need, table = min_seeds(frame), ratios(frame)
    held = table[(table["low"] > SPEEDUP) & (table["n"] >= need)]
    seeds = int(table["n"].min()) if len(table) else 0
    word = stats.NOT_JUDGED
    if len(table) and seeds >= need:
        word = (
            stats.REPRODUCED if len(held) >= 2 else stats.PARTLY if (table["mean"] > 1).any() else stats.NOT_REPRODUCED
        )
    two, more = pools(cells(frame))
    volume = stats.paired(100 * hypervolume(frame, two + more), 100 * hypervolume(frame, two))
    if not len(table):
        none = stats.paired(np.full(1, math.nan))
        return verdict(
            frame, word, none, "ratio", "No target error is reached by two views and by more.", accuracy_column(frame)
        )
    best = table.loc[(held if len(held) else table)["mean"].idxmax()]
    effect = stats.Interval(best["mean"], best["low"], best["high"], int(best["n"]), 0.95)
    twice = "reaches" if best["mean"] >= registry.numbers("C7")["speedup"] else "does not reach"
    listed = "; ".join(
        f"{r.target:g} %: {r.mean:.2f} [{r.low:.2f}, {r.high:.2f}]" for r in table.itertuples() if np.isfinite(r.mean)
    )
    return verdict(
        frame, word, effect, "ratio",
        f"Training time to a validation error, the fastest of two views over the fastest of more: {listed}; above "
        f"{SPEEDUP:g} with its interval at {len(held)} of {len(table)} targets (asked: two), and it {twice} twice as fast. "
        f"Against two views on all the data alone it is {table['standard'].max():.2f} at most. More views add "
        f"{volume.text()} points to the share of the plane of time and error that is dominated. Time is of training with "
        "making views, without probing.",
        accuracy_column(frame),
    )  # fmt: skip


# -------------------------------------------------------------------------------------------------------- C8: the loss


def judge_loss(frame: pd.DataFrame) -> Verdict:
    """C8: the identity to 1e-6, the worst run of each seed; what time and memory do is told beside it."""
    worst = stats.paired(frame.groupby("seed")["identity_error"].max().to_numpy())
    largest = float(frame["identity_error"].max())
    word = stats.NOT_JUDGED
    if worst.n >= min_seeds(frame):
        word = stats.REPRODUCED if largest < 1e-6 else stats.NOT_REPRODUCED
    most, few = int(frame["views"].max()), int(frame["views"].min())
    grown = frame.groupby("views").mean(numeric_only=True)
    growth = {w: grown[f"invariance_{w}_mb"][most] / grown[f"invariance_{w}_mb"][few] for w in ("mean", "pairs")}
    faster = {f: stats.ratio(_at(frame, most, f"{f}_ratio")) for f in FORMS}
    told = ", ".join(f"{name} {v.mean:.1f}" for name, v in faster.items())
    numbers = [None if not math.isfinite(v) else float(v) for v in (worst.mean, worst.low, worst.high)]
    return Verdict(
        word, *numbers, "relative error", worst.n, "generated projections", "no network",
        f"The spread about the mean and the mean over pairs differ by {largest:.1e} at most in float64 (asked: 1e-6), "
        f"VICReg as a whole by {frame['vicreg_error'].max():.1e}. From {few} to {most} views the memory kept grows "
        f"{growth['mean']:.1f} times against the mean and {growth['pairs']:.1f} times over pairs; at {most} views all "
        f"pairs take longer by a factor of: {told}. The identity is of the invariance: Barlow Twins against the mean, as "
        "coded, is another objective than over all pairs.",
    )  # fmt: skip


def _at(frame: pd.DataFrame, views: int, column: str) -> np.ndarray:
    return frame[frame["views"] == views].sort_values("seed")[column].to_numpy(float)


# ----------------------------------------------------------------------------------------------------------- drawing


def _table(frame: pd.DataFrame) -> pd.DataFrame:
    """A row a run, with what it cost."""
    out = frame.copy()
    out["views"] = out["recipe"].str.extract(r" x(\d+)$")[0].astype(float).where(out["method"] != "Untrained")
    out["seconds"] = [
        seconds(r)[-1] if isinstance(r.get("epoch_seconds"), list) else math.nan for _, r in out.iterrows()
    ]
    columns = ["method", "backbone", "views", "fraction", "beta", "epochs", "seed", "seconds"]
    columns += [accuracy_column(frame, "val"), accuracy_column(frame), accuracy_column(frame, probe="averaged")]
    columns = [c for c in columns if c in out]
    return out[columns].sort_values(columns[:7]).reset_index(drop=True)


def _look(views: int) -> dict:
    """Colour, marker and line of a number of views, the same in every figure."""
    i = _views().index(views)
    return {"index": i, "color": figures.PALETTE[i]}


def draw_views(frame: pd.DataFrame) -> Drawing:
    base_, task, found = _base(frame), semantic(frame), scores(frame)
    fig = figures.Figure(figsize=(figures.WIDTH, 6.2))
    grid = fig.add_gridspec(2, 6)
    top = [fig.add_subplot(grid[0, 2 * i : 2 * i + 2]) for i in range(3)]
    dots, betas = fig.add_subplot(grid[1, :4]), fig.add_subplot(grid[1, 4:])
    images = _images(frame)
    for m in _views():
        longest = max(c.epochs for c in found if c.views == m and c.fraction == 1)
        cell = Cell(m, 1.0, longest)
        epochs, times, accuracy = curve(frame, cell)
        for ax, x in zip(top, (epochs, epochs * m * images / 1000, np.nanmean(times, 0))):
            figures.band(ax, x, accuracy, f"{m} views", **_look(m))
    for ax, label in zip(top, ("epoch", "views seen (thousands)", "training seconds")):
        ax.set_xlabel(label)
        ax.margins(x=0.02)
        ax.set_xlim(0, ax.get_xlim()[1] * 1.32)
        figures.floors(ax, floor_levels(frame, accuracy_column(frame, "val")), inside=True)
    top[0].axvline(base_, color=figures.muted(), linewidth=0.8, linestyle=":")
    top[0].set_ylabel(f"{task} accuracy, validation (%)")
    for ax in top[1:]:
        ax.tick_params(labelleft=False)
    low = min(ax.get_ylim()[0] for ax in top)
    high = max(ax.get_ylim()[1] for ax in top)
    for ax in top:
        ax.set_ylim(low, high)
    said = _draw_dots(dots, frame, base_)
    _draw_betas(betas, frame, base_)
    test_views = registry.numbers("C5")["test_views"]
    figures.panel_labels(
        [*top, dots, betas],
        ("by epoch", "by views seen", "by training time", f"test: clean view, and mean of {test_views}", "other betas"),
    )
    return Drawing(
        fig, _table(frame),
        "Accuracy of 2, 4 and 8 views. a: against the epoch, where more views cost more; b: against the number of views "
        "seen; c: against the seconds of training without probing. d: test accuracy at equal epochs and at equal numbers "
        f"of views, probed on the clean view (filled) and on features averaged over {test_views} views (hollow): {said}. "
        f"e: at equal epochs, with a quarter of and four times the authors' beta. {_converged(frame)}",
    )  # fmt: skip


def _images(frame: pd.DataFrame) -> int:
    """Images of an epoch: whole batches of two views on all the data, from the steps that were done."""
    rows = _own(frame)
    rows = rows[rows["fraction"] == 1]
    return int((rows["steps_done"] / rows["epochs"] * rows["batch_size"]).max())  # one that diverged did fewer


def _draw_dots(ax, frame: pd.DataFrame, base_: int) -> str:
    clean, average = scores(frame), scores(frame, accuracy_column(frame, probe="averaged"))
    groups = (
        ("equal epochs", [Cell(m, 1.0, base_) for m in _views()]),
        ("equal views", [Cell(m, 1.0, base_ * max(_views()) // m) for m in _views()]),
    )
    ticks, said = [], []
    for g, (name, shown) in enumerate(groups):
        for j, cell in enumerate(shown):
            x = 4 * g + j
            ticks.append((x, f"{cell.views} views\n{cell.epochs} ep."))
            look = figures.style(_look(cell.views)["index"]) | {"linestyle": ""}
            for values, face, dx in ((clean[cell], None, -0.12), (average[cell], figures.paper(), 0.12)):
                mean, low, high = figures.mean_interval(values[:, None])
                ax.plot([x + dx] * 2, [low[0], high[0]], color=look["color"], linewidth=1.2)
                ax.plot([x + dx], mean, markerfacecolor=face or look["color"], markersize=6, **look)
            said.append(
                f"{name}, {cell.views} views {stats.paired(clean[cell]).mean:.1f} and {stats.paired(average[cell]).mean:.1f} %"
            )
    ax.set_xticks([x for x, _ in ticks], [t for _, t in ticks], fontsize=7.5)
    for g, (name, _) in enumerate(groups):
        ax.annotate(name, (4 * g + 1, 1), xycoords=("data", "axes fraction"), xytext=(0, -9), ha="center", fontsize=8,
                    textcoords="offset points", color=figures.muted())  # fmt: skip
    ax.margins(y=0.2)
    ax.set_ylabel(f"{semantic(frame)} accuracy, test (%)")
    return "; ".join(said)


def _draw_betas(ax, frame: pd.DataFrame, base_: int) -> None:
    runs = trained(frame)
    runs = runs.assign(m=runs["recipe"].str.extract(r" x(\d+)$")[0].astype(int))
    runs = runs[(runs["epochs"] == base_) & (runs["fraction"] == 1)]
    for m in _views():
        mine = runs[runs["m"] == m].pivot_table(index="seed", columns="beta", values=accuracy_column(frame))
        figures.band(ax, mine.columns, mine.to_numpy(float), f"{m} views", **_look(m))
    ax.set_xscale("log")
    ticks = sorted(runs["beta"].unique())
    ax.set_xticks(ticks, [f"{b:g}".lstrip("0") for b in ticks], fontsize=7)
    ax.minorticks_off()
    ax.set_xlim(None, ax.get_xlim()[1] * 2.2)
    ax.set(xlabel="β", ylabel="test accuracy (%)")


def draw_fractions(frame: pd.DataFrame) -> Drawing:
    base_, found = _base(frame), scores(frame)
    scarce = sorted((c for c in found if c.fraction < min(FRACTIONS)), key=lambda c: c.views)
    shown = [Cell(m, f, base_) for f in reversed(FRACTIONS) for m in _views()]
    controls = [Cell(2, f, round(base_ / f)) for f in sorted(FRACTIONS, reverse=True) if f < 1]
    fig, axes = figures.figure(1, 2, height=3.9, width_ratios=(1.15, 1))
    ax, x, ticks = axes[0], 0.0, []
    for group in (shown[:3], shown[3:6], shown[6:9], controls, scarce):
        for cell in group:
            mean, low, high = figures.mean_interval(found[cell][:, None])
            look = figures.style(_look(cell.views)["index"]) | {"linestyle": ""}
            hollow = cell in controls
            ax.plot([x, x], [low[0], high[0]], color=look["color"], linewidth=1.2)
            ax.plot([x], mean, markersize=5.5, markerfacecolor=figures.paper() if hollow else look["color"], **look)
            x += 0.8
        first = group[0]
        name = "2 views,\nsame\ncompute" if group is controls else f"{100 * first.fraction:g} %\n{first.epochs}\nepochs"
        ticks.append((x - 0.8 * (len(group) + 1) / 2, name))
        x += 0.9
    ax.set_xticks([t for t, _ in ticks], [t for _, t in ticks], fontsize=7.5)
    for m in _views():
        ax.plot([], [], label=f"{m} views", **figures.style(_look(m)["index"]) | {"linestyle": ""})
    ax.legend(fontsize=7, loc="best")
    ax.axhline(np.nanmean(found[Cell(2, 1.0, base_)]), color=figures.PALETTE[0], linewidth=0.8, linestyle=":")
    figures.floors(ax, floor_levels(frame, accuracy_column(frame)), inside=True)
    ax.set_ylabel(f"{semantic(frame)} accuracy, test (%)")
    whole, half = Cell(2, 1.0, base_), Cell(2, 0.5, base_)
    pairs = [
        ("4@50 % − 2@100 %", Cell(4, 0.5, base_), whole),
        ("8@25 % − 2@100 %", Cell(8, 0.25, base_), whole),
        ("4@50 % − 2@50 %", Cell(4, 0.5, base_), half),
        ("4@50 % − 2@50 %,\nsame compute", Cell(4, 0.5, base_), Cell(2, 0.5, 2 * base_)),
        ("8@25 % − 2@25 %,\nsame compute", Cell(8, 0.25, base_), Cell(2, 0.25, 4 * base_)),
        (f"8@{100 * scarce[0].fraction:g} % − 2@{100 * scarce[0].fraction:g} %", scarce[-1], scarce[0]),
    ]
    rows = []
    for label, a, b in pairs:
        d = stats.paired(found[a], found[b])
        rows.append((label, d.mean, d.low, d.high))
    figures.intervals(axes[1], rows)
    axes[1].axvspan(-1.5, 1.5, color=figures.muted(), alpha=0.12, linewidth=0)
    axes[1].tick_params(axis="y", labelsize=7.5)
    axes[1].set_xlabel("points; shaded: equivalent")
    figures.panel_labels(axes, ("test accuracy by share of the images", "differences, 95 % intervals"))
    said = "; ".join(f"{label.replace(chr(10), ' ')} {mean:+.1f}" for label, mean, _, _ in rows)
    return Drawing(
        fig, _table(frame),
        "a: test accuracy of 2, 4 and 8 views on all, half and a quarter of the images at equal epochs; hollow, 2 views on "
        "half and a quarter for as many epochs as make the compute equal; and the scarce regime, with more epochs. b: "
        f"paired differences in points: {said}.",
    )  # fmt: skip


def draw_time(frame: pd.DataFrame) -> Drawing:
    base_, all_cells, table = _base(frame), cells(frame), ratios(frame)
    fig, axes = figures.figure(1, 3, height=3.7, width_ratios=(1.25, 1, 1))
    found = curves(frame)
    mean = {c: (np.nanmean(t, 0)[1:], 100 - np.nanmean(a, 0)[1:]) for c, (_, t, a) in found.items()}
    two = [c for c in all_cells if c.views == 2]
    fronts = {}
    for name, pool in (("2 views", two), ("all", list(all_cells))):
        fronts[name] = _front([(t, e) for c in pool for t, e in zip(*mean[c])])
    best = set(fronts["all"])
    for cell, (t, e) in mean.items():
        look = figures.style(_look(cell.views)["index"])
        inside = np.array([(x, y) in best for x, y in zip(t, e)])
        axes[0].plot(t[~inside], e[~inside], linestyle="", marker=look["marker"], markersize=2.8, color=look["color"],
                     markerfacecolor=figures.paper(), markeredgewidth=0.6, alpha=0.6)  # fmt: skip
        axes[0].plot(t[inside], e[inside], linestyle="", marker=look["marker"], markersize=5, color=look["color"])
    for (_, points), dash, colour in zip(fronts.items(), ((0, (4, 2)), "-"), (figures.PALETTE[0], figures.ink())):
        x, y = np.array(points).T
        axes[0].step(x, y, where="post", color=colour, linestyle=dash, linewidth=1.1)
    for m in _views():
        axes[0].plot([], [], label=f"{m} views", **figures.style(_look(m)["index"]) | {"linestyle": ""})
    axes[0].plot([], [], label="front, 2 views", color=figures.PALETTE[0], linestyle=(0, (4, 2)))
    axes[0].plot([], [], label="front, all", color=figures.ink())
    axes[0].legend(fontsize=6.5)
    plain_log(axes[0], "x")
    axes[0].set(xlabel="training seconds", ylabel="validation error (%)")
    for m in _views():
        ends = [Cell(m, f, base_) for f in FRACTIONS]
        t = np.array([np.nanmean(found[c][1][:, -1]) for c in ends])
        error = 100 - np.stack([scores(frame)[c] for c in ends], 1)
        figures.band(axes[1], t, error, f"{m}", **_look(m))
    plain_log(axes[1], "x")
    axes[1].set(xlabel="training seconds", ylabel=f"test error (%), {base_} epochs")
    if len(table):
        axes[2].fill_between(
            table["target"], table["low"], table["high"], color=figures.PALETTE[2], alpha=0.16, linewidth=0
        )
        axes[2].plot(table["target"], table["mean"], color=figures.PALETTE[2], marker="o")
        axes[2].invert_xaxis()
    for level, label in ((1.0, "equal"), (SPEEDUP, f"asked {SPEEDUP:g}"), (registry.numbers("C7")["speedup"], "paper")):
        axes[2].axhline(level, color=figures.muted(), linewidth=0.9, linestyle=(0, (4, 2)), zorder=1)
        figures.end_label(axes[2], None, level, label, figures.muted(), fontsize=7)
    axes[2].set_yscale("log")
    axes[2].set_yticks([0.5, 1, 1.2, 2, 3], ["0.5", "1", "1.2", "2", "3"])
    axes[2].minorticks_off()
    axes[2].set(xlabel="target error (%)", ylabel="time, 2 views over more")
    figures.panel_labels(axes, ("every checkpoint", "ends at equal epochs", "time to a target"))
    told = "; ".join(f"{r.target:g} %: {r.mean:.2f} times" for r in table.itertuples())
    volume = stats.paired(100 * hypervolume(frame, list(all_cells)), 100 * hypervolume(frame, two))
    return Drawing(
        fig, _table(frame),
        "a: validation error against training seconds at every checkpoint, the mean over seeds; hollow points are "
        "dominated; lines are the Pareto fronts of two views alone and of all. b: test error at the end of runs of equal "
        "epochs, a line a number of views, from a quarter of the images to all: the paper's own picture. c: time to a "
        f"target error, the fastest of two views over the fastest of more: {told}. More views add {volume.text()} points "
        "to the dominated share of panel a's plane. Time is of training with making views, without probing.",
    )  # fmt: skip


def _front(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that no other dominates, by rising time."""
    out: list[tuple[float, float]] = []
    for t, e in sorted(points):
        if not out or e < out[-1][1]:
            out.append((t, e))
    return out


def draw_loss(frame: pd.DataFrame) -> Drawing:
    views = sorted(int(v) for v in frame["views"].unique())
    fig, axes = figures.figure(1, 3, height=3.3)
    for i, form in enumerate(FORMS):
        for way, line in (("mean", "-"), ("pairs", (0, (4, 2)))):
            for ax, unit in ((axes[0], "ms"), (axes[1], "mb")):
                values = frame.pivot_table(index="seed", columns="views", values=f"{form}_{way}_{unit}")[views]
                label = {"barlow": "Barlow", "vicreg": "VICReg", "invariance": "invariance"}[form]
                figures.band(
                    ax, views, values.to_numpy(float), f"{label}, {way}" if unit == "ms" else "", i, linestyle=line
                )
    for ax, label in ((axes[0], "forward and backward (ms)"), (axes[1], "kept for backward (MB)")):
        ax.set_xscale("log", base=2)
        ax.set_yscale("log")
        ax.set(xlabel="views", ylabel=label)
    axes[0].set_xlim(None, views[-1] * 6)
    errors = ("identity_error", "vicreg_error", "identity_error_single")
    names = ("invariance", "VICReg", "invariance,\nfloat32")
    for i, name in enumerate(errors):
        worst = frame.pivot_table(index="seed", columns="views", values=name)[views].clip(lower=1e-18)
        axes[2].plot(views, worst.max(), label=names[i].replace("\n", " "), **figures.style(i))
    axes[2].axhline(1e-6, color=figures.ink(), linewidth=0.9, linestyle=(0, (4, 2)))
    axes[2].annotate("asked: 1e-6", (1, 1e-6), xycoords=axes[2].get_yaxis_transform(), ha="right", xytext=(0, 3),
                     textcoords="offset points", fontsize=7)  # fmt: skip
    axes[2].set_xscale("log", base=2)
    axes[2].set_yscale("log")
    axes[2].legend(fontsize=7)
    axes[2].set(xlabel="views", ylabel="relative difference")
    for ax in axes:
        ax.set_xticks(views, [str(v) for v in views])
    figures.panel_labels(axes, ("time", "memory", "the same number"))
    mean = frame.groupby("views").mean(numeric_only=True)
    told = "; ".join(
        f"{form} {mean[f'{form}_mean_mb'][views[-1]] / mean[f'{form}_mean_mb'][views[0]]:.1f} and "
        f"{mean[f'{form}_pairs_mb'][views[-1]] / mean[f'{form}_pairs_mb'][views[0]]:.1f}"
        for form in FORMS
    )
    columns = ["views", "images", "dim", "seed", *errors]
    columns += [f"{f}_{w}_{u}" for f in FORMS for w in ("mean", "pairs") for u in ("mb", "ms")]
    return Drawing(
        fig, frame[columns].sort_values(["views", "seed"]).reset_index(drop=True),
        "Cost of three losses against the number of views, worked out against the mean of the views (solid) and over all "
        f"pairs (dashed). a: time. b: memory kept for the backward pass; from {views[0]} to {views[-1]} views it grows by "
        f"these factors, mean and pairs: {told}. c: the relative difference of both ways, in float64 far below 1e-6.",
    )  # fmt: skip


CLAIMS = (
    Claim("C5", plan_views, judge_views, draw_views),
    Claim("C6", plan_fractions, judge_fractions, draw_fractions),
    Claim("C7", plan_time, judge_time, draw_time),
    Claim("C8", plan_loss, judge_loss, draw_loss),
)
