"""A validation's verdicts: what each word means, and that looking again changes none."""

import itertools
import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import wilcoxon

from harness.core import UsageError
from harness.measure import Better
from harness.measure.judge import Series, Verdict, judge
from harness.measure.plan import Plan, candidate_first, least


def series(*, loss=0.0, spread=0.02, pairs=32, seed=1, better=Better.LOWER, base=100.0, **more):
    """Times (or rates) of a machine with normal noise, the candidate's worse by ``loss``."""
    random = np.random.default_rng(seed)
    factor = 1 + loss if better is Better.LOWER else 1 - loss
    baseline, candidate = base * random.normal(1, spread, (2, pairs)) * [[1], [factor]]
    return Series("C01", "boot", "kvm", better, "s", tuple(baseline.tolist()), tuple(candidate.tolist()), **more)


def one(found, budget=32):
    (finding,) = judge([found], budget=budget)
    return finding


@pytest.mark.parametrize("better", list(Better))
@pytest.mark.parametrize(("loss", "verdict"), [(0.1, "worse"), (-0.1, "better"), (0.005, "same")])
def test_a_change_is_named_by_whether_it_is_good(better, loss, verdict):
    """Whichever way the measurement improves; a gain is positive."""
    finding = one(series(loss=loss, better=better))
    assert finding.verdict == verdict
    assert finding.change == pytest.approx(-loss, abs=0.015)
    assert finding.interval[0] <= -loss <= finding.interval[1]
    assert finding.more == 0
    assert finding.words.startswith(verdict)


@pytest.mark.parametrize("better", list(Better))
def test_a_change_is_a_part_of_the_baseline(better):
    """Twice the time is 100 % worse; half the rate 50 %."""
    finding = one(series(loss=1.0 if better is Better.LOWER else 0.5, better=better))
    assert finding.change == pytest.approx(-1.0 if better is Better.LOWER else -0.5, abs=0.03)


def test_a_proven_loss_that_does_not_matter_is_the_same():
    """3 % slower beyond any doubt, and 5 % is what matters."""
    lost = series(loss=0.03, spread=0.005)
    assert one(lost).verdict is Verdict.SAME
    assert one(lost).p <= 0.01
    assert one(replace(lost, practical=0.02)).verdict is Verdict.WORSE


def test_a_floor_lets_tiny_figures_double():
    """10 microseconds or 20: nobody minds, if the lab says what nobody minds."""
    lost = series(loss=1.0, base=1e-5)
    assert one(lost).verdict is Verdict.WORSE
    assert one(replace(lost, floor=1e-3)).verdict is Verdict.SAME
    assert one(replace(lost, floor=1e-6)).verdict is Verdict.WORSE


def test_without_a_practical_limit_nothing_is_the_same():
    """No number of pairs proves that two machines are equal."""
    assert one(series(practical=0.0)).verdict is Verdict.UNKNOWN


def test_figures_about_zero_are_compared_by_their_difference():
    """Offsets have signs, and shares of stolen time are often 0."""
    random = np.random.default_rng(2)
    sides = [tuple(random.normal(middle, 0.1, 32).tolist()) for middle in (0.0, 1.0)]
    assert one(Series("C01", "offset", "kvm", Better.LOWER, "s", *sides)).verdict is Verdict.WORSE
    nothing = Series("C17", "stolen", "kvm", Better.LOWER, "%", (0.0,) * 32, (0.0,) * 32)
    assert one(nothing).verdict is Verdict.SAME
    assert one(nothing).change == pytest.approx(0, abs=1e-9)


def test_too_few_pairs_are_unknown_and_it_says_how_many_more():
    """Up to the next look, where judging makes sense again."""
    noisy = series(spread=0.1, pairs=16, seed=3)
    finding = one(noisy, budget=128)
    assert (finding.verdict, finding.more) == (Verdict.UNKNOWN, 16)
    assert "unknown after 16 pairs" in finding.words
    assert "the next 16 pairs may tell" in finding.words


