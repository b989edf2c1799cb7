"""Secrets taken out of pytest's own reports, in the process that knows them: a terminal's log and JUnit keep both."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from _pytest._code.code import ExceptionChainRepr, ReprEntry, ReprTraceback


def mask(report: pytest.TestReport, text: Callable[[str], str]) -> None:
    """Take secrets out of what a report says: messages, tracebacks, arguments, captured output, properties.

    Args:
        report: of one phase of a test.
        text: takes them out of a text.
    """
    report.sections[:] = [(name, text(body)) for name, body in report.sections]
    report.user_properties[:] = [
        (name, text(value) if isinstance(value, str) else value) for name, value in report.user_properties
    ]
    said = report.longrepr
    if isinstance(said, str):
        report.longrepr = text(said)
    elif isinstance(said, tuple):
        report.longrepr = (said[0], said[1], text(said[2]))
    elif isinstance(said, ExceptionChainRepr):
        for traceback, crash, _ in said.chain:
            _traceback(traceback, text)
            if crash is not None:
                crash.message = text(crash.message)
        if said.reprcrash is not None:
            said.reprcrash.message = text(said.reprcrash.message)


def _traceback(traceback: ReprTraceback, text: Callable[[str], str]) -> None:
    for entry in traceback.reprentries:
        entry.lines = [text(line) for line in entry.lines]
        if isinstance(entry, ReprEntry) and entry.reprfuncargs is not None:
            entry.reprfuncargs.args = [(name, text(str(value))) for name, value in entry.reprfuncargs.args]
