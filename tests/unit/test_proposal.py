"""Limits from samples: wide enough for what was seen, in the direction that the limit has, and never inwards."""

import random

import pytest

from harness.core import UsageError
from harness.measure.proposal import outwards, propose

BOOTS = [21.0, 22.0, 23.0, 24.0, 25.0, 26.0, 27.0, 28.0]


def test_a_bound_stands_beyond_the_outer_fence_by_the_margin():
    """Quartiles 22.75 and 26.25, so the fence is at 36.75; a fifth more is 44.1, and 45 of two digits."""
    made = propose(BOOTS, lower=False, upper=True)
    assert (made.lower, made.median, made.upper) == (22.75, 24.5, 26.25)
    assert (made.at_least, made.at_most, made.margin) == (None, 45, pytest.approx(7.35))
    assert made.spread == "21 to 28, half of them between 22.75 and 26.25"


def test_one_far_away_sample_is_inside_as_well():
    assert propose([*BOOTS, 90.0], lower=False, upper=True).at_most == 110


def test_a_lower_bound_goes_the_other_way():
    """The lower quartile is 0.915 and the fence 0.825; a tenth less is 0.7425."""
    made = propose([0.9, 0.92, 0.94, 0.96], lower=True, upper=False, margin=0.1)
    assert made.at_most is None
    assert made.at_least == pytest.approx(0.74)


def test_two_bounds_enclose_all():
    made = propose([-3.0, -2.0, 1.0, 2.0], lower=True, upper=True)
    assert made.at_least < -3
    assert made.at_most > 2


def test_what_is_known_no_better_than_a_second_gets_a_second_at_least():
    assert propose([0.1] * 20, lower=False, upper=True, resolution=1.0).at_most == pytest.approx(1.1)
    assert propose([0.1] * 20, lower=False, upper=True).at_most == pytest.approx(0.12)


def test_nothing_but_zero_stays_zero():
    assert propose([0.0] * 20, lower=False, upper=True).at_most == 0


@pytest.mark.parametrize("values", [[], [1.0], [1.0, float("nan")], [1.0, float("inf")]])
def test_too_little_is_refused(values):
    with pytest.raises(UsageError, match="two finite values"):
        propose(values, lower=False, upper=True)


@pytest.mark.parametrize(
    ("value", "up", "rounded"),
    [
        (44.1, True, 45),
        (44.1, False, 44),
        (0.0123, True, 0.013),
        (-12.3, False, -13),
        (120, True, 120),
        (1.1, True, 1.1),
    ],
)
def test_rounding_goes_outwards_to_two_digits(value, up, rounded):
    assert outwards(value, up=up) == pytest.approx(rounded)


def test_healthy_values_hardly_ever_pass_their_own_limit():
    """Ten thousand more draws of the same skewed kind, after thirty that the limit was made of."""
    draw = random.Random(7)
    made = propose([draw.lognormvariate(3, 0.2) for _ in range(30)], lower=False, upper=True)
    beyond = sum(draw.lognormvariate(3, 0.2) > made.at_most for _ in range(10_000))
    assert beyond < 10
