"""What iproute2, lsblk and the kernel say of NICs and disks."""

import json
from ipaddress import IPv4Interface, IPv6Address, ip_interface
from types import SimpleNamespace
from typing import Any

import pytest

from harness.core import GuestError, Size
from harness.guest import disks, nics
from harness.guest.pings import Pings, parse_pings
from harness.guest.result import Result


def link(
    name: str, mac: str, *flags: str, rx: int = 0, addresses: tuple[tuple[str, int], ...] = ()
) -> dict[str, object]:
    counters = {"bytes": rx * 100, "packets": rx, "errors": 0, "dropped": 2, "multicast": 0}
    return {
        "ifindex": 2, "ifname": name, "flags": list(flags), "mtu": 1500, "max_mtu": 65535, "qdisc": "fq_codel",
        "operstate": "UP",
        "link_type": "ether", "address": mac, "broadcast": "ff:ff:ff:ff:ff:ff",
        "addr_info": [{"family": "inet", "local": local, "prefixlen": length} for local, length in addresses],
        "stats64": {"rx": counters, "tx": counters | {"packets": 7}},
    }  # fmt: skip


ADDRESSES = (("10.0.2.15", 24), ("fe80::5054:ff:feaa:1", 64))
LINKS = json.dumps(
    [
        link("lo", "00:00:00:00:00:00", "LOOPBACK", "UP", "LOWER_UP"),
        link("ens2", "52:54:00:AA:00:01", "BROADCAST", "UP", "LOWER_UP", rx=12, addresses=ADDRESSES),
        link("ens3", "52:54:00:aa:00:02", "NO-CARRIER", "BROADCAST", "UP"),
        link("br0", "52:54:00:aa:00:02", "BROADCAST", "UP", "LOWER_UP"),
    ]
).encode()  # fmt: skip

LSBLK = b"""
{"blockdevices": [
  {"name": "sr0", "serial": "QM00001", "size": 376832, "log-sec": 2048, "type": "rom", "mountpoint": null},
  {"name": "vda", "serial": null, "size": 4294967296, "log-sec": 512, "type": "disk", "mountpoint": null, "children": [
     {"name": "vda1", "serial": null, "size": 1048576, "log-sec": 512, "type": "part", "mountpoint": null},
     {"name": "vda3", "serial": null, "size": 4226793472, "log-sec": 512, "type": "part", "mountpoint": "/"}]},
  {"name": "vdb", "serial": " data-1 ", "size": "1073745920", "log-sec": "4096", "type": "disk", "mountpoint": null}
]}
"""

DISKSTATS = b"""\
  11       0 sr0 12 0 90 4 0 0 0 0 0 8 4 0 0 0 0 0 0
 254       0 vda 8123 100 512000 900 4000 80 96000 700 0 1500 1600 0 0 0 0 30 10
 254       3 vda3 8000 100 511000 890 4000 80 96000 700 0 1500 1590
"""


def found() -> dict[str, nics.Nic]:
    return nics.nics(nics.parse_links(LINKS), {"ens2": "virtio_net", "ens3": None})


def test_only_nics_with_a_device_count() -> None:
    assert {mac: nic.name for mac, nic in found().items()} == {"52:54:00:aa:00:01": "ens2", "52:54:00:aa:00:02": "ens3"}


def test_a_nic_shows_driver_link_addresses_and_counters() -> None:
    nic = found()["52:54:00:aa:00:01"]
    assert (nic.driver, nic.up, nic.carrier, nic.received.packets, nic.sent.packets) == (
        "virtio_net",
        True,
        True,
        12,
        7,
    )
    assert (nic.mtu, nic.largest_mtu) == (1500, 65535)
    assert nic.addresses[0] == IPv4Interface("10.0.2.15/24")
    assert nic.link_local == IPv6Address("fe80::5054:ff:feaa:1")


def test_a_nic_without_link_or_driver_says_so() -> None:
    nic = found()["52:54:00:aa:00:02"]
    assert (nic.driver, nic.up, nic.carrier, nic.link_local) == (None, True, False, None)


