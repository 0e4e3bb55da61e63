"""The rules of evidence: from numbers measured on several seeds to an interval and to one word.

Everywhere, the first axis of an array is the seed, and arrays that are compared are aligned by seed. A value is NaN
where a run has none. Missing values are never filled in: a seed that lacks one is left out of that comparison, and the
count of seeds that remain decides whether there is a verdict at all. A diverged run that should count as a failure is
given its accuracy (chance) by the caller, before it comes here.

Effects are in the unit of their inputs; accuracies are in percent, so their differences are in points.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats as st

REPRODUCED = "reproduced"
PARTLY = "partly"
NOT_REPRODUCED = "not reproduced"
NOT_JUDGED = "not judged"
WORDS = (REPRODUCED, PARTLY, NOT_REPRODUCED, NOT_JUDGED)

CPU_SEEDS, GPU_SEEDS = 5, 3
"""The fewest seeds a verdict may rest on; with fewer the numbers are indicative."""

ALPHA = 0.05
RANDOM_ORDERS = 4999  # permutations, where there are too many to try all


@dataclass(frozen=True)
class Interval:
    """A mean with its confidence interval over ``n`` seeds; ``low`` and ``high`` are NaN when n < 2."""

    mean: float
    low: float
    high: float
    n: int
    level: float = 0.95

    def text(self, digits: int = 1) -> str:
        """Return ``"1.2 [0.8, 1.6]"``, ``"1.2 [no interval]"`` for a single seed, ``"not defined"`` for none."""
        if math.isnan(self.mean):
            return "not defined"
        if math.isnan(self.low):
            return f"{self.mean:.{digits}f} [no interval]"
        return f"{self.mean:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]"


@dataclass(frozen=True)
class Trend:
    """A monotone trend: ``rho``, the mean over seeds of Spearman's rho; ``p``, one-sided in the direction of rho."""

    rho: float
    p: float
    n: int


@dataclass(frozen=True)
class Optimum:
    """Where the best cells of a grid lie, one a seed.

    ``inside`` is the share of seeds whose best cell lies strictly inside the grid. ``edges`` names the sides where some
    seed's best lies, as (axis, -1 or +1), the commonest first: there the grid wants one step more.
    """

    inside: float
    edges: tuple[tuple[int, int], ...]
    n: int

    @property
    def bracketed(self) -> bool:
        """Whether the optimum is strictly inside the grid for more than half of the seeds."""
        return self.inside > 0.5


def p_text(p: float) -> str:
    """Return ``"p = 0.012"``, or ``"p not defined"`` where too few seeds were compared."""
    return "p not defined" if math.isnan(p) else f"p = {p:.3g}" if p >= 0.001 else "p < 0.001"


# ---------------------------------------------------------------------------------------------------- intervals


def paired(a: ArrayLike, b: ArrayLike = 0.0, level: float = 0.95) -> Interval:
    """Return the mean of a - b with its paired-t interval.

    ``a`` has shape (seeds,); ``b`` the same, or is one number. Pairs with a NaN are left out and ``n`` counts the rest.
    Raises ValueError when the shapes differ.
    """
    a, b = np.asarray(a, float), np.asarray(b, float)
    if a.ndim != 1 or (b.ndim != 0 and b.shape != a.shape):
        raise ValueError(
            f"paired() compares two lists of equal length, one value a seed; got shapes {a.shape} and {b.shape}."
        )
    return _t_interval(a - b, level)


def ratio(a: ArrayLike, b: ArrayLike = 1.0) -> Interval:
    """Return the geometric mean of a / b with its paired-t interval on the logarithms: for times, which multiply.

    Shapes as for ``paired``; raises ValueError when a value is not above zero.
    """
    a, b = np.asarray(a, float), np.asarray(b, float)
    if (a <= 0).any() or (b <= 0).any():
        raise ValueError("ratio() compares positive quantities such as times; got a value that is zero or negative.")
    log = paired(np.log(a), np.log(b))
    return Interval(math.exp(log.mean), math.exp(log.low), math.exp(log.high), log.n)


