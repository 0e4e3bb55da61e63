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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats as st

SUPPORTED, CONTRADICTED, TOO_SMALL, INCONCLUSIVE = "supported", "contradicted", "too small", "inconclusive"
PART_WORDS = (SUPPORTED, CONTRADICTED, TOO_SMALL, INCONCLUSIVE)
REPRODUCED, MIXED, NOT_JUDGED = "reproduced", "mixed", "not judged"
WORDS = (REPRODUCED, MIXED, CONTRADICTED, INCONCLUSIVE, NOT_JUDGED)

CPU_SEEDS, GPU_SEEDS = 5, 3
"""The fewest seeds a verdict may rest on; with fewer the numbers are indicative."""

LEVELS = {1: 0.05, 2: 0.0294, 3: 0.0221, 4: 0.0182}
"""By how often the seeds of a design may be looked at, the level of each look that keeps 5 % over all (Pocock 1977)."""

MANY = 500  # seeds beyond which nobody would ask for more
RANDOM_ORDERS = 4999  # permutations, where there are too many to try all


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % confidence interval over ``n`` seeds; ``low`` and ``high`` are NaN when n < 2.

    ``scale`` is that on which errors are symmetric: "linear", "log" (ratios) or "fisher" (correlations).
    """

    mean: float
    low: float
    high: float
    n: int
    scale: str = "linear"

    def text(self, digits: int = 1) -> str:
        """Return ``"1.2 [0.8, 1.6]"``, ``"1.2 [no interval]"`` for a single seed, ``"not defined"`` for none."""
        if math.isnan(self.mean):
            return "not defined"
        if math.isnan(self.low):
            return f"{self.mean:.{digits}f} [no interval]"
        return f"{self.mean:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]"

    def p_above(self, x: float) -> float:
        """Return the one-sided p-value of "the true mean lies above x"; 1 for fewer than two seeds."""
        return self._tail(x, 1)

    def p_below(self, x: float) -> float:
        """As ``p_above``, of "the true mean lies below x"."""
        return self._tail(x, -1)

    def error(self) -> float:
        """Return the standard error of the mean, on the interval's scale."""
        on = SCALES[self.scale]
        return (on(self.high) - on(self.low)) / 2 / st.t.ppf(0.975, self.n - 1)

    def distance(self, x: float) -> float:
        """Return how far the mean lies above x, on the interval's scale."""
        return SCALES[self.scale](self.mean) - SCALES[self.scale](x)

    def _tail(self, x: float, side: int) -> float:
        if self.n < 2 or math.isnan(self.low):
            return 1.0
        distance, error = side * self.distance(x), self.error()
        if error == 0:
            return 0.0 if distance > 0 else 1.0
        return float(st.t.sf(distance / error, self.n - 1))


SCALES = {
    "linear": float,
    "log": lambda x: math.log(x) if x > 0 else -math.inf,
    "fisher": lambda r: math.atanh(min(max(r, -1 + 1e-9), 1 - 1e-9)),
}


# ---------------------------------------------------------------------------------------------------- intervals


def paired(a: ArrayLike, b: ArrayLike = 0.0) -> Interval:
    """Return the mean of a - b with its paired-t interval.

    ``a`` has shape (seeds,); ``b`` the same, or is one number. Pairs with a NaN are left out and ``n`` counts the rest.
    Raises ValueError when the shapes differ.
    """
    a, b = np.asarray(a, float), np.asarray(b, float)
    if a.ndim != 1 or (b.ndim != 0 and b.shape != a.shape):
        raise ValueError(
            f"paired() compares two lists of equal length, one value a seed; got shapes {a.shape} and {b.shape}."
        )
    x = (a - b)[np.isfinite(a - b)]
    n, mean = len(x), float(x.mean()) if np.isfinite(a - b).any() else math.nan
    if n < 2:
        return Interval(mean, math.nan, math.nan, n)
    half = float(st.t.ppf(0.975, n - 1) * x.std(ddof=1) / math.sqrt(n))
    return Interval(mean, mean - half, mean + half, n)


