import pytest
from interop_fixtures import Capability, Expectations, Guests, HostUnderTest, Measure

from harness.guest.load import all_busy
from harness.guest.timekeeping import Timekeeping


@pytest.mark.check("T15")
@pytest.mark.needs(Capability.HOST_CLOCK)
@pytest.mark.quiet
@pytest.mark.untouched_clock
@pytest.mark.slow
def test_the_clock_stays_right_under_load(
    guests: Guests, host: HostUnderTest, expect: Expectations, measure: Measure
) -> None:
    """Work costs a guest no time of day: with all CPUs busy, on a host that has half as many, its clock stays right."""
    vcpus = min(2 * host.facts.cpus, host.facts.max_vcpus, expect.count("T15.vcpus"))
    guest, limit, probes = guests.cold(vcpus=vcpus), expect.limit("T15.offset"), expect.count("T15.probes")
    idle = guest.clock.offset(probes)
    with all_busy(guest) as load:
        handed = Timekeeping(guest).handovers(expect.duration("T15.watch"))
        seen = guest.clock.offset(probes)
    least = min(load.busy.values())
    assert len(load.busy) == vcpus, f"asked for {vcpus} vCPUs, {len(load.busy)} were to be kept busy"
    assert expect.limit("T15.busy").allows(least), f"the CPUs were to be busy all the time, and were so: {load.busy}"
    if limit.at_most is not None and seen.uncertainty >= limit.at_most:
        pytest.skip(f"the offset can only be told to ± {seen.uncertainty:.3f} s under load, and the limit is {limit}")
    offsets = [sample.offset for sample in seen.samples]
    measure("clock_offset_busy", abs(seen.seconds), unit="s", better="lower", samples=offsets)
    assert limit.allows(abs(seen.seconds)), (
        f"with {vcpus} vCPUs busy on {host.facts.cpus} processors, the guest's clock minus its host's is {seen}, "
        f"not {limit}; before it was {idle}"
    )
    for pair in handed:
        enough = expect.limit("T15.handovers")
        assert enough.allows(pair.count), f"CPUs {pair.cpus} handed the time over {pair.count} times, not {enough}"
        steps = {clock: (count, str(pair.worst[clock])) for clock, count in pair.backward.items() if count}
        assert not steps, f"between busy CPUs {pair.cpus} time ran backwards (how often, worst step): {steps}"
