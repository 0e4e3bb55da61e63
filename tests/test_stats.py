"""The rules of evidence against hand-computed values, independent formulas and simulated nulls."""

import math
from itertools import permutations

import numpy as np
import pytest
from scipy import stats as st

from repro import stats
from repro.stats import (
    CONTRADICTED,
    INCONCLUSIVE,
    MIXED,
    NOT_JUDGED,
    REPRODUCED,
    SUPPORTED,
    TOO_SMALL,
    Interval,
)  # fmt: skip

NAN = math.nan


def interval(mean, low, high, n=5):
    return Interval(mean, low, high, n)


# ---------------------------------------------------------------------------------------------------- intervals


def test_paired_by_hand():
    # Differences 1..5: mean 3, standard error sqrt(2.5 / 5), t(.975, 4) = 2.776445.
    got = stats.paired([11, 22, 33, 44, 55], [10, 20, 30, 40, 50])
    assert (got.mean, got.n) == (3.0, 5)
    assert got.low == pytest.approx(3 - 2.776445 * math.sqrt(0.5), abs=1e-6)
    assert got.high == pytest.approx(3 + 2.776445 * math.sqrt(0.5), abs=1e-6)


def test_paired_agrees_with_scipy_and_ignores_a_common_shift():
    rng = np.random.default_rng(1)
    a, b, seed_effect = rng.normal(size=(3, 8))
    got, shifted = stats.paired(a, b), stats.paired(a + 40 * seed_effect, b + 40 * seed_effect)
    want = st.ttest_rel(a, b).confidence_interval(0.95)
    assert (got.low, got.high) == pytest.approx((want.low, want.high))
    assert (shifted.low, shifted.high) == pytest.approx((got.low, got.high))
    swapped = stats.paired(b, a)
    assert (swapped.mean, swapped.low, swapped.high) == pytest.approx((-got.mean, -got.high, -got.low))


