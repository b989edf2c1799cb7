"""What wakes CPUs up, how late timers fire, and what a clock makes of an absence: read as it is written."""

import json
import subprocess
import sys

import pytest

from harness.core import GuestError
from harness.guest.clock import Sample
from harness.guest.clock_drift import Drift
from harness.guest.clock_events import CLOCK_EVENTS, parse_clock_events
from harness.guest.clock_gaps import Gap, Passing
from harness.guest.inside import program
from harness.guest.result import Result
from harness.guest.timekeeping import Overshoots, parse_overshoots

# Debian 12 under QEMU, shortened between the parts.
QEMU = b"""\
Timer List Version: v0.9
HRTIMER_MAX_CLOCK_BASES: 8
now at 112290365600 nsecs

cpu: 0
 clock 0:
  .base:       00000000c1d2a2a4
 active timers:
 #0: <00000000a7d4cd9e>, tick_sched_timer, S:01
  .nohz_mode      : 2

Tick Device: mode:     1
Broadcast device
Clock Event Device: hpet
 max_delta_ns:   21474836451
 min_delta_ns:   1920
 mult:           429496730
 shift:          32
 mode:           1
 next_event:     9223372036854775807 nsecs
 set_next_event: hpet_clkevt_legacy_set_next_event
 shutdown:       hpet_clkevt_legacy_shutdown
 event_handler:  tick_handle_oneshot_broadcast

 retries:        0
tick_broadcast_mask: 0
tick_broadcast_oneshot_mask: 0

Tick Device: mode:     1
Per CPU device: 0
Clock Event Device: lapic
 max_delta_ns:   34026685189
 min_delta_ns:   1000
 mode:           3
 next_event:     111272000000 nsecs
 set_next_event: lapic_next_event
 event_handler:  hrtimer_interrupt

 retries:        4
Wakeup Device: <NULL>

Tick Device: mode:     1
Per CPU device: 1
Clock Event Device: lapic
 max_delta_ns:   34026685189
 mode:           3
 event_handler:  hrtimer_interrupt

 retries:        1
Wakeup Device: <NULL>

"""
# What drivers/clocksource/hyperv_timer.c and kernel/time/tick-broadcast.c leave there on Hyper-V: no broadcast device.
HYPERV = b"""\
Tick Device: mode:     1
Broadcast device
Clock Event Device: <NULL>
tick_broadcast_mask: 00
tick_broadcast_oneshot_mask: 00

Tick Device: mode:     1
Per CPU device: 0
Clock Event Device: Hyper-V clockevent
 max_delta_ns:   9223372036854775807
 mode:           3
 event_handler:  hrtimer_interrupt
 retries:        0

Tick Device: mode:     0
Per CPU device: 1
Clock Event Device: <NULL>

"""


def test_each_cpu_has_its_clock_event_device() -> None:
    devices = parse_clock_events(QEMU)
    assert {cpu: (device.name, device.handler) for cpu, device in devices.items()} == {
        0: ("lapic", "hrtimer_interrupt"),
        1: ("lapic", "hrtimer_interrupt"),
    }


def test_a_cpu_without_a_clock_event_device_has_none() -> None:
    devices = parse_clock_events(b"now at 1 nsecs\n\n" + HYPERV)
    assert str(devices[0]) == "Hyper-V clockevent (hrtimer_interrupt)"
    assert str(devices[1]) == "none (nobody listens)"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        QEMU.partition(b"Tick Device")[0],
        b"x\nTick Device: mode: 1\nPer CPU device: 0\n",
        b"x\nTick Device: mode: 1\nClock Event Device: lapic\n",
        b"x\nTick Device: mode: 1\nBroadcast device\nClock Event Device: hpet\n",
    ],
)
def test_a_list_of_timers_that_makes_no_sense_is_refused_by_name(text: bytes) -> None:
    with pytest.raises(GuestError, match="clock event devices"):
        CLOCK_EVENTS.value(Result(CLOCK_EVENTS.argv, 0, text, b""), "guest")


