"""The offset of a clock, and how sure of it one can be."""

from __future__ import annotations

import shutil
import subprocess

import pytest

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
    assert offset.uncertainty >= 0.012


def test_a_series_brings_the_monotonic_clock_beside_each_reading():
    """In seconds, as the guest counts them."""
    samples = Clock(Line(ClocklessHost(), 0.0, [(0.01, 0.01)])).series(3, monotonic=True)
    assert [sample.monotonic for sample in samples] == [5.0, 5.0, 5.0]


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


def test_setting_right_allows_for_how_long_the_command_takes():
    """What the first try was late, the second one adds."""
    commands = []

    class Guest(Line):
        def run(self, argv, *, timeout):
            commands.append(float(argv[2][1:]))
            self.ahead = commands[-1] - 5000.0 - 0.3  # the command takes effect 0.3 s late

    guest = Guest(ClocklessHost(), -900.0, [(0.001, 0.001)])
    left = Clock(guest, now=lambda: 5000.0).set_from_host()
    assert commands == [pytest.approx(5000.0), pytest.approx(5000.3, abs=0.01)]
    assert abs(left.seconds) < 0.05


def test_a_clock_right_at_once_is_set_once():
    """No second command."""
    commands = []
    guest = Line(ClocklessHost(), 0.0, [(0.001, 0.001)])
    guest.run = lambda argv, *, timeout: commands.append(argv)
    Clock(guest, now=lambda: 5000.0).set_from_host()
    assert commands == [["date", "-s", "@5000.000000"]]
