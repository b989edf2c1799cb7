"""A deadline for each test: its set-up and body have one together, its teardown another.

Every wait of the harness has a deadline of its own and says what it waited for. A test that is still there after its
own is a defect of the test or of the harness, and is told as such; it fails alone, and is not tried again.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType
from typing import TYPE_CHECKING, Any

import pytest

from harness.core import Deadline

if TYPE_CHECKING:  # strangers' tests don't pay for it
    from harness.plugin.state import State

_AGAIN = 5.0
"""Seconds after which who took no notice is told again: some libraries swallow any exception in their callbacks."""


class Overdue(Exception):
    """The test's time is over. No ``InteropError``: nobody may take it for the lab's fault, or the guest's."""


class Deadlines:
    """Hooks around the phases of our tests.

    Args:
        state: the run.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._until = Deadline.after(0)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """The test's time begins."""
        span = self._span(item)
        self._until = Deadline.after(span or 0)
        with _armed(self._until, span, "set-up"):
            return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """It goes on."""
        with _armed(self._until, self._span(item), "test"):
            return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """A teardown has its own, or a test that is overdue would leave everything behind."""
        span = self._state.lab.limits.teardown if item in self._state.places else None
        with _armed(Deadline.after(span or 0), span, "teardown"):
            return (yield)

    def _span(self, item: pytest.Item) -> timedelta | None:
        place = self._state.places.get(item)
        return (place.demand.deadline or self._state.lab.limits.test) if place is not None else None


@contextmanager
def _armed(until: Deadline, span: timedelta | None, phase: str) -> Iterator[None]:
    if span is None or threading.current_thread() is not threading.main_thread():
        yield
        return

    def over(number: int, frame: FrameType | None) -> None:
        raise Overdue(f"the {phase} was not over after {span}, its deadline")

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, max(until.seconds, 0.001), _AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