def test_percentiles_are_sleeps_that_were_slept() -> None:
    seen = Overshoots(0.001, tuple(each / 1000 for each in range(100, 0, -1)))
    assert (seen.percentile(50), seen.percentile(99), seen.percentile(100)) == (0.05, 0.099, 0.1)
    assert Overshoots(0.001, (0.5,)).percentile(1) == 0.5


def test_a_sleep_that_ends_too_early_is_told() -> None:
    assert Overshoots(0.001, (0.0, 1e-4, -1e-9)).early == 0
    assert Overshoots(0.001, (0.0, 1e-4, -1e-5)).early == 1


def test_sleeps_are_at_least_as_long_as_asked() -> None:
    done = subprocess.run(
        [sys.executable, "-", "20", "0.001", "60"], input=program("sleeps"), capture_output=True, timeout=90, check=True
    )
    seen = parse_overshoots(done.stdout, 0.001)
    assert len(seen.seconds) == 20
    assert seen.early == 0


def test_sleeps_that_last_too_long_are_fewer() -> None:
    done = subprocess.run(
        [sys.executable, "-", "1000", "0.1", "0.25"],
        input=program("sleeps"),
        capture_output=True,
        timeout=90,
        check=True,
    )
    assert 1 <= len(parse_overshoots(done.stdout, 0.1).seconds) <= 3


@pytest.mark.parametrize("text", [json.dumps({"overshoots": []}), "{}", "", json.dumps({"overshoots": ["x"]})])
def test_sleeps_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises((ValueError, LookupError)):
        parse_overshoots(text.encode(), 0.001)


def gap(missed: float) -> Gap:
    """Thirty to thirty-two seconds of standing still, of which so many were missed."""
    return Gap.between(
        Sample(1000.0, 0.0, 0.01, 50.0),
        Sample(1040.0, 0.0, 0.02, 90.0 - missed),
        at_least=30.0,
        at_most=32.0,
    )


@pytest.mark.parametrize(
    ("missed", "passing"),
    [
        (0.0, Passing.GOES_ON),
        (0.9, Passing.GOES_ON),
        (-0.9, Passing.GOES_ON),
        (-1.1, None),  # ahead of everybody
        (1.1, None),
        (15.0, None),  # half of it
        (28.9, None),
        (29.1, Passing.STANDS),
        (31.0, Passing.STANDS),
        (32.9, Passing.STANDS),
        (33.1, None),  # it stood for longer than its machine
    ],
)
def test_a_clock_stands_with_its_machine_or_goes_on_and_nothing_between(missed: float, passing: Passing | None) -> None:
    assert gap(missed).passing(1.0) is passing


def test_a_gap_says_what_was_seen() -> None:
    assert str(gap(31.0)) == (
        "the machine stood still for 30.00 to 32.00 s, of which the guest's monotonic clock missed 31.00 ± 0.03 s"
    )


def test_a_gap_needs_the_monotonic_clock() -> None:
    with pytest.raises(ValueError, match="not read"):
        Gap.between(Sample(0, 0, 0), Sample(1, 0, 0), at_least=0, at_most=1)


def test_a_drift_is_the_slope_of_the_offsets() -> None:
    samples = [Sample(1000.0 + second, 5 + 20e-6 * second, 0.001) for second in range(0, 601, 30)]
    drift = Drift.of(samples)
    assert drift.ppm == pytest.approx(20)
    assert Drift.of([Sample(each.at, -each.offset, each.uncertainty) for each in samples]).ppm == pytest.approx(-20)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_drift_is_wrong_by_no_more_than_it_says(sign: int) -> None:
    """The worst case: early probes all wrong one way, late ones the other."""
    worst = [Sample(float(second), sign * 0.002 * (1 if second > 300 else -1), 0.002) for second in range(0, 601, 60)]
    drift = Drift.of(worst)
    assert 0 < abs(drift.ppm) <= drift.uncertainty * 1.0000001
    assert str(drift) == f"{drift.ppm:+.1f} ± {drift.uncertainty:.1f} ppm"


@pytest.mark.parametrize("samples", [[], [Sample(1, 0, 0)], [Sample(1, 0, 0), Sample(1, 1, 0)]])
def test_a_drift_needs_two_moments(samples: list[Sample]) -> None:
    with pytest.raises(ValueError, match="two moments"):
        Drift.of(samples)
