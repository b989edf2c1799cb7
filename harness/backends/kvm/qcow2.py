"""The few things asked of ``qemu-img``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness.core import Deadline, LabError, Size
from harness.core.process import need, run


def clone(target: Path, base: Path, host: str, deadline: Deadline) -> None:
    """A linked clone: an overlay that holds only what differs from ``base``."""
    _do(["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base, target], host, deadline)


def create(target: Path, size: Size, host: str, deadline: Deadline) -> None:
    """An empty disk."""
    _do(["create", "-q", "-f", "qcow2", target, str(int(size))], host, deadline)


def check(path: Path, host: str, deadline: Deadline) -> None:
    """Raises :class:`LabError` unless this is a whole qcow2 without a backing file."""
    facts = _info(path, host, deadline)
    if facts.get("format") != "qcow2" or facts.get("full-backing-filename"):
        raise LabError(f"{path} is no self-contained qcow2 disk", host=host, operation="publish")


def backing(path: Path, host: str, deadline: Deadline) -> str | None:
    """What a clone stands on."""
    found: str | None = _info(path, host, deadline).get("full-backing-filename")
    return found


def snapshot(path: Path, name: str, host: str, deadline: Deadline) -> None:
    """Remember the disk's present content under ``name``; nobody may have the file open."""
    _do(["snapshot", "-q", "-c", name, path], host, deadline)


def apply(path: Path, name: str, host: str, deadline: Deadline) -> None:
    """Make the disk what it was."""
    _do(["snapshot", "-q", "-a", name, path], host, deadline)


def forget(path: Path, name: str, host: str, deadline: Deadline) -> None:
    """Drop what :func:`snapshot` remembered."""
    _do(["snapshot", "-q", "-d", name, path], host, deadline)


def snapshots(path: Path, host: str, deadline: Deadline) -> list[str]:
    """The names of all that :func:`snapshot`, or QEMU itself, remembered."""
    return [str(one["name"]) for one in _info(path, host, deadline).get("snapshots", ())]


def _info(path: Path, host: str, deadline: Deadline) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(_do(["info", "-U", "--output=json", path], host, deadline))
    return facts


def _do(arguments: list[str | Path], host: str, deadline: Deadline) -> bytes:
    try:
        return run([need("qemu-img", "qemu-utils"), *arguments], deadline)
    except LabError as error:
        raise LabError(error.message, host=host, operation=f"qemu-img {arguments[0]}", hint=error.hint) from error