def test_a_nic_without_a_driver_has_a_line_without_one() -> None:
    assert nics.parse_drivers(b"ens2 virtio_net\nens3 \n") == {"ens2": "virtio_net", "ens3": None}


def test_neighbours_are_known_by_address() -> None:
    table = nics.parse_neighbours(
        b'[{"dst":"fe80::2","dev":"ens3","lladdr":"52:54:00:AA:00:03","state":["REACHABLE"]},'
        b'{"dst":"10.77.0.9","dev":"ens3","state":["FAILED"]}]'
    )
    assert table["fe80::2"] == nics.Neighbour("52:54:00:aa:00:03", frozenset({"REACHABLE"}))
    assert table["10.77.0.9"].mac is None


REPLY = b"64 bytes from 10.9.0.2: icmp_seq=%d ttl=64 time=1.42 ms\n"


@pytest.mark.parametrize(
    ("asked", "came", "summary", "lost"),
    [
        (3, (1, 2, 3), b"3 packets transmitted, 3 received, 0% packet loss, time 113ms\n", 0),
        # The last reply took 304 ms, after some of 1 ms; by -c alone ping had not waited for it.
        (3, (1, 2, 3), b"8 packets transmitted, 3 received, 62.5% packet loss, time 767ms\n", 0),
        (3, (1, 3, 4), b"4 packets transmitted, 3 received, 25% packet loss, time 517ms\n", 1),
        (3, (1, 2, 4), b"4 packets transmitted, 3 received, 25% packet loss, time 511ms\n", 1),
        (3, (1, 2), b"40 packets transmitted, 2 received, 95% packet loss, time 5012ms\n", 1),
        (3, (), b"36 packets transmitted, 0 received, 100% packet loss, time 1956ms\n\n", 3),
        (3, (), b"1 packets transmitted, 0 received, +1 errors, 100% packet loss, time 0ms\n\n", 1),
    ],
)
def test_pings_that_only_passed_the_time_do_not_count(
    asked: int, came: tuple[int, ...], summary: bytes, lost: int
) -> None:
    """Of those that were asked for, each was answered or lost."""
    said = b"PING 10.9.0.2 (10.9.0.2) 56(84) bytes of data.\n" + b"".join(REPLY % number for number in came)
    seen = parse_pings(said + b"\n--- 10.9.0.2 ping statistics ---\n" + summary, asked)
    assert (seen.received, seen.lost) == (len([number for number in came if number <= asked]), lost)


def test_a_ping_has_the_kernel_stamp_no_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor rewrite a part of itself for that, each time a ping begins and ends."""
    asked: list[str] = []

    def run(argv: list[str], **_: object) -> Result:
        asked.extend(argv)
        return Result(tuple(argv), 0, REPLY % 1 + b"1 packets transmitted, 1 received\n", b"")

    monkeypatch.setattr(nics.Nics, "by_mac", lambda *_: SimpleNamespace(name="eth1"))
    guest: Any = SimpleNamespace(name="guest-1", run=run)
    assert nics.Nics(guest).ping("10.9.0.2", by="52:54:00:aa:00:03") == Pings(1, 1)
    assert "-U" in asked
    assert asked[-1] == "10.9.0.2"


def test_a_guest_speaks_with_tags_by_a_device_above_its_nic(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is named after both, and that name is what a ping goes by."""
    asked: list[str] = []

    def run(argv: list[str], **_: object) -> Result:
        asked.append(" ".join(argv))
        return Result(tuple(argv), 0, REPLY % 1 + b"1 packets transmitted, 1 received\n", b"")

    monkeypatch.setattr(nics.Nics, "by_mac", lambda *_: SimpleNamespace(name="eth1"))
    made = nics.Nics(SimpleNamespace(name="guest-1", run=run))  # type: ignore[arg-type]
    made.add_vlan("52:54:00:aa:00:03", 42, ip_interface("198.18.0.1/28"))
    assert asked == [
        "ip link add link eth1 name eth1.42 type vlan id 42",
        "ip link set dev eth1.42 up",
        "ip addr replace 198.18.0.1/28 dev eth1.42",
    ]
    assert made.ping("198.18.0.2", by="52:54:00:aa:00:03", vlan=42).received == 1
    assert " -I eth1.42 " in asked[-1]


