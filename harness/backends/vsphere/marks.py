"""Our mark on things: the annotation of a machine, and the name of a folder on the datastore.

An annotation is one JSON object with the single key ``interop``; no custom attribute, which would need rights on the
whole vCenter. A machine with another annotation, or with none, is nobody's business. Files have no annotation, so the
folder that holds a machine's seed and console carries its mark in its name.
"""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime

from harness.backends import codec
from harness.backends.model import MachineSpec, Ownership

_KEY = "interop"
_FOLDER = re.compile(r"(?P<name>.+)~(?P<run>[^~]+)~(?P<token>[^~]+)~(?P<expiry>\d+)~[0-9a-f]{8}")
_RUN_FOLDER = re.compile(r"(?P<run>[a-z0-9]+)~(?P<token>[^~]+)~(?P<expiry>\d+)~[0-9a-f]+")


@dataclass(frozen=True, slots=True)
class Mark:
    """Whose a machine is, what was asked, and where its files are.

    Args:
        owner: run, token and expiry.
        spec: what was asked for.
        files: its folder on the datastore, as a path within it.
    """

    owner: Ownership
    spec: MachineSpec
    files: str


def written(mark: Mark) -> str:
    """The annotation."""
    return json.dumps({_KEY: json.loads(codec.dumps(mark))}, separators=(",", ":"), sort_keys=True)


def read(annotation: str | None) -> Mark | None:
    """The mark in an annotation; None when it is not ours."""
    found = _ours(annotation)
    try:
        return None if found is None else codec.loads(Mark, json.dumps(found))
    except ValueError:
        return None


def owner_of(annotation: str | None) -> Ownership | None:
    """Whose a machine is, also when the rest of its mark was written by another release; None: it is not ours."""
    found = _ours(annotation)
    try:
        return None if found is None else codec.loads(Ownership, json.dumps(found["owner"]))
    except (KeyError, ValueError):
        return None


def folder_name(name: str, owner: Ownership) -> str:
    """The last part of the path of a machine's folder on the datastore: another one for each attempt to make it.

    A name may be taken, and whoever fails for that must not undo what the machine that has it stands on.
    """
    return f"{name}~{owner.run}~{owner.token}~{int(owner.expiry.timestamp())}~{secrets.token_hex(4)}"


def folder_mark(name: str) -> tuple[str, Ownership] | None:
    """The machine's name and the owner in such a folder's name; None when it is none."""
    found = _FOLDER.fullmatch(name)
    owner = found and _owner(found)
    return (found["name"], owner) if found and owner else None


def run_folder(owner: Ownership, process: int) -> str:
    """The name of the folder that a process of a run keeps its machines in."""
    return f"{owner.run}~{owner.token}~{int(owner.expiry.timestamp())}~{process:x}"


def run_folder_mark(name: str) -> Ownership | None:
    """The owner in such a folder's name; None when it is none."""
    found = _RUN_FOLDER.fullmatch(name)
    return found and _owner(found)


def _owner(found: re.Match[str]) -> Ownership | None:
    try:
        expiry = datetime.fromtimestamp(int(found["expiry"]), UTC)
    except (OverflowError, ValueError, OSError):  # a year that no calendar has
        return None
    return Ownership(found["run"], found["token"], expiry)


def _ours(annotation: str | None) -> dict[str, object] | None:
    try:
        found = json.loads(annotation or "null")
    except ValueError:
        return None
    inner = found.get(_KEY) if isinstance(found, dict) else None
    return inner if isinstance(inner, dict) and "owner" in inner else None
