"""The test behind verdicts: exact, whatever the noise is like."""

import itertools

import numpy as np
import pytest
from scipy import stats

from harness.measure import signed_rank


@pytest.mark.parametrize("pairs", [5, 16, 40, 120])
def test_it_says_what_scipy_says_of_one_series(pairs):
    """Wilcoxon's exact two-sided test and both one-sided ones."""
    seen = np.random.default_rng(pairs).normal(0.2, 1, (30, pairs))
    p, way = signed_rank.p_two_sided(seen)
    assert p == pytest.approx(stats.wilcoxon(seen, axis=-1, method="exact").pvalue, rel=1e-9)
    greater = stats.wilcoxon(seen, axis=-1, method="exact", alternative="greater").pvalue
    assert signed_rank.p_above(seen) == pytest.approx(greater, rel=1e-9)
    assert np.array_equal(way[p < 0.1] > 0, greater[p < 0.1] < 0.05)


def test_p_is_exact_over_all_coins_for_any_sizes():
    """Of the 2 ** 12 ways coins can fall, as many have p at most 0.05 as may have."""
    sizes = np.random.default_rng(3).lognormal(0, 2, 12)
    coins = np.array(list(itertools.product([-1.0, 1.0], repeat=12)))
    p, _ = signed_rank.p_two_sided(coins * sizes)
    for level in (0.001, 0.01, 0.05, 0.3):
        assert (p <= level).mean() <= level


def test_ticks_of_a_coarse_clock_leave_it_exact():
    """Equal differences and zeros, whose ranks are drawn: over all coins no more alarms than there may be."""
    sizes = np.array([0, 0, 1, 1, 1, 1, 2, 2, 2, 3, 3, 3], dtype=float)
    coins = np.array(list(itertools.product([-1.0, 1.0], repeat=12)))
    p = np.array([signed_rank.p_two_sided(signed_rank.untied(row))[0] for row in coins * sizes])
    for level in (0.01, 0.05, 0.3):
        assert (p <= level).mean() <= 1.1 * level


def test_ties_are_broken_by_less_than_anybody_measures():
    seen = np.array([0.0, 2.0, -2.0, 1e-3])
    assert signed_rank.untied(seen) == pytest.approx(seen, abs=2.1e-9)
    assert len(set(np.abs(signed_rank.untied(seen)))) == 4
    assert np.array_equal(signed_rank.untied(seen), signed_rank.untied(seen)), "the same samples, the same verdict"


def test_the_interval_is_the_test_turned_round():
    """A change lies outside of it if and only if the test refuses that change."""
    random = np.random.default_rng(5)
    for _ in range(20):
        seen = random.normal(0.1, 1, 20)
        _, low, high = signed_rank.estimate(seen, 0.025)
        for change in random.normal(0.1, 0.6, 20):
            assert (signed_rank.p_above(seen - change) <= 0.025) == (change < low)
            assert (signed_rank.p_above(change - seen) <= 0.025) == (change > high)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    """On skewed noise with a memory, whose coins are fair: 95 of 100."""
    random = np.random.default_rng(6)
    noise = np.cumsum(random.exponential(1, (1000, 48)), axis=1)
    seen = 0.7 + (noise[:, 0::2] - noise[:, 1::2]) * random.choice([-1, 1], (1000, 24))
    inside = sum(low <= 0.7 <= high for _, low, high in (signed_rank.estimate(row, 0.025) for row in seen))
    assert stats.binomtest(inside, 1000, 0.95, alternative="less").pvalue > 1e-6
    assert inside < 1000


def test_where_an_estimate_lies_is_known_without_making_it():
    """`middle_above` and the Hodges-Lehmann estimate agree; 13 pairs have an average in their middle, not two."""
    random = np.random.default_rng(7)
    seen = random.normal(0, 1, (100, 13))
    middles = np.array([signed_rank.estimate(row, 0.05)[0] for row in seen])
    at = random.normal(0, 0.3, 100)
    assert np.array_equal(signed_rank.middle_above(seen, at), middles > at)
    assert np.array_equal(signed_rank.middle_above(-seen, -at), middles < at)


def test_too_few_pairs_give_no_interval():
    """Three coins fall alike once in four times."""
    assert signed_rank.estimate(np.array([1.0, 2.0, 3.0]), 0.025)[1:] == (-np.inf, np.inf)


def test_beyond_counting_it_errs_on_the_safe_side(monkeypatch):
    """The normal distribution gives small chances no less than they are."""
    exact = signed_rank.below(200)
    monkeypatch.setattr(signed_rank, "_EXACT", 199)
    normal = signed_rank.below.__wrapped__(200)
    rare = (exact < 0.01) & (exact > 1e-12)
    assert (normal[rare] >= exact[rare]).all()
    assert np.abs(normal - exact).max() < 0.001
