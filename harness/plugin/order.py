"""Ordering tests so that boots are fewest, and telling which belong together when they are spread over workers."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from harness.plugin.demand import Demand


@dataclass(frozen=True, slots=True)
class Place:
    """Where a test belongs: its column, and how it uses guests."""

    column: str
    demand: Demand
    fixtures: frozenset[str]

    @property
    def own_guests(self) -> bool:
        """The test makes guests of its own, or looks at clocks: it does not share the guest that is up."""
        return "guests" in self.fixtures or self.demand.untouched_clock

    @property
    def looks_at_clock(self) -> bool:
        """It looks at the clock of a guest that others looked at before, or that one handed on."""
        return self.demand.untouched_clock and "guests" not in self.fixtures

    @property
    def group(self) -> str:
        """Tests of one group share a warm guest; a group stays on one worker."""
        alone = "own guests" if self.own_guests else "shared"
        return " | ".join((self.column, str(self.demand.shape), alone))


def sort(items: list[pytest.Item], places: dict[pytest.Item, Place]) -> None:
    """Reorder in place: strangers first as they were, then group by group, readers before changers.

    Those that measure stand together, between both: workers wait for each other before and after them (``scheduling``).
    Those that look at clocks come last, for one before them may leave them the guest that it booted.
    Groups keep the order in which their first test was written, so a run's order is stable and close to the source.
    """
    columns: dict[str, int] = {}
    groups: dict[str, int] = {}
    for item in items:
        if item in places:
            columns.setdefault(places[item].column, len(columns))
            groups.setdefault(places[item].group, len(groups))

    def rank(item: pytest.Item) -> tuple[int, ...]:
        place = places.get(item)
        if place is None:
            return (-1,)
        peers = "peer" in place.fixtures
        changes, quiet = place.demand.changes_guest, place.demand.quiet
        use = (place.looks_at_clock, peers, changes, quiet != changes)
        return (columns[place.column], place.own_guests, groups[place.group], *use)

    items.sort(key=rank)