def test_what_is_no_reply_answers_no_ping() -> None:
    """A router's word, a reply that was damaged, and one that came twice."""
    said = (
        b"From 10.9.0.1 icmp_seq=1 Destination Host Unreachable\n"
        b"64 bytes from 10.9.0.2: icmp_seq=2 ttl=64 time=1.42 ms (BAD CHECKSUM!)\n"
        + 2 * REPLY % (3, 3)
        + b"\n--- 10.9.0.2 ping statistics ---\n3 packets transmitted, 1 received\n"
    )
    assert parse_pings(said, 3) == Pings(3, 1)


def test_disks_are_whole_disks_with_size_to_the_byte() -> None:
    """And with their sectors; older lsblks put numbers in quotes."""
    root, data = disks.parse_disks(LSBLK)
    assert (root.name, root.serial, root.mounts, root.sector) == ("vda", None, {"/"}, 512)
    assert (data.serial, data.size, data.sector) == ("data-1", Size(1073745920), 4096)


def test_a_disk_whose_host_numbers_it_is_called_as_it_was_asked_for() -> None:
    """With the number in whatever form the guest shows it; others keep theirs."""
    serials = (None, "6000C29D-1D1C", "36000c29d1d1d", "other")
    shown = [disks.Disk(f"sd{at}", serial, Size(512), frozenset(), 512) for at, serial in enumerate(serials)]
    names = {"6000c29d1d1c": "data0", "6000c29d1d1d": "data1", "": "nobody"}
    assert [disk.serial for disk in disks.called(shown, names)] == [None, "data0", "data1", "other"]


def test_disk_counters_are_bytes() -> None:
    io = disks.parse_io(DISKSTATS)["vda"]
    assert (io.reads, io.read, io.writes, io.written) == (8123, 512000 * 512, 4000, 96000 * 512)


def test_a_disks_drivers_are_listed_from_the_disk_to_its_bus() -> None:
    text = b"vda virtio_blk\nvda virtio-pci\nvda pcieport\nsda sd\nsda virtio_scsi\n"
    assert disks.parse_drivers(text) == {"vda": ("virtio_blk", "virtio-pci", "pcieport"), "sda": ("sd", "virtio_scsi")}


def test_a_file_systems_errors_are_counted_by_device() -> None:
    assert disks.parse_errors({"/sys/fs/ext4/vda3/errors_count": b"2\n"}) == {"vda3": 2}


def test_a_round_trip_keeps_both_checksums() -> None:
    trip = disks.parse_round_trip(b'{"size": 1048576, "written": "aa", "read": "bb"}\n')
    assert (trip.size, trip.written, trip.read) == (1048576, "aa", "bb")


@pytest.mark.parametrize(
    ("probe", "output"),
    [
        (nics.LINKS, b'Object "addr" is unknown'),
        (nics.LINKS, b'[{"flags": []}]'),
        (nics.NEIGHBOURS, b'[{"dev": "ens3"}]'),
        (disks.DISKS, b'{"blockdevices": [{"name": "vda"}]}'),
        (disks.DISKS, b"\xff"),
        (disks.IO, b"8 0\n"),
        (disks.DRIVERS, b"vda\n"),
    ],
)
def test_garbage_from_the_guest_is_one_error_with_probe_and_guest(probe: object, output: bytes) -> None:
    with pytest.raises(GuestError, match=r"^guest-1: .* does not read as expected"):
        probe.value(Result(probe.argv, 0, output, b""), "guest-1")  # type: ignore[attr-defined]
