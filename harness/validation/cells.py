"""What the runs of both sides came to: every result as one row, read back from the folders that runs leave."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from harness.core import LabError
from harness.report import cells
from harness.report.environment import POOLS_FILE
from harness.report.summary import Verdict

# What does not run as the product would: QEMU without hardware virtualization.
EMULATED = frozenset({"tcg"})


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
        status: what it came to.
        host: which member of the pool ran it.
        reason: the first line of what it said.
        twin: the host is a stand-in.
        accel: what ran the vCPUs; empty where the run did not say.
    """

    cell: Cell
    side: SideName
    round: int
    status: Verdict
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
    """Every result of a run; attempts that a lab failure made to be repeated are in it once.

    Args:
        results: the run's results folder.
        side: what was installed.
        number: the round's.

    Raises:
        LabError: a file cannot be read; results are written whole, so somebody changed it.
    """
    told = cells.read(results)
    if told.broken:
        raise LabError(f"{told.broken[0]}: cannot be read", hint="is this folder as the runs left it?")
    accel = {host.name: host.accel for host in told.hosts}
    twins = {host.name for host in told.hosts if host.twin}
    for one in told.cells:
        yield Ran(
            cell=Cell(one.check, one.pool, one.label + (f" [{one.part}]" if one.part else ""), one.history),
            side=side,
            round=number,
            status=_said(one),
            host=one.host,
            reason=one.reason[:500],
            twin=one.twin or one.host in twins,
            accel=accel.get(one.host, ""),
        )


def _said(one: cells.Cell) -> Verdict:
    """What a result says of the product: the lab's failures before a pass say nothing, nor does a host that is gone."""
    if one.status is Verdict.AWAY:
        return Verdict.LAB
    if one.status is Verdict.FLAKY and set(one.earlier) <= {Verdict.LAB}:
        return Verdict.PASSED
    return one.status


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LabError(f"{path}: cannot be read: {error}", hint="is this folder as the runs left it?") from error
