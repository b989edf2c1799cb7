from collections.abc import Callable

import pytest
from interop_fixtures import Capability, Expectations, Guest

from harness.guest.ethernet import Ethernet, Tuned
from harness.guest.nics import address_of
from harness.guest.result import Result
from harness.guest.streams import End, send

pytestmark = [
    pytest.mark.needs(Capability.PEER_NETWORK),
    pytest.mark.shape(nics=2),
    pytest.mark.changes_guest,
]


@pytest.mark.check("N11")
@pytest.mark.needs(Capability.OFFLOAD)
def test_offloads_change_nothing_but_the_work(guest: Guest, peer: Guest, expect: Expectations) -> None:
    """Checksums and segmentation can be left to the NIC or taken back, one by one, and data arrive whole either way."""
    nic, names = Ethernet(guest, guest.identity.nics[1].mac), expect.words("N11.offloads")
    features = nic.features()
    off = [name for name in names if name not in features or not features[name].on]
    assert not off, f"offloads that should be on from the start and are not: {off}"
    arrives(guest, peer, "with every offload", expect)
    for name in expect.words("N11.toggled"):
        for on in (False, True):
            nic.set_feature(name, on)
            seen = nic.features()[name]
            assert seen.on is on, f"{name} was switched {'on' if on else 'off'}, and ethtool shows {seen}"
            arrives(guest, peer, f"with {name} {'on' if on else 'off'}", expect)


@pytest.mark.check("N12", part="rings")
def test_rings_take_any_size_up_to_the_largest(guest: Guest, peer: Guest, expect: Expectations) -> None:
    """A NIC's rings can be made smaller and as large as its driver says, no larger, and the network works on."""
    nic = Ethernet(guest, guest.identity.nics[1].mac)
    for kind in ("RX", "TX"):
        takes(nic.rings, nic.set_rings, kind, expect.count("N12.least_ring"))
        arrives(guest, peer, f"with the largest {kind} ring", expect)


@pytest.mark.check("N12", part="channels")
@pytest.mark.needs(Capability.MULTIQUEUE)
@pytest.mark.shape(vcpus=4)
def test_channels_can_be_set_up_to_the_most(guest: Guest, peer: Guest, expect: Expectations) -> None:
    """A NIC works with one queue and with as many as it says that it can have, and with no more."""
    nic = Ethernet(guest, guest.identity.nics[1].mac)
    takes(nic.channels, nic.set_channels, "Combined", 1)
    arrives(guest, peer, "with all channels", expect)


def takes(read: Callable[[], Tuned], ask: Callable[..., Result], kind: str, least: int) -> None:
    """A number can be set to the least and to the most, each is read back, and one more than the most is refused."""
    most = read().most.get(kind, 0)
    assert most > least, f"{kind} can be {most} at most: nothing can be changed"
    for number in (least, most):
        done = ask(**{kind.lower(): number})
        seen = read().now[kind]
        # A driver that is asked for what it has may refuse: what counts is that it has it.
        assert done.ok or seen == number, (
            f"{kind} of {number}, of {most} at most, was refused: {done.stderr.decode(errors='replace').strip()}"
        )
        assert seen == number, f"{kind} was set to {number}, of {most} at most, and is {seen}"
    done = ask(**{kind.lower(): most + 1})
    seen = read().now[kind]
    assert not done.ok, f"{kind} of {most + 1} was accepted, though {most} is said to be the most; now it is {seen}"
    assert seen == most, f"{kind} of {most + 1} was refused, and {most} became {seen}"


def arrives(guest: Guest, peer: Guest, how: str, expect: Expectations) -> None:
    """The link is up, and what either guest sends the other gets whole."""
    mac = guest.identity.nics[1].mac
    guest.nics.wait_carrier(mac, True, expect.deadline("N07.up"))
    ours, theirs = (End(each, address_of(each.identity.nics[1])) for each in (guest, peer))
    guest.nics.wait_reply(theirs.address, mac, expect.deadline("N07.up"))
    for source, target in ((ours, theirs), (theirs, ours)):
        before = guest.nics.by_mac(mac)
        done = send(source, target, expect.size("N11.transfer"), expect.deadline("N02.sent"))
        after = guest.nics.by_mac(mac)
        assert done.sent == done.received, f"{how}: {source} sent {done.sent}, {target} received {done.received}"
        moved = after.received.bytes - before.received.bytes + after.sent.bytes - before.sent.bytes
        assert moved >= done.sent.size, f"{how}: {done.sent.size} bytes passed, but only {moved} of them by {mac}"
