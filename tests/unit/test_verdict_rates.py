"""What docs/verdicts.md promises of whole validations, counted anew: few trials here, all with INTEROP_TRIALS=all."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest, ttest_ind

from benchmarks import verdicts
from benchmarks.__main__ import main as bench
from benchmarks.verdicts import FAMILY, NOISES
from harness.core import UsageError
from harness.measure import Better
from harness.measure.judge import Series, Verdict, judge
from harness.measure.needed import Rate, false_alarms, smallest_change
from harness.measure.plan import Plan, candidate_first

HERE = Path(__file__).parent
WANTED = os.environ.get("INTEROP_TRIALS", "250")
TRIALS = verdicts.TRIALS if WANTED == "all" else int(WANTED)
SEED = int(os.environ.get("INTEROP_SEED", "1"))
CERTAIN = 1e-6
"""A true promise fails one of these tests once in a million draws."""


def documented():
    """Noise, coefficient of variation and pairs of each line of the page's table."""
    page = (HERE.parents[1] / "docs/verdicts.md").read_text()
    rows = re.findall(r"^\| ([^|]+) \| (\d+)% \| (\d+) \|", page, re.MULTILINE)
    cases = [
        pytest.param(name, int(spread) / 100, int(pairs), id=f"{name}, {spread} %") for name, spread, pairs in rows
    ]
    assert len(cases) == len(NOISES) * len(verdicts.SPREADS)
    return cases


def test_the_page_shows_what_the_benchmark_prints():
    """Its table's head is the one that `python -m benchmarks verdicts` writes."""
    assert verdicts.table([]) in (HERE.parents[1] / "docs/verdicts.md").read_text()


def test_the_benchmark_refuses_to_promise_from_a_few_trials(capsys):
    """Of 100 trials not even 100 show 95 % with any confidence."""
    with pytest.raises(SystemExit):
        bench(["verdicts", "--trials", "100"])
    assert "100 trials show nothing" in capsys.readouterr().err


def at_most(rate, promise):
    assert binomtest(rate.happened, rate.trials, promise, alternative="greater").pvalue > CERTAIN, rate
    if rate.trials >= verdicts.TRIALS:
        assert rate.value <= promise, rate


def at_least(rate, promise):
    assert binomtest(rate.happened, rate.trials, promise, alternative="less").pvalue > CERTAIN, rate
    if rate.trials >= verdicts.TRIALS:
        assert rate.value >= promise, rate


@pytest.mark.parametrize(("noise", "spread", "pairs"), documented())
def test_equal_sides_raise_an_alarm_in_1_of_100_validations_at_most(noise, spread, pairs):
    """Of 20 measurements and all looks together, even where every change would matter."""
    for rate in verdicts.any_alarm(NOISES[noise], spread, Plan.of(FAMILY, pairs), TRIALS, seed=SEED):
        at_most(rate, 0.01)


@pytest.mark.parametrize(("noise", "spread", "pairs"), documented())
def test_a_loss_of_10_percent_is_caught_in_95_of_100(noise, spread, pairs):
    """One measurement of 20, within the pairs that the page names."""
    at_least(verdicts.caught(NOISES[noise], spread, pairs, TRIALS, seed=SEED)[0], 0.95)


