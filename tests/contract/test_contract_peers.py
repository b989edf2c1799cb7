"""Two guests of one host on the network where guests meet: frames get through, and only where they should."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_interface

import pytest

from harness.backends.capabilities import Capability
from harness.backends.model import Trunk
from tests.contract.conftest import main_shape

pytestmark = pytest.mark.proves(Capability.PEER_NETWORK)


def mac_of(guest):
    """The MAC of the NIC that meets others."""
    return guest.machine.spec.nics[1].mac


def address_of(guest):
    """Its bare IPv4 address."""
    return guest.machine.spec.nics[1].address.split("/")[0]


@pytest.fixture
def pair(guest, other):
    """Both guests, their NICs up."""
    for each in (guest, other):
        each.nics.set_up(mac_of(each), True)
    return guest, other


def test_guests_reach_each_other(pair):
    """Both ways; and each sees the other's MAC address, not somebody's between."""
    one, two = pair
    assert one.nics.ping(address_of(two), by=mac_of(one), count=5).lost == 0
    assert two.nics.ping(address_of(one), by=mac_of(two), count=5).lost == 0
    assert one.nics.neighbours()[address_of(two)].mac == mac_of(two)
    assert two.nics.neighbours()[address_of(one)].mac == mac_of(one)


SERVE = """
import socket, sys
with socket.create_server((sys.argv[1], 8123)) as server:
    server.settimeout(60)
    peer, _ = server.accept()
    with peer, open("/run/received", "wb") as file:
        while data := peer.recv(65536):
            file.write(data)
"""

SEND = """
import socket, sys, time
for _ in range(60):
    try:
        peer = socket.create_connection((sys.argv[1], 8123), timeout=20)
        break
    except OSError:
        time.sleep(0.5)
with peer:
    peer.sendall(bytes(range(256)) * 4096)
