from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, ip_interface

import pytest
from interop_fixtures import Capability, Expectations, Guest

from harness.backends.model import NetworkSpec, NicSpec, Trunk
from harness.backends.protocol import NicPlug
from harness.backends.verbs import able
from harness.backends.views import NicView
from harness.guest.nics import address_of

pytestmark = [
    pytest.mark.needs(Capability.PEER_NETWORK, Capability.NIC_HOT_ADD),
    pytest.mark.shape(nics=2),
    pytest.mark.changes_guest,
]

_HEADERS = 28
"""An IPv4 header has 20 bytes, and that of an ICMP echo 8 (RFC 791, RFC 792)."""

_TAGGED = IPv4Address("198.18.0.0")
"""What is kept for tests of networks (RFC 2544): each VLAN id has 16 addresses of it."""
_GUEST, _PEER = 1, 2
"""Which of them either has."""


def replug(guest: Guest, network: NetworkSpec, expect: Expectations) -> NicSpec:
    """Plug the guest's NIC in the network of peers in again, set up in another way, with the address it had.

    Not a further NIC: one that stays in the same network would answer for it.
    """
    machine, nic = able(guest.machine, NicPlug), replace(guest.identity.nics[1], network=network)
    macs = {each.mac for each in guest.identity.nics}
    machine.detach_nic(nic.mac, expect.deadline("host.verb"))
    guest.nics.wait_macs(macs - {nic.mac}, expect.deadline("N04.gone"))
    machine.attach_nic(nic, expect.deadline("host.verb"))
    guest.nics.wait_macs(macs, expect.deadline("N03.device"))
    assert nic.address is not None
    guest.nics.set_address(nic.mac, ip_interface(nic.address))
    guest.nics.wait_carrier(nic.mac, True, expect.deadline("N07.up"))
    return nic


@pytest.mark.check("N09")
@pytest.mark.needs(Capability.MTU)
def test_jumbo_frames_pass_whole(guest: Guest, peer: Guest, expect: Expectations) -> None:
    """In a network for large frames, one of just the size that was asked for passes undivided, and none larger.

    Where the guest's NIC sends no larger frames than the network takes, only the NIC shows that limit.
    """
    mtu = expect.count("N09.mtu")
    for each in (guest, peer):
        nic = replug(each, replace(peer_network(each), mtu=mtu), expect)
        each.nics.set_mtu(nic.mac, mtu)
        # Some drivers start the device anew for another MTU: the carrier goes for a moment.
        each.nics.wait_carrier(nic.mac, True, expect.deadline("N07.up"))
        seen = each.nics.by_mac(nic.mac)
        assert seen.mtu == mtu, f"{mtu} was asked for as MTU, {seen.name} of {each.name} shows {seen.mtu}"
    target, by = address_of(peer.identity.nics[1]), guest.identity.nics[1].mac
    guest.nics.wait_reply(target, by, expect.deadline("N03.address"))

    fits, count, before = mtu - _HEADERS, expect.count("N09.pings"), guest.nics.by_mac(by)
    pings = guest.nics.ping(target, by=by, count=count, whole=fits)
    assert pings.lost == 0, f"MTU {mtu}: {pings.lost} of {pings.sent} pings with {fits} bytes of data were lost"
    after = guest.nics.by_mac(by)
    sent, received = after.sent.bytes - before.sent.bytes, after.received.bytes - before.received.bytes
    assert min(sent, received) >= count * mtu, f"{count} frames of {mtu} bytes are more than {sent} and {received}"
    if after.largest_mtu != mtu:
        stops_larger_frames(guest, target, by, mtu, expect)


def stops_larger_frames(guest: Guest, target: str, by: str, mtu: int, expect: Expectations) -> None:
    """The network keeps its own limit: the guest sends a frame of one byte more, and nobody hears of it."""
    larger, count = mtu + 1, expect.count("N09.pings")
    # With the network's MTU the guest's own kernel would send no such frame.
    guest.nics.set_mtu(by, larger)
    guest.nics.wait_carrier(by, True, expect.deadline("N07.up"))
    before = guest.nics.by_mac(by)
    assert before.mtu == larger, f"{larger} was asked for as MTU, {before.name} of {guest.name} shows {before.mtu}"
    pings = guest.nics.ping(target, by=by, count=count, whole=larger - _HEADERS)
    sent = guest.nics.by_mac(by).sent.bytes - before.sent.bytes
    assert sent >= count * larger, f"{count} frames of {larger} bytes were to leave {before.name}, and {sent} bytes did"
    assert pings.received == 0, f"MTU {mtu}: {pings.received} of {pings.sent} frames of {larger} bytes passed"


