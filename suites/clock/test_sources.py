import re
from statistics import median

import pytest
from interop_fixtures import Expectations, Guest, Measure

from harness.guest.timekeeping import Timekeeping

# What the kernel says when it stops trusting its clock (kernel/time/clocksource.c, arch/x86/kernel/tsc*.c).
UNSTABLE = re.compile(r"TSC warp|[Mm]arking (TSC|clocksource .*) unstable|tsc: .*unstable|clocksource.* is unstable")


@pytest.mark.check("T01")
@pytest.mark.smoke
def test_the_clocksource_is_the_hypervisors(guest: Guest, expect: Expectations) -> None:
    """The guest tells the time by a source that this hypervisor keeps right, not by one that merely works."""
    source, wanted = guest.system.clocksource(), expect.words("clocksources")
    assert source.current in wanted, (
        f"clocksource is {source.current!r}, not one of {wanted}; available: {source.available}"
    )


@pytest.mark.check("T08")
@pytest.mark.smoke
def test_time_never_runs_backwards(guest: Guest, expect: Expectations) -> None:
    """A program that moves from CPU to CPU never sees time go back: databases and build tools rely on it."""
    seen = Timekeeping(guest).handovers(expect.duration("T08.watch"))
    assert seen, f"{guest.shape.vcpus} vCPU: nobody to hand the time to"
    for pair in seen:
        least = expect.limit("T08.handovers")
        assert least.allows(pair.count), f"CPUs {pair.cpus} handed the time over {pair.count} times, not {least}"
        steps = {clock: (steps, str(pair.worst[clock])) for clock, steps in pair.backward.items() if steps}
        assert not steps, f"between CPUs {pair.cpus} time ran backwards (how often, worst step): {steps}"
    known = expect.words("T08.doubts")
    log = [message for message in guest.kernel.log() if not any(words in message.text for words in known)]
    doubts = [str(message) for message in log if UNSTABLE.search(message.text)]
    assert not doubts, f"the kernel does not trust its clock: {doubts}"


@pytest.mark.check("T16")
@pytest.mark.quiet
@pytest.mark.smoke
def test_reading_the_time_stays_in_user_space(guest: Guest, expect: Expectations, measure: Measure) -> None:
    """Programs that stamp every event pay nanoseconds for it, because no system call is made."""
    seen = Timekeeping(guest).clock_calls(expect.count("T16.calls"))
    assert seen.proven, "a real system call for the time went unnoticed: the method does not work in this guest"
    source = guest.system.clocksource().current
    assert seen.in_user_space, f"with clocksource {source} the C library enters the kernel to read the time"
    cost = median(seen.seconds) * 1e9
    measure("clock_call", cost, unit="ns", better="lower", samples=[1e9 * seconds for seconds in seen.seconds])
    limit = expect.limit("T16.call")
    assert limit.allows(cost), f"reading the time costs {cost:.0f} ns by {source}, not {limit}"
