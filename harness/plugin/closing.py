"""The end of a run on the terminal: a summary that fits a screen."""

from __future__ import annotations

import sys

import pytest
from rich.console import Console

from harness.plugin.outcomes import Record
from harness.plugin.state import State
from harness.report.summary import Outcome, Verdict, show


def summarize(state: State, reporter: pytest.TerminalReporter) -> None:
    """Print the table of suites and pools, failures, the slowest, what was skipped and why, where the results are."""
    reporter.section("interop")
    console = Console(
        file=reporter._tw._file,  # noqa: SLF001  pytest's own writer: captured, redirected and tested alike
        width=reporter._tw.fullwidth,  # noqa: SLF001
        color_system="standard" if reporter.hasmarkup else None,
        force_terminal=reporter.hasmarkup,
    )
    where = None
    if state.folder is not None:
        where = f"{state.folder.path}  (`interop report` renders the page)"
    show([outcome(record) for record in state.records.values()], console, report=where)
    sys.stdout.flush()


def outcome(record: Record) -> Outcome:
    """A record as the summary's table takes it."""
    return Outcome(
        suite=record.suite,
        check=record.check,
        title=record.title,
        pool=record.pool,
        host=record.host,
        status=Verdict(record.status) if record.status else Verdict.ERROR,
        duration=record.duration,
        reason=record.reason,
        repeat=record.repeat,
    )
