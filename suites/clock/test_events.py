from datetime import timedelta
from itertools import pairwise

import pytest
from interop_fixtures import Expectations, Guest, Measure

from harness.core import Pending, wait_for
from harness.guest.clock import Offset
from harness.guest.clock_events import CLOCK_EVENTS
from harness.guest.system import Clocksource
from harness.guest.timekeeping import Timekeeping
from harness.measure.views import Views

# What a kernel with high resolution timers calls on each tick (kernel/time/hrtimer.c); without, it counts in jiffies.
IN_TIME = "hrtimer_interrupt"


@pytest.mark.check("T02")
@pytest.mark.smoke
def test_every_cpu_has_the_hypervisors_clock_event_device(guest: Guest, expect: Expectations) -> None:
    """What ends a CPU's sleep is its own and the hypervisor's best, so that no CPU waits for another to be woken up."""
    wanted, devices = expect.words("clock_events"), guest.read(CLOCK_EVENTS)
    host = guest.machine.view(expect.deadline("host.verb"))
    views = Views("clock event devices of CPUs", asked=guest.shape.vcpus, host=host.vcpus, guest=len(devices))
    assert views.agree, str(views)
    others = {cpu: str(device) for cpu, device in devices.items() if device.name not in wanted}
    assert not others, f"these CPUs have another clock event device than one of {wanted}: {others}"
    coarse = {cpu: str(device) for cpu, device in devices.items() if device.handler != IN_TIME}
    assert not coarse, f"on these CPUs the device does not serve high resolution timers ({IN_TIME}): {coarse}"


def tell_kernel(guest: Guest, file: str, source: str) -> None:
    """Write to a file of the one clocksource device (kernel, Documentation/ABI/testing/sysfs-devices-clocksource)."""
    guest.run(["tee", f"/sys/devices/system/clocksource/clocksource0/{file}"], stdin=f"{source}\n".encode())


def wait_for_another_source(guest: Guest, expect: Expectations, left: str) -> Clocksource:
    """Wait until the guest tells the time by another source than ``left``."""

    def another() -> Clocksource | Pending:
        seen = guest.system.clocksource()
        return Pending(f"still {left}; available: {seen.available}") if seen.current == left else seen

    what = f"{guest.name} to tell the time by another source than {left}"
    return wait_for(what, another, expect.deadline("T03.another"), fault=AssertionError)


def look(guest: Guest, expect: Expectations) -> Offset:
    """The guest's clock against the controller's, told well enough for the limit of a step."""
    limit, seen = expect.limit("T03.step"), guest.clock.against_controller(expect.count("T03.probes"))
    if limit.at_most is not None and 2 * seen.uncertainty >= limit.at_most:
        pytest.skip(f"a step can only be told to ± {2 * seen.uncertainty:.3f} s here, and the limit is {limit}")
    return seen


@pytest.mark.check("T03")
@pytest.mark.changes_guest
@pytest.mark.smoke
def test_the_clock_goes_on_by_another_source(guest: Guest, expect: Expectations, measure: Measure) -> None:
    """A guest whose clocksource is taken away goes on by the next best, and its time does not jump meanwhile.

    It goes back to its own before that: one that was taken away no kernel has again until it boots anew.
    """
    first, limit = guest.system.clocksource(), expect.limit("T03.step")
    if len(first.available) < 2:
        pytest.skip(f"the guest has no clocksource but {first.current}: nothing to fall back to")
    second = next(name for name in first.available if name != first.current)
    offsets = [look(guest, expect).seconds]
    with guest.kernel.undisturbed(expect.noise):
        for chosen in (second, first.current):
            tell_kernel(guest, "current_clocksource", chosen)
            seen = guest.system.clocksource().current
            assert seen == chosen, f"the clocksource {chosen} was chosen, and the guest tells the time by {seen}"
            offsets.append(look(guest, expect).seconds)
        tell_kernel(guest, "unbind_clocksource", first.current)
        left = wait_for_another_source(guest, expect, first.current)
        offsets.append(look(guest, expect).seconds)
    assert first.current not in left.available, f"{first.current} was taken away and is still there: {left.available}"
    steps = [after - before for before, after in pairwise(offsets)]
    measure("clocksource_step", max(map(abs, steps)), unit="s", better="lower", samples=steps)
    changes = (f"to {second}", f"back to {first.current}", f"to {left.current}, for {first.current} was gone")
    jumps = {change: f"{step:+.3f} s" for change, step in zip(changes, steps, strict=True)}
    assert all(limit.allows(abs(step)) for step in steps), f"the guest's clock jumped by {jumps}, not {limit}"


@pytest.mark.check("T17")
@pytest.mark.quiet
@pytest.mark.smoke
def test_timers_fire_on_time(guest: Guest, expect: Expectations, measure: Measure) -> None:
    """A program that sleeps for a millisecond is awake soon after it, and never before."""
    count, limit, span = expect.count("T17.sleeps"), expect.limit("T17.late"), expect.duration("T17.sleep")
    assert limit.at_most is not None, f"how late sleeps may end needs at_most: {limit}"
    # The latest may be far later than all others: they get as much time again.
    within = 2 * count * (span + timedelta(milliseconds=limit.at_most))
    each = f"{span.total_seconds() * 1000:g} ms"
    seen = Timekeeping(guest).sleeps(count, span, within)
    late = {name: 1000 * seen.percentile(percent) for name, percent in (("p50", 50), ("p99", 99), ("most", 100))}
    samples = [1000 * seconds for seconds in seen.seconds]
    for name, value in late.items():
        measure(f"timer_late_{name}", value, unit="ms", better="lower", samples=samples if name == "p50" else ())
    assert not seen.early, f"{seen.early} of {count} sleeps of {each} ended too early, by up to {-min(samples):.6f} ms"
    assert limit.allows(late["p99"]), (
        f"99 % of the sleeps of {each} were at most {late['p99']:.2f} ms too long, not {limit}"
    )
    # Sleeps that were too late, which the limit has told, may have been too few as well.
    assert len(seen.seconds) == count or late["p99"] > limit.at_most, (
        f"{len(seen.seconds)} of {count} sleeps of {each} in {within.total_seconds():g} s"
    )
