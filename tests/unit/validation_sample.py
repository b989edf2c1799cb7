"""Folders of validations as runs leave them, written by what writes them in a run; no guest is started for them."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from allure_commons.model2 import Attachment, Status, StatusDetails, TestResult

from harness.measure import Better, Measurement, records
from harness.measure.records import Circumstances, Recorded
from harness.report import environment
from harness.report.environment import HostRecord, RunRecord
from harness.report.identity import Fault, Identity, stamp
from harness.report.redact import Redactor
from harness.report.results import ResultsWriter
from harness.validation.cells import SideName
from harness.validation.ledger import Ledger, Round, Terms

BEGAN = datetime(2026, 3, 1, 20, tzinfo=UTC)
FAULTS = {"failed": Fault.PRODUCT, "guest": Fault.GUEST, "lab": Fault.LAB, "error": Fault.HARNESS}
TITLES = {"I01": "services answer", "I02": "time is served", "C07": "work scales", "L01": "it boots"}


@dataclass(frozen=True)
class Test:
    """One test of a round: its check, what it came to, what it said, what it left."""

    __test__ = False

    check: str
    status: str = "passed"
    pool: str = "esxi8"
    host: str = "esxi8-a"
    reason: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)
    load: float | None = None
    log: str | bytes = ""


def host(
    name: str = "esxi8-a", pool: str = "esxi8", *, accel: str = "vmware", twin: bool = False, **more
) -> HostRecord:
    """A host as a run describes it."""
    services = more.pop("services", {"open-vm-tools": "12.2.0"})
    return HostRecord(
        name, pool, "vsphere", "VMware ESXi", "8.0.2", accel, twin, kernel="6.1.0-56-amd64", services=services, **more
    )


def record(results: Path, tests: Sequence[Test], hosts: Sequence[HostRecord], side: SideName, number: int = 1) -> None:
    """Write what a run of these tests writes."""
    writer = ResultsWriter(results, Redactor())
    for test in tests:
        _result(results, writer, test, {each.name: each for each in hosts}, number)
    run = RunRecord(
        f"run{number}", "mylab", "0.7.0", "debian12", "ab" * 32, "build-1", release=f"new@{side}", hosts=tuple(hosts)
    )
    environment.write(results, run)


def _result(results: Path, writer: ResultsWriter, test: Test, hosts: Mapping[str, HostRecord], number: int) -> None:
    title = TITLES.get(test.check, "it holds")
    twin = test.host in hosts and hosts[test.host].twin
    identity = Identity(test.check, title, "integration", test.pool, host=test.host, backend="vsphere", twin=twin)
    status = {"passed": Status.PASSED, "failed": Status.FAILED, "skipped": Status.SKIPPED}
    start = round((BEGAN + timedelta(minutes=number)).timestamp() * 1000)
    result = TestResult(
        uuid=str(uuid.uuid4()),
        status=status.get(test.status, Status.BROKEN),
        statusDetails=StatusDetails(message=test.reason) if test.reason else None,
        start=start,
        stop=start + 1000,
    )
    if test.log:
        source = f"{uuid.uuid4()}-attachment.{'txt' if isinstance(test.log, str) else 'png'}"
        writer.report_attached_data(test.log, source)
        result.attachments.append(Attachment(name="log", source=source, type="text/plain"))
    stamp(result, identity, FAULTS.get(test.status), frozenset())
    writer.report_result(result)
    for name, value in test.figures.items():
        one = Recorded(
            Measurement(name, value, "s", Better.LOWER, (value,)),
            test.check,
            "",
            title,
            "test_it",
            (),
            test.pool,
            test.host,
            "vsphere",
            f"run{number}",
            BEGAN + timedelta(minutes=number),
            Circumstances(
                hosts[test.host].accel, twin, quiet=True, load=test.load, processors=None if test.load is None else 2
            ),
            identity.history_id,
        )
        records.keep(results, one)


def terms(**changes) -> Terms:
    """What a small validation fixes."""
    usual = {"release": "new", "digest": "", "lab": "mylab", "image": "", "seed": 7, "rounds": 1, "budget": 40}
    return Terms(**{**usual, **changes})


def validated(
    path: Path,
    baseline: Sequence[Sequence[Test]],
    candidate: Sequence[Sequence[Test]],
    *,
    hosts: Mapping[SideName, Sequence[HostRecord]] | None = None,
    **changes,
) -> Ledger:
    """The folder of a validation with so many pairs of rounds."""
    ledger = Ledger.begin(path, terms(**changes), "")
    usual = {
        SideName.BASELINE: [host()],
        SideName.CANDIDATE: [host(services={"open-vm-tools": "12.3.5"})],
    }
    for pair, (before, after) in enumerate(zip(baseline, candidate, strict=True)):
        for side, tests in ((SideName.BASELINE, before), (SideName.CANDIDATE, after)):
            number = len(ledger.rounds) + 1
            round_ = Round(number, pair, side, "full" if pair == 0 else "measure", began=BEGAN.isoformat())
            folder = ledger.clear(round_)
            (folder / "output.txt").write_text(f"round {number}\n")
            record(folder / f"run{number}" / "results", tests, (hosts or usual)[side], side, number)
            ledger.done(round_)
    return ledger