def ratio(a: ArrayLike, b: ArrayLike = 1.0) -> Interval:
    """Return the geometric mean of a / b with its paired-t interval on the logarithms: for times, which multiply.

    Shapes as for ``paired``; raises ValueError when a value is not above zero.
    """
    a, b = np.asarray(a, float), np.asarray(b, float)
    if (a <= 0).any() or (b <= 0).any():
        raise ValueError("ratio() compares positive quantities such as times; got a value that is zero or negative.")
    log = paired(np.log(a), np.log(b))
    return Interval(math.exp(log.mean), math.exp(log.low), math.exp(log.high), log.n, scale="log")


def correlation(each: ArrayLike) -> Interval:
    """Return the mean of correlations, one a seed, with its interval, both taken on Fisher's z, where a correlation near
    1 or -1 has a symmetric error."""
    bound = 1 - 1e-9  # exactly 1 has no z
    z = paired(np.arctanh(np.clip(each, -bound, bound)))
    return Interval(math.tanh(z.mean), math.tanh(z.low), math.tanh(z.high), z.n, scale="fisher")


# ---------------------------------------------------------------------------------------------------------- parts


@dataclass(frozen=True)
class Part:
    """One statement of a claim, tested over seeds.

    ``name`` is the contrast in words, ``rule`` what is asked of it in short. ``supported``, ``contradicted`` and
    ``small`` are p-values: which of the three is found where it is below the level (1: it cannot be found). ``paper`` is
    the paper's own number for the same contrast in the same unit. ``needed`` is about how many seeds would decide it, if
    mean and deviation stayed as they are (0: it is decided, or nothing would; more than MANY: too many). ``cannot`` says
    why it cannot be judged at all, for example an optimum on the edge of its grid.
    """

    name: str
    rule: str
    effect: Interval
    unit: str = "points"
    supported: float = 1.0
    contradicted: float = 1.0
    small: float = 1.0
    paper: float | None = None
    needed: int = 0
    cannot: str = ""

    @property
    def p(self) -> float:
        """The p-value of the finding that is nearest."""
        return min(self.supported, self.contradicted, self.small)

    def word(self, level: float = 0.05) -> str:
        """Return the word of this part alone at a level."""
        if self.supported <= level:
            return SUPPORTED
        if self.contradicted <= level:
            return CONTRADICTED
        return TOO_SMALL if self.small <= level else INCONCLUSIVE


def sup(
    name: str, effect: Interval, d: float, above: float = 0.0, unit: str = "points", paper: float | None = None
) -> Part:
    """SUP(d), superiority: supported when the 95 % interval lies above ``above`` and the mean is at least d; contradicted
    when it lies below ``above``; too small when its upper end is below d.

    For a ratio of times, ``above`` is 1 or the ratio that is claimed.
    """
    reaches = effect.mean >= d
    return Part(
        name, f"SUP({d:g}{f', above {above:g}' if above else ''})", effect, unit,
        supported=_two(effect.p_above(above)) if reaches else 1.0, contradicted=_two(effect.p_below(above)),
        small=1.0 if reaches else _two(effect.p_below(d)), paper=paper,
        needed=_needed(effect, effect.distance(above) if reaches else -effect.distance(d)),
    )  # fmt: skip


def eq(
    name: str, effect: Interval, e: float, around: float = 0.0, unit: str = "points", paper: float | None = None
) -> Part:
    """EQ(e), equivalence: supported when two one-sided tests at 5 % put the mean within e of ``around`` (the 90 % interval
    lies inside); contradicted when the 95 % interval lies wholly outside. Raises ValueError for a margin of 0 or less."""
    if not e > 0:
        raise ValueError(f"eq() needs a margin above zero; got {e}.")
    outside = min(effect.p_above(around + e), effect.p_below(around - e))
    margin = min(abs(effect.distance(around - e)), abs(effect.distance(around + e)))
    return Part(
        name, f"EQ({e:g}{f' around {around:g}' if around else ''})", effect, unit,
        supported=max(effect.p_above(around - e), effect.p_below(around + e)), contradicted=_two(outside), paper=paper,
        needed=_needed(effect, margin),
    )  # fmt: skip


def noninf(name: str, effect: Interval, e: float) -> Part:
    """NONINF(e), "as good as": supported when the 95 % interval lies above -e, contradicted when it lies below."""
    if not e > 0:
        raise ValueError(f"noninf() needs a margin above zero; got {e}.")
    return Part(
        name, f"NONINF({e:g})", effect, "points", supported=_two(effect.p_above(-e)),
        contradicted=_two(effect.p_below(-e)), needed=_needed(effect, abs(effect.distance(-e))),
    )  # fmt: skip


