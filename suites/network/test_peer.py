from ipaddress import ip_interface

import pytest
from interop_fixtures import Capability, Expectations, Guest, Guests, NicSpec

from harness.backends.model import DeviceKind
from harness.backends.protocol import LinkSwitch, NicPlug
from harness.backends.verbs import able
from harness.core import Pending, wait_for
from harness.guest.nics import Nic, address_of
from harness.guest.pinging import pinging
from harness.guest.streams import End, send
from harness.measure.views import Views

pytestmark = [pytest.mark.needs(Capability.PEER_NETWORK), pytest.mark.shape(nics=2)]


def peer_nic(guest: Guest) -> NicSpec:
    """The guest's NIC in the network of peers: the second, as the first belongs to the controller."""
    return guest.identity.nics[1]


@pytest.mark.check("N02")
@pytest.mark.smoke
def test_guests_talk(guest: Guest, peer: Guest, expect: Expectations) -> None:
    """Two guests reach each other: no ping is lost, and what one sends the other gets whole, without any error."""
    mac, lost = peer_nic(guest).mac, expect.limit("N02.lost")
    pings = guest.nics.ping(address_of(peer_nic(peer)), by=mac, count=expect.count("N02.pings"))
    assert lost.allows(pings.lost), f"{pings.lost} of {pings.sent} pings were lost, not {lost}"

    size, limit = expect.size("N02.transfer"), expect.limit("N02.errors")
    for source, target in ((guest, peer), (peer, guest)):
        before = {each: each.nics.by_mac(peer_nic(each).mac) for each in (source, target)}
        here, there = (End(each, address_of(peer_nic(each))) for each in (source, target))
        done = send(here, there, size, expect.deadline("N02.sent"))
        assert done.sent == done.received, f"{source.name} sent {done.sent}, {target.name} received {done.received}"
        after = {each: each.nics.by_mac(peer_nic(each).mac) for each in (source, target)}
        sent = after[source].sent.bytes - before[source].sent.bytes
        received = after[target].received.bytes - before[target].received.bytes
        assert min(sent, received) >= size, (
            f"{size} went from {here} to {there}, but not by these NICs: {sent} bytes sent, {received} received"
        )
        for each, nic in after.items():
            then = before[each]
            errors = nic.received.errors - then.received.errors + nic.sent.errors - then.sent.errors
            assert limit.allows(errors), f"{nic.name} of {each.name} counted {errors} errors, not {limit}"


@pytest.mark.check("N03")
@pytest.mark.needs(Capability.NIC_HOT_ADD)
@pytest.mark.smoke
@pytest.mark.changes_guest
def test_a_nic_is_added_while_running(guest: Guest, peer: Guest, spare_nic: NicSpec, expect: Expectations) -> None:
    """A guest gets another NIC without a reboot: one device with the MAC asked for, and the network is behind it."""
    comes(guest, peer, spare_nic, expect.words("nic_drivers"), expect)


@pytest.mark.check("N04")
@pytest.mark.needs(Capability.NIC_HOT_ADD)
@pytest.mark.changes_guest
def test_a_nic_is_removed_while_running(guest: Guest, peer: Guest, spare_nic: NicSpec, expect: Expectations) -> None:
    """A NIC is taken away without a reboot: it alone goes, and the traffic of its neighbour loses nothing."""
    machine, stays = able(guest.machine, NicPlug), set(guest.nics.all())
    guest.nics.answer_alone()  # or the peer would speak to the NIC that goes
    machine.attach_nic(spare_nic, expect.deadline("host.verb"))
    guest.nics.wait_macs({*stays, spare_nic.mac}, expect.deadline("N03.device"))
    guest.nics.set_up(spare_nic.mac, True)
    target, by = address_of(peer_nic(guest)), peer_nic(peer).mac
    peer.nics.wait_reply(target, by, expect.deadline("N03.address"))

    with guest.kernel.undisturbed(expect.noise):
        with pinging(peer, target, by=by, least=expect.count("N04.pings")) as counted:
            machine.detach_nic(spare_nic.mac, expect.deadline("host.verb"))
            guest.nics.wait_macs(stays, expect.deadline("N04.gone"))
        pings, limit = counted.pings, expect.limit("N04.lost")
        assert limit.allows(pings.lost), (
            f"{pings.lost} of {pings.sent} pings to {target} were lost while {spare_nic.mac} went, not {limit}"
        )
    host = {nic.mac for nic in guest.machine.view(expect.deadline("host.verb")).nics}
    views = Views("MACs after removal", asked=stays, host=host, guest=set(guest.nics.all()))
    assert views.agree, views


