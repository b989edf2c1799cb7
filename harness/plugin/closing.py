"""The end of a run on the terminal: a summary that fits a screen."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from harness.plugin import known, lines
from harness.plugin.outcomes import Record
from harness.plugin.state import State
from harness.report.paragraph import About
from harness.report.summary import Outcome, Verdict, show

if TYPE_CHECKING:  # strangers' tests don't pay for it
    from harness.lab import Lab


def summarize(state: State, reporter: pytest.TerminalReporter) -> None:
    """Print the table of suites and pools, failures, the slowest, what was skipped and why, where the results are."""
    if reporter.config.option.xfail_tb:  # as of pytest's own expected failures
        reporter.summary_failures_combined("known", "KNOWN FAILURES", style=reporter.config.option.tbstyle)
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
    records = list(state.records.values())
    issues = known.tidings(state.known_issues, records, state.lab)
    outcomes = outcomes_of(state)
    tally = state.scheduling.tally if state.scheduling is not None else None
    for sentence in state.dropped:
        reporter.write_line(f"lost  {sentence}", red=True)
    show(outcomes, console, report=where, issues=issues, spread=tally.words() if tally is not None else "")
    sys.stdout.flush()


def outcomes_of(state: State) -> list[Outcome]:
    """What every test of the run came to so far."""
    return [outcome(record, twin=_is_twin(record, state.lab)) for record in state.records.values()]


def about(state: State, total: int, seconds: float) -> About:
    """The run, for a summary of it.

    Args:
        state: the run.
        total: how many tests it has.
        seconds: how long it took.
    """
    if state.folder is None:
        return About(Path(state.options.lab).stem, image=state.options.image)
    of_run = lines.of_run(state)
    return About(
        of_run["lab"],
        run=of_run["run"],
        image=state.options.image,
        release=of_run["release"],
        harness=of_run["harness"],
        total=total,
        seconds=seconds,
        where=str(state.folder.path),
    )


def _is_twin(record: Record, lab: Lab) -> bool:
    # Known even where the host could not be opened. With --each-host, a column is called as its host.
    return any(host.twin is not None for host in lab.hosts.values() if record.pool in (host.pool, host.name))


def outcome(record: Record, *, twin: bool = False) -> Outcome:
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
        twin=twin,
        warnings=tuple(record.warnings),
    )