@pytest.mark.check("N10")
@pytest.mark.needs(Capability.VLAN)
def test_a_vlan_separates_guests(guest: Guest, peer: Guest, expect: Expectations) -> None:
    """Guests of one VLAN meet and lose nothing; one in another VLAN of the same network hears nothing of them."""
    here, elsewhere, limit = expect.count("N10.vlan"), expect.count("N10.other"), expect.limit("N10.lost")
    target, by, count = address_of(peer.identity.nics[1]), guest.identity.nics[1].mac, expect.count("N10.pings")
    own, back = address_of(guest.identity.nics[1]), peer.identity.nics[1].mac
    plug_into_vlan(guest, here, expect)
    # The last round shows that it was the VLAN that kept them apart, and nothing that had broken meanwhile.
    for vlan in (here, elsewhere, here):
        plug_into_vlan(peer, vlan, expect)
        guest.nics.forget_neighbours(by)
        if vlan == here:
            guest.nics.wait_reply(target, by, expect.deadline("N03.address"))
            pings = guest.nics.ping(target, by=by, count=count)
            assert limit.allows(pings.lost), (
                f"both in VLAN {here}: {pings.lost} of {pings.sent} pings were lost, not {limit}"
            )
        else:
            for each, there, nic in ((guest, target, by), (peer, own, back)):
                pings = each.nics.ping(there, by=nic, count=expect.count("N10.calls"))
                assert pings.received == 0, (
                    f"{guest.name} in VLAN {here}, {peer.name} in VLAN {vlan}: {pings.received} of {pings.sent} pings "
                    f"of {each.name} were answered"
                )


def plug_into_vlan(guest: Guest, vlan: int, expect: Expectations) -> None:
    """Plug the guest's NIC into a VLAN of the network of peers."""
    nic = replug(guest, replace(peer_network(guest), vlan=vlan), expect)
    host = seen_by_host(guest, nic.mac, expect)
    assert host.vlan == vlan, f"VLAN of {nic.mac}: asked of the host {vlan}, seen by the host {host.vlan}"


@pytest.mark.check("N10", part="trunk")
@pytest.mark.needs(Capability.VLAN_TRUNK)
def test_a_trunk_carries_the_vlans_it_allows(guest: Guest, peer: Guest, expect: Expectations) -> None:
    """A trunk loses nothing of the VLANs that it allows, nor of its native one, which is untagged; no other passes."""
    first, second, barred = expect.count("N10.vlan"), expect.count("N10.other"), expect.count("N10.barred")
    native, by, back = expect.count("N10.native"), guest.identity.nics[1].mac, peer.identity.nics[1].mac
    plug_into_trunk(guest, Trunk(frozenset({first, second}), native), (first, second, barred), expect)
    for vlan in (first, second):
        plug_into_tagged(peer, vlan, expect)
        loses_nothing(guest, peer, vlan, expect)

    plug_into_vlan(peer, native, expect)
    loses_nothing(guest, peer, None, expect)

    plug_into_tagged(peer, barred, expect)
    for each, other, nic, tag in ((guest, _PEER, by, barred), (peer, _GUEST, back, None)):
        pings = each.nics.ping(str(in_vlan(barred, other).ip), by=nic, count=expect.count("N10.calls"), vlan=tag)
        assert pings.received == 0, (
            f"{guest.name} behind a trunk without VLAN {barred}, {peer.name} in it: {pings.received} of {pings.sent} "
            f"pings of {each.name} were answered"
        )
    # The peer stays as it is, and the trunk alone changes: it was what kept them apart.
    plug_into_trunk(guest, Trunk(frozenset({first, barred}), native), (barred,), expect)
    loses_nothing(guest, peer, barred, expect)


def plug_into_trunk(guest: Guest, trunk: Trunk, devices: tuple[int, ...], expect: Expectations) -> None:
    """Plug the guest's NIC into a trunk, with a VLAN device above it for each of these ids, allowed or not."""
    nic = replug(guest, replace(peer_network(guest), trunk=trunk), expect)
    host = seen_by_host(guest, nic.mac, expect)
    assert host.trunk == trunk, f"trunk of {nic.mac}: asked of the host {trunk}, seen by the host {host.trunk}"
    for vlan in devices:
        guest.nics.add_vlan(nic.mac, vlan, in_vlan(vlan, _GUEST))


def plug_into_tagged(peer: Guest, vlan: int, expect: Expectations) -> None:
    """Plug the peer's NIC into this VLAN, with an address of it besides its own: it knows nothing of tags."""
    plug_into_vlan(peer, vlan, expect)
    peer.nics.set_address(peer.identity.nics[1].mac, in_vlan(vlan, _PEER))


def loses_nothing(guest: Guest, peer: Guest, vlan: int | None, expect: Expectations) -> None:
    """The guest reaches the peer by its VLAN device of this id (None: untagged), and no ping is lost."""
    by, limit = guest.identity.nics[1].mac, expect.limit("N10.lost")
    target = address_of(peer.identity.nics[1]) if vlan is None else str(in_vlan(vlan, _PEER).ip)
    guest.nics.wait_reply(target, by, expect.deadline("N03.address"), vlan=vlan)
    pings = guest.nics.ping(target, by=by, count=expect.count("N10.pings"), vlan=vlan)
    how = "untagged, in the native VLAN" if vlan is None else f"tagged, in VLAN {vlan}"
    assert limit.allows(pings.lost), f"{how}: {pings.lost} of {pings.sent} pings were lost, not {limit}"


def in_vlan(vlan: int, number: int) -> IPv4Interface:
    """An address of a VLAN."""
    return IPv4Interface((int(_TAGGED) + 16 * vlan + number, 28))


def seen_by_host(guest: Guest, mac: str, expect: Expectations) -> NicView:
    """What the guest's host says of one of its NICs."""
    return next(each for each in guest.machine.view(expect.deadline("host.verb")).nics if each.mac == mac)


def peer_network(guest: Guest) -> NetworkSpec:
    """Where guests meet."""
    return guest.identity.nics[1].network
