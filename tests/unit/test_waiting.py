"""The one module that waits, by a clock of the test's own."""

from __future__ import annotations

from datetime import timedelta

import pytest

from harness.core import Deadline, GuestError, LabError, Pending, wait_for


class Clock:
    """Moves when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_what_is_there_at_once_is_returned_at_once():
    """The condition's own result, falsy ones too."""
    assert wait_for("a zero", lambda: 0, Deadline.after(10)) == 0


def test_a_condition_is_asked_until_it_holds():
    """Pending means not yet."""
    answers = iter([Pending("one"), Pending("two"), "there"])
    assert wait_for("it", lambda: next(answers), Deadline.after(10), every=0) == "there"


def test_a_time_out_names_the_wait_and_what_was_last_seen():
    """Both are what the reader needs."""
    with pytest.raises(LabError, match=r"waited .* s for the sun; last seen: clouds"):
        wait_for("the sun", lambda: Pending("clouds"), Deadline.after(0))


def test_the_condition_runs_once_even_after_the_deadline():
    """What already holds is no time-out."""
    assert wait_for("it", lambda: "there", Deadline.after(-1)) == "there"


def test_the_fault_says_whose_fault_it_is():
    """Any exception class will do."""
    with pytest.raises(GuestError):
        wait_for("it", lambda: Pending("nothing"), Deadline.after(0), fault=GuestError)


def test_an_error_of_the_condition_ends_the_wait():
    """Only Pending is waited over."""

    def broken() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        wait_for("it", broken, Deadline.after(10))


def test_a_deadline_counts_down_and_never_below_zero():
    """So that it fits any library's time-out argument."""
    clock = Clock()
    deadline = Deadline.after(timedelta(seconds=5), clock)
    assert deadline.seconds == 5
    clock.now += 7
    assert (deadline.seconds, deadline.expired) == (0, True)


def test_a_step_of_a_longer_job_never_gets_more_than_is_left():
    """The earlier of two moments wins."""
    clock = Clock()
    deadline = Deadline.after(5, clock)
    assert deadline.sooner(3).seconds == 3
    assert deadline.sooner(8).seconds == 5
