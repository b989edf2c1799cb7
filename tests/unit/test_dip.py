"""Two modes are called two modes, and one mode seldom is."""

import math

import numpy as np
import pytest
from scipy.optimize import linprog
from scipy.stats import binomtest

from harness.measure.dip import CRITICAL, FEWEST, dip, two_modes
from harness.measure.shapes import drifts


def nearest(samples):
    """The dip by its definition: for each place of the mode the nearest unimodal distribution, by linear programs."""
    x = np.sort(samples)
    n = len(x)
    upper = np.arange(1, n + 1) / n
    slope = np.zeros((n - 1, n + 1))
    for at, gap in enumerate(np.diff(x)):
        slope[at, at], slope[at, at + 1] = -1 / gap, 1 / gap
    near = np.vstack([np.eye(n, n + 1), -np.eye(n, n + 1)])
    near[:, n] = -1
    bounds = [*(upper - 1 / n), *-upper]
    found = []
    for mode in range(n - 1):
        bend = slope[:-1] - slope[1:]
        bend[mode:] *= -1
        rows = np.vstack([near, bend, -slope])
        limits = [*bounds, *np.zeros(len(rows) - 2 * n)]
        cost = np.eye(n + 1)[n]
        found.append(linprog(cost, A_ub=rows, b_ub=limits, bounds=[(None, None)] * n + [(0, None)]).fun)
    return min(found)


@pytest.mark.parametrize("kind", ["even", "bell", "tail", "two"])
def test_it_is_the_distance_to_the_nearest_distribution_of_one_mode(kind):
    """Against linear programs that know nothing of the algorithm."""
    random = np.random.default_rng(len(kind) + 40)
    for size in (4, 9, 14, 20):
        drawn = {
            "even": random.uniform(size=size),
            "bell": random.normal(size=size),
            "tail": random.exponential(size=size),
            "two": random.normal(size=size) + 5 * (random.random(size) < 0.4),
        }[kind]
        assert dip(drawn) == pytest.approx(nearest(drawn), abs=1e-7)


def test_its_ends_are_known():
    """One spike dips least, two equal ones most."""
    assert dip([3.0] * 8) == 1 / 16
    assert dip([1.0] * 50 + [2.0] * 50) == pytest.approx(0.25)


@pytest.mark.parametrize("size", [16, 48])
def test_even_samples_dip_beyond_the_critical_value_once_in_a_hundred(size):
    """Drawn anew; of all distributions with one mode they do so most often."""
    random = np.random.default_rng(size)
    critical = dict(CRITICAL)[size]
    called = sum(math.sqrt(size) * dip(random.uniform(size=size)) > critical for _ in range(3000))
    assert binomtest(called, 3000, 0.01).pvalue > 1e-4


@pytest.mark.parametrize("noise", ["normal", "lognormal"])
def test_noise_with_one_mode_is_seldom_said_to_have_two(noise):
    """Less than once in a thousand times."""
    random = np.random.default_rng(9)
    called = sum(two_modes(getattr(random, noise)(size=32)) for _ in range(3000))
    assert binomtest(called, 3000, 0.001, alternative="greater").pvalue > 1e-4


@pytest.mark.parametrize(("share", "size"), [(0.5, 48), (0.3, 96)])
def test_two_modes_are_called_so(share, size):
    """A machine with two speeds that are 20 % apart, with noise of 2 %: 95 times of 100."""
    random = np.random.default_rng(10)
    draws = (1 + 0.2 * (random.random((400, size)) < share)) * random.normal(1, 0.02, (400, size))
    called = sum(map(two_modes, draws))
    assert binomtest(called, 400, 0.95, alternative="less").pvalue > 1e-4


def test_neighbouring_ticks_of_a_coarse_clock_are_no_two_modes():
    """Noise of two ticks looks like spikes and is none; a gap of twenty ticks is one."""
    random = np.random.default_rng(11)
    ticks = np.round(random.normal(100, 1.5, (300, 40)))
    assert sum(map(two_modes, ticks)) <= 3
    assert two_modes(np.round(random.normal(100, 1.5, 40) + 20 * (np.arange(40) % 2)))


def test_few_samples_say_nothing():
    assert not two_modes([1.0, 2.0] * (FEWEST // 2 - 1))


def test_a_machine_that_becomes_slower_is_said_to_drift():
    """Both sides rise together; either side's noise alone does not."""
    random = np.random.default_rng(12)
    level = np.linspace(1, 1.2, 32)
    assert drifts(level + random.normal(0, 0.02, 32), level + random.normal(0, 0.02, 32))
    still = sum(drifts(*random.normal(1, 0.02, (2, 32))) for _ in range(300))
    assert still <= 3
    assert not drifts([1.0] * 20, [1.0] * 20)
