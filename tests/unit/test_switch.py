"""The L2 switch: frames go where a switch sends them, and planted faults bite."""

import random
import socket

import pytest

from harness.qemu import QemuError
from harness.qemu.switch import Plug, Switch

EVERYONE = b"\xff" * 6
ANNE, BERT, CARL = (bytes([2, 0, 0, 0, 0, n]) for n in (1, 2, 3))


class Station:
    """A guest's NIC: a UDP socket that sends frames to the switch."""

    def __init__(self, switch: Switch, mac: bytes, plug: Plug) -> None:
        self.switch, self.mac = switch, mac
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setblocking(False)
        self.port = self.socket.getsockname()
        switch.plug(self.port, plug)

    def send(self, to: bytes, payload: bytes = b"hello", tag: int | None = None) -> None:
        dot1q = b"" if tag is None else b"\x81\x00" + tag.to_bytes(2, "big")
        self.socket.sendto(to + self.mac + dot1q + b"\x08\x00" + payload, self.switch.address)
        self.switch.pump()

    def heard(self) -> list[bytes]:
        frames = []
        while True:
            try:
                frames.append(self.socket.recv(65536))
            except BlockingIOError:
                return frames


@pytest.fixture
def switch():
    made = Switch(chance=random.Random(1))
    yield made
    made.close()


@pytest.fixture
def station(switch):
    made = []

    def make(mac, **plug):
        made.append(Station(switch, mac, Plug(**{"network": "peers", **plug})))
        return made[-1]

    yield make
    for one in made:
        one.socket.close()


def test_a_broadcast_reaches_everyone_but_its_sender(station):
    anne, bert, carl = station(ANNE), station(BERT), station(CARL)
    anne.send(EVERYONE)
    assert [len(one.heard()) for one in (anne, bert, carl)] == [0, 1, 1]


def test_a_learned_address_gets_its_frames_alone(station):
    anne, bert, carl = station(ANNE), station(BERT), station(CARL)
    bert.send(EVERYONE)
    carl.heard()
    anne.send(BERT)
    assert (len(bert.heard()), len(carl.heard())) == (1, 0)


def test_networks_never_meet(station):
    anne, other = station(ANNE), station(BERT, network="other")
    anne.send(EVERYONE)
    assert other.heard() == []


def test_a_stranger_without_a_port_is_ignored(switch, station):
    bert = station(BERT)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(EVERYONE + ANNE + b"\x08\x00hello", switch.address)
        switch.pump()
    assert bert.heard() == []


def test_an_access_port_speaks_to_its_vlan_alone(station):
    anne, same, other = station(ANNE, vlan=7), station(BERT, vlan=7), station(CARL, vlan=8)
    anne.send(EVERYONE)
    assert (len(same.heard()), len(other.heard())) == (1, 0)


def test_a_trunk_sees_the_tag_and_only_allowed_ids(station):
    anne, trunk, closed = station(ANNE, vlan=7), station(BERT, trunk=frozenset({7})), station(CARL, trunk=frozenset())
    anne.send(EVERYONE)
    (frame,) = trunk.heard()
    assert frame[12:16] == b"\x81\x00\x00\x07"
    assert closed.heard() == []


def test_frames_of_a_trunks_native_vlan_cross_it_untagged(station):
    trunk, access, other = station(ANNE, trunk=frozenset({8}), native=7), station(BERT, vlan=7), station(CARL, vlan=8)
    trunk.send(EVERYONE)
    (frame,) = access.heard()
    assert (frame[12:14], other.heard()) == (b"\x08\x00", [])
    access.send(EVERYONE)
    (frame,) = trunk.heard()
    assert frame[12:14] == b"\x08\x00"
    other.send(EVERYONE)
    (frame,) = trunk.heard()
    assert frame[12:16] == b"\x81\x00\x00\x08"