def rise(name: str, levels: ArrayLike, values: ArrayLike, falls: bool = False, unit: str = "rho") -> Part:
    """TREND: values (seeds, levels) rise along the levels, by Page's L test across seeds; falls: they fall. Contradicted by
    a trend the other way. Its effect is the mean over seeds of Spearman's rho, positive for the direction that is claimed.

    ``levels`` has shape (levels,), in any order. Seeds with a NaN are left out; with fewer than two nothing is found.
    Raises ValueError for fewer than three levels, for equal levels, or for unequal shapes.
    """
    levels = np.asarray(levels, float)
    values = _complete(np.asarray(values, float), 2, "rise() needs values of shape (seeds, levels)")
    if levels.shape != values.shape[1:]:
        raise ValueError(f"rise() got {levels.size} levels for {values.shape[1]} columns of values.")
    if len(np.unique(levels)) < max(3, levels.size):
        raise ValueError("rise() needs at least three levels, all different.")
    ranks = st.rankdata((-values if falls else values)[:, np.argsort(levels)], axis=1)
    rho, p = float(np.mean([_spearman(row) for row in ranks])) if len(ranks) else math.nan, 1.0
    if len(ranks) > 1:
        # Page's test is one-sided, for growth along the columns: a falling trend is tested on the reversed columns.
        p = _two(float(st.page_trend_test(ranks if rho >= 0 else ranks[:, ::-1], ranked=True).pvalue))
    effect, right = Interval(rho, math.nan, math.nan, len(ranks)), rho > 0
    return Part(name, "TREND", effect, unit, supported=p if right else 1.0, contradicted=1.0 if right else p)


def holds(name: str, condition: bool, effect: Interval, rule: str, unit: str) -> Part:
    """A condition without chance (an identity, a law that is integrated): supported or contradicted. Never use it where
    noise decides."""
    return Part(
        name, rule, effect, unit, supported=0.0 if condition else 1.0, contradicted=1.0 if condition else 0.0
    )  # fmt: skip


def largest(name: str, gains: ArrayLike, column: int, unit: str = "points") -> Part:
    """LARGEST: one column of ``gains`` (seeds, columns) has the largest mean: supported when it beats every other (each by
    a one-sided paired test, so the weakest decides); contradicted when another beats it (Bonferroni over the others). Its
    effect is its lead over the best of the others by their means."""
    gains = np.asarray(gains, float)
    others = [i for i in range(gains.shape[1]) if i != column]
    leads = [paired(gains[:, column], gains[:, i]) for i in others]
    return Part(
        name, "LARGEST", min(leads, key=lambda lead: lead.mean), unit,
        supported=max(_two(lead.p_above(0)) for lead in leads),
        contradicted=min(1.0, len(leads) * min(_two(lead.p_below(0)) for lead in leads)),
        needed=max(_needed(lead, abs(lead.mean)) for lead in leads),
    )  # fmt: skip


def cross(name: str, val: ArrayLike, test: ArrayLike, unit: str = "points") -> Part:
    """CROSS: the best setting depends on the group. Of the first and the last group, each group's own best, chosen on
    validation, beats the other's best in that group: both contrasts above 0. Contradicted when either lies below.

    val, test: (seeds, groups, settings). Where both choose one setting nothing is found; the effect is then 0. A
    setting that diverged for a seed is never chosen.
    """
    val, test = np.asarray(val, float)[:, [0, -1]], np.asarray(test, float)[:, [0, -1]]
    best = np.where(np.isfinite(val), val, -np.inf).mean(0).argmax(1)
    contrasts = [paired(test[:, g, best[g]], test[:, g, best[1 - g]]) for g in (0, 1)]
    least = min(contrasts, key=lambda c: c.mean)
    if best[0] == best[1]:
        return Part(name, "CROSS", least, unit)
    return Part(
        name, "CROSS", least, unit, supported=max(_two(c.p_above(0)) for c in contrasts),
        contradicted=min(1.0, 2 * min(_two(c.p_below(0)) for c in contrasts)),
        needed=max(_needed(c, abs(c.mean)) for c in contrasts),
    )  # fmt: skip