def test_when_the_budget_is_spent_it_says_what_would_do():
    """And that many do, more often than not."""
    enough = 0
    for seed in range(20):
        finding = one(series(spread=0.1, pairs=32, seed=seed), budget=32)
        if finding.verdict is Verdict.UNKNOWN:
            needed = 32 + finding.more
            assert f"the budget of 32 pairs is spent, about {needed} would tell" in finding.words
            more = series(spread=0.1, pairs=needed, seed=seed + 100)
            enough += one(more, budget=needed).verdict is not Verdict.UNKNOWN
        else:
            enough += 1
    assert enough >= 15


def test_a_budget_that_can_prove_nothing_is_called_so():
    """Coins fall alike in 10 rounds once in 512 times, and 20 series may raise one alarm in 100 validations."""
    found = judge([series(loss=0.5, pairs=10, seed=seed) for seed in range(20)], budget=10)
    assert {finding.verdict for finding in found} == {Verdict.UNKNOWN}
    assert "a budget of 10 pairs proves nothing among 20 series, 13 are the least" in found[0].words
    assert 10 + found[0].more >= 13


def test_no_pairs_are_no_verdict():
    """The first rounds may still be running."""
    empty = Series("C01", "boot", "kvm", Better.LOWER, "s", (), ())
    finding = one(empty)
    assert (finding.verdict, finding.pairs) == (Verdict.UNKNOWN, 0)
    assert finding.more >= 8
    assert finding.interval == (-math.inf, math.inf)
    assert judge([], budget=10) == ()


def test_a_verdict_stays_whatever_comes_after():
    """Judged again after each round: from the look that decided on, every word is the same."""
    whole = [series(loss=0.1 * (seed == 0), spread=0.04, pairs=64, seed=seed) for seed in range(5)]
    decided = {}
    for pairs in range(65):
        now = [replace(one, baseline=one.baseline[:pairs], candidate=one.candidate[:pairs]) for one in whole]
        for at, finding in enumerate(judge(now, budget=64)):
            verdict = finding.verdict, round(finding.change, 9), finding.pairs
            if at in decided:
                assert verdict == decided[at]
            elif finding.verdict is not Verdict.UNKNOWN:
                assert finding.pairs == pairs, "decided at a look, not between"
                decided[at] = verdict
    assert [decided[at][0] for at in range(5)] == ["worse", *["same"] * 4]


def test_series_may_have_different_numbers_of_pairs():
    """Rounds that only some series still need."""
    lost, kept = series(loss=0.1, pairs=16, seed=1), series(spread=0.08, pairs=64, seed=2)
    found = judge([lost, kept], budget=64)
    assert (found[0].verdict, found[0].pairs) == (Verdict.WORSE, 16)
    assert found[1].pairs > 16


def test_the_family_weighs_on_every_verdict():
    """A difference that alone is proven is not among a hundred."""
    lost = series(loss=0.06, spread=0.08, pairs=32, seed=4, practical=0.01)
    alone = one(lost)
    among = judge([lost, *(series(seed=seed) for seed in range(99))], budget=32)[0]
    assert alone.p < among.p <= 1
    assert (alone.verdict, among.verdict) == (Verdict.WORSE, Verdict.UNKNOWN)


def test_p_is_that_of_one_look_over_what_the_look_may_spend():
    """Scipy's, by Holm's steps over the family, over the look's share of the seven tenths of alpha that are spent."""
    whole = [series(loss=loss, spread=0.1, pairs=32, seed=seed) for seed, loss in ((1, 0.07), (2, 0.04), (3, 0.0))]
    alone = []
    for one in whole:
        ratios = np.log(one.candidate) - np.log(one.baseline)
        alone.append([wilcoxon(ratios[:look], method="exact").pvalue for look in (16, 32)])
    assert Plan.of(3, 32).looks == (16, 32)
    wanted = np.ones(3)
    for look in (0, 1):
        p = np.array(alone)[:, look]
        order = np.argsort(p)
        steps = np.maximum.accumulate(p[order] * [3, 2, 1]) / 0.5 / 0.7
        wanted[order] = np.minimum(wanted[order], steps)
    found = judge(whole, budget=32)
    assert {one.verdict for one in found} == {Verdict.UNKNOWN}, "nothing is proven, so nobody leaves the family"
    assert [one.p for one in found] == pytest.approx(np.minimum(wanted, 1))
    assert min(wanted) < 0.5


