"""The offset of a clock, and how sure of it one can be."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from itertools import chain, repeat

import pytest

from harness.backends.views import ClockReading
from harness.core import GuestError
from harness.guest.clock import Clock, _answering
from harness.guest.ssh import Stamp
from tests.unit.fake_machine import ClocklessHost, FakeHost


class Line:
    """A guest whose clock is ``ahead`` of the controller's, reached with known delays."""

    def __init__(self, host, ahead: float, trips: list[tuple[float, float]], answer: bytes | None = None) -> None:
        self.hypervisor, self.name = host, "guest"
        self.ahead, self.trips, self.answer = ahead, trips, answer

    def converse(self, argv, questions, deadline):
        stamps = []
        for at in range(questions):
            there, back = self.trips[at % len(self.trips)]
            sent = 1000.0 + at
            wall = sent + there + self.ahead
            answer = self.answer or f"{wall:.6f} 5000000000".encode()
            stamps.append(Stamp(sent, sent + there + back, answer))
        return tuple(stamps)


@dataclass
class TickingHost(FakeHost):
    """It waits for its next tick, two seconds away, before it tells the time."""

    at: float = 1000.0

    def clock(self, deadline):
        self.at += 2.0
        return ClockReading(self.at + self.ahead, self.uncertainty)


def test_the_probe_with_the_least_round_trip_wins():
    """The others only bound it worse."""
    offset = Clock(Line(ClocklessHost(), 2.0, [(0.5, 0.1), (0.01, 0.01), (0.1, 0.4)])).offset(6)
    assert offset.seconds == pytest.approx(2.0)
    assert offset.uncertainty == pytest.approx(0.01)
    assert len(offset.samples) == 6


@pytest.mark.parametrize("ahead", [-3600.0, -0.02, 0.0, 0.02, 86400.0])
@pytest.mark.parametrize("trip", [(0.0, 0.1), (0.1, 0.0), (0.03, 0.07)])
def test_the_true_offset_lies_within_the_stated_uncertainty(ahead, trip):
    """However unevenly the way there and back share the round trip, and whichever way the clock is wrong."""
    offset = Clock(Line(ClocklessHost(), ahead, [trip])).offset(3)
    assert abs(offset.seconds - ahead) <= offset.uncertainty + 1e-5


def test_the_hosts_clock_counts_not_the_controllers():
    """A guest right by its host has no offset, wherever the controller's clock is."""
    offset = Clock(Line(FakeHost(ahead=30.0, uncertainty=0.002), 30.0, [(0.01, 0.01)])).offset(3)
    assert offset.seconds == pytest.approx(0.0, abs=0.02)
    assert offset.uncertainty == pytest.approx(0.012)


def test_a_host_that_tells_its_time_late_is_believed_as_it_says():
    """Where it waits for the next tick it knows the time to a thousandth of a second all the same."""
    host = TickingHost(ahead=30.0, uncertainty=0.001)
    offset = Clock(Line(host, 30.0, [(0.01, 0.01)]), now=lambda: host.at).offset(3)
    assert offset.seconds == pytest.approx(0.0, abs=0.001)
    assert offset.uncertainty == pytest.approx(0.011)


def test_a_series_brings_the_monotonic_clock_beside_each_reading():
    """In seconds, as the guest counts them."""
    samples = Clock(Line(ClocklessHost(), 0.0, [(0.01, 0.01)])).series(3, monotonic=True)
    assert [sample.monotonic for sample in samples] == [5.0, 5.0, 5.0]


def test_against_the_controller_the_hosts_clock_adds_neither_offset_nor_doubt():
    """A host that tells its time coarsely would drown a small difference."""
    offset = Clock(Line(FakeHost(ahead=30.0, uncertainty=0.5), 30.0, [(0.02, 0.02), (0.01, 0.01)])).against_controller(
        4, monotonic=True
    )
    assert offset.seconds == pytest.approx(30.0, abs=0.001)
    assert offset.uncertainty == pytest.approx(0.01)
    assert offset.best.uncertainty == offset.uncertainty
    assert [sample.monotonic for sample in offset.samples] == [5.0] * 4