def correlation(each: ArrayLike) -> Interval:
    """Return the mean of correlations, one a seed, with its interval, both taken on Fisher's z, where a correlation near
    1 or -1 has a symmetric error."""
    bound = 1 - 1e-9  # exactly 1 has no z
    z = paired(np.arctanh(np.clip(each, -bound, bound)))
    return Interval(math.tanh(z.mean), math.tanh(z.low), math.tanh(z.high), z.n)


def slope(x: ArrayLike, y: ArrayLike) -> Interval:
    """Return the least-squares slope of y on x with its 95 % t interval (n - 2 degrees of freedom); ``n`` counts points."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(f"slope() needs two lists of equal length; got shapes {x.shape} and {y.shape}.")
    keep = np.isfinite(x) & np.isfinite(y)
    x, y = x[keep], y[keep]
    if len(x) < 2 or np.ptp(x) == 0:
        raise ValueError("slope() needs points at two or more different x.")
    fit = st.linregress(x, y)
    if len(x) == 2:  # a line through two points leaves nothing to estimate its error from
        return Interval(float(fit.slope), math.nan, math.nan, 2)
    half = float(st.t.ppf(0.975, len(x) - 2) * fit.stderr)
    return Interval(float(fit.slope), float(fit.slope) - half, float(fit.slope) + half, len(x))


def p_largest(gains: ArrayLike) -> np.ndarray:
    """Return, for each column of ``gains`` (seeds, columns), the share of bootstraps in which its mean is largest.

    Seeds are resampled. The shares sum to 1; columns that tie share a bootstrap equally. Seeds with a NaN are left out.
    """
    gains = _complete(np.asarray(gains, float), 2, "p_largest() needs gains of shape (seeds, columns)")
    if len(gains) == 0:
        return np.full(gains.shape[1], math.nan)
    means = _resampled_means(gains)
    largest = means >= means.max(axis=1, keepdims=True) - 1e-12 * max(1.0, float(np.abs(gains).max()))
    return (largest / largest.sum(axis=1, keepdims=True)).mean(axis=0)


def mean_rank(gains: ArrayLike) -> np.ndarray:
    """Return, for each column of ``gains`` (seeds, columns), the mean over bootstraps of its rank, 1 for the largest
    mean; columns that tie share their ranks. Seeds as in ``p_largest``."""
    gains = _complete(np.asarray(gains, float), 2, "mean_rank() needs gains of shape (seeds, columns)")
    if len(gains) == 0:
        return np.full(gains.shape[1], math.nan)
    return st.rankdata(-_resampled_means(gains), axis=1).mean(axis=0)


def _resampled_means(gains: np.ndarray, n: int = 10_000) -> np.ndarray:
    """(n, columns): the columns' means over resampled seeds."""
    draws = np.random.default_rng(0).integers(len(gains), size=(n, len(gains)))
    # Counting how often each seed was drawn turns n resampled means into one matrix product.
    weights = np.stack([np.bincount(row, minlength=len(gains)) for row in draws]) / len(gains)
    return weights @ gains


# ------------------------------------------------------------------------------------------------------- criteria


def sup(interval: Interval, d: float, min_seeds: int = CPU_SEEDS, above: float = 0.0) -> str:
    """SUP(d), superiority: the interval lies above ``above`` and the mean is at least d -> reproduced.

    The mean above ``above`` only -> partly; else not reproduced; fewer than ``min_seeds`` seeds -> not judged.
    For a ratio of times, ``above`` is 1 or the ratio that is claimed.
    """
    if interval.n < min_seeds:
        return NOT_JUDGED
    if interval.low > above and interval.mean >= d:
        return REPRODUCED
    return PARTLY if interval.mean > above else NOT_REPRODUCED


