"""What all tests of the harness need."""

from __future__ import annotations

import os
import signal

import pytest


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """A shell's background job ignores Ctrl-C, and so would every program that tests start in order to interrupt it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _nothing_to_draw_within() -> None:
    """Runs that tests start hold no property of hypothesis, whose plugin takes as long as all else of a small one.

    Set here, and not as an option of ours: xdist's workers, which hold some, have begun.
    """
    os.environ["PYTEST_ADDOPTS"] = f"{os.environ.get('PYTEST_ADDOPTS', '')} -p no:hypothesispytest".lstrip()
