"""How a run goes on, told while it does: on the terminal, and to `interop status` in another shell."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.plugin import outcomes, spread
from harness.plugin.state import GROUPS, State

if TYPE_CHECKING:  # strangers' tests don't pay for these
    from harness.plugin.display import Display
    from harness.report.standing import Standing

_BAD = ("failed", "guest", "lab", "error")


class Progress:
    """Hooks of the main process, with and without workers.

    Args:
        state: the process's.
        clock: the wall clock.
    """

    def __init__(self, state: State, clock: Callable[[], float] = time.time) -> None:
        self._state = state
        self._clock = clock
        self._standing: Standing | None = None
        self._works: dict[str, spread.Work] = {}
        self._waiting: dict[str, float] = {}
        self._left = 0.0  # the sum of these, kept beside them: adding them up for each test would take the square
        self._all = 0.0  # what it was in the beginning
        self._workers = 1
        self._display: Display | None = None
        self._broken = False

    def pytest_configure(self, config: pytest.Config) -> None:
        """Last night's summary is not this one's, whatever becomes of it."""
        old = config.getoption("--summary-file")
        if old and not config.option.collectonly:
            with contextlib.suppress(OSError):  # it is told when the new one cannot be written
                Path(old).unlink(missing_ok=True)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Without workers the tests are known now."""
        if self._state.folder is not None and not session.config.option.collectonly:
            self._begin(spread.works(self._state, session.items))

    @pytest.hookimpl(optionalhook=True, trylast=True)
    def pytest_xdist_node_collection_finished(self, node: Any, ids: list[str]) -> None:
        """Workers collect the same; the first to be ready tells what."""
        del node
        if self._state.folder is not None:
            self._workers = max(int(self._state.config.getvalue("numprocesses") or 0), 1)
            known = spread.load(self._state.folder.path / GROUPS)
            if self._standing is None and known:
                self._begin({nodeid: known[nodeid] for nodeid in ids if nodeid in known})

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """One more runs."""
        if self._standing is not None and self._begun(nodeid):
            self._keep()

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """One more is done."""
        record = outcomes.read(report)
        if record is None or self._standing is None:
            return
        status = record.status or "error"
        self._standing.counts[status] = self._standing.counts.get(status, 0) + 1
        self._begun(report.nodeid)
        self._keep()
        if self._display is not None:
            told = f"{status} {record.check or ''} {record.title} on {record.host or record.pool}: {record.reason}"
            self._display.done(told if status in _BAD else "")

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        """It is over: the terminal is pytest's again."""
        self._close()
        if self._standing is not None:
            self._standing.drop()
        if self._state.config.getoption("--summary-file") and not self._state.config.option.collectonly:
            self._sum_up()

    def pytest_enter_pdb(self) -> None:
        """A person debugs: nothing may write in between."""
        self._close()

    def pytest_unconfigure(self) -> None:
        """Whatever happened before, the terminal is given back."""
        self._close()

    def _sum_up(self) -> None:
        from harness.plugin.closing import about, outcomes_of  # noqa: PLC0415  strangers' tests don't pay for these
        from harness.report.paragraph import paragraph  # noqa: PLC0415

        path = self._state.options.summary
        assert path is not None
        standing = self._standing
        seconds = self._clock() - standing.began if standing else 0.0
        said = paragraph(outcomes_of(self._state), about(self._state, standing.total if standing else 0, seconds))
        try:
            path.write_text(f"{said}\n", encoding="utf-8")
        except OSError as error:
            self._state.say(f"{path} cannot be written: {error.strerror}")

    def _begin(self, works: dict[str, spread.Work]) -> None:
        from harness.plugin.display import chosen  # noqa: PLC0415  strangers' tests don't pay for these
        from harness.plugin.lines import of_run  # noqa: PLC0415
        from harness.report.standing import Standing  # noqa: PLC0415

        if not works or self._state.folder is None or self._state.is_worker:
            return
        known = of_run(self._state)
        self._works = works
        durations = spread.durations_of(self._state)
        self._waiting = {nodeid: durations.expected(work.test, work.column) for nodeid, work in works.items()}
        self._left = self._all = sum(self._waiting.values())
        self._standing = Standing(
            run=known["run"],
            lab=known["lab"],
            image=known["image"]["name"],
            release=known["release"],
            folder=str(self._state.folder.path.absolute()),
            began=self._clock(),
            total=len(works),
            workers=self._workers,
        )
        self._keep()
        self._display = chosen(self._state, self._standing, self._clock)

    def _begun(self, nodeid: str) -> bool:
        """Take a test off those that wait; whether it was one of them."""
        seconds = self._waiting.pop(nodeid, None)
        if seconds is not None:
            self._left = self._left - seconds if self._waiting else 0.0
        return seconds is not None

    def _keep(self) -> None:
        assert self._standing is not None
        self._standing.foresee(self._left, self._all - self._left, self._clock())
        if self._broken:
            return
        try:
            self._standing.keep()
        except OSError as error:  # a full disk: the run goes on, and only others cannot see how
            self._broken = True
            self._state.say(f"`interop status` will not know of this run: {error.strerror}")

    def _close(self) -> None:
        display, self._display = self._display, None
        if display is not None:
            display.close()


def is_ci() -> bool:
    """Whether a continuous integration looks at the output: ``CI=true``, as all of them set it."""
    return os.environ.get("CI", "").lower() in ("1", "true", "yes")
