"""Ctrl-C and SIGTERM: the running test's teardown is finished, what it came to is written, pytest's own status told.

pytest reports nothing of a test that was interrupted, and ends without its teardown where SIGTERM comes (pytest#5243);
xdist gives workers ten seconds and then kills them.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from types import FrameType
from typing import TYPE_CHECKING

import pytest

from harness.core import Deadline, LabError, Pending, wait_for

if TYPE_CHECKING:  # strangers' tests don't pay for these
    from harness.plugin.outcomes import Record
    from harness.plugin.state import State

_GRACE = timedelta(minutes=10)
"""For workers to finish the teardown of their tests; it ends before whoever started the run loses patience."""


def listen(*, worker: bool) -> Callable[[], None]:
    """Let SIGTERM end this process as Ctrl-C does.

    Args:
        worker: this is a worker of xdist. It ends by the first signal, and takes no notice of others: a terminal's
            Ctrl-C comes to it directly and from its controller as well.

    Returns:
        What puts everything back.
    """
    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    numbers = (signal.SIGTERM, signal.SIGINT) if worker else (signal.SIGTERM,)

    def end(number: int, _: FrameType | None) -> None:
        for one in numbers if worker else ():
            signal.signal(one, signal.SIG_IGN)
        raise KeyboardInterrupt(signal.Signals(number).name)

    before = {number: signal.signal(number, end) for number in numbers}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    return restore


@contextmanager
def finishing(state: State, item: pytest.Item, record: Record) -> Iterator[None]:
    """Where the test within is interrupted, finish its teardown, and write that it was. A second signal leaves at once.

    Args:
        state: the run.
        item: the test.
        record: of its present try.
    """
    try:
        yield
    except (KeyboardInterrupt, pytest.exit.Exception) as stop:
        why = f"the run was stopped ({_words(stop)}) while this test ran"
        state.say(f"{item.nodeid}: {why}; its teardown goes on, a second Ctrl-C leaves at once")
        if state.results is not None:
            state.results.interrupted(item.nodeid, why)
        record.status = "failed"  # nobody knows what state its guests are in
        pytest.CallInfo.from_call(
            lambda: item.ihook.pytest_runtest_teardown(item=item, nextitem=None),
            when="teardown",
            reraise=(KeyboardInterrupt,),
        )
        raise


def end_workers(state: State) -> None:
    """Xdist's controller is interrupted: have workers end, too, and wait for them, or xdist kills them after 10 s."""
    others = state.other_processes()
    if not others:
        return
    state.say(f"{len(others)} workers finish the teardown of their tests; a second Ctrl-C leaves at once")
    for pid in others:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)

    def ended() -> bool | Pending:
        left = state.other_processes()
        return Pending(f"processes {left}") if left else True

    try:
        wait_for("the workers to end", ended, Deadline.after(_GRACE), every=0.2)
    except LabError as error:
        state.say(str(error))


def _words(stop: BaseException) -> str:
    return str(stop) or "Ctrl-C"
