"""Secrets taken out of all that pytest itself shows, in the process that knows them: reports, errors, warnings, logs.

A terminal's log, JUnit and xdist's wire keep reports; a file of logs and the terminal are written beside them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, cast

import pytest
from _pytest._code.code import ExceptionChainRepr, ExceptionRepr, ReprEntry, ReprExceptionInfo, ReprTraceback
from _pytest.reports import CollectErrorRepr

from harness.core.streams import Masked

if TYPE_CHECKING:
    import warnings
    from typing import TextIO

    from harness.plugin.state import State

Mask = Callable[[str], str]


class Masking:
    """Hooks that come before whoever writes.

    Args:
        state: the process's; what it does not know cannot be masked.
    """

    def __init__(self, state: State) -> None:
        self._state = state

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """The terminal, and the file of logs, are written by many; a named lab's secrets are known before all else."""
        self._state.learn()
        plugins, text = session.config.pluginmanager, self._state.unsaid
        reporter = plugins.get_plugin("terminalreporter")
        if reporter is not None:
            writer = reporter._tw  # noqa: SLF001  pytest has no other way to its writer
            writer._file = cast("TextIO", Masked(writer._file, text))  # noqa: SLF001
        logs = plugins.get_plugin("logging-plugin")
        if logs is not None and logs.log_file_handler.formatter is not None:
            logs.log_file_handler.setFormatter(MaskedFormatter(logs.log_file_handler.formatter, text))
        tracer = session.config.trace.root
        write = tracer._writer  # noqa: SLF001  there with --debug, whose file shows all that hooks are given
        if write is not None:
            tracer.setwriter(lambda traced: write(text(traced)))

    @pytest.hookimpl(wrapper=True, tryfirst=True)  # outermost: it sees what the others added
    def pytest_runtest_makereport(self) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Of every test: a stranger's in the same process sees the same environment."""
        report = yield
        mask(report, self._state.unsaid)
        return report

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(self) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        """A module that cannot be imported shows why."""
        report = yield
        mask(report, self._state.unsaid)
        return report

    @pytest.hookimpl(tryfirst=True)
    def pytest_internalerror(self, excrepr: Any) -> None:
        """A hook's defect; a worker of xdist sends it as a text."""
        if isinstance(excrepr, ExceptionRepr):
            _exception(excrepr, self._state.unsaid)

    @pytest.hookimpl(tryfirst=True)
    def pytest_warning_recorded(self, warning_message: warnings.WarningMessage) -> None:
        """Warnings quote what they warn of; xdist sends their arguments."""
        said = str(warning_message.message)
        shown = self._state.unsaid(said)
        if shown != said:
            warning_message.message = pytest.PytestWarning(shown)


class MaskedFormatter(logging.Formatter):
    """Another's format, masked: message, arguments and traceback of a record are one text only there.

    Args:
        other: what formats.
        text: what masks.
    """

    def __init__(self, other: logging.Formatter, text: Mask) -> None:
        super().__init__()
        self._other = other
        self._text = text

    def format(self, record: logging.LogRecord) -> str:
        """As the other, masked."""
        return self._text(self._other.format(record))


def mask(report: pytest.TestReport | pytest.CollectReport, text: Mask) -> None:
    """Take secrets out of what a report says: messages, tracebacks, arguments, locals, captured output, properties.

    Args:
        report: of one phase of a test, or of collecting.
        text: takes them out of a text.
    """
    report.sections[:] = [(name, text(body)) for name, body in report.sections]
    if isinstance(report, pytest.TestReport):
        report.user_properties[:] = [
            (name, text(value) if isinstance(value, str) else value) for name, value in report.user_properties
        ]
    said = report.longrepr
    if isinstance(said, str):
        report.longrepr = text(said)
    elif isinstance(said, tuple):
        report.longrepr = (said[0], said[1], text(said[2]))
    elif isinstance(said, CollectErrorRepr):
        said.longrepr = text(said.longrepr)
    elif isinstance(said, ExceptionRepr):
        _exception(said, text)
    elif said is not None and text(str(said)) != str(said):
        report.longrepr = text(str(said))  # of a kind that shows itself as it likes, such as a fixture that is missing


def _exception(said: ExceptionRepr, text: Mask) -> None:
    if isinstance(said, ExceptionChainRepr):
        for traceback, crash, _ in said.chain:
            _traceback(traceback, text)
            if crash is not None:
                crash.message = text(crash.message)
    if isinstance(said, ReprExceptionInfo):  # as Python itself shows it
        _traceback(said.reprtraceback, text)
    if said.reprcrash is not None:
        said.reprcrash.message = text(said.reprcrash.message)
    said.sections[:] = [(name, text(body), bar) for name, body, bar in said.sections]


def _traceback(traceback: ReprTraceback, text: Mask) -> None:
    for entry in traceback.reprentries:
        entry.lines = [text(line) for line in entry.lines]
        if not isinstance(entry, ReprEntry):
            continue
        if entry.reprfuncargs is not None:
            entry.reprfuncargs.args = [(name, text(str(value))) for name, value in entry.reprfuncargs.args]
        if entry.reprlocals is not None:
            entry.reprlocals.lines = [text(line) for line in entry.reprlocals.lines]