def test_paired_edges():
    one = stats.paired([3.0], [1.0])
    assert one.mean == 2.0
    assert one.n == 1
    assert math.isnan(one.low)
    assert math.isnan(one.high)
    same = stats.paired([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
    assert (same.mean, same.low, same.high, same.n) == (0.0, 0.0, 0.0, 3)
    nothing = stats.paired([NAN, 1.0], [1.0, NAN])
    assert nothing.n == 0
    assert math.isnan(nothing.mean)
    assert stats.paired([1.0, NAN, 3.0, 5.0], [0.0, 7.0, NAN, 2.0]) == stats.paired([1.0, 5.0], [0.0, 2.0])
    with pytest.raises(ValueError, match="equal length"):
        stats.paired([1.0, 2.0], [1.0, 2.0, 3.0])


def test_paired_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(2)
    hits = [(i := stats.paired(x)).low <= 0.7 <= i.high for x in rng.normal(0.7, 1.3, size=(2000, 5))]
    assert 0.935 < np.mean(hits) < 0.965


def test_interval_text():
    assert interval(1.25, 0.8, 1.66).text() == "1.2 [0.8, 1.7]"
    assert Interval(1.0, NAN, NAN, 1).text(2) == "1.00 [no interval]"
    assert Interval(NAN, NAN, NAN, 0).text() == "not defined"


def test_ratio_is_geometric_and_inverts():
    slow, fast = [4.0, 9.0, 8.0], [1.0, 3.0, 2.0]
    got, inverse = stats.ratio(slow, fast), stats.ratio(fast, slow)
    assert got.mean == pytest.approx((4 * 3 * 4) ** (1 / 3))
    assert (inverse.mean, inverse.low, inverse.high) == pytest.approx((1 / got.mean, 1 / got.high, 1 / got.low))
    with pytest.raises(ValueError, match="positive"):
        stats.ratio([1.0, 0.0], [1.0, 1.0])


# ------------------------------------------------------------------------------------------------------ criteria


def test_p_values_are_those_of_t_tests_on_the_intervals_scale():
    rng = np.random.default_rng(7)
    x = rng.normal(0.4, 1.0, size=6)
    got = stats.paired(x)
    assert got.p_above(0.1) == pytest.approx(st.ttest_1samp(x, 0.1, alternative="greater").pvalue)
    assert got.p_below(0.1) == pytest.approx(st.ttest_1samp(x, 0.1, alternative="less").pvalue)
    times = stats.ratio(np.exp(x))
    assert times.p_above(1.2) == pytest.approx(st.ttest_1samp(x, np.log(1.2), alternative="greater").pvalue)
    assert stats.paired([3.0, 3.0]).p_above(2.0) == 0.0
    assert stats.paired([3.0, 3.0]).p_above(3.0) == 1.0
    assert stats.paired([3.0]).p_above(0.0) == 1.0  # one seed says nothing


@pytest.mark.parametrize(
    ("effect", "word"),
    [
        (interval(2.0, 0.1, 3.9), SUPPORTED),
        (interval(1.0, 0.1, 1.9), SUPPORTED),  # at least d
        (interval(0.9, 0.1, 1.7), INCONCLUSIVE),  # above zero, but the claimed size is neither shown nor excluded
        (interval(0.5, 0.1, 0.9), TOO_SMALL),  # above zero, and d is excluded
        (interval(0.0, -0.9, 0.9), TOO_SMALL),
        (interval(2.0, -0.1, 4.1), INCONCLUSIVE),
        (interval(0.0, -1.1, 1.1), INCONCLUSIVE),
        (interval(-2.0, -3.0, -1.0), CONTRADICTED),
    ],
)
def test_sup_speaks_by_the_interval(effect, word):
    assert stats.sup("x", effect, 1.0).word() == word


def test_sup_with_a_threshold():
    speed = interval(1.9, 1.4, 2.4)
    assert stats.sup("x", speed, 1.5, above=1.0).word() == SUPPORTED
    assert stats.sup("x", speed, 1.5, above=1.5).word() == INCONCLUSIVE
    assert stats.sup("x", interval(1.1, 1.05, 1.15), 1.5, above=1.5).word() == CONTRADICTED
    assert stats.sup("x", interval(NAN, NAN, NAN, n=0), 1.0).word() == INCONCLUSIVE


@pytest.mark.parametrize(
    ("effect", "equal", "as_good"),
    [
        (interval(0.2, -0.5, 0.9), SUPPORTED, SUPPORTED),
        (interval(3.0, 2.0, 4.0), CONTRADICTED, SUPPORTED),  # better is as good, and is not equal
        (interval(-3.0, -4.0, -2.0), CONTRADICTED, CONTRADICTED),
        (interval(0.9, -0.9, 2.7), INCONCLUSIVE, SUPPORTED),
        (interval(-0.9, -2.7, 0.9), INCONCLUSIVE, INCONCLUSIVE),
    ],
)
def test_equivalence_and_non_inferiority(effect, equal, as_good):
    assert stats.eq("x", effect, 1.5).word() == equal
    assert stats.noninf("x", effect, 1.5).word() == as_good


def test_eq_is_two_one_sided_tests():
    rng = np.random.default_rng(8)
    words = set()
    for _ in range(200):
        x = rng.normal(0.6, 1.0, size=5)
        part = stats.eq("x", stats.paired(x), 1.2)
        above = st.ttest_1samp(x, -1.2, alternative="greater").pvalue
        below = st.ttest_1samp(x, 1.2, alternative="less").pvalue
        assert (part.word() == SUPPORTED) == (max(above, below) <= 0.05)
        words.add(part.word())
    assert words == {SUPPORTED, INCONCLUSIVE}
    assert stats.eq("x", stats.ratio([1.05, 1.02, 1.04, 1.03, 1.06]), 0.10, around=1.0).word() == SUPPORTED
    for rule in (stats.eq, stats.noninf):
        with pytest.raises(ValueError, match="margin above zero"):
            rule("x", interval(0, -1, 1), 0.0)


def test_seeds_that_would_decide():
    """With a deviation of 1 and a mean of 1, half of 2.78 / sqrt(5) ... n = 7 is the first whose half-width is below 1."""
    x = np.array([-1.0, 1.0, 1.0, 1.0, 3.0]) / math.sqrt(2)
    part = stats.sup("x", stats.paired(x * 1.0), 0.0)
    mean, deviation = x.mean(), x.std(ddof=1)
    n = part.needed
    assert st.t.ppf(0.975, n - 1) * deviation / math.sqrt(n) < mean
    assert st.t.ppf(0.975, n - 2) * deviation / math.sqrt(n - 1) >= mean
    assert stats.sup("x", interval(1e-4, -1, 1), 0.0).needed == stats.MANY + 1
    assert stats.sup("x", interval(0.0, 0.0, 0.0), 0.0).needed == 0


def trend(levels, values) -> tuple[float, float]:
    """Spearman's rho and the one-sided p-value in its direction."""
    part = stats.rise("x", levels, values)
    return part.effect.mean, part.p / 2


def test_trend_by_hand():
    # Three levels rising in each of two seeds: one of 36 equally likely pairs of orders. In three seeds: one of 216.
    assert trend([1, 2, 3], [[10, 20, 30], [5, 6, 7]]) == pytest.approx((1.0, 1 / 36))
    assert trend([1, 2, 3], [[1, 2, 3]] * 3) == pytest.approx((1.0, 1 / 216))
    # Spearman 1 and .5 (one swap of neighbours) average .75.
    assert trend([1, 2, 3], [[1, 2, 3], [2, 1, 3]])[0] == pytest.approx(0.75)


def test_trend_invariances():
    rng = np.random.default_rng(10)
    levels = np.array([0.1, 0.2, 0.5, 1.0])
    values = rng.normal(size=(5, 4)) + 2 * levels
    base = trend(levels, values)
    order = [2, 0, 3, 1]
    assert trend(levels[order], values[:, order]) == base
    assert trend(levels**3, np.exp(values)) == base  # only ranks count
    assert trend(levels, values + rng.normal(size=(5, 1))) == base
    assert trend(levels, -values) == pytest.approx((-base[0], base[1]))
    assert trend(levels, [*values, [NAN, 1, 2, 3]]) == base


def test_rise_speaks_for_the_claimed_direction():
    values = np.random.default_rng(3).normal(size=(5, 4)) * 0.1 + np.arange(4)
    assert stats.rise("x", [1, 2, 3, 4], values).word() == SUPPORTED
    assert stats.rise("x", [1, 2, 3, 4], -values).word() == CONTRADICTED
    assert stats.rise("x", [1, 2, 3, 4], -values, falls=True).word() == SUPPORTED
    assert stats.rise("x", [1, 2, 3, 4], np.ones((5, 4))).word() == INCONCLUSIVE
    assert stats.rise("x", [1, 2, 3, 4], values[:1]).word() == INCONCLUSIVE


def test_trend_edges():
    assert trend([1, 2, 3], np.ones((5, 3)))[0] == 0.0
    assert trend([1, 2, 3], [[1, 2, 3]]) == pytest.approx((1.0, 0.5))  # one seed finds nothing
    assert stats.rise("x", [1, 2, 3], [[NAN, 1, 2]]).effect.n == 0
    for levels in ([1, 2], [1, 1, 2]):
        with pytest.raises(ValueError, match="at least three levels"):
            trend(levels, np.ones((5, len(levels))))
    with pytest.raises(ValueError, match="3 levels for 4 columns"):
        trend([1, 2, 3], np.ones((5, 4)))


def test_edges_name_the_sides_where_a_best_cell_lies():
    assert stats.edges([[1, 3, 2, 0], [1, 4, 2, 0], [0, 1, 5, 2], [0, 1, 2, 3], [0, 9, 2, 3]]) == ((0, 1),)
    plane = np.zeros((5, 3, 4))
    plane[:3, 1, 3] = 1  # inside the rows, on the last column
    plane[3:, 1, 1] = 1
    assert stats.edges(plane) == ((1, 1),)
    corner = np.zeros((5, 3, 4))
    corner[:, 0, 0] = 1
    assert set(stats.edges(corner)) == {(0, -1), (1, -1)}
    assert stats.edges([[1.0, 2.0, NAN]] * 5) == ()  # bracketed by divergence
    assert stats.edges([[1.0, 2.0, 0.0], [NAN, NAN, NAN]]) == ()
    assert stats.edges(np.full((5, 3), NAN)) == ()
    assert {axis for axis, _ in stats.edges(np.random.default_rng(0).normal(size=(5, 2, 5)))} >= {
        0
    }  # two rows: no inside
    with pytest.raises(ValueError, match="rows, columns"):
        stats.edges([1.0, 2.0, 3.0])


def test_interaction_by_hand():
    # Group 0 is better on task 0, group 1 on neither, group 2 on task 1; in both seeds alike. Of the six ways to
    # relabel the second seed only one agrees as well with the first.
    pattern = np.array([[3.0, 0.0], [0.0, 0.0], [0.0, 3.0]])
    assert stats.interaction([pattern, pattern]) == pytest.approx(1 / 6)
    assert stats.interaction([pattern] * 5) == pytest.approx(1 / 6**4)


def test_interaction_agrees_with_a_plain_enumeration():
    values = np.random.default_rng(12).normal(size=(3, 3, 4))

    def effect(rows):
        mean = rows.mean(axis=0)
        centred = mean - mean.mean(0) - mean.mean(1, keepdims=True) + mean.mean()
        return (centred**2).sum()

    residual = values - values.mean(axis=2, keepdims=True)
    observed = effect(residual)
    orders = [list(p) for p in permutations(range(3))]
    count = [
        effect(np.stack([residual[0][a], residual[1][b], residual[2][c]]))
        for a in orders
        for b in orders
        for c in orders
    ]
    assert stats.interaction(values) == pytest.approx(np.mean(np.array(count) >= observed - 1e-12))


def test_interaction_ignores_main_effects():
    rng = np.random.default_rng(13)
    values = rng.normal(size=(4, 3, 5))
    base = stats.interaction(values)
    shifted = values + 20 * rng.normal(size=(4, 3, 1)) + 30 * rng.normal(size=(4, 1, 5))
    assert stats.interaction(shifted) == pytest.approx(base)
    assert stats.interaction(values[[3, 1, 0, 2]][:, [2, 0, 1]]) == pytest.approx(base)


def test_interaction_random_permutations_agree_with_more_of_them(monkeypatch):
    rng = np.random.default_rng(14)
    pattern = rng.normal(size=(5, 4))
    for strength, low, high in ((0.0, 0.2, 1.0), (0.4, 0.02, 0.4)):
        values = strength * pattern + rng.normal(size=(5, 5, 4))
        p = stats.interaction(values)
        assert p == stats.interaction(values)
        with monkeypatch.context() as patch:
            patch.setattr(stats, "RANDOM_ORDERS", 40_000)
            assert p == pytest.approx(stats.interaction(values), abs=0.02)
        assert low < p < high
    assert stats.interaction(pattern + 0.1 * rng.normal(size=(5, 5, 4))) == pytest.approx(1 / 5000)


def test_interaction_rarely_fires_without_one():
    rng = np.random.default_rng(15)
    fired = []
    for _ in range(600):
        correlated = rng.normal(size=(4, 3, 1)) * np.array([1.0, 1.0, 0.0, 0.0])  # two tasks that move together
        values = rng.normal(size=(4, 3, 1)) + rng.normal(size=(4, 1, 4)) + correlated + 0.5 * rng.normal(size=(4, 3, 4))
        fired.append(stats.interaction(values) < 0.05)
    assert 0.025 < np.mean(fired) < 0.075


def test_interaction_edges():
    assert stats.interaction(np.ones((5, 3, 4))) == 1.0
    assert math.isnan(stats.interaction(np.ones((1, 3, 4))))
    values = np.random.default_rng(16).normal(size=(4, 3, 4))
    holed = np.concatenate([values, np.full((1, 3, 4), NAN)])
    assert stats.interaction(holed) == stats.interaction(values)
    with pytest.raises(ValueError, match="two groups and two tasks"):
        stats.interaction(np.ones((5, 3, 1)))
    with pytest.raises(ValueError, match="seeds, groups, tasks"):
        stats.interaction(np.ones((5, 3)))


def test_interacts_needs_three_groups_or_six_seeds():
    values = np.random.default_rng(4).normal(size=(6, 2, 3))
    assert stats.interacts("x", values).cannot == ""
    assert "six seeds" in stats.interacts("x", values[:5]).cannot
    assert stats.interacts("x", np.random.default_rng(4).normal(size=(5, 3, 3))).cannot == ""


def curves(rng, tops, seeds=5, noise=1.0):
    """(seeds, groups, settings): a parabola a group, with its top at a setting."""
    x = np.arange(5)
    return np.array([-((x - top) ** 2) for top in tops]) + noise * rng.normal(size=(seeds, len(tops), 5))


def test_cross_asks_each_groups_best_to_win_at_home():
    rng = np.random.default_rng(17)
    apart = stats.cross("x", curves(rng, (1, 3)), curves(rng, (1, 3)))
    assert apart.word() == SUPPORTED
    assert apart.effect.mean == pytest.approx(4, abs=2)
    same = stats.cross("x", curves(rng, (2, 2), noise=0.1), curves(rng, (2, 2), noise=0.1))
    assert (same.word(), same.effect.mean) == (INCONCLUSIVE, 0.0)
    wrong = stats.cross("x", curves(rng, (1, 3), noise=0.1), curves(rng, (3, 1), noise=0.1))
    assert wrong.word() == CONTRADICTED  # what validation chose loses on test
    holed = curves(rng, (1, 3))
    holed[0, 0, 1] = NAN
    assert stats.cross("x", holed, curves(rng, (1, 3))).effect.mean < apart.effect.mean  # diverged once: never chosen


def test_largest_must_beat_every_other():
    rng = np.random.default_rng(18)
    gains = rng.normal(size=(5, 4)) * 0.3 + np.array([1, 3, 1, 1])
    assert stats.largest("x", gains, 1).word() == SUPPORTED
    assert stats.largest("x", gains, 0).word() == CONTRADICTED
    assert stats.largest("x", rng.normal(size=(5, 4)), 0).word() == INCONCLUSIVE
    assert stats.largest("x", gains, 1).effect == stats.paired(
        gains[:, 1], gains[:, [0, 2, 3][int(gains.mean(0)[[0, 2, 3]].argmax())]]
    )


# --------------------------------------------------------------------------------------- how often each word comes out

NULL = {
    "sup": lambda rng: [stats.sup("x", stats.paired(rng.normal(size=5)), 0.5)],
    "sup at the margin's size, two parts": lambda rng: [
        stats.sup("x", stats.paired(rng.normal(size=5)), 0.5) for _ in "ab"
    ],
    "eq": lambda rng: [stats.eq("x", stats.paired(rng.normal(1.0, 0.4, size=5)), 1.0)],
    "noninf": lambda rng: [stats.noninf("x", stats.paired(rng.normal(-1.0, 0.7, size=5)), 1.0)],
    "rise": lambda rng: [stats.rise("x", [1, 2, 3, 4], rng.normal(size=(5, 4)))],
    "largest": lambda rng: [stats.largest("x", rng.normal(size=(5, 4)), 2)],
    "cross": lambda rng: [stats.cross("x", curves(rng, (2, 2)), curves(rng, (2, 2)))],
    "cross, flat": lambda rng: [stats.cross("x", rng.normal(size=(5, 2, 4)), rng.normal(size=(5, 2, 4)))],
}


@pytest.mark.parametrize("rule", NULL)
def test_a_claim_without_an_effect_is_hardly_ever_reproduced(rule):
    """At most 5 % false "reproduced"; where nothing differs, the other words but inconclusive and too small are as rare."""
    rng = np.random.default_rng(1)
    words = [stats.combine(stats.found(NULL[rule](rng))) for _ in range(1000)]
    assert words.count(REPRODUCED) / 1000 < 0.07  # 5 % and its error
    assert words.count(MIXED) / 1000 < 0.05


EFFECT = {  # what the papers claim, with the deviations over seeds that photographs gave
    "sup": (lambda rng: [stats.sup("x", stats.paired(rng.normal(2.0, 0.8, size=5)), 1.0)], 0.9),
    "eq": (lambda rng: [stats.eq("x", stats.paired(rng.normal(0.0, 0.8, size=5)), 2.0)], 0.9),
    "noninf": (lambda rng: [stats.noninf("x", stats.paired(rng.normal(0.5, 0.8, size=5)), 1.5)], 0.9),
    "rise": (lambda rng: [stats.rise("x", [1, 2, 3, 4], rng.normal(size=(5, 4)) + 1.5 * np.arange(4))], 0.9),
    "largest": (lambda rng: [stats.largest("x", rng.normal(0, 0.6, size=(5, 4)) + np.array([0, 3, 0, 0]), 1)], 0.9),
    "cross": (lambda rng: [stats.cross("x", curves(rng, (1, 3)), curves(rng, (1, 3)))], 0.7),
}


@pytest.mark.parametrize("rule", EFFECT)
def test_a_claim_with_the_papers_effect_is_mostly_reproduced(rule):
    rng, (draw, at_least) = np.random.default_rng(21), EFFECT[rule]
    words = [stats.combine(stats.found(draw(rng))) for _ in range(300)]
    assert words.count(REPRODUCED) / 300 > at_least
    assert words.count(stats.CONTRADICTED) / 300 < 0.02


def test_two_looks_keep_the_level():
    """Five seeds, then five more where nothing was found: at Pocock's level 5 % over both looks, at 5 % each more."""
    rng = np.random.default_rng(22)

    def fires(level: float) -> float:
        hits = 0
        for x in rng.normal(size=(4000, 10)):
            hits += any(
                min(stats.paired(x[:n]).p_above(0), stats.paired(x[:n]).p_below(0)) <= level / 2 for n in (5, 10)
            )
        return hits / 4000

    assert 0.04 < fires(stats.LEVELS[2]) < 0.06
    assert fires(0.05) > 0.07


# --------------------------------------------------------------------------------------------------------- words


def test_holm_gives_each_part_the_level_that_is_left():
    def parts(*p):
        return [stats.Part(str(x), "", interval(0, 0, 0), supported=x) for x in p]

    assert stats.found(parts(0.01, 0.02, 0.04)) == [SUPPORTED] * 3
    assert stats.found(parts(0.04, 0.03, 0.02)) == [INCONCLUSIVE] * 3  # the nearest misses 5 % / 3
    assert stats.found(parts(0.9, 0.001, 0.04)) == [INCONCLUSIVE, SUPPORTED, INCONCLUSIVE]
    assert stats.found(parts(0.04)) == [SUPPORTED]
    assert stats.found(parts(0.04), stats.LEVELS[2]) == [INCONCLUSIVE]
    against = stats.Part("", "", interval(0, 0, 0), contradicted=0.001)
    assert stats.found([against, *parts(0.04)]) == [CONTRADICTED, SUPPORTED]


@pytest.mark.parametrize(
    ("parts", "word"),
    [
        ([SUPPORTED, SUPPORTED], REPRODUCED),
        ([SUPPORTED, INCONCLUSIVE], INCONCLUSIVE),
        ([SUPPORTED, CONTRADICTED], MIXED),
        ([SUPPORTED, TOO_SMALL, INCONCLUSIVE], MIXED),
        ([INCONCLUSIVE, CONTRADICTED], CONTRADICTED),
        ([TOO_SMALL], CONTRADICTED),
        ([INCONCLUSIVE, INCONCLUSIVE], INCONCLUSIVE),
    ],
)
def test_combine(parts, word):
    assert stats.combine(parts) == word
    assert stats.combine(reversed(parts)) == word


def test_combine_refuses_nonsense():
    with pytest.raises(ValueError, match="none"):
        stats.combine([])
    with pytest.raises(ValueError, match="confirmed"):
        stats.combine(["confirmed"])


def test_judged():
    assert stats.judged(REPRODUCED, "quick", 5) == (REPRODUCED, "")
    assert stats.judged(MIXED, "gpu", 3) == (MIXED, "")
    assert stats.judged(REPRODUCED, "quick", 4) == (NOT_JUDGED, "indicative only: 4 seeds, and quick needs 5")
    assert stats.judged(REPRODUCED, "gpu", 1) == (NOT_JUDGED, "indicative only: 1 seed, and gpu needs 3")
    word, reason = stats.judged(REPRODUCED, "smoke", 9)
    assert word == NOT_JUDGED
    assert "smoke" in reason
    word, reason = stats.judged(NOT_JUDGED, "quick", 5)
    assert word == NOT_JUDGED
    assert reason
    with pytest.raises(ValueError, match="maybe"):
        stats.judged("maybe", "quick", 5)
    assert [stats.min_seeds(name) for name in ("quick", "cpu", "gpu", "paper")] == [5, 5, 3, 3]