"""


def test_what_is_sent_arrives_whole(pair):
    """A megabyte over TCP, every byte of it."""
    one, two = pair
    with ThreadPoolExecutor(1) as pool:
        receiving = pool.submit(one.run, ["python3", "-", address_of(one)], stdin=SERVE.encode())
        two.run(["python3", "-", address_of(one)], stdin=SEND.encode())
        receiving.result(120)
    assert one.files.read("/run/received") == bytes(range(256)) * 4096
    one.files.remove("/run/received")


@pytest.mark.proves(Capability.LINK_STATE)
def test_a_pulled_cable_keeps_frames_away(site, pair):
    """Until it is plugged in again."""
    one, two = pair
    two.machine.link(mac_of(two), False, site.deadline())
    assert one.nics.ping(address_of(two), by=mac_of(one), count=2).received == 0
    two.machine.link(mac_of(two), True, site.deadline())
    two.nics.wait_carrier(mac_of(two), True, site.deadline(60))
    assert one.nics.ping(address_of(two), by=mac_of(one), count=5).received > 0


@contextmanager
def in_vlan(site, pair, vlan):
    """A NIC more in each of the two, in this VLAN, with the addresses 198.18.7.1 and 198.18.7.2."""
    one, two = pair
    leases = []
    plain = [site.nic(site.name("vlan"), 1, leases) for _ in range(2)]
    here, there = (replace(nic, network=replace(nic.network, vlan=vlan)) for nic in plain)
    one.machine.attach_nic(here, site.deadline())
    two.machine.attach_nic(there, site.deadline())
    try:
        # Of a subnet of their own, so that no other NIC answers for them.
        for each, nic, address in ((one, here, "198.18.7.1/24"), (two, there, "198.18.7.2/24")):
            await_nic(site, each, nic.mac)
            each.shell(f"ip address replace {address} dev {each.nics.by_mac(nic.mac).name}")
        yield here, there
    finally:
        one.machine.detach_nic(here.mac, site.deadline())
        two.machine.detach_nic(there.mac, site.deadline())
        for lease in leases:
            lease.release()


def move(site, guest, nic, vlan, trunk=None):
    """Plug it into another VLAN, or a trunk of several, as only taking it out and in again does."""
    network = replace(nic.network, vlan=vlan, trunk=trunk)
    guest.machine.detach_nic(nic.mac, site.deadline())
    guest.machine.attach_nic(replace(nic, network=network), site.deadline())
    await_nic(site, guest, nic.mac)
    seen = next(each for each in site.view(guest.machine).nics if each.mac == nic.mac)
    assert (seen.vlan, seen.trunk) == (vlan, trunk)


@pytest.mark.proves(Capability.VLAN, Capability.NIC_HOT_ADD)
@pytest.mark.proves(Capability.VLAN_TRUNK, needed=False)
def test_a_vlan_separates_guests_of_one_network(site, pair):
    """In one VLAN they meet; from another, nothing comes through, in either direction, but where a trunk has both."""
    one, two = pair
    with in_vlan(site, pair, 101) as (here, there):
        assert one.nics.ping("198.18.7.2", by=here.mac, count=5).received > 0
        move(site, two, there, 102)
        two.shell(f"ip address replace 198.18.7.2/24 dev {two.nics.by_mac(there.mac).name}")
        one.nics.forget_neighbours(here.mac)
        assert one.nics.ping("198.18.7.2", by=here.mac, count=2).received == 0
        assert two.nics.ping("198.18.7.1", by=there.mac, count=2).received == 0
        if site.can(Capability.VLAN_TRUNK, main_shape(site)):
            move(site, one, here, None, Trunk(frozenset({102}), native=101))
            one.nics.add_vlan(here.mac, 102, ip_interface("198.18.7.1/24"))
            one.nics.wait_reply("198.18.7.2", here.mac, site.deadline(60), vlan=102)
            one.nics.set_address(here.mac, ip_interface("198.18.8.1/24"))
            move(site, two, there, 101)
            two.nics.set_address(there.mac, ip_interface("198.18.8.2/24"))
            one.nics.wait_reply("198.18.8.2", here.mac, site.deadline(60))


@pytest.mark.proves(Capability.VLAN, Capability.NIC_HOT_ADD, Capability.CHECKPOINT_WITH_MEMORY)
def test_a_revert_brings_a_nic_back_into_the_vlan_of_then(site, pair):
    """Where it is plugged in is part of what a checkpoint brings back."""
    one, two = pair
    one.machine.checkpoint("vlan", site.deadline(), memory=True)
    try:
        move(site, one, one.machine.spec.nics[1], 102)
        one.shell(f"ip address replace {address_of(one)}/24 dev {one.nics.by_mac(mac_of(one)).name}")
        two.nics.forget_neighbours(mac_of(two))
        assert two.nics.ping(address_of(one), by=mac_of(two), count=2).received == 0
    finally:
        one.machine.revert("vlan", site.deadline())
        site.meet_again(one)
        one.machine.drop_checkpoint("vlan", site.deadline())
    two.nics.wait_reply(address_of(one), mac_of(two), site.deadline(60))


@pytest.mark.proves(Capability.MTU, Capability.NIC_HOT_ADD)
def test_a_network_with_jumbo_frames_carries_them(site, pair):
    """Whole, and no larger ones than it says."""
    one, two = pair
    leases = []
    nics = [site.nic(site.name("mtu"), 1, leases) for _ in range(2)]
    here, there = (replace(nic, network=replace(nic.network, name="jumbo", mtu=4000)) for nic in nics)
    one.machine.attach_nic(here, site.deadline())
    two.machine.attach_nic(there, site.deadline())
    try:
        for each in pair:
            # Where a network is a setting of the same switch, the NIC beside answers for this one's address, too.
            each.shell("sysctl --quiet --write net.ipv4.conf.all.arp_ignore=1")
        for each, nic, address in ((one, here, "198.18.9.1/24"), (two, there, "198.18.9.2/24")):
            await_nic(site, each, nic.mac)
            name = each.nics.by_mac(nic.mac).name
            each.shell(f"ip link set {name} mtu 4000 && ip address replace {address} dev {name}")
        for each, nic in ((one, here), (two, there)):
            # Drivers such as vmxnet3 start the device anew for another MTU: the carrier goes for a moment.
            each.nics.wait_carrier(nic.mac, True, site.deadline(60))
        ping = ["ping", "-n", "-U", "-q", "-c", "5", "-W", "2", "-M", "do", "-s"]
        assert one.run([*ping, str(4000 - 28), "198.18.9.2"], check=False).status == 0
        for each, nic in ((one, here), (two, there)):
            each.shell(f"ip link set {each.nics.by_mac(nic.mac).name} mtu 6000", check=False)
        assert one.run([*ping, str(6000 - 28), "198.18.9.2"], check=False).status != 0
    finally:
        for each in pair:
            each.shell("sysctl --quiet --write net.ipv4.conf.all.arp_ignore=0")
        one.machine.detach_nic(here.mac, site.deadline())
        two.machine.detach_nic(there.mac, site.deadline())
        for lease in leases:
            lease.release()


def await_nic(site, guest, mac):
    """Wait until a NIC that was plugged in shows, and switch it on."""
    from tests.contract.test_contract_nics_and_links import find_nic

    find_nic(guest, mac, site.deadline(60))
    guest.nics.set_up(mac, True)
    guest.nics.wait_carrier(mac, True, site.deadline(60))


def test_a_hundred_pings_in_a_row_come_back(pair):
    """What every check of a network takes for granted."""
    one, two = pair
    pings = one.nics.ping(address_of(two), by=mac_of(one), count=100)
    assert (pings.sent, pings.lost) == (100, 0)
