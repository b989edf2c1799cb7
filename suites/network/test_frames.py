from dataclasses import replace
from ipaddress import ip_interface

import pytest
from interop_fixtures import Capability, Expectations, Guest

from harness.backends.model import NetworkSpec, NicSpec
from harness.backends.protocol import NicPlug
from harness.backends.verbs import able
from harness.guest.nics import address_of

pytestmark = [
    pytest.mark.needs(Capability.PEER_NETWORK, Capability.NIC_HOT_ADD),
    pytest.mark.shape(nics=2),
    pytest.mark.changes_guest,
]

_HEADERS = 28
"""An IPv4 header has 20 bytes, and that of an ICMP echo 8 (RFC 791, RFC 792)."""


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
    """Guests of one VLAN meet and lose nothing; one in another VLAN of the same network hears nothing of them.

    With access ports alone: no NIC can ask a host for a trunk yet, nor for its native VLAN.
    """
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
    host = next(each for each in guest.machine.view(expect.deadline("host.verb")).nics if each.mac == nic.mac)
    assert host.vlan == vlan, f"VLAN of {nic.mac}: asked of the host {vlan}, seen by the host {host.vlan}"


def peer_network(guest: Guest) -> NetworkSpec:
    """Where guests meet."""
    return guest.identity.nics[1].network
