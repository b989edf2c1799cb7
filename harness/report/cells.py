"""A run's results read back: one cell a check, its parameters and pool, as it ended.

What Allure results say is enough; the run's own record (``pools.json``) adds what ran where. Results of tests that are
none of ours (without a pool) are left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from harness.report.environment import POOLS_FILE, HostRecord
from harness.report.identity import HARNESS, POOL, SOURCE, Fault, digest
from harness.report.layout import find
from harness.report.remarks import ATTEMPT, AWAY, EARLIER, KNOWN, NEWS, WARNING
from harness.report.summary import Verdict
from harness.report.visible import line

# What `environment.properties` calls the facts that a run's record may not hold.
_FACTS = {"Image": "image", "Image sha256": "digest", "Build id": "build", "Kernel": "kernel", "Release": "release"}

_OF_FAULT = {
    Fault.PRODUCT: Verdict.FAILED,
    Fault.GUEST: Verdict.GUEST,
    Fault.LAB: Verdict.LAB,
    Fault.MOVED: Verdict.LAB,
    Fault.NOT_QUIET: Verdict.LAB,
    Fault.HARNESS: Verdict.ERROR,
}


@dataclass(frozen=True, slots=True)
class Cell:
    """One test on one pool, as it ended in one run.

    Args:
        check: the check's number (``C01``); the test's own name where it has none.
        part: tells tests apart that share number and parameters.
        title: what it asserts.
        suite: ``vcpu``, ``clock`` ...
        pool: the pool it ran for.
        params: name and text of each of its own parameters, sorted by name.
        host: the member of the pool that ran it; the pool, where no host was reached.
        backend: ``kvm``, ``hyperv``, ``vsphere``; empty where no host was reached.
        twin: the host is a stand-in.
        status: what became of it; ``known``: failed, as a known issue says; ``flaky``: passed, and not at the first
            try; ``away``: its host was not available any more.
        reason: why it failed or was skipped, in one line.
        tracker: where the known issue is followed, for ``known`` and for one that passes again.
        news: what a known issue has to tell: that it expired, or that the test passes again.
        warnings: it passed beyond a limit that only warns.
        duration: seconds of its own body; of its set-up, where it did not get further.
        start: when it began, seconds since the epoch; 0.0 where the result does not say.
        attempt: which try of its run it was, as far as it says so.
        earlier: what attempts in the same run before this one came to.
        uuid: the result's own (not in its file's name).
        file: where the result stands; None: it was not read from a file.
        test_case: the same for the test on every pool (Allure's ``testCaseId``).
        history: the same for this test and pool in every run (Allure's ``historyId``).
        attachments: name and file of each attachment.
        source: the digest of the check's source; empty: the harness that wrote it did not say.
        harness: the version of that harness; empty: it did not say.
    """

    check: str
    title: str
    pool: str
    status: Verdict
    part: str = ""
    suite: str = ""
    params: tuple[tuple[str, str], ...] = ()
    host: str = ""
    backend: str = ""
    twin: bool = False
    reason: str = ""
    tracker: str = ""
    news: str = ""
    warnings: bool = False
    duration: float = 0.0
    start: float = 0.0
    attempt: int = 1
    earlier: tuple[Verdict, ...] = ()
    uuid: str = ""
    file: Path | None = None
    test_case: str = ""
    history: str = ""
    attachments: tuple[tuple[str, Path], ...] = ()
    source: str = ""
    harness: str = ""

    @property
    def key(self) -> tuple[str, str, tuple[tuple[str, str], ...]]:
        """What is the same of it on every pool and in every run."""
        return self.check, self.part, self.params

    @property
    def label(self) -> str:
        """``C01 every vcpu comes online (vcpus=4)``."""
        words = self.title if self.check == self.title else f"{self.check} {self.title}"
        values = ", ".join(f"{name}={value}" for name, value in self.params)
        return f"{words} ({values})" if values else words


@dataclass(frozen=True, slots=True)
class RunCells:
    """Everything one run came to.

    Args:
        results: the folder that was read.
        run: the run's id; the name of its folder where it left no record.
        lab: the lab's name.
        image: name of the guest image.
        digest: its sha256, or the first digits of it.
        build: the build id inside it.
        kernel: the image's kernel.
        release: the release of integration services under test.
        harness: the version of the harness; several, joined by ``/``, where results are of several.
        hosts: the hosts that took part.
        cells: one a test and pool, in order of pool and check.
        broken: results that could not be read: a run that was killed leaves half a file.
    """

    results: Path
    run: str
    lab: str = ""
    image: str = ""
    digest: str = ""
    build: str = ""
    kernel: str = ""
    release: str = ""
    harness: str = ""
    hosts: tuple[HostRecord, ...] = ()
    cells: tuple[Cell, ...] = ()
    broken: tuple[Path, ...] = field(default=())

    @property
    def start(self) -> float:
        """When its first test began, seconds since the epoch; 0.0 where nobody knows."""
        return min((cell.start for cell in self.cells if cell.start), default=0.0)


def read(results: Path) -> RunCells:
    """Read a run.

    Args:
        results: its folder, or the folder of its results.

    Raises:
        UsageError: there are no results.
    """
    folder = find(results)
    attempts: dict[str, list[Cell]] = {}
    broken = []
    for path in sorted(folder.glob("*-result.json")):
        try:
            cell = cell_of(json.loads(path.read_text(encoding="utf-8")), folder)
        except (ValueError, KeyError, TypeError, AttributeError, OSError):
            broken.append(path)
            continue
        if cell is not None:
            attempts.setdefault(cell.history, []).append(replace(cell, file=path))
    cells = [_settled(each) for each in attempts.values()]
    cells.sort(key=lambda cell: (cell.pool, cell.suite, cell.check, cell.part, cell.params))
    known = _record(folder)
    facts = _facts(folder) | {name: known[name] for name in _FACTS.values() if isinstance(known.get(name), str)}
    hosts = tuple(_host(host) for host in known.get("hosts", ()))
    run = str(known.get("run") or (folder.parent.name if folder.name == "results" else folder.name))
    wrote = sorted({cell.harness for cell in cells if cell.harness}) or [str(known.get("harness", ""))]
    facts |= {"lab": str(known.get("lab", "")), "harness": " / ".join(wrote)}
    return RunCells(folder, run, hosts=hosts, cells=tuple(cells), broken=tuple(broken), **facts)


def cell_of(result: Mapping[str, Any], folder: Path) -> Cell | None:
    """One result as a cell; None where it belongs to no pool, so is none of ours.

    Args:
        result: the content of a result file.
        folder: where it lies, and its attachments.
    """
    labels: dict[str, str] = {}
    tags = set()
    for label in result.get("labels", ()):
        labels.setdefault(str(label["name"]), str(label.get("value", "")))
        if label["name"] == "tag":
            tags.add(label.get("value"))
    if POOL not in labels:
        return None
    params = tuple(
        sorted(
            (str(one["name"]), str(one.get("value", "")))
            for one in result.get("parameters", ())
            if one["name"] != POOL and not one.get("excluded")
        )
    )
    full = str(result.get("fullName") or result.get("name", ""))
    check = labels.get("check", "") or full
    details = result.get("statusDetails") or {}
    start, stop = result.get("start") or 0, result.get("stop") or 0
    status = _status(str(result.get("status", "")), labels.get("fault", ""), known=bool(details.get("known")))
    if AWAY in tags:
        status = Verdict.AWAY
    links = [str(link.get("url", "")) for link in result.get("links", ()) if link.get("name", "").startswith(KNOWN)]
    story = labels.get("story") or full
    return Cell(
        check=check,
        part=full.removeprefix(check).strip() if full.startswith(f"{check} ") else "",
        title=story.removeprefix(f"{check} "),
        suite=labels.get("suite", ""),
        pool=labels[POOL],
        params=params,
        host=labels.get("host", labels[POOL]),
        backend=labels.get("backend", ""),
        twin="twin" in tags,
        status=status,
        reason=_one_line(str(details.get("message", ""))) if status is not Verdict.PASSED else "",
        tracker=links[0] if links else "",
        news=labels.get(NEWS, ""),
        warnings=WARNING in tags,
        duration=max(stop - start, 0) / 1000,
        start=start / 1000,
        attempt=int(labels.get(ATTEMPT, "1")),
        earlier=(Verdict(labels[EARLIER]),) if EARLIER in labels else (),
        uuid=str(result.get("uuid", "")),
        test_case=str(result.get("testCaseId", "")),
        history=str(result.get("historyId") or digest(full, labels[POOL], str(params))),
        source=labels.get(SOURCE, ""),
        harness=labels.get(HARNESS, ""),
        attachments=tuple(
            (str(one.get("name", "")), folder / Path(str(one["source"])).name) for one in result.get("attachments", ())
        ),
    )


def _status(status: str, fault: str, *, known: bool) -> Verdict:
    if status == "passed":
        return Verdict.PASSED
    if status == "skipped":
        return Verdict.SKIPPED
    if known:
        return Verdict.KNOWN
    if fault:
        return _OF_FAULT[Fault(fault)]
    return Verdict.FAILED if status == "failed" else Verdict.ERROR


def _settled(attempts: list[Cell]) -> Cell:
    """The last attempt, knowing those before it; a pass that took several is flaky, one after another pass is not."""
    *before, last = sorted(attempts, key=lambda cell: (cell.attempt, cell.start))
    # What the last says of the one before it counts where that left no result of its own.
    earlier = tuple(cell.status for cell in before) or last.earlier
    if last.status is Verdict.PASSED and set(earlier) - {Verdict.PASSED}:
        last = replace(last, status=Verdict.FLAKY, reason=next((c.reason for c in before if c.reason), ""))
    return replace(last, earlier=earlier)


def _record(folder: Path) -> dict[str, Any]:
    path = folder / POOLS_FILE
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def _host(said: Mapping[str, Any]) -> HostRecord:
    """A host of a record that another version of the harness may have written."""
    known = {one.name for one in fields(HostRecord)}
    return HostRecord(**{name: value for name, value in said.items() if name in known})


def _facts(folder: Path) -> dict[str, str]:
    """What the run's metadata says of its image: lines of a property file, whose keys have their blanks escaped."""
    path = folder / "environment.properties"
    found = {}
    for said in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        key, _, value = said.partition(" = ")
        if name := _FACTS.get(key.replace("\\", "")):
            found[name] = value.replace("\\\\", "\\")
    return found


def _one_line(message: str) -> str:
    return line(message).removeprefix("Skipped: ")
