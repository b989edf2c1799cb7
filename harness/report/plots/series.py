"""What the charts are of: series of a pool's measurements, over runs and within the newest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from harness.report.history import Entry, Night
from harness.report.measured import Figure


@dataclass(frozen=True, slots=True, order=True)
class Where:
    """Whose series it is; its order is that of legends and colours.

    Args:
        pool: the pool.
        lab: the lab's name.
        twin: its hosts are stand-ins.
    """

    pool: str
    lab: str
    twin: bool = False

    @property
    def words(self) -> str:
        """As a legend calls it."""
        return f"{self.pool} (twin)" if self.twin else self.pool


@dataclass(frozen=True, slots=True)
class Seen:
    """One measurement of one run: when, by which test, and what."""

    night: Night
    entry: Entry
    figure: Figure

    @property
    def at(self) -> float:
        """When the run began, in seconds since the epoch."""
        return self.night.start.timestamp()


Colours: TypeAlias = Mapping[Where, int]
"""Which colour and mark each pool has, the same in all charts of a page."""


def colours(nights: Iterable[Night]) -> Colours:
    """One for each pool that is known."""
    known = {where(night, pool) for night in nights for pool in night.pools}
    return {whose: number for number, whose in enumerate(sorted(known))}


def where(night: Night, pool: str) -> Where:
    """Whose a pool's series is."""
    facts = night.pools.get(pool)
    return Where(pool, night.lab, facts.twin if facts else False)


def measured(nights: Iterable[Night], check: str = "") -> Iterator[tuple[Where, Seen]]:
    """Every measurement of a check, the oldest first.

    Args:
        nights: runs, oldest first.
        check: its number; empty: of any.
    """
    for night in nights:
        for entry in night.entries:
            if not check or entry.check == check:
                for figure in entry.figures:
                    yield where(night, entry.pool), Seen(night, entry, figure)


def by_pool(found: Iterable[tuple[Where, Seen]]) -> dict[Where, list[Seen]]:
    """Sorted by pool."""
    sorted_out: dict[Where, list[Seen]] = {}
    for whose, one in found:
        sorted_out.setdefault(whose, []).append(one)
    return dict(sorted(sorted_out.items()))


def newest(seen: Sequence[Seen]) -> list[Seen]:
    """Those of the newest run among them."""
    last = max(seen, key=lambda one: (one.at, one.night.run)).night
    return [one for one in seen if one.night is last]
