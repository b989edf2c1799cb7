"""What the run tells programs while it goes on: ``results.jsonl``, and properties of JUnit's test cases."""

from __future__ import annotations

from collections.abc import Generator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from harness import __version__
from harness.core import Deadline, LabError
from harness.plugin import outcomes
from harness.plugin.masking import mask
from harness.plugin.outcomes import Record
from harness.plugin.state import State

if TYPE_CHECKING:  # strangers' tests don't pay for it
    from harness.report.identity import Identity

_EXPORT = timedelta(minutes=5)
_JUNIT = ("check", "part", "pool", "host", "product", "build", "kernel", "release", "harness", "source")
"""Facts that stand on a JUnit test case under these names; ``build`` is the host's."""
_NAMED = {"build": "host_build"}


class LineWriter:
    """Hooks beside the others': workers note what a test ran on, the main process writes it down.

    Args:
        state: the process's.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._dropped = 0

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """A phase is over: what is known by now of host and guest goes along with the record."""
        report = yield
        record = self._state.running
        if record is not None and item in self._state.places:
            record.facts |= facts(self._state, item)
            if self._state.session is not None:
                record.mask = self._state.safe
                mask(report, record.mask)
        return report

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test is over; its record leaves the properties, where JUnit would show all of it, for what is of use."""
        if self._state.is_worker:
            return
        record = outcomes.read(report)
        if record is None and report.when not in ("setup", "call", "teardown"):
            record = self._state.records.get(report.nodeid)  # its worker died
        if record is None:
            return
        record.facts = of_run(self._state) | record.facts
        properties = [one for one in report.user_properties if one[0] != outcomes.KEY]
        report.user_properties[:] = properties + junit(record)
        report.__dict__[outcomes.KEY] = record.plain()
        self._write(record)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        """All results are there: exporters get them, one after the other."""
        if self._state.folder is None or self._state.is_worker or not self._state.records:
            return
        from harness.report import exporting  # noqa: PLC0415  strangers' tests don't pay for it

        for order in self._state.options.exports:
            try:
                said = exporting.apart(self._state.folder.path, order, Deadline.after(_EXPORT))
            except LabError as error:
                said = f"export {order.partition('=')[0]} failed: {error.message}"
            self._state.say(said)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """What could not be written is no secret."""
        if self._dropped:
            terminalreporter.write_line(f"{self._dropped} results are missing from results.jsonl", yellow=True)

    def _write(self, record: Record) -> None:
        from harness.report import lines  # noqa: PLC0415  strangers' tests don't pay for it

        if self._state.folder is None:
            return
        try:
            lines.append(self._state.folder.path / lines.FILE, told(record))
        except OSError as error:  # a full disk: the run goes on, and says so
            if not self._dropped:
                self._state.say(f"{lines.FILE} cannot be written: {error.strerror}")
            self._dropped += 1


def facts(state: State, item: pytest.Item) -> dict[str, Any]:
    """Who a test is in full, and what it ran on as far as that is known."""
    identity = state.identity(item)
    if identity is None:
        return {}
    known = of_run(state) | of_test(identity, item.nodeid)
    column = state.session.opened(identity.pool) if state.session is not None else None
    if state.session is None or column is None:
        return known
    host, image = column.host, state.session.image
    return known | {
        "backend": host.backend,
        "twin": host.facts.twin,
        "product": host.facts.product,
        "version": host.facts.version,
        "build": host.facts.build,
        "accel": host.facts.accelerated,
        "kernel": column.lender.seen.get("kernel") or host.kernel or "",
        "image": {"name": image.name, "digest": image.digest, "build": image.build_id},
    }


def of_run(state: State) -> dict[str, Any]:
    """What all of a run's tests share."""
    return {
        "run": state.run.id,
        "lab": state.lab.name,
        "harness": __version__,
        "image": {"name": state.options.image},
        "release": state.release[0].word(state.release[1]) if state.release else "",
    }


def of_test(identity: Identity, nodeid: str) -> dict[str, Any]:
    """Who a test is."""
    return {
        "part": identity.part,
        "test": nodeid,
        "params": dict(identity.parameters),
        "source": identity.source,
        "worker": identity.thread,
        "backend": identity.backend,
        "twin": identity.twin,
    }


def told(record: Record) -> Any:
    """A record as its line."""
    from harness.report import lines  # noqa: PLC0415  strangers' tests don't pay for it

    own = {"check": record.check, "title": record.title, "suite": record.suite, "pool": record.pool}
    return lines.line(
        record.facts | own | {"host": record.host},
        status=record.status or "error",
        reason=record.reason,
        began=record.began,
        duration=record.duration,
        attempt=record.attempt,
        tries=tuple(getattr(record, "tries", ())),
        warnings=tuple(record.warnings),
        tracker=record.tracker,
        repeat=record.repeat,
        figures=tuple(record.figures),
    )


def junit(record: Record) -> list[tuple[str, object]]:
    """The properties of a test's case in a JUnit file; what is not known is not there."""
    own = {"check": record.check, "pool": record.pool, "host": record.host}
    known = record.facts | own | {"image": _image(record)}
    named = [(_NAMED.get(name, name), str(known[name])) for name in (*_JUNIT, "image") if known.get(name)]
    return [*named, ("attempt", str(record.attempt)), ("status", record.status)]


def _image(record: Record) -> str:
    """Its name, and enough of its digest to find it."""
    image = record.facts.get("image", {})
    return " ".join(filter(None, (image.get("name", ""), image.get("digest", "")[:16])))
