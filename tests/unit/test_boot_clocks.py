"""The clocks of a boot, read over a console, are compared with the host's; a step on the way is not overlooked."""

import json
import re
from types import SimpleNamespace

import pytest

from harness.backends.views import ClockReading
from harness.core import Deadline
from harness.guest import ProbeFailed
from harness.guest.result import Result
from harness.guest.timekeeping import boot_clocks


class Host:
    """A host whose clock stood at 1000.0 when the question was sent and at 1000.4 when the answer was there."""

    def __init__(self) -> None:
        self.readings = [ClockReading(1000.0, 0.01), ClockReading(1000.4, 0.02)]

    def clock(self, deadline: Deadline) -> ClockReading:
        return self.readings.pop(0)


def guest(*, first: tuple[float, float] | None, wall: float, uptime: float, rtc: int) -> SimpleNamespace:
    entry = first and {
        "__REALTIME_TIMESTAMP": str(int(first[0] * 1e6)),
        "__MONOTONIC_TIMESTAMP": str(int(first[1] * 1e6)),
    }
    printed = json.dumps(entry).encode() if entry else b"-- No entries --\n"
    typed: list[bytes] = []

    def wait_for(pattern: str, deadline: Deadline, *, since: int) -> re.Match[str]:
        assert typed[0].endswith(b"\n"), "the question must be typed before its answer is awaited"
        found = re.search(pattern, f"clocks-{wall}-{uptime}-{rtc}-end")
        assert found
        return found

    console = SimpleNamespace(
        login=lambda deadline: None,
        run=lambda argv, timeout: Result(tuple(argv), 0, printed, b""),
        end=0,
        write=typed.append,
        wait_for=wait_for,
    )
    return SimpleNamespace(name="guest-1", console=console)


def test_a_clock_that_nobody_set_was_as_right_at_the_first_line_as_now() -> None:
    clocks = boot_clocks(guest(first=(940.7, 5.0), wall=1000.7, uptime=65.0, rtc=1000), Host(), Deadline.after(1))  # type: ignore[arg-type]
    assert clocks.now.seconds == pytest.approx(0.5)
    assert clocks.first.seconds == pytest.approx(0.5)
    assert clocks.now.uncertainty == pytest.approx(0.22)
    assert clocks.rtc.seconds == pytest.approx(0.3)
    assert clocks.rtc.uncertainty == pytest.approx(0.72)


def test_a_clock_that_was_set_right_later_was_wrong_at_the_first_line() -> None:
    clocks = boot_clocks(guest(first=(340.2, 5.0), wall=1000.2, uptime=65.0, rtc=400), Host(), Deadline.after(1))  # type: ignore[arg-type]
    assert clocks.now.seconds == pytest.approx(0)
    assert clocks.first.seconds == pytest.approx(-600)
    assert clocks.rtc.seconds == pytest.approx(-599.7)


def test_a_guest_without_a_journal_is_named() -> None:
    with pytest.raises(ProbeFailed, match="guest-1: first log entry does not read as expected"):
        boot_clocks(guest(first=None, wall=1000.2, uptime=65.0, rtc=1000), Host(), Deadline.after(1))  # type: ignore[arg-type]
