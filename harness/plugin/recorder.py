"""Collects what every test came to, in the main process and in xdist's controller alike, and says it in the end."""

from __future__ import annotations

import os
from typing import Any

import pytest

from harness.plugin import multiply, outcomes
from harness.plugin.state import State


class Recorder:
    """Hooks that pytest calls without a config, so they need an object that knows the run."""

    def __init__(self, state: State) -> None:
        self._state = state

    @pytest.hookimpl(trylast=True)  # after whoever thinks that it was skipped
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take the record out of a finished test's report."""
        record = outcomes.read(report)
        if record is not None:
            self._state.records[report.nodeid] = record
            if record.options and self._state.folder is not None and not self._state.is_worker:
                self._note(report.nodeid, record)
            if record.status == outcomes.AWAY:
                self._still_to_run(report.nodeid)

    def _note(self, nodeid: str, record: outcomes.Record) -> None:
        from harness import __version__  # noqa: PLC0415
        from harness.report import ran  # noqa: PLC0415

        config, folder = self._state.config, self._state.folder
        assert folder is not None
        one = ran.Ran(
            test=nodeid,
            check=record.check or "",
            pool=record.pool,
            host=record.host,
            status=record.status,
            options=tuple(record.options),
            guests=tuple(record.guests),
            where=str(config.invocation_params.dir),
            root=str(config.rootpath),
            settings=str(config.inipath or ""),
            seed=os.environ.get("INTEROP_SEED", ""),
            harness=__version__,
        )
        try:
            ran.note(folder.path, one)
        except OSError as error:  # a full disk: then this test cannot be repeated by `interop rerun`
            self._state.dropped.append(f"not written, {error.strerror}: how {nodeid} can be repeated")

    def _still_to_run(self, nodeid: str) -> None:
        """``--lf`` forgets what was skipped; a test whose host was gone is one that it should run."""
        plugin = self._state.config.pluginmanager.get_plugin("lfplugin")
        if plugin is not None:
            plugin.lastfailed[nodeid] = True

    @pytest.hookimpl(optionalhook=True)
    def pytest_handlecrashitem(self, crashitem: str, report: pytest.TestReport, sched: Any) -> None:
        """Xdist: a worker that dies still leaves a result for its test."""
        if self._state.folder is not None:
            from harness.plugin import results  # noqa: PLC0415  allure loads only where results are written

            worker: str = report.node.gateway.id  # xdist puts it there
            self._state.records[crashitem] = results.crashed(
                self._state.folder, worker, crashitem, str(report.longrepr), self._state.redactor
            )

    def pytest_keyboard_interrupt(self) -> None:
        """Ctrl-C or SIGTERM: xdist's workers end in order, before xdist ends them."""
        if not self._state.is_worker and self._state.config.pluginmanager.has_plugin("dsession"):
            from harness.plugin import interrupts  # noqa: PLC0415

            interrupts.end_workers(self._state)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
        """A table that fits a screen, or one helpful line where nothing ran."""
        if self._state.records:
            from harness.plugin import closing  # noqa: PLC0415

            closing.summarize(self._state, terminalreporter)
            return
        if config.option.markexpr and not terminalreporter.stats.get("passed"):
            try:
                only = config.getoption("interop_host")
                line = multiply.explain_empty(config.option.markexpr, self._state.lab, only)
            except pytest.UsageError:
                return
            if line:
                terminalreporter.write_line(line, yellow=True)
