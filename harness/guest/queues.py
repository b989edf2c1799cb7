"""By which queues of a NIC packets come in, and which CPUs are told of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.guest.cpu_interrupts import INTERRUPTS
from harness.guest.probe import Probe

if TYPE_CHECKING:
    from harness.guest.guest import Guest

# What drivers call the number of packets that came in by a queue (`ethtool --statistics`).
_NAMED = (
    re.compile(r"rx_queue_(\d+)_packets"),  # virtio_net, hv_netvsc, e1000e, igb
    re.compile(r"rx(\d+)_packets"),  # virtio_net from Linux 6.9 on
)
# vmxnet3 heads the lines of each queue with its number, and counts kinds of packets apart.
_HEAD = re.compile(r"\s*([RT]x) Queue#: *(\d+)")
_KINDS = re.compile(r"\s*(ucast|mcast|bcast) pkts rx: *(\d+)")
# What drivers call interrupts of theirs that no packet which came in is told by (virtio_net, igb, vmxnet3).
_NOT_FOR_RECEIVING = re.compile(r"-output\.\d+$|-tx-\d+$|-config$|-event-\d+$")


@dataclass(frozen=True, slots=True)
class Received:
    """What a NIC has taken in since boot.

    Args:
        packets: how many by each queue.
        interrupts: how often its interrupts came to each CPU, but for those that only tell of what was sent.
    """

    packets: Mapping[int, int]
    interrupts: Mapping[int, int]

    def since(self, before: Received) -> Received:
        """What it has taken in after ``before``."""
        return Received(_grown(self.packets, before.packets), _grown(self.interrupts, before.interrupts))


def _grown(now: Mapping[int, int], then: Mapping[int, int]) -> dict[int, int]:
    return {each: count - then.get(each, 0) for each, count in sorted(now.items())}


def parse_queues(data: bytes) -> dict[int, int]:
    """``ethtool --statistics``: how many packets came in by each queue, in the words of several drivers."""
    packets: dict[int, int] = {}
    queue: int | None = None
    for line in data.decode("ascii", "backslashreplace").splitlines():
        head = _HEAD.match(line)
        if head:
            queue = int(head[2]) if head[1] == "Rx" else None
            continue
        kind = _KINDS.match(line)
        if kind and queue is not None:
            packets[queue] = packets.get(queue, 0) + int(kind[2])
            continue
        name, _, value = line.strip().partition(":")
        found = next((found for pattern in _NAMED if (found := pattern.fullmatch(name))), None)
        if found:
            packets[int(found[1])] = int(value)
    if not packets:
        raise ValueError("no queue tells how many packets came by it")
    return packets


def parse_lines(data: bytes) -> frozenset[str]:
    """Numbers of interrupts, one a line; none where the NIC's device has none of its own."""
    lines = data.decode("ascii").split()
    if not all(line.isdigit() for line in lines):
        raise ValueError(f"{lines[:3]} are no numbers of interrupts")
    return frozenset(lines)


def parse_channels(files: Mapping[str, bytes]) -> dict[int, int]:
    """``channels/*/cpu`` and ``channels/*/interrupts`` of a VMBus device: how often the host interrupted each CPU."""
    counts: dict[int, int] = {}
    for path, content in files.items():
        if path.endswith("/cpu"):
            cpu = int(content)
            counts[cpu] = counts.get(cpu, 0) + int(files[path.removesuffix("cpu") + "interrupts"])
    return counts


def received(guest: Guest, mac: str) -> Received:
    """What the NIC with this MAC has taken in.

    Packets are those of ``ethtool --statistics``. Interrupts are its lines of ``/proc/interrupts``, by the numbers that
    ``/sys/class/net/NAME/device`` (for virtio: the PCI device above it) has in ``msi_irqs``; on VMBus, where one
    interrupt serves all devices, those that each channel counts (kernel, Documentation/ABI/stable/sysfs-bus-vmbus).

    Raises:
        GuestError: its driver does not tell queues apart.
    """
    name = guest.nics.by_mac(mac).name
    device = f"/sys/class/net/{name}/device"
    counted, lines, channels, interrupts = guest.read_all(
        Probe(f"queues of {name}", ("ethtool", "--statistics", name), parse_queues),
        Probe(
            f"interrupts of {name}",
            ("sh", "-c", 'ls "$1/msi_irqs" 2>/dev/null || ls "$1/../msi_irqs" 2>/dev/null || true', "-", device),
            parse_lines,
        ),
        Probe.files(
            f"channels of {name}", parse_channels, f"{device}/channels/*/cpu", f"{device}/channels/*/interrupts"
        ),
        INTERRUPTS,
    )
    if channels:
        return Received(counted, channels)
    lines = [line for line in lines if not _NOT_FOR_RECEIVING.search(interrupts.words.get(line, ""))]
    by_cpu = {cpu: sum(interrupts.counts.get(line, {}).get(cpu, 0) for line in lines) for cpu in interrupts.cpus}
    return Received(counted, by_cpu)
