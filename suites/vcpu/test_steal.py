from concurrent.futures import ThreadPoolExecutor

import pytest
from interop_fixtures import Capability, Expectations, Guest, Guests, HostUnderTest, Measure

from harness.guest.cpu_steal import burn


@pytest.mark.check("C15")
@pytest.mark.needs(Capability.STEAL)
@pytest.mark.quiet
def test_a_quiet_host_steals_nothing(guest: Guest, expect: Expectations, measure: Measure) -> None:
    """Who has the host alone gets what is paid for, and the guest does not complain of others."""
    limit, burnt = expect.limit("C15.quiet"), burn(guest, expect.duration("C15.span"))
    assert len(burnt) == guest.shape.vcpus, f"asked for {guest.shape.vcpus} vCPUs, {len(burnt)} could be pinned to"
    stolen = [100 * cpu.stolen for cpu in burnt.values()]
    measure("stolen_alone", max(stolen), unit="%", better="lower", samples=stolen)
    assert limit.allows(max(stolen)), f"stolen from busy CPUs on a quiet host: {_shown(stolen)}; not {limit}"


@pytest.mark.check("C15", part="overcommit")
@pytest.mark.needs(Capability.STEAL)
@pytest.mark.quiet
def test_an_overcommitted_host_says_what_it_steals(
    guests: Guests, host: HostUnderTest, expect: Expectations, measure: Measure
) -> None:
    """A guest that is slow because others have its processors can tell: what it does not get is shown as stolen."""
    processors, lent = host.facts.cpus, host.settings.limits[0]
    if min(lent or 2 * processors, 2 * host.facts.max_vcpus) < 2 * processors:
        pytest.skip(f"two vCPUs for each of {host.name}'s {processors} processors are needed: the lab lends {lent}")
    limit, span = expect.limit("C15.overcommit"), expect.duration("C15.span")
    both = [guests.start(vcpus=processors) for _ in range(2)]
    with ThreadPoolExecutor() as pool:
        other = pool.submit(burn, both[1], 3 * span)
        burnt = burn(both[0], span)
        beside = other.result()
    assert len(burnt) == len(beside) == processors, f"asked for {processors} vCPUs each: {len(burnt)}, {len(beside)}"
    stolen = [100 * cpu.stolen for cpu in burnt.values()]
    measure("stolen_beside_another", min(stolen), unit="%", better="higher", samples=stolen)
    assert min(stolen) > 0, f"two guests are busy on all of {processors} processors, and one is told: {_shown(stolen)}"
    assert limit.allows(min(stolen)), (
        f"two guests are busy on all of {processors} processors; stolen from the first's CPUs: {_shown(stolen)}, "
        f"not {limit}"
    )


def _shown(parts: list[float]) -> str:
    return ", ".join(f"{part:.1f} %" for part in parts)