def test_the_order_of_sides_is_drawn_and_repeatable():
    """A fair coin a round: as many one way as the other, and neighbours tell nothing of each other."""
    order = candidate_first(10_000, seed=7)
    assert order == candidate_first(10_000, seed=7)
    assert order[:100] != candidate_first(100, seed=8)
    assert abs(sum(order) - 5000) < 250
    assert abs(sum(a == b for a, b in itertools.pairwise(order)) - 5000) < 250


def test_looks_double_and_spend_everything_once():
    """Where early looks could decide nothing, there are fewer."""
    plan = Plan.of(1, 128)
    assert plan.looks == (16, 32, 64, 128)
    assert plan.shares == (0.125, 0.125, 0.25, 0.5)
    assert Plan.of(20, 24).looks == (24,)
    assert least(20, spare=0) == 13
    assert not Plan.of(20, 12).enough
    assert Plan.of(20, 13).enough


def test_two_speeds_and_a_drift_are_told():
    """Beside the verdict, which holds all the same."""
    random = np.random.default_rng(8)
    speeds = np.where(random.random((2, 48)) < 0.5, 1.0, 1.3) * random.normal(1, 0.01, (2, 48))
    two = Series("C01", "boot", "kvm", Better.LOWER, "s", *(tuple(side.tolist()) for side in speeds))
    assert one(two, budget=48).shape == "two modes"
    assert "two modes" in one(two, budget=48).words
    level = np.linspace(1, 2, 48) * random.normal(1, 0.01, (2, 48))
    drifting = Series("C01", "boot", "kvm", Better.LOWER, "s", *(tuple(side.tolist()) for side in level))
    assert (one(drifting, budget=48).shape, one(drifting, budget=48).verdict) == ("drifts", Verdict.SAME)
    assert one(series()).shape == ""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"baseline": (1.0,)}, "a pair has two sides"),
        ({"baseline": (math.nan,), "candidate": (1.0,)}, "must be a finite number"),
        ({"practical": -0.1}, "0 or more"),
        ({"floor": math.inf}, "must be a finite number"),
    ],
)
def test_what_cannot_be_compared_is_refused(change, said):
    with pytest.raises(UsageError, match=f"C01 boot on kvm: .*{said}"):
        replace(series(), **change)


@pytest.mark.parametrize(("budget", "alpha"), [(0, 0.01), (10, 0.0), (10, 1.0)])
def test_what_cannot_be_planned_is_refused(budget, alpha):
    with pytest.raises(UsageError, match="nothing to plan"):
        judge([series()], alpha=alpha, budget=budget)


def test_without_scipy_it_says_what_to_install(monkeypatch):
    """The extra is named; everything else works without it."""
    for name in [name for name in sys.modules if name.startswith(("scipy", "harness.measure.gains"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "harness.measure.signed_rank", raising=False)
    monkeypatch.setitem(sys.modules, "scipy", None)
    monkeypatch.delattr("harness.measure.gains", raising=False)
    monkeypatch.delattr("harness.measure.signed_rank", raising=False)
    with pytest.raises(UsageError, match="needs scipy") as raised:
        judge([series()], budget=32)
    assert raised.value.hint == "pip install 'interop-harness[verdicts]'"


def test_nobody_pays_for_scipy_before_something_is_compared():
    """A second at every start of `pytest` or `interop` would be too much."""
    program = (
        "import sys, harness.measure.judge, harness.measure.records; assert not {'numpy', 'scipy'} & {*sys.modules}"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