def eq(a: ArrayLike, b: ArrayLike, e: float, min_seeds: int = CPU_SEEDS) -> tuple[Interval, str]:
    """EQ(e), equivalence by two one-sided tests at 5 %: the 90 % interval of a - b inside +-e -> reproduced.

    Only the mean inside -> partly; else not reproduced; fewer than ``min_seeds`` pairs -> not judged. Shapes as for
    ``paired``; for a ratio around 1, give ``b`` = 1. Returns the 90 % interval and the word.
    """
    if not e > 0:
        raise ValueError(f"eq() needs a margin above zero; got {e}.")
    interval = paired(a, b, level=0.90)
    if interval.n < min_seeds:
        return interval, NOT_JUDGED
    if -e < interval.low and interval.high < e:
        return interval, REPRODUCED
    return interval, PARTLY if abs(interval.mean) < e else NOT_REPRODUCED


def trend(levels: ArrayLike, values: ArrayLike) -> Trend:
    """TREND: Page's L test across seeds, and the mean over seeds of Spearman's rho.

    ``levels`` has shape (levels,), in any order; ``values`` (seeds, levels). Seeds with a NaN are left out. ``p`` is
    NaN for fewer than two seeds. Raises ValueError for fewer than three levels, for equal levels, or for unequal
    shapes.
    """
    levels = np.asarray(levels, float)
    values = _complete(np.asarray(values, float), 2, "trend() needs values of shape (seeds, levels)")
    if levels.shape != values.shape[1:]:
        raise ValueError(f"trend() got {levels.size} levels for {values.shape[1]} columns of values.")
    if len(np.unique(levels)) < max(3, levels.size):
        raise ValueError("trend() needs at least three levels, all different.")
    values = values[:, np.argsort(levels)]
    ranks = st.rankdata(values, axis=1)
    rho = math.nan
    if len(values):
        rho = float(np.mean([_spearman(row) for row in ranks]))
    if len(values) < 2:
        return Trend(rho, math.nan, len(values))
    # Page's test is one-sided, for growth along the columns: a falling trend is tested on the reversed columns.
    page = st.page_trend_test(ranks if rho >= 0 else ranks[:, ::-1], ranked=True)
    return Trend(rho, float(page.pvalue), len(values))


def trend_word(trend: Trend, min_seeds: int = CPU_SEEDS) -> str:
    """A rise with p < 0.05 -> reproduced; a rise only -> partly; else not reproduced."""
    if trend.n < min_seeds:
        return NOT_JUDGED
    if not trend.rho > 0:
        return NOT_REPRODUCED
    return REPRODUCED if trend.p < ALPHA else PARTLY


def optimum(values: ArrayLike) -> Optimum:
    """OPT: the argmax over a grid, seed by seed.

    ``values`` has shape (seeds, cells) for a line or (seeds, rows, columns) for a plane. A NaN cell (a diverged run) is
    never the optimum, yet it is a cell of the grid: an optimum beside it is bracketed, by divergence. A seed without a
    single number is left out. An axis of fewer than three levels has no inside.
    """
    values = np.asarray(values, float)
    if values.ndim < 2 or 0 in values.shape[1:]:
        raise ValueError(
            f"optimum() needs values of shape (seeds, cells) or (seeds, rows, columns); got {values.shape}."
        )
    grid = values.shape[1:]
    values = values[np.isfinite(values).any(axis=tuple(range(1, values.ndim)))]
    n = len(values)
    if n == 0:
        return Optimum(math.nan, (), 0)
    filled = np.where(np.isfinite(values), values, -np.inf)
    flat = filled.reshape(n, -1).argmax(axis=1)
    cells = [np.unravel_index(f, grid) for f in flat]
    touched = Counter(
        (axis, side)
        for cell in cells
        for axis, (i, size) in enumerate(zip(cell, grid))
        for side, edge in ((-1, 0), (+1, size - 1))
        if i == edge
    )
    inside = sum(all(0 < i < size - 1 for i, size in zip(cell, grid)) for cell in cells)
    return Optimum(inside / n, tuple(edge for edge, _ in touched.most_common()), n)


