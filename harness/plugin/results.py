"""Results of the run on disk: identities stamped on, secrets masked, evidence attached, crashed workers' tests kept."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict
from importlib import metadata

import pytest
from allure_commons import plugin_manager
from allure_commons.model2 import Status, StatusDetails, TestResult
from allure_pytest.listener import AllureListener

from harness.core import LabError
from harness.image.model import Image
from harness.lab import Lab
from harness.lab.limits import Readings
from harness.lab.releases import Prepared
from harness.measure import records
from harness.measure.records import Recorded
from harness.plugin import lines
from harness.plugin.evidence import Attachment
from harness.plugin.host_under_test import Column
from harness.plugin.outcomes import Record
from harness.report import attachments, environment, results
from harness.report.identity import Identity, Stamper
from harness.report.layout import RunFolder
from harness.report.nights import LIMITS
from harness.report.redact import Redactor

_LISTENER = "allure_listener"


class Results:
    """Everything this process writes about its tests.

    Args:
        config: pytest's.
        folder: the run's folder.
        worker: the xdist worker's name; ``main`` without workers.
        redactor: knows the run's secrets.
    """

    def __init__(self, config: pytest.Config, folder: RunFolder, worker: str, redactor: Redactor) -> None:
        self._config = config
        self._folder = folder
        self._redactor = redactor
        self._running = results.Running(folder.results, worker)
        self._stamper = Stamper()
        if not config.pluginmanager.has_plugin(_LISTENER) and not config.pluginmanager.is_blocked("allure_pytest"):
            # allure-pytest decides when pytest is configured; only now is it known that a lab is involved at all.
            listener = AllureListener(config)
            config.pluginmanager.register(listener, _LISTENER)
            _register(config, listener)
        self.writer = results.ResultsWriter(folder.results, redactor)
        config.add_cleanup(self.writer.install())
        _register(config, self._stamper)

    def begin(self, identity: Identity | None, attempt: int = 0) -> None:
        """A test begins, or its host is known now; None: a stranger's.

        Args:
            identity: the test.
            attempt: which try of its run it is; 0: as was said.
        """
        self._stamper.begin(identity)
        if attempt:
            self._stamper.number(attempt)
        if identity is not None:
            with suppress(OSError):  # a full disk: were this process killed, nothing would tell of the test
                self._running.begin(identity)

    def end(self) -> None:
        """The test's result is written."""
        self._running.end()

    def blame(self, error: BaseException) -> None:
        """The running test failed with this."""
        self._stamper.blame(error)

    def know(self, *, known: bool, tracker: tuple[str, str], news: str) -> None:
        """What a known issue says of the running test: a link's name and address, and news."""
        self._stamper.know(known=known, trackers=(tracker,), news=news)

    def again(self, nodeid: str, status: str, reason: str) -> None:
        """The running test is tried once more: what it came to so far is a result of its own, which Allure shows as a
        retry of the last one.
        """
        listener = self._config.pluginmanager.get_plugin(_LISTENER)
        if listener is not None:
            result = listener._cache.pop(nodeid)  # noqa: SLF001  what it does itself where a test has ended
            if result:
                listener.allure_logger.close_test(result)
        self._stamper.again(status, reason)

    def interrupted(self, nodeid: str, why: str) -> None:
        """The running test will not come to an end: that its set-up passed must not stand for it."""
        result = self._unwritten(nodeid)
        if result is not None:
            result.status, result.statusDetails = Status.BROKEN, StatusDetails(message=why)

    def took(self, nodeid: str, seconds: float) -> None:
        """How long the running test's body took: the wall clock, which may be set meanwhile, doesn't tell."""
        result = self._unwritten(nodeid)
        if result is not None and result.start:
            result.stop = result.start + round(seconds * 1000)

    def _unwritten(self, nodeid: str) -> TestResult | None:
        listener = self._config.pluginmanager.get_plugin(_LISTENER)
        if listener is None:
            return None
        result: TestResult | None = listener.allure_logger.get_test(listener._cache.get(nodeid))  # noqa: SLF001
        return result

    def away(self, host: str) -> None:
        """The running test's host is not available."""
        self._stamper.away(host)

    def keep(self, readings: Readings) -> None:
        """What the running test held against limits and which sizes it used; warnings stand on the result itself."""
        self._stamper.warn(readings.warnings())
        if readings.taken or readings.sizes:
            attachments.attach_json(LIMITS, readings.plain())

    def measured(self, recorded: Recorded) -> None:
        """A measurement was taken: on return it is on the disk.

        Raises:
            LabError: it is not, for want of room.
        """
        try:
            records.keep(self._folder.results, recorded, self._redactor.safe)
        except OSError as error:
            raise LabError(
                f"a measurement cannot be kept: {error.strerror}",
                operation="measure",
                hint=f"make room where {self._folder.results} is",
            ) from error

    def drop(self, what: str, error: OSError) -> None:
        """Something of the run could not be written."""
        self.writer.drop(what, error)

    @property
    def dropped(self) -> str:
        """What could not be written, and why, in a sentence; empty: nothing."""
        return self.writer.dropped

    def attach(self, evidence: Iterable[Attachment]) -> None:
        """Add evidence to the running test's result; bounded, decoded and escaped on the way."""
        for piece in evidence:
            if piece.media_type == "image/png":
                attachments.attach_png(piece.name, piece.body)
            elif piece.media_type == "application/xml":
                attachments.attach_xml(piece.name, piece.body)
            else:
                attachments.attach_text(piece.name, piece.body)

    def describe(self, run: str, lab: Lab, image: Image, release: Prepared | None, columns: Iterable[Column]) -> None:
        """Write what ran where: the report's environment, categories and executor."""
        record = environment.RunRecord(
            run=run,
            lab=lab.name,
            harness=metadata.version("interop-harness"),
            image=image.name,
            digest=image.digest,
            build=image.build_id or "",
            kernel=image.labels.get("kernel", ""),
            release=release.release.word(release.which) if release else "",
            release_digest=release.digest if release else "",
            hosts=tuple(_host(column) for column in columns),
        )
        try:
            environment.write(self._folder.results, record, self._redactor)
        except OSError as error:
            self.drop("what ran where", error)


