"""Figures of the benchmarks: medians, ratios, spread and promises."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # benchmarks are not installed

from benchmarks import figures
from benchmarks.figures import Series


def test_a_ratio_is_of_medians_so_one_outlier_does_not_move_it():
    """The slowest sample is shown in the spread, not in the value."""
    figure = figures.ratio("fresh / cold", Series("fresh", (4.0, 4.0, 60.0)), Series("cold", (50.0, 50.0, 50.0)), 0.1)
    assert figure.value == 0.08
    assert figure.spread == (0.08, 1.2)
    assert figure.kept


def test_a_promise_that_is_not_kept_is_said_in_capitals():
    """Whoever reads the table sees it."""
    figure = figures.absolute("gap", Series("gap", (0.3, 0.4, 0.5)), 0.2)
    assert not figure.kept
    (row,) = figures.lines([figure])
    assert row == ["gap", "0.400 s", "0.300 to 0.500", "<= 0.2 s NOT KEPT", "gap 400 ms (300 ms to 500 ms, n=3)"]


def test_what_nobody_promised_is_only_shown():
    """The time to the first test depends on the machine."""
    assert figures.absolute("first test", Series("first", (9.0,)), None).kept


def test_time_is_read_from_the_clock_that_is_handed_in():
    """Before and after the action."""
    moments = iter([10.0, 12.5])
    assert figures.timed(lambda: None, clock=lambda: next(moments)) == 2.5
