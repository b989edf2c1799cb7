"""Ordering tests so that boots are fewest, and spreading them over workers without tearing groups apart."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.plugin.demand import Demand

_BAR = " | "  # no host's name holds a blank


@dataclass(frozen=True, slots=True)
class Place:
    """Where a test belongs: its column, and how it uses guests."""

    column: str
    demand: Demand
    fixtures: frozenset[str]

    @property
    def own_guests(self) -> bool:
        """The test makes guests of its own instead of sharing the one that is up."""
        return "guests" in self.fixtures or self.demand.untouched_clock

    @property
    def group(self) -> str:
        """Tests of one group share a warm guest; a group stays on one worker."""
        alone = "own guests" if self.own_guests else "shared"
        return _BAR.join((self.column, str(self.demand.shape), alone))


def sort(items: list[pytest.Item], places: dict[pytest.Item, Place]) -> None:
    """Reorder in place: strangers first as they were, then group by group, readers before changers.

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
        return (columns[place.column], place.own_guests, groups[place.group], peers, place.demand.changes_guest)

    items.sort(key=rank)


def save_groups(path: Path, items: Sequence[pytest.Item], places: dict[pytest.Item, Place]) -> None:
    """Write which test belongs to which group, for the controller's scheduler, which collects nothing itself."""
    groups = {item.nodeid: places[item].group for item in items if item in places}
    text = json.dumps(groups)
    temporary = path.with_name(f"{path.name}.{id(items)}.part")
    temporary.write_text(text)
    temporary.replace(path)


def columns(path: Path) -> frozenset[str]:
    """The columns that the tests of a file of groups are for; none where there is no such file."""
    groups = json.loads(path.read_text()) if path.is_file() else {}
    return frozenset(group.partition(_BAR)[0] for group in groups.values())


def scheduler(config: pytest.Config, log: Any, groups: Path) -> Any:
    """An xdist scheduler that hands out whole groups; the file of groups is read once workers have collected."""
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]  # noqa: PLC0415  xdist may be off

    class GroupScheduling(LoadScopeScheduling):  # type: ignore[misc]
        """``--dist loadgroup`` does not group on pytest 9.2 (xdist issue 1386); whole groups by name do."""

        _groups: dict[str, str] | None = None

        def _split_scope(self, nodeid: str) -> str:
            if self._groups is None:
                self._groups = json.loads(groups.read_text()) if groups.is_file() else {}
            return self._groups.get(nodeid, nodeid.rsplit("::", 1)[0])

    return GroupScheduling(config, log)
