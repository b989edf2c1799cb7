"""``results.jsonl``: one line of JSON a result, written while the run goes on; for whoever reads results by program.

``reports/result.schema.json`` says what is in a line. Lines stand alone: each says what it ran on, so that files of
several runs may be concatenated.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

from harness.core import UsageError

FILE = "results.jsonl"
"""Its name, in the folder of a run."""
FORMAT = 1
"""Grows when what is there changes its meaning or goes; what is new comes without."""

Line: TypeAlias = Mapping[str, Any]
"""One result, as the schema describes it."""

_TEXTS = ("run", "lab", "harness", "check", "part", "title", "suite", "test", "pool", "host", "backend")
_ON = ("product", "version", "build", "accel", "kernel", "release", "source", "worker")


@dataclass(slots=True)
class Lines:
    """What a file holds.

    Args:
        results: in the order they were written.
        damaged: one line for each that cannot be read: which, and why.
    """

    results: list[Line] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)


def line(
    facts: Mapping[str, Any],
    *,
    status: str,
    reason: str,
    began: float,
    duration: float,
    attempt: int = 1,
    tries: tuple[str, ...] = (),
    warnings: tuple[str, ...] = (),
    tracker: str = "",
    repeat: str = "",
    figures: tuple[Mapping[str, Any], ...] = (),
) -> Line:
    """One result.

    Args:
        facts: who it is and what it ran on; what is not known is left out of them.
        status: a :class:`~harness.report.summary.Verdict`.
        reason: why it failed or was skipped; one line.
        began: seconds since the epoch.
        duration: seconds, set-up and tear-down included.
        attempt: which of several.
        tries: what those before it came to.
        warnings: limits that were exceeded and only warn.
        tracker: where the known issue is followed that it has to do with.
        repeat: the command line that repeats it.
        figures: what it measured: name, value, unit, better.
    """
    image = facts.get("image", {})
    return {
        "format": FORMAT,
        **{name: str(facts.get(name) or "") for name in _TEXTS},
        "params": {str(name): str(value) for name, value in facts.get("params", {}).items()},
        "twin": bool(facts.get("twin")),
        **{name: str(facts.get(name) or "") for name in _ON},
        "image": {name: str(image.get(name) or "") for name in ("name", "digest", "build")},
        "status": status,
        "reason": reason,
        "at": datetime.fromtimestamp(began, UTC).isoformat(timespec="milliseconds"),
        "duration": round(duration, 3),
        "attempt": attempt,
        "tries": list(tries),
        "warnings": list(warnings),
        "tracker": tracker,
        "repeat": repeat,
        "measurements": [dict(figure) for figure in figures],
    }


def append(path: Path, result: Line) -> None:
    """Add a result, in one write: a run that is killed leaves at most one line that is not whole.

    Raises:
        OSError: the disk is full, or the folder is gone.
    """
    with path.open("ab") as file:
        # What a killed run, or a full disk, left of a line stays one that cannot be read, and spoils no other.
        broken = file.tell() > 0 and _last(path) != b"\n"
        file.write(
            (b"\n" if broken else b"")
            + json.dumps(result, ensure_ascii=False).encode("utf-8", "backslashreplace")
            + b"\n"
        )


def _last(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read(1)


def read(path: Path) -> Lines:
    """Read such a file; one that is not there has no results.

    Raises:
        UsageError: it cannot be opened.
    """
    found = Lines()
    try:
        text = path.read_bytes().decode("utf-8", "backslashreplace") if path.exists() else ""
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    for number, said in _numbered(text):
        try:
            result = json.loads(said)
            if result["format"] > FORMAT:
                newer = f"format {result['format']}, and this harness knows {FORMAT}: a newer one wrote it"
                found.damaged.append(f"{path}:{number}: {newer}")
                continue
            _ = result["pool"], result["status"], result["title"]
        except (ValueError, KeyError, TypeError) as error:
            found.damaged.append(f"{path}:{number}: {type(error).__name__}: {error}")
            continue
        found.results.append(result)
    return found


def _numbered(text: str) -> Iterator[tuple[int, str]]:
    return ((number, said) for number, said in enumerate(text.split("\n"), 1) if said.strip())
