from collections.abc import Iterable
from ipaddress import ip_interface

import pytest
from interop_fixtures import Capability, Expectations, Guest, Guests, NicSpec

from harness.backends.protocol import NicPlug
from harness.backends.verbs import able
from harness.guest.nics import address_of
from harness.measure.views import Views

MOST = 8
"""All three hypervisors give a guest as many; Hyper-V no more."""

pytestmark = [pytest.mark.needs(Capability.PEER_NETWORK), pytest.mark.changes_guest]


@pytest.mark.check("N05", part="one by one")
@pytest.mark.needs(Capability.NIC_HOT_ADD)
@pytest.mark.shape(nics=1)
def test_nics_are_added_until_there_are_eight(guest: Guest, guests: Guests, expect: Expectations) -> None:
    """A guest gets as many NICs as it may have without a reboot, each by its MAC and in the network asked for it."""
    other, machine, there = guests.start(nics=2), able(guest.machine, NicPlug), list(guest.identity.nics)
    guest.nics.answer_alone()
    with guest.kernel.undisturbed(expect.noise):
        while len(there) < MOST:
            nic = guests.spare_nic(guest)
            machine.attach_nic(nic, expect.deadline("host.verb"))
            there.append(nic)
            guest.nics.wait_macs({each.mac for each in there}, expect.deadline("N03.device"))
            assert nic.address is not None
            guest.nics.set_address(nic.mac, ip_interface(nic.address))
            are_in_place(guest, there, [nic], other, expect)
    are_in_place(guest, there, there, other, expect)


@pytest.mark.check("N05", part="at once")
@pytest.mark.shape(nics=MOST)
def test_a_guest_boots_with_eight_nics(guest: Guest, guests: Guests, expect: Expectations) -> None:
    """A guest that has as many NICs as it may have from the start finds each of them in the network asked for it."""
    assert len(guest.identity.nics) == MOST
    other = guests.start(nics=2)
    guest.nics.answer_alone()
    are_in_place(guest, guest.identity.nics, guest.identity.nics, other, expect)


def are_in_place(
    guest: Guest, there: Iterable[NicSpec], looked_at: Iterable[NicSpec], other: Guest, expect: Expectations
) -> None:
    """Host and guest have just these NICs; those looked at are where another guest knows them by their MACs.

    A NIC's place among the others says nothing: two guests see the same NICs in another order.
    """
    asked = {nic.mac: nic.network.name for nic in there}
    host = {nic.mac: nic.network for nic in guest.machine.view(expect.deadline("host.verb")).nics}
    assert host == asked, f"NICs and their networks: asked of the host {asked}, seen by the host {host}"
    views = Views("MACs", asked=set(asked), host=set(host), guest=set(guest.nics.all()))
    assert views.agree, views

    meeting = other.identity.nics[1]
    target, network = address_of(meeting), meeting.network.name
    for nic in looked_at:
        if nic.network.name == network:
            other.nics.forget_neighbours(meeting.mac)
            guest.nics.forget_neighbours(nic.mac)
            guest.nics.wait_reply(target, nic.mac, expect.deadline("N03.address"))
            known = other.nics.neighbours().get(address_of(nic))
            assert known is not None, f"{other.name} has answered {nic.mac} ({address_of(nic)}) and does not know it"
            assert known.mac == nic.mac, f"{address_of(nic)} was asked for {nic.mac}, {other.name} sees {known.mac}"