@pytest.mark.parametrize("family", [1, 3, 60])
def test_the_rate_holds_for_families_of_any_size(family, monkeypatch):
    """One measurement or sixty; four looks."""
    monkeypatch.setattr(verdicts, "FAMILY", family)
    bare, _ = verdicts.any_alarm(NOISES["AR(1), rho 0.5"], 0.05, Plan.of(family, 128), max(TRIALS // 2, 1), seed=SEED)
    at_most(bare, 0.01)


PEEKS = tuple(range(16, 65, 4))


@pytest.mark.parametrize(
    "plan",
    [
        pytest.param(Plan(PEEKS, (1.0,) * len(PEEKS), FAMILY), id="looks that each spend everything"),
        pytest.param(Plan((32, 64), (0.5, 0.5), 1), id="20 measurements judged one by one"),
    ],
)
def test_counting_finds_a_procedure_that_promises_too_much(plan):
    """Both raise alarms in more than 3 of 100 validations."""
    rate, _ = verdicts.any_alarm(NOISES["normal"], 0.05, plan, 1000, seed=3)
    with pytest.raises(AssertionError):
        at_most(rate, 0.01)


def test_counting_finds_a_budget_that_is_too_small():
    """Half the pairs do not catch 95 of 100."""
    rate, _ = verdicts.caught(NOISES["normal"], 0.10, 40, 1000, seed=3)
    with pytest.raises(AssertionError):
        at_least(rate, 0.95)


def test_a_machine_that_drifts_fools_who_runs_one_side_after_the_other():
    """The same samples: a t-test of first half against second half nearly always finds a difference; pairs do not."""
    random = np.random.default_rng(SEED)
    runs = NOISES["drifting"](random, (200, 80), 0.05)
    fooled = sum(ttest_ind(row[:40], row[40:]).pvalue < 0.01 for row in runs)
    assert fooled > 190
    alarms = 0
    for row in runs:
        first = np.array(candidate_first(40, seed=int(random.integers(1 << 30))))
        baseline, candidate = np.where(first, row[1::2], row[0::2]), np.where(first, row[0::2], row[1::2])
        pairs = Series("C01", "boot", "kvm", Better.LOWER, "s", tuple(baseline.tolist()), tuple(candidate.tolist()))
        alarms += judge([pairs], budget=40)[0].verdict in (Verdict.WORSE, Verdict.BETTER)
    at_most(Rate(alarms, 200), 0.01)


def recorded(seed, *, loss=0.0):
    """Recorded runs of one thing, in order, as pairs whose sides a coin chose; the candidate's slower by ``loss``."""
    found = []
    for line in json.loads((HERE / "recorded_samples.json").read_text()):
        first, second = np.array(line["samples"]).reshape(-1, 2).T
        coin = np.array(candidate_first(len(first), seed))
        baseline, candidate = np.where(coin, second, first), np.where(coin, first, second) * (1 + loss)
        name = f"{line['what']}, {line['where']}"
        sides = tuple(baseline.tolist()), tuple(candidate.tolist())
        found.append(Series("M01", name, "kvm", Better(line["better"]), line["unit"], *sides))
    return found


def test_recorded_samples_raise_no_more_alarms_than_simulated_ones():
    """From guests and a busy controller, with tails and a memory that no simulation has; coins thrown anew."""
    alarms = 0
    trials = 2 * TRIALS
    for seed in range(SEED, SEED + trials // 10):
        alarms += any(one.verdict in (Verdict.WORSE, Verdict.BETTER) for one in judge(recorded(seed), budget=100))
    at_most(Rate(alarms, trials // 10), 0.01)
    at_most(false_alarms(recorded(SEED), budget=100, trials=10 * TRIALS, seed=SEED), 0.01)


def test_a_loss_planted_into_recorded_samples_is_caught():
    """Where the smallest change that these samples show is smaller than it."""
    series = recorded(SEED)
    smallest = [smallest_change(one, budget=100, family=len(series)) for one in series]
    assert min(smallest) < 0.1, "one is quiet enough for a loss of 10 %"
    for at, change in list(enumerate(smallest))[::2]:
        caught = 0
        for seed in range(SEED, SEED + 10):
            lost = [*series[:at], recorded(seed, loss=change)[at], *series[at + 1 :]]
            caught += judge(lost, budget=100)[at].verdict is Verdict.WORSE
        at_least(Rate(caught, 10), 0.95)


def test_the_smallest_change_shrinks_with_pairs_and_grows_with_the_family():
    """By the noise of the series itself; planted, it is caught."""
    (one, *_) = recorded(SEED)
    few, many = (smallest_change(one, budget=pairs, family=20) for pairs in (32, 128))
    assert many < few
    assert smallest_change(one, budget=32, family=1) < few
    assert smallest_change(one, budget=12, family=20) == np.inf
    noise = NOISES["normal"](np.random.default_rng(5), (1, 2 * 64), 0.05)[0]
    pairs = Series("C01", "boot", "kvm", Better.LOWER, "s", tuple(noise[0::2].tolist()), tuple(noise[1::2].tolist()))
    loss = smallest_change(pairs, budget=64, family=FAMILY)
    assert verdicts.caught(NOISES["normal"], 0.05, 64, 500, seed=2, loss=loss)[0].value == pytest.approx(0.95, abs=0.06)


def test_a_rate_has_an_interval():
    """Clopper and Pearson's, at both ends of the scale, too."""
    for happened in (0, 1, 50, 100):
        wanted = binomtest(happened, 100).proportion_ci(0.99, method="exact")
        assert Rate(happened, 100).interval == pytest.approx((wanted.low, wanted.high))


def test_noise_is_known_from_two_pairs_or_more():
    alone = Series("C01", "boot", "kvm", Better.LOWER, "s", (1.0,), (1.0,))
    for ask in (lambda: smallest_change(alone, budget=20), lambda: false_alarms([alone], budget=20)):
        with pytest.raises(UsageError, match="C01 boot on kvm: noise is known from two pairs or more"):
            ask()
