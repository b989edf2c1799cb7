"""Spreading a run over workers: what the scheduler must know of each test, and what a run teaches the next one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.plugin.scheduling import Group, Member, Task

if TYPE_CHECKING:  # strangers' tests don't pay for these
    from harness.plugin.scheduling.durations import Durations
    from harness.plugin.scheduling.host_scheduling import HostScheduling
    from harness.plugin.state import State

_COUNTS = ("passed", "skipped", "failed", "known", "flaky")
"""How a test must have ended for its time to count: others waited for what was broken."""
_STRANGER = 0.1  # seconds expected of a test that asks for no host: it hardly counts beside one that boots a guest


@dataclass(frozen=True, slots=True)
class Work:
    """One test, as a controller must know it, which collects nothing itself.

    Args:
        group: see :attr:`harness.plugin.order.Place.group`.
        column: the pool it is for.
        test: number, title and parameters: what its time is kept under.
        quiet: it measures.
    """

    group: str
    column: str
    test: str
    quiet: bool


def works(state: State, items: Iterable[pytest.Item]) -> dict[str, Work]:
    """The tests of ours among these, by identifier."""
    found: dict[str, Work] = {}
    for item in items:
        place, identity = state.places.get(item), state.identity(item)
        if place is not None and identity is not None:
            values = ", ".join(f"{name}={value}" for name, value in identity.parameters)
            test = f"{identity.full_name}: {identity.title}" + (f" ({values})" if values else "")
            found[item.nodeid] = Work(place.group, place.column, test, place.demand.quiet)
    return found


def save(path: Path, tests: dict[str, Work]) -> None:
    """Write them for the controller. Each worker does, and all write the same."""
    temporary = path.with_name(f"{path.name}.{id(tests)}.part")
    temporary.write_text(json.dumps({nodeid: asdict(work) for nodeid, work in tests.items()}))
    temporary.replace(path)


def load(path: Path) -> dict[str, Work]:
    """What workers wrote; nothing where there is no such file, for then no test asks for a host."""
    known = json.loads(path.read_text()) if path.is_file() else {}
    return {nodeid: Work(**work) for nodeid, work in known.items()}


def columns(path: Path) -> frozenset[str]:
    """The columns that the tests of such a file are for."""
    return frozenset(work.column for work in load(path).values())


def scheduler(state: State, log: Any, path: Path) -> HostScheduling:
    """What xdist is to ask.

    Args:
        state: the controller's.
        log: xdist's.
        path: where workers write what they collected.
    """
    from harness.plugin.scheduling.host_scheduling import HostScheduling  # noqa: PLC0415  xdist may be off

    state.scheduling = HostScheduling(state.config, log, lambda collection: _groups(state, collection, load(path)))
    return state.scheduling


def remember(state: State, path: Path) -> None:
    """Keep what the run's tests took for the runs after it, and a spread run's night for playing it through again."""
    if state.folder is None or not state.records:
        return
    from harness.plugin.scheduling import record  # noqa: PLC0415  allure loads only where results are written

    known = load(path) or works(state, state.places)
    durations_of(state).note(
        (known[nodeid].test, known[nodeid].column, seen.duration)
        for nodeid, seen in state.records.items()
        if nodeid in known and seen.status in _COUNTS and seen.duration > 0
    )
    if state.scheduling is not None and state.scheduling.tally is not None:
        words = state.scheduling.tally.words() or "one worker"
        record.write(state.folder.path / record.FILE, state.scheduling.night, f"lab {state.lab.name}, {words}")


def _groups(state: State, collection: Sequence[str], known: dict[str, Work]) -> list[Group]:
    """The groups of what was collected; a stranger's tests stay together by module or class, as if they shared one."""
    durations = durations_of(state)
    tasks: dict[tuple[str, str], list[Task]] = {}
    for index, nodeid in enumerate(collection):
        work = known.get(nodeid) or Work(nodeid.rpartition("::")[0], "", "", quiet=False)
        seconds = durations.expected(work.test, work.column) if work.column else _STRANGER
        tasks.setdefault((work.group, work.column), []).append(Task(str(index), seconds, work.quiet))
    return [Group(group, _members(state, column), tuple(found)) for (group, column), found in tasks.items()]


def _members(state: State, column: str) -> tuple[Member, ...]:
    from harness.plugin.session import members_of  # noqa: PLC0415

    if not column:
        return ()
    return tuple(Member(host.name, host.domain) for host in members_of(state.lab, column, state.options.host))


def durations_of(state: State) -> Durations:
    """What tests took in the runs before this one."""
    from harness.plugin.scheduling import durations  # noqa: PLC0415

    return durations.Durations(state.options.report_dir / durations.FILE)
