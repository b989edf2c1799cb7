"""What ethtool says of NICs of different drivers, in its old and its new words."""

from types import SimpleNamespace
from typing import Any

import pytest

from harness.core import GuestError
from harness.guest import ethernet
from harness.guest.ethernet import Feature, Tuned
from harness.guest.probe import Probe
from harness.guest.result import Result

# hv_netvsc, ethtool 6.1.
FEATURES = b"""\
Features for eth0:
rx-checksumming: on
tx-checksumming: on
\ttx-checksum-ipv4: on
\ttx-checksum-ip-generic: off [fixed]
scatter-gather: on
\ttx-scatter-gather: on
tcp-segmentation-offload: off
\ttx-tcp-segmentation: off [requested on]
rx-gro-hw: off [fixed]
"""

# virtio_net, ethtool 6.1.
RINGS = b"""\
Ring parameters for eth1:
Pre-set maximums:
RX:\t\t256
RX Mini:\tn/a
RX Jumbo:\tn/a
TX:\t\t256
Current hardware settings:
RX:\t\t128
RX Mini:\tn/a
RX Jumbo:\tn/a
TX:\t\t256
RX Buf Len:\t\tn/a
CQE Size:\t\tn/a
TX Push:\toff
TCP data split:\tn/a
"""

# vmxnet3 with ethtool 4.8 (SLES 12).
OLD_RINGS = b"""\
Ring parameters for eth0:
Pre-set maximums:
RX:\t\t4096
RX Mini:\t2048
RX Jumbo:\t4096
TX:\t\t4096
Current hardware settings:
RX:\t\t1024
RX Mini:\t128
RX Jumbo:\t256
TX:\t\t512

"""

# hv_netvsc, whose channels carry both directions; ethtool 4.8.
CHANNELS = b"""\
Channel parameters for eth0:
Pre-set maximums:
RX:\t\t0
TX:\t\t0
Other:\t\t0
Combined:\t8
Current hardware settings:
RX:\t\t0
TX:\t\t0
Other:\t\t0
Combined:\t4

"""


def test_a_feature_is_on_or_off_and_may_be_fixed() -> None:
    """Those of a group count like all others, and a wish that was not granted is off."""
    features = ethernet.parse_features(FEATURES)
    assert features["rx-checksumming"] == Feature(on=True, fixed=False)
    assert features["tx-checksum-ip-generic"] == Feature(on=False, fixed=True)
    assert features["tx-tcp-segmentation"] == Feature(on=False, fixed=False)
    assert len(features) == 9


def test_rings_are_what_the_driver_has() -> None:
    """What it says nothing of is left out, and what is no ring's size as well."""
    assert ethernet.parse_tuned(RINGS) == Tuned({"RX": 256, "TX": 256}, {"RX": 128, "TX": 256})
    assert ethernet.parse_tuned(OLD_RINGS).now == {"RX": 1024, "RX Mini": 128, "RX Jumbo": 256, "TX": 512}


def test_channels_that_can_be_none_are_not_there() -> None:
    """Old releases write 0 where new ones say that there is nothing."""
    assert ethernet.parse_tuned(CHANNELS) == Tuned({"Combined": 8}, {"Combined": 4})


@pytest.mark.parametrize("parse", [ethernet.parse_features, ethernet.parse_tuned])
@pytest.mark.parametrize(
    "output",
    [
        b"",
        b"\xff",
        b"Cannot get device ring settings: Operation not supported\nno\n",
        RINGS.partition(b"Current")[0],
        RINGS.replace(b"TX:\t\t256\nRX Buf", b"RX Buf"),
    ],
)
def test_garbage_from_the_guest_is_one_error_with_probe_and_guest(parse: Any, output: bytes) -> None:
    with pytest.raises(GuestError, match=r"^guest-1: ethtool does not read as expected"):
        Probe("ethtool", (), parse).value(Result((), 0, output, b""), "guest-1")


class Asked:
    """A guest that keeps what it was asked to run."""

    name = "guest-1"

    def __init__(self) -> None:
        self.ran: list[list[str]] = []
        self.nics = self

    def by_mac(self, _: str) -> Any:
        return SimpleNamespace(name="eth1")

    def run(self, argv: list[str], *, check: bool) -> Result:
        del check
        self.ran.append(argv)
        return Result(tuple(argv), 0, b"", b"")


def test_groups_of_offloads_are_asked_for_by_names_that_old_releases_know() -> None:
    """Each shown name has a short one in ethtool(8); the kernel's own names are taken as they are."""
    guest = Asked()
    nic = ethernet.Ethernet(guest, "m")  # type: ignore[arg-type]
    nic.set_feature("tcp-segmentation-offload", on=False)
    nic.set_feature("tx-tcp-segmentation", on=True)
    nic.set_rings(rx=64, tx=128)
    assert guest.ran == [
        ["ethtool", "--features", "eth1", "tso", "off"],
        ["ethtool", "--features", "eth1", "tx-tcp-segmentation", "on"],
        ["ethtool", "--set-ring", "eth1", "rx", "64", "tx", "128"],
    ]