def interacts(name: str, values: ArrayLike) -> Part:
    """INTERACT: groups and tasks interact, by `interaction`, values (seeds, groups, tasks). Two groups need six seeds, or
    it cannot be judged; nothing contradicts it. Its effect is the p-value, which has no interval."""
    values = np.asarray(values, float)
    p = interaction(values)
    cannot = "" if values.shape[1] > 2 or len(values) >= 6 else "an interaction of two groups needs six seeds"
    effect = Interval(p, math.nan, math.nan, len(values))
    return Part(name, "INTERACT", effect, "p", supported=1.0 if math.isnan(p) else p, cannot=cannot)


def _two(p: float) -> float:
    """A one-sided p-value as its two-sided interval has it."""
    return min(1.0, 2 * p)


def _needed(effect: Interval, distance: float) -> int:
    """About how many seeds would put the interval's end ``distance`` from the mean."""
    if effect.n < 2 or not distance > 0 or math.isnan(effect.low):
        return 0
    deviation = effect.error() * math.sqrt(effect.n)
    sizes = np.arange(2, MANY + 2)
    enough = st.t.ppf(0.975, sizes - 1) * deviation / np.sqrt(sizes) < distance
    return int(sizes[enough.argmax()]) if enough.any() else MANY + 1


def found(parts: Sequence[Part], level: float = 0.05) -> list[str]:
    """Return the word of each part, with Holm's correction over the parts: the nearest finding must reach level / parts,
    the next level / (parts - 1), and so on; from the first that does not, all are inconclusive."""
    words = [INCONCLUSIVE] * len(parts)
    for rank, i in enumerate(sorted(range(len(parts)), key=lambda i: parts[i].p)):
        words[i] = parts[i].word(level / (len(parts) - rank))
        if words[i] == INCONCLUSIVE:
            break
    return words


def combine(words: Iterable[str]) -> str:
    """Return the word of a claim from those of its parts.

    All supported -> reproduced; contradicted or too small ones: contradicted if none is supported, else mixed; otherwise
    inconclusive. Raises ValueError for no words or for a word that is none of ``PART_WORDS``.
    """
    words = list(words)
    unknown = [word for word in words if word not in PART_WORDS]
    if unknown or not words:
        raise ValueError(f"combine() takes one or more of {', '.join(PART_WORDS)}; got {unknown or 'none'}.")
    if all(word == SUPPORTED for word in words):
        return REPRODUCED
    if CONTRADICTED in words or TOO_SMALL in words:
        return MIXED if SUPPORTED in words else CONTRADICTED
    return INCONCLUSIVE


# -------------------------------------------------------------------------------------------------- their numbers


def edges(values: ArrayLike) -> tuple[tuple[int, int], ...]:
    """OPT: the sides of a grid on which some seed's best cell lies, as (axis, -1 or +1), the commonest first: there the
    grid wants one step more.

    ``values`` has shape (seeds, cells) for a line or (seeds, rows, columns) for a plane. A NaN cell (a diverged run) is
    never the optimum, yet it is a cell of the grid: an optimum beside it is bracketed, by divergence. A seed without a
    single number is left out. An axis of fewer than three levels has no inside.
    """
    values = np.asarray(values, float)
    if values.ndim < 2 or 0 in values.shape[1:]:
        raise ValueError(f"edges() needs values of shape (seeds, cells) or (seeds, rows, columns); got {values.shape}.")
    grid = values.shape[1:]
    flat = np.where(np.isfinite(values), values, -np.inf).reshape(len(values), -1)
    flat = flat[np.isfinite(flat).any(axis=1)]
    best = [np.unravel_index(i, grid) for i in flat.argmax(axis=1)] if len(flat) else []
    touched = Counter(
        (axis, side)
        for cell in best
        for axis, (i, size) in enumerate(zip(cell, grid))
        for side, edge in ((-1, 0), (+1, size - 1))
        if i == edge
    )
    return tuple(edge for edge, _ in touched.most_common())


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


def min_seeds(profile: str) -> int:
    """Return the fewest seeds a verdict may rest on: 5 for the CPU profiles, 3 for gpu and paper."""
    return GPU_SEEDS if profile in ("gpu", "paper") else CPU_SEEDS


def judged(word: str, profile: str, seeds: int) -> tuple[str, str]:
    """Return the word that may be printed, and why it is "not judged" if it is (else an empty reason)."""
    if word not in WORDS:  # a mistake here, not in the table
        raise ValueError(f"judged() takes one of {', '.join(WORDS)}; got {word!r}.")
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
