"""Which cells a night has, in which order, and which it leaves out, and why."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from harness.lab.models import Host
from harness.nights.models import Cell, Included, Night

FIRST = 1000
"""Above every priority of a file: what the last night did not get to."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A cell that is to run.

    Args:
        cell: which.
        priority: higher ones first.
        why: where it did not come from the product alone.
    """

    cell: Cell
    priority: int = 0
    why: str = ""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A cell that is not, and why."""

    cell: Cell
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """A night's cells."""

    planned: tuple[Planned, ...]
    left_out: tuple[LeftOut, ...]


def plan(night: Night, *, cordoned: Mapping[str, str] | None = None, unreached: Collection[Cell] = ()) -> Plan:
    """The cells of a night in the order they should begin.

    Args:
        night: which.
        cordoned: hosts that nothing may run on now, and why.
        unreached: what the night before did not get to.
    """
    closed = cordoned or {}
    planned: list[Planned] = []
    left_out: list[LeftOut] = []
    late = {_work(cell) for cell in unreached}
    for cell, why in itertools.chain(((cell, "") for cell in product(night, closed)), _included(night, closed)):
        excluded = next((rule for rule in night.file.exclude if not why and rule.fits(cell)), None)
        if excluded is not None:
            left_out.append(LeftOut(cell, excluded.reason))
        elif cell.host in closed:
            left_out.append(LeftOut(cell, closed[cell.host]))
        elif all(cell != other.cell for other in planned):
            priority = next((rule.priority for rule in reversed(night.file.priorities) if rule.fits(cell)), 0)
            before = _work(cell) in late
            note = ", ".join(filter(None, (why, "not reached last night" if before else "")))
            planned.append(Planned(cell, priority + FIRST * before, note))
    planned.sort(key=lambda one: -one.priority)
    return Plan(tuple(planned), tuple(left_out))


def product(night: Night, cordoned: Mapping[str, str] | None = None) -> Iterator[Cell]:
    """Hosts x firmware x images x releases, with nothing left out.

    The hosts of a pool take its cells in turn, those that are cordoned left aside; where all are, each cell is told of
    the first.
    """
    file, closed = night.file, cordoned or {}
    for pool, hosts in night.lab.pools().items():
        if file.pools and pool not in file.pools:
            continue
        takers = _takers(hosts, closed)
        turns = itertools.cycle(takers)
        for firmware, image, release in itertools.product(file.firmware, file.images, file.releases):
            for host in hosts if file.each_host else (next(turns),):
                yield Cell(pool, host.name, firmware.value, image, release)


def _included(night: Night, closed: Mapping[str, str]) -> Iterator[tuple[Cell, str]]:
    for more in night.file.include:
        host = _host(night, more, closed)
        yield Cell(host.pool, host.name, more.firmware.value, more.image, more.release), more.reason


def _host(night: Night, more: Included, closed: Mapping[str, str]) -> Host:
    named = night.lab.hosts.get(more.host)
    return named if named is not None else _takers(night.lab.pools()[more.host], closed)[0]


def _takers(hosts: Sequence[Host], closed: Mapping[str, str]) -> Sequence[Host]:
    return [host for host in hosts if host.name not in closed] or hosts


def _work(cell: Cell) -> Cell:
    """What is to be done, whichever member of the pool does it."""
    return replace(cell, host="")