def test_a_trunk_with_a_native_vlan_is_in_no_segment_without_one(station):
    trunk, plain, everything = station(ANNE, trunk=frozenset(), native=7), station(BERT), station(CARL, native=9)
    trunk.send(EVERYONE)
    (frame,) = plain.heard()
    assert frame[12:16] == b"\x81\x00\x00\x07"
    (frame,) = everything.heard()
    assert frame[12:16] == b"\x81\x00\x00\x07"
    plain.send(EVERYONE)
    assert (trunk.heard(), everything.heard()) == ([], [])


def test_a_trunk_hears_of_its_native_vlan_alone_what_it_does_not_allow(switch, station):
    trunk, other = station(ANNE, trunk=frozenset({8}), native=7), station(BERT)
    for tag in (7, 8, 9):
        trunk.send(EVERYONE, tag=tag)
    assert [frame[14:16] for frame in other.heard()] == [b"\x00\x07", b"\x00\x08"]
    assert switch.counters(trunk.port).dropped_vlan == 1


def test_a_tagged_frame_leaves_an_access_port_untagged(station):
    trunk, access = station(ANNE), station(BERT, vlan=9)
    trunk.send(EVERYONE, tag=9)
    (frame,) = access.heard()
    assert frame[12:14] == b"\x08\x00"


def test_an_access_port_takes_no_tags(switch, station):
    access, other = station(ANNE, vlan=9), station(BERT)
    access.send(EVERYONE, tag=9)
    assert other.heard() == []
    assert switch.counters(access.port).dropped_vlan == 1


def test_one_byte_above_the_mtu_is_dropped(switch, station):
    anne, bert = station(ANNE, mtu=9000), station(BERT, mtu=9000)
    anne.send(EVERYONE, b"x" * 9000)
    anne.send(EVERYONE, b"x" * 9001)
    assert len(bert.heard()) == 1
    assert switch.counters(anne.port).dropped_mtu == 1


def test_a_cut_cable_carries_nothing_until_mended(switch, station):
    anne, bert = station(ANNE), station(BERT)
    switch.cut(bert.port, True)
    anne.send(EVERYONE)
    assert bert.heard() == []
    switch.cut(bert.port, False)
    anne.send(EVERYONE)
    assert len(bert.heard()) == 1


def test_planted_loss_loses_about_its_share(switch, station):
    anne, bert = station(ANNE), station(BERT)
    switch.lose(bert.port, 0.5)
    for _ in range(200):
        anne.send(EVERYONE)
    assert 60 < len(bert.heard()) < 140


def test_counters_tell_what_crossed(switch, station):
    anne, bert = station(ANNE), station(BERT)
    anne.send(EVERYONE)
    assert (switch.counters(anne.port).received, switch.counters(bert.port).sent) == (1, 1)


def test_nothing_but_loopback_can_be_plugged(switch):
    with pytest.raises(QemuError, match="loopback"):
        switch.plug(("192.0.2.1", 7), Plug("peers"))
    with pytest.raises(QemuError, match="loopback"):
        Switch(("0.0.0.0", 0))


def test_an_absurd_loss_is_refused(switch, station):
    with pytest.raises(QemuError, match="fraction"):
        switch.lose(station(ANNE).port, 1.5)


def test_who_announces_itself_is_heard(switch, station):
    anne = station(ANNE)
    arp = b"\x00\x01\x08\x00\x06\x04\x00\x01" + ANNE + bytes([10, 77, 0, 5]) + bytes(6) + bytes([10, 77, 0, 1])
    switch_frame = EVERYONE + ANNE + b"\x08\x06" + arp
    anne.socket.sendto(switch_frame, switch.address)
    switch.pump()
    assert switch.heard(anne.port) == [("02:00:00:00:00:01", "10.77.0.5")]


def test_a_replugged_port_forgets_what_was_heard(switch, station):
    anne = station(ANNE)
    arp = b"\x00\x01\x08\x00\x06\x04\x00\x01" + ANNE + bytes([10, 77, 0, 5]) + bytes(6) + bytes([10, 77, 0, 1])
    anne.socket.sendto(EVERYONE + ANNE + b"\x08\x06" + arp, switch.address)
    switch.pump()
    switch.plug(anne.port, Plug("peers"))
    assert switch.heard(anne.port) == []