def crashed(folder: RunFolder, worker: str, nodeid: str, message: str, redactor: Redactor) -> Record:
    """The result and the record of a test whose worker died in the middle of it.

    The message is xdist's own and names worker and test; a parameter of it may be a secret.
    """
    identity = results.write_crashed_worker(folder.results, worker, message, redactor=redactor)
    if identity is None:
        return Record(None, "", nodeid, "", status="failed", reason=message)
    who = (identity.check, identity.suite, identity.title, identity.pool, identity.host)
    return Record(*who, status="failed", reason=message, facts=lines.of_test(identity, nodeid))


def _host(column: Column) -> environment.HostRecord:
    facts = column.host.facts
    seen = column.lender.seen
    return environment.HostRecord(
        name=column.host.name,
        pool=column.host.pool,
        backend=column.host.backend,
        product=facts.product,
        version=facts.version if facts.build in ("", facts.version) else f"{facts.version} ({facts.build})",
        accel=facts.accelerated,
        twin=facts.twin,
        details=facts.details,
        kernel=seen.get("kernel", ""),
        guest={name: value for name, value in seen.items() if name != "kernel"},
        services=column.lender.services,
        limits=column.host.expect.of_limits(),
        sizes=column.host.expect.of_sizes(),
        release=asdict(column.lender.installed) if column.lender.installed else {},
    )


def _register(config: pytest.Config, plugin: object) -> None:
    plugin_manager.register(plugin)

    def forget() -> None:
        if plugin_manager.is_registered(plugin):
            plugin_manager.unregister(plugin)

    config.add_cleanup(forget)
