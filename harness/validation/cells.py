"""What the runs of both sides came to: every result as one row, read back from the folders that runs leave."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from harness.core import LabError
from harness.report.environment import POOLS_FILE
from harness.report.identity import Fault
from harness.report.summary import Verdict

# What does not run as the product would: QEMU without hardware virtualization.
EMULATED = frozenset({"tcg"})

KNOWN = "known"
"""The status of a result that failed as a known issue says it does; beside those of :class:`Verdict`."""

_OF_FAULT = {
    Fault.PRODUCT: Verdict.FAILED,
    Fault.GUEST: Verdict.GUEST,
    Fault.MOVED: Verdict.LAB,
    Fault.LAB: Verdict.LAB,
    Fault.HARNESS: Verdict.ERROR,
}


class SideName(StrEnum):
    """Which of the two releases a run had installed."""

    BASELINE = "baseline"
    CANDIDATE = "candidate"

    @property
    def other(self) -> SideName:
        """The one that it is compared with."""
        return SideName.CANDIDATE if self is SideName.BASELINE else SideName.BASELINE


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """One test on one pool.

    Args:
        check: its number; a test without one goes by its name.
        pool: the pool it ran for.
        shown: number, sentence and parameters, as the report shows them.
        key: the result's line of history: what tells parameters and parts apart.
    """

    check: str
    pool: str
    shown: str
    key: str


@dataclass(frozen=True, slots=True)
class Ran:
    """One result of one run.

    Args:
        cell: which test, on which pool.
        side: what was installed.
        round: the number of the round, from 1.
        status: one of :class:`Verdict`'s words, or ``known``.
        host: which member of the pool ran it.
        reason: the first line of what it said.
        twin: the host is a stand-in.
        accel: what ran the vCPUs; empty where the run did not say.
    """

    cell: Cell
    side: SideName
    round: int
    status: str
    host: str
    reason: str = ""
    twin: bool = False
    accel: str = ""

    @property
    def emulated(self) -> bool:
        """Without hardware virtualization."""
        return self.accel in EMULATED


@dataclass(frozen=True, slots=True)
class Seen:
    """What a run said about itself.

    Args:
        run: its id.
        facts: image, digest, build, harness, release, as far as it said them.
        hosts: every host that took part, as the report's ``pools.json`` has it.
    """

    run: str
    facts: Mapping[str, str]
    hosts: tuple[Mapping[str, Any], ...]


def seen(results: Path) -> Seen:
    """Read what a run said about itself; nothing where it was stopped before it said anything.

    Raises:
        LabError: the file is there and cannot be read.
    """
    path = results / POOLS_FILE
    if not path.is_file():
        return Seen("", {}, ())
    told = _json(path)
    facts = {key: value for key, value in told.items() if isinstance(value, str) and key != "run"}
    return Seen(str(told.get("run", "")), facts, tuple(told.get("hosts", ())))


def read(results: Path, side: SideName, number: int) -> Iterator[Ran]:
    """Every result of a run, in the order of the files' names.

    Args:
        results: the run's results folder.
        side: what was installed.
        number: the round's.

    Raises:
        LabError: a file cannot be read; results are written whole, so somebody changed it.
    """
    hosts = {str(host["name"]): host for host in seen(results).hosts}
    for path in sorted(results.glob("*-result.json")):
        told = _json(path)
        labels: dict[str, list[str]] = {}
        for label in told.get("labels", []):
            labels.setdefault(label["name"], []).append(label["value"])
        pool = next(iter(labels.get("pool", [])), "")
        if not pool:
            continue  # a stranger's test in the same run
        host = next(iter(labels.get("host", [])), pool)
        name = str(told.get("fullName", told.get("name", "")))
        yield Ran(
            cell=Cell(next(iter(labels.get("check", [])), name), pool, str(told.get("name", name)), told["historyId"]),
            side=side,
            round=number,
            status=_status(told, labels),
            host=host,
            reason=_first_line(told),
            twin="twin" in labels.get("tag", []) or bool(hosts.get(host, {}).get("twin")),
            accel=str(hosts.get(host, {}).get("accel", "")),
        )


def _status(told: Mapping[str, Any], labels: Mapping[str, list[str]]) -> str:
    """A result's status as one of the harness's words."""
    status = str(told.get("status", ""))
    if status in ("passed", "skipped"):
        return status
    if (told.get("statusDetails") or {}).get("known"):
        return KNOWN
    fault = next(iter(labels.get("fault", [])), None)
    if fault is None:
        return Verdict.FAILED if status == "failed" else Verdict.ERROR
    return _OF_FAULT[Fault(fault)]


def _first_line(told: Mapping[str, Any]) -> str:
    message = str((told.get("statusDetails") or {}).get("message", ""))
    return next(iter(message.strip().splitlines()), "")[:500]


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LabError(f"{path}: cannot be read: {error}", hint="is this folder as the runs left it?") from error
