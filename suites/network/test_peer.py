from ipaddress import ip_interface

import pytest
from interop_fixtures import Capability, Expectations, Guest, NicSpec

from harness.backends.protocol import LinkSwitch, NicPlug
from harness.backends.verbs import able
from harness.core import Deadline, Pending, wait_for
from harness.guest.nics import Nic

pytestmark = [pytest.mark.needs(Capability.PEER_NETWORK), pytest.mark.shape(nics=2)]


def peer_nic(guest: Guest) -> NicSpec:
    """The guest's NIC in the network of peers: the second, as the first belongs to the controller."""
    return guest.identity.nics[1]


def address_of(nic: NicSpec) -> str:
    """The address that the seed gave to a NIC, without its prefix length."""
    assert nic.address is not None, f"the lab gives {nic.mac} no address"
    return str(ip_interface(nic.address).ip)


def wait_reply(guest: Guest, target: str, by: str, deadline: Deadline) -> None:
    """Wait until ``target`` answers a ping from the NIC ``by``."""

    def answered() -> bool | Pending:
        return True if guest.nics.ping(target, by=by).received else Pending("no reply")

    wait_for(f"{target} to answer {guest.name}", answered, deadline, fault=AssertionError)


@pytest.mark.check("N03")
@pytest.mark.needs(Capability.NIC_HOT_ADD)
@pytest.mark.smoke
@pytest.mark.changes_guest
def test_a_nic_is_added_while_running(guest: Guest, peer: Guest, spare_nic: NicSpec, expect: Expectations) -> None:
    """A guest gets another NIC without a reboot: one device with the MAC asked for, and the network is behind it."""
    before = set(guest.nics.all())

    def came() -> Nic | Pending:
        new = {mac: nic for mac, nic in guest.nics.all().items() if mac not in before}
        return new[spare_nic.mac] if set(new) == {spare_nic.mac} else Pending(f"new devices: {sorted(new)}")

    with guest.kernel.undisturbed(expect.noise):
        able(guest.machine, NicPlug).attach_nic(spare_nic, expect.deadline("host.verb"))
        nic = wait_for(
            f"one new NIC with MAC {spare_nic.mac}", came, expect.deadline("N03.device"), fault=AssertionError
        )
        host = {nic.mac for nic in guest.machine.view(expect.deadline("host.verb")).nics}
        assert host == before | {spare_nic.mac}, f"asked for {spare_nic.mac} besides {before}; the host sees {host}"
        assert nic.driver in expect.words("nic_drivers"), f"{nic.name} is driven by {nic.driver}"
        assert spare_nic.address is not None
        guest.nics.set_address(spare_nic.mac, ip_interface(spare_nic.address))
        wait_reply(guest, address_of(peer_nic(peer)), spare_nic.mac, expect.deadline("N03.address"))


@pytest.mark.check("N07")
@pytest.mark.needs(Capability.LINK_STATE)
@pytest.mark.smoke
@pytest.mark.changes_guest
def test_a_pulled_cable_is_seen_and_a_plugged_one_works(guest: Guest, peer: Guest, expect: Expectations) -> None:
    """Pulling the virtual cable is what pulling a real one is, on both sides, and plugging it in heals it."""
    mac, target = peer_nic(guest).mac, address_of(peer_nic(peer))
    cable = able(guest.machine, LinkSwitch)
    wait_reply(guest, target, mac, expect.deadline("N07.up"))

    def host_sees() -> bool:
        return next(nic.connected for nic in guest.machine.view(expect.deadline("host.verb")).nics if nic.mac == mac)

    cable.link(mac, False, expect.deadline("host.verb"))
    guest.nics.wait_carrier(mac, False, expect.deadline("N07.down"))
    assert not host_sees(), "the cable was pulled, the guest has no carrier, and the host sees it connected"
    replies = guest.nics.ping(target, by=mac, count=3).received
    assert replies == 0, f"{replies} of 3 pings were answered over a cable that is pulled"

    cable.link(mac, True, expect.deadline("host.verb"))
    guest.nics.wait_carrier(mac, True, expect.deadline("N07.up"))
    assert host_sees(), "the cable was plugged in, the guest has a carrier, and the host sees it disconnected"
    wait_reply(guest, target, mac, expect.deadline("N07.up"))


@pytest.mark.check("N17")
@pytest.mark.smoke
def test_guests_talk_ipv6(guest: Guest, peer: Guest, expect: Expectations) -> None:
    """IPv6 works between guests without any configuration: neighbours are found and no packet is lost."""
    ours, theirs = guest.nics.by_mac(peer_nic(guest).mac), peer.nics.by_mac(peer_nic(peer).mac)
    assert ours.link_local, f"{ours.name} of {guest.name} has no link-local address, only {ours.addresses}"
    assert theirs.link_local, f"{theirs.name} of {peer.name} has no link-local address, only {theirs.addresses}"

    guest.nics.forget_neighbours(ours.mac)
    pings = guest.nics.ping(str(theirs.link_local), by=ours.mac, count=expect.count("N17.pings"))
    limit = expect.limit("N17.lost")
    assert limit.allows(pings.lost), f"{pings.lost} of {pings.sent} pings were lost, not {limit}"
    found = guest.nics.neighbours().get(str(theirs.link_local))
    assert found, f"{guest.name} knows no neighbour {theirs.link_local}, and yet it answered"
    assert found.mac == theirs.mac, f"{theirs.link_local} is {theirs.mac}, the neighbour table says {found}"
