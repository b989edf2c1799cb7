"""Measurements on disk: a file each, written the moment it is taken, so that a run that dies keeps what it had.

They lie in ``measurements`` below a run's results; ``reports/measurement.schema.json`` says what is in one.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from harness.core import MiB, UsageError
from harness.core.config import StrictModel
from harness.core.files import write_whole
from harness.measure.measurement import Better, Measurement

FOLDER = "measurements"
FORMAT = 2
"""Version 2 tells what others did on the host meanwhile; files of version 1 are read as well."""
_LIMIT = 64 * MiB


@dataclass(frozen=True, slots=True)
class Circumstances:
    """Under what a measurement was taken.

    Args:
        accel: what ran the vCPUs: ``kvm``, ``tcg``, ``hyperv``, ``vmware``.
        twin: the host is a stand-in for the real product.
        quiet: the test held its host's capacity domain alone.
        neighbours: what else of ours was there, in words: runs, and guests that were kept.
        load: the controller's load of the last minute, our own included, in processes that run or want to; None where
            the host is another machine.
        processors: what that load shares; None where the load is.
        foreign: the share of the host's processors that others used while the test measured, on the average until now;
            None: nobody looked, or the host does not tell.
        foreign_worst: the same over the worst five seconds.
        foreign_limit: the share that the lab allows; None: it is held against nothing.
    """

    accel: str
    twin: bool = False
    quiet: bool = False
    neighbours: tuple[str, ...] = ()
    load: float | None = None
    processors: int | None = None
    foreign: float | None = None
    foreign_worst: float | None = None
    foreign_limit: float | None = None

    @property
    def disturbed(self) -> bool:
        """Whether others did more on the host than the lab allows."""
        return None not in (self.foreign_worst, self.foreign_limit) and self.foreign_worst > self.foreign_limit  # type: ignore[operator]


@dataclass(frozen=True, slots=True)
class Recorded:
    """A measurement, and where it came from.

    Args:
        measurement: the figure with its samples.
        check: the check's number; empty for a test without one.
        part: tells tests apart that share a number.
        title: what the check asserts.
        test: pytest's name of the test.
        params: the test's own parameters, names and texts, in order.
        pool: the pool it ran for.
        host: the member that ran it.
        backend: ``kvm``, ``hyperv``, ``vsphere``.
        run: the run's id.
        at: when it was taken.
        circumstances: under what.
        history: the ``historyId`` of the Allure result that it belongs to; empty where there is none.
        attempt: 2 where the test was tried once more because the lab was at fault.
    """

    measurement: Measurement
    check: str
    part: str
    title: str
    test: str
    params: tuple[tuple[str, str], ...]
    pool: str
    host: str
    backend: str
    run: str
    at: datetime
    circumstances: Circumstances
    history: str = ""
    attempt: int = 1

    def plain(self) -> dict[str, Any]:
        """As JSON-able data, the way it lies on disk."""
        around = self.circumstances
        return {
            "format": FORMAT,
            **self.measurement.plain(),
            "check": self.check,
            "part": self.part,
            "title": self.title,
            "test": self.test,
            "params": dict(self.params),
            "pool": self.pool,
            "host": self.host,
            "backend": self.backend,
            "run": self.run,
            "at": self.at.astimezone(UTC).isoformat(timespec="milliseconds"),
            "circumstances": {
                "accel": around.accel,
                "twin": around.twin,
                "quiet": around.quiet,
                "neighbours": list(around.neighbours),
                "load": around.load,
                "processors": around.processors,
                "foreign": around.foreign,
                "foreign_worst": around.foreign_worst,
                "foreign_limit": around.foreign_limit,
            },
            "history": self.history,
            "attempt": self.attempt,
        }


class Records(list[Recorded]):
    """What a folder holds, in the order it was taken.

    Attributes:
        damaged: one line for each file that cannot be read: which, and why.
    """

    def __init__(self, records: list[Recorded], damaged: list[str]) -> None:
        super().__init__(records)
        self.damaged = tuple(damaged)


def keep(results: Path, recorded: Recorded, mask: Callable[[str], str] = str) -> Path:
    """Write a measurement; on return it is on the disk.

    Args:
        results: the results folder of the run.
        recorded: the measurement.
        mask: what takes secrets out of a text.

    Returns:
        The file.
    """
    folder = results / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{recorded.at.astimezone(UTC):%Y%m%dT%H%M%S%f}-{uuid.uuid4().hex[:12]}.json"
    text = json.dumps(_masked(recorded.plain(), mask), indent=1, ensure_ascii=False, allow_nan=False)
    write_whole(path, text.encode("utf-8", "backslashreplace"), lasting=True)
    return path


def read(results: Path) -> Records:
    """Every measurement of a run, the oldest first; a damaged file is named by ``.damaged`` and loses nothing else.

    Where a test was tried once more because the lab was at fault, what it measured the first time is left out.

    Args:
        results: the results folder of the run; without measurements there are none.
    """
    found: list[Recorded] = []
    damaged: list[str] = []
    for path in sorted((results / FOLDER).glob("*.json")):
        try:
            found.append(_load(path))
        except (OSError, UsageError) as error:
            damaged.append(f"{path}: {error}")
    last: dict[tuple[str, str, str], int] = {}
    for one in found:
        last[_tried(one)] = max(one.attempt, last.get(_tried(one), 1))
    counted = [one for one in found if one.attempt == last[_tried(one)]]
    return Records(sorted(counted, key=lambda one: one.at), damaged)


def _tried(one: Recorded) -> tuple[str, str, str]:
    return one.run, one.pool, one.test


class _Around(StrictModel):
    accel: str
    twin: bool
    quiet: bool
    neighbours: tuple[str, ...]
    load: float | None
    processors: int | None
    foreign: float | None = None
    foreign_worst: float | None = None
    foreign_limit: float | None = None


class _File(StrictModel):
    format: Literal[1, 2]
    name: str
    value: float
    unit: str
    better: Better
    samples: tuple[float, ...]
    check: str
    part: str
    title: str
    test: str
    params: dict[str, str]
    pool: str
    host: str
    backend: str
    run: str
    at: datetime
    circumstances: _Around
    history: str
    attempt: int = Field(ge=1)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        missing = [name for name in _SINCE_2 if name not in self.circumstances.model_fields_set]
        if self.format > 1 and missing:
            raise ValueError(f"circumstances.{missing[0]}: Field required")
        return self


_SINCE_2 = ("foreign", "foreign_worst", "foreign_limit")


def _load(path: Path) -> Recorded:
    with path.open("rb") as file:
        raw = file.read(_LIMIT + 1)
    if len(raw) > _LIMIT:
        raise UsageError(f"is larger than {_LIMIT}; that is no measurement")
    try:
        one = _File.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise UsageError(f"{where}: {first['msg']}" if where else first["msg"]) from error
    if one.at.tzinfo is None:
        raise UsageError("at: no time zone")
    around = one.circumstances
    return Recorded(
        Measurement(one.name, one.value, one.unit, one.better, one.samples),
        check=one.check,
        part=one.part,
        title=one.title,
        test=one.test,
        params=tuple(one.params.items()),
        pool=one.pool,
        host=one.host,
        backend=one.backend,
        run=one.run,
        at=one.at,
        circumstances=Circumstances(**around.model_dump()),
        history=one.history,
        attempt=one.attempt,
    )


def _masked(value: Any, mask: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, dict):
        return {key: _masked(item, mask) for key, item in value.items()}
    if isinstance(value, list):
        return [_masked(item, mask) for item in value]
    return value
