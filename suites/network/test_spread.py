import pytest
from interop_fixtures import Capability, Expectations, Guest

from harness.guest.flows import flood
from harness.guest.nics import address_of
from harness.guest.queues import received
from harness.guest.streams import End


@pytest.mark.check("N13")
@pytest.mark.needs(Capability.PEER_NETWORK, Capability.MULTIQUEUE)
@pytest.mark.shape(nics=2, vcpus=4)
def test_what_many_send_is_spread_over_queues_and_cpus(guest: Guest, peer: Guest, expect: Expectations) -> None:
    """A guest to which many send takes it in by all its queues, on as many CPUs, so that none holds up the others."""
    mac, count = guest.identity.nics[1].mac, expect.count("N13.flows")
    source, target = (End(each, address_of(each.identity.nics[1])) for each in (peer, guest))
    before = received(guest, mac)
    flows = flood(source, target, count, expect.duration("N13.span")).flows
    grown = received(guest, mac).since(before)

    torn = [flow for flow in flows if not flow.whole]
    assert len(flows) == count, f"{count} flows were asked for, {len(flows)} were made"
    assert not torn, f"{len(torn)} of {count} flows from {source} to {target} came to harm: {torn}"
    queues = len(grown.packets)
    assert queues > 1, f"{guest.shape.vcpus} vCPUs, and one queue takes in everything: {grown.packets}"
    idle = [queue for queue, packets in grown.packets.items() if packets == 0]
    assert not idle, f"the queues {idle} took nothing of {count} flows; packets by queue: {grown.packets}"
    reached = [cpu for cpu, interrupts in grown.interrupts.items() if interrupts > 0]
    wanted = min(queues, guest.shape.vcpus)
    assert len(reached) >= wanted, (
        f"{queues} queues, {guest.shape.vcpus} vCPUs: interrupts on {wanted} CPUs are due, and came to {reached}; "
        f"by CPU: {grown.interrupts}"
    )
