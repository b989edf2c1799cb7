"""Trying a test: where the lab was at fault, twice more at most, each time on a fresh guest with fixtures set up anew.

pytest's own plugins for repeating tests know nothing of guests, and take any failure for a reason; here only what is
nobody's product is tried again, and what passes then is ``flaky``, never a silent pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from _pytest.runner import runtestprotocol

from harness.core import UsageError
from harness.plugin import interrupts
from harness.plugin.outcomes import FLAKY, Record

if TYPE_CHECKING:  # strangers' tests don't pay for these
    from harness.plugin.order import Place
    from harness.plugin.state import State

TRIES = 3


def run(state: State, item: pytest.Item, nextitem: pytest.Item | None, place: Place) -> list[pytest.TestReport]:
    """Run one test, as often as it takes.

    Args:
        state: the run.
        item: the test.
        nextitem: the one after it, whose fixtures may stay.
        place: where the test belongs.

    Returns:
        The reports of its last try; nobody has been told of them yet.
    """
    tries: list[str] = []
    while True:
        record = _begin(state, item, place, tries)
        with interrupts.finishing(state, item, record):
            reports = runtestprotocol(item, nextitem=nextitem, log=False)
        if len(tries) + 1 == TRIES or not _worth_another(state, place, record):
            return reports
        reason = record.plain()["reason"]
        tries.append(f"{record.status}: {reason}")
        if state.results is not None:
            state.results.again(item.nodeid, record.status, reason)
        state.say(f"{item.nodeid}: {reason}; trying again")
        tear_down_all(item)


def settle(record: Record, reports: list[pytest.TestReport]) -> None:
    """A test that passed, and not at once, is flaky."""
    if record.status != "passed" or not record.tries:
        return
    record.status = FLAKY
    record.reason = f"passed at try {len(record.tries) + 1}; before: {'; '.join(record.tries)}"
    for report in reports:
        report.user_properties.append((FLAKY, record.reason))  # JUnit files show it with the test
        report.__dict__[FLAKY] = True


def _begin(state: State, item: pytest.Item, place: Place, tries: list[str]) -> Record:
    record = Record.of(item, place.demand, place.column, attempt=len(tries) + 1 + state.attempts_before(item))
    record.tries = list(tries)
    if state.results is not None:
        state.results.begin(state.identity(item), record.attempt)
    state.running = record
    state.measure_anew()
    return record


def _worth_another(state: State, place: Place, record: Record) -> bool:
    """Whether the lab was at fault, and a fresh guest may do better."""
    wrong = any(isinstance(error.value, UsageError) for error in state.errors.values())
    return record.status == "lab" and not wrong and not state.open().is_down(place.column)


def tear_down_all(item: pytest.Item) -> None:
    """Fixtures of wider scopes go, too: one that failed, or holds a guest that is gone, would be used again else."""
    state = item.session._setupstate  # noqa: SLF001  what pytest's own runner calls after the last test
    pytest.CallInfo.from_call(
        lambda: state.teardown_exact(None), when="teardown", reraise=(pytest.exit.Exception, KeyboardInterrupt)
    )