def optimum_word(optimum: Optimum, min_seeds: int = CPU_SEEDS) -> str:
    """Strictly inside the grid for more than half of the seeds -> reproduced; else "not bracketed" -> partly."""
    if optimum.n < min_seeds:
        return NOT_JUDGED
    return REPRODUCED if optimum.bracketed else PARTLY


def interaction(values: ArrayLike) -> float:
    """Return the p-value of a group x task interaction, by permutation within seeds.

    ``values`` has shape (seeds, groups, tasks), for example (seeds, batch sizes, tasks): one trained network a (seed,
    group), so its whole row of tasks is permuted. Subtracting from each row its mean removes the main effect of the
    group; what is left has, without interaction, the same distribution for every group of a seed, so the groups' labels
    may be permuted within each seed. The statistic is the sum of squares, between groups, of the rows' means over
    seeds.

    All permutations are used where there are at most 20,000, else RANDOM_ORDERS random ones. Seeds with a NaN are left out;
    with fewer than two seeds p is NaN. The smallest possible p is 1 / (groups!)^(seeds - 1): two groups need six seeds
    to reach .05. Raises ValueError for fewer than two groups or tasks.
    """
    values = _complete(np.asarray(values, float), 3, "interaction() needs values of shape (seeds, groups, tasks)")
    seeds, groups, tasks = values.shape
    if groups < 2 or tasks < 2:
        raise ValueError(f"interaction() needs at least two groups and two tasks; got {groups} and {tasks}.")
    if seeds < 2:
        return math.nan
    rows = values - values.mean(axis=2, keepdims=True)
    rows = rows - rows.mean(axis=1, keepdims=True)

    def statistic(total: np.ndarray) -> np.ndarray:  # (..., groups, tasks), summed over seeds; groups' mean is zero
        return (total**2).sum(axis=(-2, -1))

    observed = float(statistic(rows.sum(axis=0)))
    bound = observed - 1e-9 * max(observed, float((rows**2).sum()))
    if observed <= 1e-18 * float((values**2).sum()):  # nothing but rounding: the rows do not differ at all
        return 1.0
    # Relabelling all seeds alike changes nothing, so the first seed stays as it is.
    if math.factorial(groups) ** (seeds - 1) <= 20_000:
        orders = np.array(list(permutations(range(groups))))
        totals = rows[0][None]
        for row in rows[1:]:
            totals = (totals[:, None] + row[orders][None]).reshape(-1, groups, tasks)
        return float(np.mean(statistic(totals) >= bound))
    orders = np.random.default_rng(0).random((RANDOM_ORDERS, seeds - 1, groups)).argsort(axis=2)
    totals = rows[0] + np.take_along_axis(rows[None, 1:], orders[..., None], axis=2).sum(axis=1)
    return float((1 + np.sum(statistic(totals) >= bound)) / (1 + RANDOM_ORDERS))


def best_differs(values: ArrayLike, min_seeds: int = CPU_SEEDS) -> tuple[np.ndarray, float, str]:
    """Does the best of several settings depend on the group? Returns (the best setting of each group, p, the word).

    ``values`` has shape (seeds, groups, settings), for example (seeds, batch sizes, temperatures), each cell a run; the
    best is the argmax of the mean over seeds. A setting that diverged (NaN) for any seed is never the best. An argmax
    that differs is what noise gives too, so it counts as reproduced only with an interaction at p < 0.05; without
    it, partly; the same best everywhere -> not reproduced.
    """
    values = np.asarray(values, float)
    if values.ndim != 3:
        raise ValueError(f"best_differs() needs values of shape (seeds, groups, settings); got {values.shape}.")
    best = np.where(np.isfinite(values), values, -np.inf).mean(axis=0).argmax(axis=1)
    p = interaction(values)
    if len(values) < min_seeds:
        return best, p, NOT_JUDGED
    if len(set(best.tolist())) == 1:
        return best, p, NOT_REPRODUCED
    return best, p, REPRODUCED if p < ALPHA else PARTLY


