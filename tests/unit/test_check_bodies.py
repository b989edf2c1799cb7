"""Parts of checks that no guest is needed for: what they make of a host that lies or leaves something behind."""

from __future__ import annotations

import importlib
from types import SimpleNamespace
from typing import Any

import pytest

from harness.core import Deadline
from harness.guest.nics import Nic, Pings, Traffic


def expecting(**words: Any) -> Any:
    """Expectations whose every deadline is near."""
    return SimpleNamespace(deadline=lambda _: Deadline.after(0.2), **words)


class Keeps:
    """A machine whose host takes its time to merge delta disks, or for ever."""

    def __init__(self, *answers: tuple[str, ...]) -> None:
        self.answers = list(answers)

    def checkpoint_files(self, _: Deadline) -> tuple[str, ...]:
        """The next answer, and the last one for ever."""
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def test_a_delta_that_stays_is_found_and_one_that_is_merged_late_is_none() -> None:
    """A disk that was gone back to may be another file, but there may be no more of them."""
    none_left = importlib.import_module("suites.lifecycle.test_checkpoints").assert_none_left
    none_left(Keeps(("a-2.avhdx", "a-1.avhdx"), ("a-2.avhdx",)), ("a-1.avhdx",), expecting())
    with pytest.raises(AssertionError, match=r"as before: none; last seen: 1: a-2\.avhdx"):
        none_left(Keeps(("a-2.avhdx",)), (), expecting())


class Wired:
    """A guest with one NIC in a network of some MTU; its own kernel sends nothing that is larger than the NIC's."""

    name, nic = "guest-1", "eth1"

    def __init__(self, network: int) -> None:
        self.nics, self.network, self.mtu, self.sent = self, network, 9000, 0

    def set_mtu(self, _: str, mtu: int) -> None:
        """As asked."""
        self.mtu = mtu

    def wait_carrier(self, *_: Any) -> None:
        """It is there."""

    def by_mac(self, mac: str) -> Nic:
        """What was sent so far."""
        return Nic("eth1", mac, None, True, True, self.mtu, 65535, (), Traffic(0, 0, 0, 0), Traffic(0, self.sent, 0, 0))

    def ping(self, _: str, *, by: str, count: int, whole: int) -> Pings:
        """Each is answered that the network carries."""
        del by
        if whole + 28 > self.mtu:
            return Pings(1, 0)
        self.sent += count * (whole + 42)
        return Pings(count, count if whole + 28 <= self.network else 0)


def test_it_is_the_network_that_has_to_stop_a_frame_that_is_too_large() -> None:
    """Not the sender's own kernel, which asks nobody."""
    stops = importlib.import_module("suites.network.test_frames").stops_larger_frames
    expect = expecting(count=lambda _: 20)
    stops(Wired(9000), "10.0.0.2", "m", 9000, expect)
    with pytest.raises(AssertionError, match="MTU 9000: 20 of 20 frames of 9001 bytes passed"):
        stops(Wired(9216), "10.0.0.2", "m", 9000, expect)
    silent = Wired(9000)
    silent.set_mtu = lambda *_: None  # type: ignore[method-assign]
    with pytest.raises(AssertionError, match="9001 was asked for as MTU, eth1 of guest-1 shows 9000"):
        stops(silent, "10.0.0.2", "m", 9000, expect)
