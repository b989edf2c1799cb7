"""By which queues packets come in, as drivers of different hypervisors tell it, and which CPUs are told."""

from typing import Any

import pytest

from harness.core import GuestError
from harness.guest import queues
from harness.guest.cpu_interrupts import parse_interrupts
from harness.guest.probe import Probe
from harness.guest.queues import Received
from harness.guest.result import Result

# virtio_net, Linux 6.1.
VIRTIO = b"""\
NIC statistics:
     rx_queue_0_packets: 1401
     rx_queue_0_bytes: 9120333
     rx_queue_0_drops: 0
     rx_queue_1_packets: 7
     tx_queue_0_packets: 310
     tx_queue_1_packets: 12
"""

# virtio_net, Linux 6.12.
NEWER_VIRTIO = b"""\
NIC statistics:
     rx0_packets: 1401
     rx0_bytes: 9120333
     rx1_packets: 7
     tx0_packets: 310
"""

# hv_netvsc, Linux 5.14 (RHEL 9): its own counters, those of each queue, and those of each CPU.
NETVSC = b"""\
NIC statistics:
     tx_scattered: 0
     vf_rx_packets: 0
     tx_queue_0_packets: 310
     tx_queue_0_bytes: 20111
     rx_queue_0_packets: 1401
     rx_queue_0_bytes: 9120333
     rx_queue_0_xdp_drop: 0
     rx_queue_1_packets: 7
     cpu0_rx_packets: 1408
"""

# vmxnet3, Linux 6.1: queues are headed by their number.
VMXNET3 = b"""\
NIC statistics:
     Tx Queue#: 0
       TSO pkts tx: 12
       ucast pkts tx: 310
     Rx Queue#: 0
       LRO pkts rx: 3
       LRO byte rx: 13000
       ucast pkts rx: 1400
       ucast bytes rx: 9120000
       mcast pkts rx: 0
       bcast pkts rx: 1
       pkts rx OOB: 0
     Rx Queue#: 1
       ucast pkts rx: 7
       mcast pkts rx: 0
       bcast pkts rx: 0
     tx timeout count: 0
"""

# A NIC with one queue, which has no counters of its own for it (r8169).
ALONE = b"""\
NIC statistics:
     tx_packets: 310
     rx_packets: 1408
"""

DEVICE = "/sys/class/net/eth0/device/channels"
CHANNELS = {
    f"{DEVICE}/14/cpu": b"0\n",
    f"{DEVICE}/14/interrupts": b"900\n",
    f"{DEVICE}/21/cpu": b"2\n",
    f"{DEVICE}/21/interrupts": b"40\n",
    f"{DEVICE}/22/cpu": b"2\n",
    f"{DEVICE}/22/interrupts": b"2\n",
}


@pytest.mark.parametrize("output", [VIRTIO, NEWER_VIRTIO, NETVSC, VMXNET3])
def test_packets_are_told_by_queue_in_the_words_of_each_driver(output: bytes) -> None:
    """What was sent, and what is counted by CPU, does not count."""
    assert queues.parse_queues(output) == {0: 1401, 1: 7}


def test_interrupts_of_vmbus_are_those_of_its_channels() -> None:
    """Two channels of one CPU are one CPU; a device on another bus has none."""
    assert queues.parse_channels(CHANNELS) == {0: 900, 2: 42}
    assert queues.parse_channels({}) == {}


def test_what_was_there_before_does_not_count() -> None:
    """A queue that is new has had nothing before."""
    grown = Received({0: 10, 1: 5}, {0: 3, 1: 9}).since(Received({0: 4}, {0: 3, 1: 1}))
    assert grown == Received({0: 6, 1: 5}, {0: 0, 1: 8})


@pytest.mark.parametrize(
    ("parse", "output"),
    [
        (queues.parse_queues, ALONE),
        (queues.parse_queues, b"no stats available\n"),
        (queues.parse_lines, b"24\nls: x\n"),
        (lambda _: queues.parse_channels({f"{DEVICE}/14/cpu": b"0\n"}), b""),
    ],
)
def test_garbage_from_the_guest_is_one_error_with_probe_and_guest(parse: Any, output: bytes) -> None:
    with pytest.raises(GuestError, match=r"^guest-1: queues does not read as expected"):
        Probe("queues", (), parse).value(Result((), 0, output, b""), "guest-1")


class Told:
    """A guest that tells what it was told to tell.

    Args:
        lines: numbers of the NIC's interrupts.
        files: of its channels.
    """

    name = "guest-1"

    def __init__(self, lines: bytes, files: dict[str, bytes]) -> None:
        table = b"      CPU0 CPU1\n 24:   5    0  PCI-MSI virtio1-input.0\n 25:   0    8  PCI-MSI virtio1-input.1\n"
        table += b" 26:   7    7  PCI-MSI virtio1-output.0\n 27:   1    1  PCI-MSI 49152-edge virtio1-config\n"
        table += b" 30: 100  100  PCI-MSI virtio2-req.0\nLOC:  1  1  timers\n"
        self.answers = (
            queues.parse_queues(VIRTIO),
            queues.parse_lines(lines),
            queues.parse_channels(files),
            parse_interrupts(table),
        )
        self.nics = self

    def by_mac(self, _: str) -> Any:
        return self

    def read_all(self, *_: Any) -> tuple[Any, ...]:
        return self.answers


def test_interrupts_are_those_of_the_nic_alone() -> None:
    """By the numbers of its device, or by its channels where it has any; what tells of sending is left out."""
    assert queues.received(Told(b"24\n25\n26\n27\n", {}), "m").interrupts == {0: 5, 1: 8}  # type: ignore[arg-type]
    assert queues.received(Told(b"", CHANNELS), "m").interrupts == {0: 900, 2: 42}  # type: ignore[arg-type]