# ---------------------------------------------------------------------------------------------------------- words


def combine(words: Iterable[str]) -> str:
    """Return the word of a claim with several parts.

    All reproduced -> reproduced; one of them reproduced, or none not reproduced -> partly; else not reproduced: where no
    part holds, a part that points the right way does not make up for one that does not. A part that could not be judged
    leaves the whole not judged. Raises ValueError for no words or for a word that is none of ``WORDS``.
    """
    words = list(words)
    unknown = [word for word in words if word not in WORDS]
    if unknown or not words:
        raise ValueError(f"combine() takes one or more of {', '.join(WORDS)}; got {unknown or 'none'}.")
    if NOT_JUDGED in words:
        return NOT_JUDGED
    if all(word == REPRODUCED for word in words):
        return REPRODUCED
    return PARTLY if REPRODUCED in words or NOT_REPRODUCED not in words else NOT_REPRODUCED


def min_seeds(profile: str) -> int:
    """Return the fewest seeds a verdict may rest on: 5 for the CPU profiles (smoke, quick), 3 for gpu and paper."""
    return CPU_SEEDS if profile in ("smoke", "quick") else GPU_SEEDS


def judged(word: str, profile: str, seeds: int) -> tuple[str, str]:
    """Return the word that may be printed, and why it is "not judged" if it is (else an empty reason)."""
    combine([word])  # an unknown word is a mistake here, not in the table
    needed = min_seeds(profile)
    if profile == "smoke":
        return NOT_JUDGED, "the smoke profile only shows that everything runs"
    if seeds < needed:
        return NOT_JUDGED, f"indicative only: {seeds} seed{'' if seeds == 1 else 's'}, and {profile} needs {needed}"
    if word == NOT_JUDGED:
        return NOT_JUDGED, "a part of the claim has too few complete seeds"
    return word, ""


# ------------------------------------------------------------------------------------------------------- readings


def crossing(x: ArrayLike, y: ArrayLike, level: float) -> float:
    """Return where y first rises through ``level``, by linear interpolation between the readings.

    ``x`` and ``y`` have shape (readings,), x rising. NaN if y starts at the level or above, or never gets there.
    """
    above = np.flatnonzero(np.asarray(y) >= level)
    if not len(above) or above[0] == 0:
        return math.nan
    i = above[0]
    return float(x[i - 1] + (level - y[i - 1]) / (y[i] - y[i - 1]) * (x[i] - x[i - 1]))


# -------------------------------------------------------------------------------------------------------- helpers


def _t_interval(x: np.ndarray, level: float) -> Interval:
    if not 0 < level < 1:
        raise ValueError(f"A confidence level lies between 0 and 1; got {level}.")
    x = x[np.isfinite(x)]
    n = len(x)
    mean = float(x.mean()) if n else math.nan
    if n < 2:
        return Interval(mean, math.nan, math.nan, n, level)
    half = float(st.t.ppf(0.5 + level / 2, n - 1) * x.std(ddof=1) / math.sqrt(n))
    return Interval(mean, mean - half, mean + half, n, level)


def _spearman(ranks: np.ndarray) -> float:
    """Spearman's rho of one seed's ranks against 1..k; zero for a flat row, which has no trend."""
    x = np.arange(len(ranks)) - (len(ranks) - 1) / 2
    y = ranks - ranks.mean()
    norm = math.sqrt(float(x @ x) * float(y @ y))
    return float(x @ y) / norm if norm else 0.0


def _complete(values: np.ndarray, ndim: int, need: str) -> np.ndarray:
    if values.ndim != ndim or 0 in values.shape[1:]:
        raise ValueError(f"{need}; got {values.shape}.")
    return values[np.isfinite(values).all(axis=tuple(range(1, ndim)))]
