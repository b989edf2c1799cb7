"""A disk and a NIC kept busy while something else is done."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from harness.core import Deadline, GuestError, MiB, Pending, Size, wait_for
from harness.guest.disks import Disk, DiskData
from harness.guest.flows import Flood, Flow
from harness.guest.load import moving_data
from harness.guest.streams import End

DISK = Disk("vdb", "interop-data", Size(64 * MiB), frozenset(), 512)


class Disks:
    """Gives back what it took, or is lost after so many rounds."""

    def __init__(self, rounds: int | None = None) -> None:
        self.left = rounds
        self.written = 0
        self.lost = threading.Event()

    def fill(self, disk: Disk, size: Size) -> DiskData:
        if self.left == self.written:
            self.lost.set()
            raise GuestError("the guest is lost")
        self.written += 1
        return DiskData(size, f"sum {self.written}", "")

    def digest(self, disk: Disk, size: Size) -> DiskData:
        return DiskData(size, f"sum {self.written}", "")


@pytest.fixture
def flooded(monkeypatch) -> list[int]:
    """How many streams each burst had."""
    streams = []

    def flood(source, target, count, span):
        streams.append(count)
        return Flood((Flow(1, 1, 1.0),) * count)

    monkeypatch.setattr("harness.guest.load.flood", flood)
    return streams


def moving(disks: Disks):
    ends = End(SimpleNamespace(disks=disks, name="peer"), "198.18.0.1"), End(SimpleNamespace(disks=disks), "198.18.0.2")
    return moving_data(DISK, Size(MiB), *ends, 3)


def test_data_move_until_the_block_is_over(flooded):
    """Again and again, by disk and by network, and each round is told."""
    disks = Disks()
    with moving(disks) as seen:
        wait_for(
            "several rounds",
            lambda: (disks.written > 2 and len(flooded) > 2) or Pending("not yet"),
            Deadline.after(30),
        )
    written, streams = disks.written, len(flooded)
    assert len(seen.written) == written
    assert all(wrote == read for wrote, read in seen.written)
    assert len(seen.flows) == 3 * streams
    assert set(flooded) == {3}


def test_a_guest_that_is_lost_meanwhile_is_told_of(flooded):
    """Once the block is over, which it may outlive."""
    disks = Disks(1)
    with pytest.raises(GuestError, match="lost"), moving(disks):
        assert disks.lost.wait(30)


@pytest.mark.usefixtures("flooded")
def test_what_fails_in_the_block_is_told_first():
    """It is what the load was there for."""
    disks = Disks(0)
    with pytest.raises(AssertionError, match="CPU 1"), moving(disks):
        assert not disks.lost.wait(30), "CPU 1 did not go"
