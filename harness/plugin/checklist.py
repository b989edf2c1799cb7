"""What a run would do, without a guest: every selected check, and on each host whether it runs or why not.

A plugin for ``--collect-only`` runs: ``-p harness.plugin.checklist --checklist FILE`` writes what was found, as JSON.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from harness.backends.capabilities import Capability
from harness.backends.model import Firmware
from harness.backends.protocol import HostClock
from harness.core import Deadline, InteropError
from harness.plugin import outcomes
from harness.plugin.session import Column
from harness.plugin.state import KEY, State

_LOOK = timedelta(minutes=1)
_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


@dataclass(frozen=True, slots=True)
class Listed:
    """One test of one column.

    Args:
        check: its number; ``-`` for one without.
        title: what it asserts.
        suite: the folder it lies in.
        column: the pool or host.
        why_not: why it would be skipped; empty where it would run.
    """

    check: str
    title: str
    suite: str
    column: str
    why_not: str


@dataclass(frozen=True, slots=True)
class ClockBound:
    """How well a host's clock can be known.

    Args:
        column: the pool or host.
        uncertainty: seconds to either side, of one reading.
        ruled_out: the checks that ask for more than that.
    """

    column: str
    uncertainty: float
    ruled_out: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class InForce:
    """A limit or a size of a check, as it holds on a host.

    Args:
        column: the pool or host.
        key: the limit's or size's name.
        value: what it is.
        warns: going beyond it only warns, because nobody calibrated it.
        source: who says so; empty for a size.
    """

    column: str
    key: str
    value: str
    warns: bool
    source: str


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare where the list goes."""
    parser.addoption("--checklist", metavar="FILE", help="where to write what would run, and what not and why")


def pytest_configure(config: pytest.Config) -> None:
    """Begin the list."""
    config.pluginmanager.register(Checklist(Path(config.getoption("--checklist"))), "interop_checklist")


@dataclass(slots=True)
class Checklist:
    """Opens the hosts of what was collected, and starts nothing on them.

    Args:
        file: where the list is written.
    """

    file: Path
    listed: list[Listed] = field(default_factory=list)
    clocks: list[ClockBound] = field(default_factory=list)
    limits: list[InForce] = field(default_factory=list)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Ask each column about its tests."""
        state = session.config.stash[KEY]
        if state.problem is not None:
            return
        columns: dict[str, Column | InteropError] = {}
        for item in session.items:
            place = state.places.get(item)
            if place is None:
                continue
            if place.column not in columns:
                columns[place.column] = _opened(state, place.column)
            column = columns[place.column]
            why_not = str(column.message) if isinstance(column, InteropError) else column.lacks(place.demand) or ""
            check = place.demand.check or "-"
            row = Listed(check, outcomes.title_of(item), outcomes.suite_of(item), place.column, why_not)
            self.listed.append(row)
        self.clocks = [
            bound
            for name, opened in columns.items()
            if isinstance(opened, Column) and (bound := _clock(name, opened, self._on_clocks(session, state, name)))
        ]

        for name, opened in columns.items():
            if isinstance(opened, Column):
                self.limits += _in_force(name, opened, {row.check for row in self.listed if row.column == name})
        told = {
            "checks": [asdict(each) for each in self.listed],
            "clocks": [asdict(each) for each in self.clocks],
            "limits": [asdict(each) for each in self.limits],
        }
        self.file.write_text(json.dumps(told), encoding="utf-8")

    def _on_clocks(self, session: pytest.Session, state: State, column: str) -> set[str]:
        """The checks of a column that read its host's clock."""
        places = [state.places[item] for item in session.items if item in state.places]
        return {
            place.demand.check
            for place in places
            if place.column == column and place.demand.check and Capability.HOST_CLOCK in place.demand.needs
        }


def _opened(state: State, name: str) -> Column | InteropError:
    try:
        return state.open().column(name)
    except InteropError as error:
        return error


def _in_force(name: str, column: Column, checks: set[str]) -> list[InForce]:
    """Limits and sizes of these checks (of BIOS machines: they differ by firmware nowhere)."""
    expect = column.expectations(Firmware.BIOS)
    limits = [
        InForce(name, key, limit.range, not limit.calibrated, limit.source) for key, limit in expect.limits.items()
    ]
    sizes = [InForce(name, key, str(size), False, "") for key, size in expect.sizes.items()]
    return [one for one in (*limits, *sizes) if one.key.partition(".")[0] in checks]


def _clock(name: str, column: Column, checks: set[str]) -> ClockBound | None:
    hypervisor = column.host.hypervisor
    if not isinstance(hypervisor, HostClock):
        return None
    uncertainty = hypervisor.clock(Deadline.after(_LOOK)).uncertainty
    limits = column.expectations(Firmware.BIOS).limits
    ruled_out = {
        check
        for key, limit in limits.items()
        if (check := key.partition(".")[0]) in checks
        and key.endswith(".offset")
        and limit.at_most is not None
        and limit.at_most * _SECONDS.get(limit.unit, 0.0) < uncertainty
    }
    return ClockBound(name, uncertainty, tuple(sorted(ruled_out)))
