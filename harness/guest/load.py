"""All CPUs of a guest kept busy, for as long as something is looked at meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.guest.guest import Guest

_UNIT = "interop-load"
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