@pytest.mark.check("N06")
@pytest.mark.needs(Capability.CONSOLE_INPUT, Capability.NIC_HOT_ADD)
@pytest.mark.changes_guest
def test_a_guest_without_a_nic_gets_one(guests: Guests, expect: Expectations) -> None:
    """A guest that was booted without any network lives at its console, and gets a network without another boot."""
    guest, other = guests.cold(nics=0), guests.start()
    host = guest.machine.view(expect.deadline("host.verb")).nics
    views = Views("MACs", asked=set[str](), host={nic.mac for nic in host}, guest=set(guest.nics.all()))
    assert views.agree, views
    boot = guest.boot_id
    comes(guest, other, guests.spare_nic(guest), expect.words("nic_drivers"), expect)
    assert guest.boot_id == boot, "the NIC came by another boot"


@pytest.mark.check("N07")
@pytest.mark.needs(Capability.LINK_STATE)
@pytest.mark.smoke
@pytest.mark.changes_guest
def test_a_pulled_cable_is_seen_and_a_plugged_one_works(guest: Guest, peer: Guest, expect: Expectations) -> None:
    """Pulling the virtual cable is what pulling a real one is, on both sides, and plugging it in heals it."""
    heeds_its_cable(guest, peer, expect)


@pytest.mark.check("N18", part="added")
@pytest.mark.needs(Capability.LEGACY_NIC, Capability.NIC_HOT_ADD)
@pytest.mark.shape(nic_kind=DeviceKind.EMULATED)
@pytest.mark.changes_guest
def test_an_emulated_nic_is_added_while_running(
    guest: Guest, peer: Guest, spare_nic: NicSpec, expect: Expectations
) -> None:
    """An emulated NIC comes without a reboot as the hypervisor's own does."""
    comes(guest, peer, spare_nic, expect.words("emulated_nic_drivers"), expect)


@pytest.mark.check("N18", part="cable")
@pytest.mark.needs(Capability.LEGACY_NIC, Capability.LINK_STATE)
@pytest.mark.shape(nic_kind=DeviceKind.EMULATED)
@pytest.mark.changes_guest
def test_the_cable_of_an_emulated_nic_is_pulled_and_plugged(guest: Guest, peer: Guest, expect: Expectations) -> None:
    """An emulated NIC heeds its cable as the hypervisor's own does."""
    heeds_its_cable(guest, peer, expect)


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


def comes(guest: Guest, peer: Guest, spare_nic: NicSpec, drivers: tuple[str, ...], expect: Expectations) -> None:
    """A NIC that is attached comes alone, with its MAC and one of the drivers, and the peer is reached by it."""
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
        assert nic.driver in drivers, f"{nic.name} is driven by {nic.driver}, not by one of {drivers}"
        assert spare_nic.address is not None
        guest.nics.set_address(spare_nic.mac, ip_interface(spare_nic.address))
        guest.nics.wait_reply(address_of(peer_nic(peer)), spare_nic.mac, expect.deadline("N03.address"))


def heeds_its_cable(guest: Guest, peer: Guest, expect: Expectations) -> None:
    """Host and guest see the cable pulled, nothing passes, and it works again when the cable is in."""
    mac, target = peer_nic(guest).mac, address_of(peer_nic(peer))
    cable = able(guest.machine, LinkSwitch)
    guest.nics.wait_reply(target, mac, expect.deadline("N07.up"))

    def host_sees() -> bool:
        return next(nic.connected for nic in guest.machine.view(expect.deadline("host.verb")).nics if nic.mac == mac)

    cable.link(mac, False, expect.deadline("host.verb"))
    guest.nics.wait_carrier(mac, False, expect.deadline("N07.down"))
    assert not host_sees(), "the cable was pulled, the guest has no carrier, and the host sees it connected"
    pings = guest.nics.ping(target, by=mac, count=expect.count("N07.pings"))
    assert pings.received == 0, f"{pings.received} of {pings.sent} pings were answered over a cable that is pulled"

    cable.link(mac, True, expect.deadline("host.verb"))
    guest.nics.wait_carrier(mac, True, expect.deadline("N07.up"))
    assert host_sees(), "the cable was plugged in, the guest has a carrier, and the host sees it disconnected"
    guest.nics.wait_reply(target, mac, expect.deadline("N07.up"))
