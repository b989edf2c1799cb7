"""Guests that are recordings: what a real guest answered while a check ran on it, given again to the same check.

A recording is a file of JSON lines, one a command in the order they ran: who ran it, its words, and what came of it.
Those in ``answers`` are of Debian 12 guests (Linux 6.1, virtio_net) of libvirt 9.0 and QEMU 7.2, emulated, with NICs on
taps of a bridge and a queue for each vCPU, and of checks that passed there. MACs and addresses are others since.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from harness.backends.model import NetworkKind, NetworkSpec, NicSpec, Shape
from harness.backends.views import HostFacts
from harness.core import GiB
from harness.guest import Guest, Identity
from harness.guest.nics import Nics
from harness.guest.result import Result
from harness.lab.expectations import Expectations, Firmware

RECORDINGS = Path(__file__).parent / "answers"
PEERS = NetworkSpec("peers", NetworkKind.BRIDGE, "br0")


@dataclass(frozen=True)
class Said:
    """One command and what came of it."""

    who: str
    argv: tuple[str, ...]
    status: int
    stdout: str
    stderr: str

    @property
    def words(self) -> str:
        """The command in one line."""
        return " ".join(self.argv)


def recording(name: str) -> list[Said]:
    """All that was said."""
    lines = (RECORDINGS / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [Said(**(fields | {"argv": tuple(fields["argv"])})) for fields in map(json.loads, lines)]


class Recorded(Guest):
    """A guest that says again what it said.

    Args:
        name: who it is in the recording.
        address: of its NIC in the network of peers.
        mac: of that NIC.
        said: what all said; each answer is given once, in order.
        vcpus: how many it was asked for.
    """

    def __init__(self, name: str, address: str, mac: str, said: list[Said], vcpus: int) -> None:
        nics = tuple(NicSpec(each, PEERS, address=f"{address}/24") for each in ("52:54:00:00:00:00", mac))
        self.identity = Identity(name, "0" * 32, nics, None)
        self.nics = Nics(self)
        self._said = [one for one in said if one.who == name]
        self._shape = Shape(vcpus=vcpus, nics=2)

    @property
    def shape(self) -> Shape:
        return self._shape

    def run(self, argv: Any, *, timeout: timedelta = timedelta(0), stdin: bytes = b"", check: bool = True) -> Result:
        del timeout, stdin
        found = next((at for at, one in enumerate(self._said) if one.argv == tuple(argv)), None)
        assert found is not None, f"{self.name} was never asked for {argv}, or not that often"
        one = self._said.pop(found)
        result = Result(one.argv, one.status, one.stdout.encode("latin-1"), one.stderr.encode("latin-1"))
        return result.checked(self.name) if check else result

    def read_all(self, *probes: Any, timeout: timedelta = timedelta(0)) -> tuple[Any, ...]:
        return tuple(self.read(probe, timeout=timeout) for probe in probes)


def expectations() -> Expectations:
    """What the host of the recordings must show: sizes are those of emulated guests."""
    facts = HostFacts("QEMU/libvirt", "9.0.0", "9.0.0", "tcg", 2, GiB, 8)
    return Expectations.for_host("kvm", facts, Firmware.BIOS)


def check(suite: str, module: str, test: str) -> Callable[..., None]:
    """The body of a check of the suites."""
    return getattr(importlib.import_module(f"suites.{suite}.{module}"), test)


@dataclass(frozen=True)
class Misheard:
    """One thing that is wrong with what a guest answered.

    Args:
        check: the number of the check that must fail.
        test: the name of its test function.
        words: what is wrong, for the table in the documentation.
        asked: a regular expression for the commands that are answered wrongly.
        answers: which of their answers are wrong, in order.
        pattern: what is replaced in these answers, as often as it is there.
        instead: what stands in its place.
        says: a regular expression that the check's words fit.
    """

    check: str
    test: str
    words: str
    asked: str
    answers: slice
    pattern: str
    instead: str
    says: str

    @property
    def shared(self) -> frozenset[str]:
        """Every check that must fail."""
        return frozenset({self.check})


_SPREAD = "test_what_many_send_is_spread_over_queues_and_cpus"
_CHANNELS = "test_channels_can_be_set_up_to_the_most"
_OFFLOADS = "test_offloads_change_nothing_but_the_work"
RECORDED: tuple[Misheard, ...] = (
    Misheard(
        "N13",
        _SPREAD,
        "one of the queues takes nothing in",
        "ethtool --statistics",
        slice(None),
        r"(rx_queue_2_packets:) \d+",
        r"\1 7",
        r"the queues \[2\] took nothing of 64 flows",
    ),
    Misheard(
        "N13",
        _SPREAD,
        "one queue takes in everything",
        "ethtool --statistics",
        slice(None),
        r"^ *rx_queue_[123]_packets:.*\n",
        "",
        "one queue takes in everything",
    ),
    Misheard(
        "N13",
        _SPREAD,
        "all queues interrupt one CPU",
        "/proc/interrupts",
        slice(None),
        r"^( *\d+:) +(\d+) +(\d+) +(\d+) +(\d+)( .*-input\.\d+)$",
        r"\1 \2\3\4\5 0 0 0\6",
        r"interrupts on 4 CPUs are due, and came to \[0\]",
    ),
    Misheard(
        "N12",
        _CHANNELS,
        "another number of channels is taken without a word and never set",
        "ethtool --show-channels",
        slice(1, 2),
        r"(Current hardware settings:(?:\n.*)*Combined:\s+)1",
        r"\g<1>4",
        "Combined was set to 1, of 4 at most, and is 4",
    ),
    Misheard(
        "N11",
        _OFFLOADS,
        "an offload is switched off without a word and stays on",
        "ethtool --show-features",
        slice(1, 2),
        "tx-checksumming: off",
        "tx-checksumming: on",
        "tx-checksumming was switched off, and ethtool shows",
    ),
    Misheard(
        "N11",
        _OFFLOADS,
        "data change on their way while the NIC has nothing to do with their checksums",
        "python3 - send",
        slice(2, 3),
        r'("received": \{"size": \d+, "sha256": ")....',
        r"\1dead",
        "with tx-checksumming off: .* received",
    ),
)
"""Planted by ``tests/unit/test_recorded_network.py``."""