def test_an_answer_that_is_no_time_is_the_guests_fault():
    """Shown as it came."""
    with pytest.raises(GuestError, match="not found"):
        Clock(Line(ClocklessHost(), 0.0, [(0.0, 0.0)], b"sh: not found")).offset(1)


@pytest.mark.parametrize("shell", ["bash", "dash"])
def test_what_runs_in_the_guest_answers_each_line_with_its_clock(shell):
    """By a variable where the shell has one, else by a command."""
    if not shutil.which(shell):
        pytest.skip(f"no {shell} on this machine")
    done = subprocess.run(
        [shell, "-c", _answering(monotonic=False)], input=b"\n\n", capture_output=True, check=True, timeout=20
    )
    first, second = (float(line) for line in done.stdout.split())
    assert first <= second


def test_setting_right_moves_the_clock_by_what_it_is_off():
    """Relative to itself, so that a command that starts late sets nothing wrong."""

    class Guest(Line):
        def run(self, argv, *, timeout):
            assert argv[:2] == ["date", "-s"]
            self.ahead += float(argv[2].removesuffix(" seconds"))

    guest = Guest(FakeHost(ahead=3.0), -900.0, [(0.001, 0.002)])
    was = Clock(guest).set_from_host()
    assert guest.ahead == pytest.approx(3.0, abs=0.01)
    assert was.seconds == pytest.approx(-903.0, abs=0.01)


class Set(Line):
    """A guest whose tools set its clock, too, so many times: right, and just before our own setting of it arrives."""

    def __init__(self, times):
        super().__init__(ClocklessHost(), -900.0, [(0.001, 0.001)])
        self.times = times

    def run(self, argv, *, timeout):
        if self.times:
            self.times -= 1
            self.ahead = 0.0
        self.ahead += float(argv[2].removesuffix(" seconds"))


class Kept(Line):
    """A guest whose tools set its clock right whenever anybody else has set it."""

    def run(self, argv, *, timeout):
        self.ahead = 0.0


def test_a_clock_that_tools_set_at_the_same_moment_is_looked_at_again():
    """Set twice, it would be as much ahead as it was behind."""
    guest = Set(times=1)
    Clock(guest).set_from_host()
    assert guest.ahead == pytest.approx(0.0, abs=0.01)


class StillHost(FakeHost):
    """Its clock stands, so that nothing but the controller's own moves."""

    def clock(self, deadline):
        return ClockReading(1000.0, 0.001)


def test_a_host_that_was_misread_is_read_again_before_the_guest_is_blamed():
    """The controller stood still between the host's clock and its own; the guest's tools keep the guest right."""
    moments = chain([1001.2], repeat(1000.0))
    Clock(Kept(StillHost(), 0.0, [(0.001, 0.001)]), now=lambda: next(moments)).set_from_host()


def test_a_clock_that_does_not_stay_as_it_was_set_is_the_guests_fault():
    """Not for ever."""

    class Stubborn(Line):
        def run(self, argv, *, timeout):
            """Nothing becomes of it."""

    with pytest.raises(GuestError, match="does not stay as it was set"):
        Clock(Stubborn(ClocklessHost(), -900.0, [(0.001, 0.001)])).set_from_host()


def test_date_moves_by_fractions_of_a_second():
    """GNU date, as in the guest; here it only says what it would set."""
    if "GNU" not in subprocess.run(["date", "--version"], capture_output=True, text=True, check=False).stdout:
        pytest.skip("no GNU date on this machine")
    base = ["date", "+%s.%N", "-d"]
    moved, now = (
        float(subprocess.run([*base, f"{move} seconds"], capture_output=True, check=True, timeout=10).stdout)
        for move in ("-1000.250000", "+0.000000")
    )
    assert 1000.25 <= now - moved < 1030
