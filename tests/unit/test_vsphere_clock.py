"""Finding the tick's edge of a clock that tells whole seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random

import pytest

from harness.backends.vsphere import clock
from harness.core import Deadline, LabError


@dataclass
class World:
    """Time that passes only when it is asked for: a host ahead of us, and a way to it that takes time."""

    ahead: float
    trip: float
    resolution: float = 1.0
    now: float = 1000.0
    questions: int = 0
    jump_at: int = 0
    random: Random = field(default_factory=lambda: Random(1))

    def clock(self) -> float:
        return self.now

    def rest(self, seconds: float) -> None:
        self.now += seconds

    def ask(self, deadline: Deadline) -> datetime:
        """The way there takes any part of the round trip."""
        self.questions += 1
        there = self.trip * self.random.random()
        at = self.now + there + self.ahead + (5 if self.questions == self.jump_at else 0)
        self.now += self.trip
        return datetime.fromtimestamp(at // self.resolution * self.resolution, UTC)

    def __post_init__(self) -> None:
        self.ticked = clock.TickedClock(self.ask, clock=self.clock, rest=self.rest)

    def read(self, seconds: float = 60):
        return self.ticked.read(Deadline.after(seconds, self.clock))


@pytest.mark.parametrize("trip", [0.001, 0.01, 0.04])
@pytest.mark.parametrize("ahead", [0.0, 0.4999, -3.21, 1.7e9 + 0.123])
def test_the_uncertainty_comes_near_a_round_trip(ahead, trip):
    """Not half a second, which a clock of whole seconds suggests; and it holds."""
    world = World(ahead, trip)
    reading = world.read()
    assert reading.uncertainty <= 1.5 * trip + 0.001
    assert abs(reading.at - (world.now + ahead)) <= reading.uncertainty
    assert world.now - 1000.0 <= clock._LONGEST + 1.5
    assert world.questions <= 150


def test_a_host_that_tells_fractions_is_asked_once():
    world = World(12.3456, 0.01, resolution=0.001)
    reading = world.read()
    assert world.questions == 1
    assert reading.uncertainty <= 0.006
    assert abs(reading.at - (world.now + 12.3456)) <= reading.uncertainty


def test_a_short_deadline_tells_what_was_reached():
    reading = World(0.3, 0.01).read(seconds=0.2)
    assert 0.01 < reading.uncertainty <= 0.51


def test_a_clock_that_is_set_meanwhile_is_a_lab_error():
    with pytest.raises(LabError, match="jumped"):
        World(0.3, 0.01, jump_at=3).read()


def test_a_host_far_away_is_still_bounded():
    """Two seconds of round trip: more than a tick."""
    world = World(0.25, 2.0)
    reading = world.read()
    assert abs(reading.at - (world.now + 0.25)) <= reading.uncertainty
    assert reading.uncertainty <= 2.0


def test_a_second_reading_waits_for_one_tick_at_most():
    """And holds, though the host's clock runs a little fast."""
    world = World(0.77, 0.01)
    world.read()
    world.now += 10
    world.ahead += 10 * 400e-6
    began, questions = world.now, world.questions
    reading = world.read()
    assert world.now - began <= 1.1
    assert world.questions - questions <= 25
    assert abs(reading.at - (world.now + world.ahead)) <= reading.uncertainty <= 0.016


@pytest.mark.parametrize("step", [5.0, -3600.0, 0.3, 0.7, -0.05, 0.03])
def test_a_clock_that_was_set_between_two_readings_is_read_anew(step):
    world = World(0.77, 0.01)
    world.read()
    world.ahead += step
    reading = world.read()
    assert abs(reading.at - (world.now + world.ahead)) <= reading.uncertainty <= 0.016
