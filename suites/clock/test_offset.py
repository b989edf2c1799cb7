import pytest
from interop_fixtures import Capability, Expectations, Guest, Guests, HostUnderTest, Measure

from harness.backends.protocol import HostClock
from harness.backends.verbs import able
from harness.guest.clock_drift import watch
from harness.guest.timekeeping import boot_clocks


@pytest.mark.check("T06")
@pytest.mark.needs(Capability.HOST_CLOCK)
@pytest.mark.quiet
@pytest.mark.untouched_clock
@pytest.mark.smoke
def test_the_guests_clock_agrees_with_its_hosts(guest: Guest, expect: Expectations, measure: Measure) -> None:
    """Logs of guest and host can be read side by side: both clocks show the same time, whichever is ahead."""
    limit = expect.limit("T06.offset")
    seen = guest.clock.offset(probes=expect.count("T06.probes"))
    if limit.at_most is not None and seen.uncertainty >= limit.at_most:
        pytest.skip(f"the offset can only be told to ± {seen.uncertainty:.3f} s here, and the limit is {limit}")
    distance, offsets = abs(seen.seconds), [sample.offset for sample in seen.samples]
    measure("clock_offset", distance, unit="s", better="lower", samples=offsets)
    measure("clock_offset_uncertainty", seen.uncertainty, unit="s", better="lower")
    assert limit.allows(distance), f"the guest's clock minus its host's is {seen}, not {limit}"
    goal = expect.limit("T06.goal")
    if goal.at_most is not None and seen.uncertainty < goal.at_most:
        assert goal.allows(distance), f"the guest's clock minus its host's is {seen}, not {goal}"


@pytest.mark.check("T07")
@pytest.mark.needs(Capability.HOST_CLOCK)
@pytest.mark.quiet
@pytest.mark.untouched_clock
@pytest.mark.slow
def test_the_guests_clock_keeps_pace_with_its_hosts(guest: Guest, expect: Expectations, measure: Measure) -> None:
    """A clock that is right now is right tomorrow: it goes as fast as its host's, neither ahead nor behind."""
    limit, readings = expect.limit("T07.drift"), expect.count("T07.readings")
    drift = watch(guest.clock, expect.duration("T07.watch"), readings, expect.count("T07.probes"))
    if limit.at_most is not None and drift.uncertainty >= limit.at_most:
        pytest.skip(f"the drift can only be told to ± {drift.uncertainty:.1f} ppm here, and the limit is {limit}")
    offsets = [sample.offset for sample in drift.samples]
    assert len(offsets) == readings, f"{readings} readings were asked for, {len(offsets)} were made"
    measure("clock_drift", abs(drift.ppm), unit="ppm", better="lower", samples=offsets)
    measure("clock_drift_uncertainty", drift.uncertainty, unit="ppm", better="lower")
    assert limit.allows(abs(drift.ppm)), (
        f"the guest's clock gains {drift} on its host's, not {limit}; offsets: {offsets}"
    )


@pytest.mark.check("T14")
@pytest.mark.needs(Capability.CONSOLE_INPUT, Capability.HOST_CLOCK)
def test_the_clock_is_right_from_the_first_stamp(guests: Guests, host: HostUnderTest, expect: Expectations) -> None:
    """A guest without any network has the right time from its first log line on, and its RTC counts UTC."""
    guest = guests.create(nics=0)
    guest.machine.start(expect.deadline("host.verb"))
    clocks = boot_clocks(guest, able(host.hypervisor, HostClock), expect.deadline("guest.boot"))
    limit = expect.limit("T14.offset")
    for name, reading in (("RTC", clocks.rtc), ("clock at the first log line", clocks.first)):
        if limit.at_most is not None and reading.uncertainty >= limit.at_most:
            pytest.skip(f"the {name} can only be told to ± {reading.uncertainty:.2f} s here, and the limit is {limit}")
        assert limit.allows(abs(reading.seconds)), (
            f"the guest's {name} minus the host's clock is {reading}, not {limit}"
        )
