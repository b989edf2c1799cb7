"""A guest kept busy for as long as something is looked at meanwhile: its CPUs, or a disk and a NIC."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from harness.core import Size
from harness.guest.disks import Disk, DiskData
from harness.guest.flows import Flow, flood
from harness.guest.streams import End

if TYPE_CHECKING:
    from harness.guest.guest import Guest

_UNIT = "interop-load"
_BURST = timedelta(seconds=2)  # a few of them pass while a CPU goes and comes
# Whoever else wants a CPU gets it: what is measured is the guest's clock, not how its scheduler shares CPUs out.
_SPIN = 'for cpu; do taskset -c "$cpu" sh -c "while :; do :; done" & done; wait'


@dataclass(slots=True)
class Load:
    """What the CPUs did while they were kept busy.

    Args:
        busy: by CPU, the part of its time that programs had; empty until the load is over.
    """

    busy: dict[int, float]


@contextmanager
def all_busy(guest: Guest) -> Iterator[Load]:
    """Keep every online CPU busy inside the ``with`` block, by a program of the lowest priority pinned to each.

    Sources: ``/proc/stat`` before and after for :attr:`Load.busy`.
    """
    cpus = sorted(guest.cpus.online())
    argv = [
        "systemd-run",
        "--quiet",
        "--collect",
        "--nice=19",
        "--unit",
        _UNIT,
        "--",
        "sh",
        "-c",
        _SPIN,
        "-",
        *map(str, cpus),
    ]
    guest.run(argv)
    load = Load({})
    try:
        before = guest.cpus.times()
        yield load
        after = guest.cpus.times()
    finally:
        guest.services.stop(f"{_UNIT}.service")
    for cpu in cpus:
        user, system, idle, steal = (
            (getattr(after[cpu], name) - getattr(before[cpu], name)).total_seconds()
            for name in ("user", "system", "idle", "steal")
        )
        # What others of the host got while this CPU would have run was wanted here as well.
        load.busy[cpu] = (user + system + steal) / (user + system + steal + idle)


@dataclass(slots=True)
class MovedData:
    """What went to a disk and over the network; whole when the ``with`` block of :func:`moving_data` has been left.

    Args:
        written: what the disk took, each time, and what it gave back after it.
        flows: every stream.
    """

    written: list[tuple[DiskData, DiskData]] = field(default_factory=list)
    flows: list[Flow] = field(default_factory=list)


@contextmanager
def moving_data(disk: Disk, size: Size, source: End, target: End, streams: int) -> Iterator[MovedData]:
    """Inside the ``with`` block ``target`` writes its disk and reads it again and again, and ``source`` sends to it.

    Args:
        disk: of the guest that receives; what is on it is lost.
        size: how much of it is written each time.
        source: who sends.
        target: who receives.
        streams: how many connections at once.

    Raises:
        AssertionError: a connection could not be made.
        GuestError: a guest was lost.
    """
    seen, over = MovedData(), threading.Event()

    def write() -> None:
        while not over.is_set():
            written = target.guest.disks.fill(disk, size)
            seen.written.append((written, target.guest.disks.digest(disk, size)))

    def send() -> None:
        while not over.is_set():
            seen.flows += flood(source, target, streams, _BURST).flows

    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(write), pool.submit(send)]
        try:
            yield seen
        finally:
            over.set()
        for each in running:
            each.result()
