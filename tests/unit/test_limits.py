"""Limits: what keeps them, what only warns, and what is kept of every value that was held against one."""

from datetime import timedelta
from pathlib import Path

import pytest

from harness.core import Deadline, LabError, Pending, wait_for
from harness.lab.expectations import Expectations
from harness.lab.limits import Limit, LimitFile, Reading, Readings, of_a_check, stopwatch


def limit(*, calibrated: bool = True, key: str = "X01.late", readings: Readings | None = None, **bounds) -> Limit:
    said = LimitFile(**(bounds or {"at_most": 5}), unit="s", source="us", calibrated=calibrated)
    return Limit(key, said, Readings() if readings is None else readings)


@pytest.mark.parametrize(
    ("bounds", "allowed", "refused"),
    [
        ({"at_least": 0.9}, (0.9, 5.0), (0.89,)),
        ({"at_most": 0}, (0, -1), (1,)),
        ({"at_least": -8, "at_most": 8}, (-8, 0, 8), (-8.1, 8.1)),
    ],
)
def test_a_hard_limit_refuses_what_lies_beyond_its_bounds(bounds, allowed, refused):
    assert all(limit(**bounds).allows(value) for value in allowed)
    assert not any(limit(**bounds).allows(value) for value in refused)


def test_a_limit_that_nobody_calibrated_lets_all_pass_and_warns():
    readings = Readings()
    soft = limit(calibrated=False, readings=readings)
    assert soft.allows(9)
    assert readings.warnings() == ["X01.late is 9 s, not at most 5 s (us; not calibrated yet)"]


def test_a_value_within_a_soft_limit_and_one_beyond_a_hard_one_are_no_warnings():
    readings = Readings()
    assert limit(calibrated=False, readings=readings).allows(4)
    assert not limit(key="X02.late", readings=readings).allows(9)
    assert readings.warnings() == []


def test_a_question_on_the_way_is_no_verdict():
    readings = Readings()
    assert not limit(calibrated=False, readings=readings).keeps(9)
    assert readings.taken == []


@pytest.mark.parametrize(
    ("bounds", "values", "worst"),
    [({"at_most": 5}, (1, 7, 3), 7), ({"at_least": 5}, (8, 2, 6), 2), ({"at_least": -1, "at_most": 5}, (4, -3, 6), -3)],
)
def test_of_many_values_the_one_that_went_furthest_is_kept(bounds, values, worst):
    readings = Readings()
    for value in values:
        limit(readings=readings, **bounds).allows(value)
    (told,) = readings.plain()["limits"]
    assert (told["key"], told["value"]) == ("X01.late", worst)


def test_what_is_kept_says_what_was_in_force():
    told = Reading("X01.late", 9.0, limit(calibrated=False).said).plain()
    assert told == {
        "key": "X01.late",
        "value": 9.0,
        "kept": False,
        "waited": False,
        "at_least": None,
        "at_most": 5.0,
        "unit": "s",
        "calibrated": False,
        "source": "us",
    }


@pytest.mark.parametrize(
    ("key", "of_check"), [("C06.busy", True), ("ACME-001.late", True), ("host.verb", False), ("guest.boot", False)]
)
def test_the_harnesss_own_patience_is_no_limit_of_a_check(key, of_check):
    assert of_a_check(key) is of_check


class Clock:
    """Seconds that pass when they are told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_last_of_several_waits_by_one_deadline_is_the_time_that_counts():
    clock, readings = Clock(), Readings()
    late = limit(calibrated=False, readings=readings)
    deadline = Deadline.after(60, clock, stopwatch(late, clock))
    for seconds in (2.0, 5.0):
        clock.now += seconds
        assert wait_for("it", lambda: "there", deadline) == "there"
    assert [reading.value for reading in readings.worst()] == [7.0]
    assert readings.worst()[0].waited


def test_a_wait_for_one_step_of_a_longer_job_is_not_the_job():
    clock, readings = Clock(), Readings()
    deadline = Deadline.after(60, clock, stopwatch(limit(readings=readings), clock))
    for span in (timedelta(seconds=1), timedelta(seconds=100)):
        wait_for("a step", lambda: True, deadline.sooner(span))
    assert readings.taken == []


def test_what_never_came_leaves_no_time():
    readings = Readings()
    clock = Clock()
    deadline = Deadline.after(0, clock, stopwatch(limit(readings=readings), clock))
    with pytest.raises(LabError):
        wait_for("it", lambda: Pending("nothing"), deadline)
    assert readings.taken == []


SAID = {
    "X01.soft": LimitFile(at_most=5, unit="s", source="us", calibrated=False),
    "X01.hard": LimitFile(at_most=5, unit="s", source="us"),
    "X01.slow": LimitFile(at_most=500, unit="s", source="us", calibrated=False),
    "host.verb": LimitFile(at_most=5, unit="s", source="us"),
    "host.never": LimitFile(at_most=300, unit="s", source="us"),
}


@pytest.mark.parametrize(("key", "seconds"), [("X01.soft", 300), ("X01.hard", 5), ("X01.slow", 500), ("host.verb", 5)])
def test_what_only_warns_is_waited_for_until_it_can_only_never_come(key, seconds):
    expect = Expectations("here", Path("x.yaml"), limits=SAID)
    assert expect.deadline(key).seconds == pytest.approx(seconds, abs=1)


def test_a_wait_keeps_its_time_and_the_sizes_that_were_asked_for_are_known():
    expect = Expectations("here", Path("x.yaml"), limits=SAID, sizes={"X01.rounds": 3, "X01.other": 4})
    expect.count("X01.rounds")
    for key in ("X01.soft", "host.verb"):
        wait_for("it", lambda: True, expect.deadline(key))
    told = expect.readings.plain()
    assert [one["key"] for one in told["limits"]] == ["X01.soft"]
    assert told["sizes"] == {"X01.rounds": 3}
