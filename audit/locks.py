"""The locks as a list: every dependency with its version, its licence, and whether its content is pinned."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)((?:[^\n]*\\\n)*[^\n]*)", re.MULTILINE)
_HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}\b")
_MODULE = re.compile(r"^(?:require )?\s*([a-z0-9.-]+\.[a-z]+/\S+) (v\S+)", re.MULTILINE)
_UNKNOWN = "?"


@dataclass(frozen=True, slots=True)
class Locked:
    """One dependency.

    Args:
        kind: whose it is: ``python``, ``npm``, ``go``.
        lock: the lock, below the root.
        name: what it is called there.
        version: the one that is installed.
        pinned: whether the lock holds a hash of its content.
        licence: what it says of itself; ``?`` where it cannot be seen here.
    """

    kind: str
    lock: str
    name: str
    version: str
    pinned: bool
    licence: str


def read(root: Path) -> list[Locked]:
    """Everything that is locked below ``root``: Python's, npm's, Go's."""
    found = [one for lock in sorted(root.glob("requirements*.txt")) for one in _python(lock)]
    if (root / "package-lock.json").is_file():
        found += _npm(root / "package-lock.json")
    for module in sorted(root.glob("harness/**/go.mod")):
        found += _go(module, root)
    return found


def _python(lock: Path) -> Iterator[Locked]:
    for name, version, rest in _PIN.findall(lock.read_text(encoding="utf-8")):
        yield Locked("python", lock.name, name, version, _HASH.search(rest) is not None, _licence(name))


def _licence(name: str) -> str:
    """As the installed package says it (core metadata 2.4, and what was usual before)."""
    try:
        said = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return _UNKNOWN
    kinds = [one.rpartition(":: ")[2] for one in said.get_all("Classifier", ()) if one.startswith("License ::")]
    words = (
        "".join(said.get_all("License-Expression", ())) or "; ".join(kinds) or "".join(said.get_all("License", ()))
    ).strip()
    return words.splitlines()[0][:60] if words else _UNKNOWN


def _npm(lock: Path) -> Iterator[Locked]:
    packages = json.loads(lock.read_text(encoding="utf-8"))["packages"]
    for place, said in packages.items():
        if place:  # the one without is ours
            name = place.rpartition("node_modules/")[2]
            pinned = str(said.get("integrity", "")).startswith("sha512-")
            yield Locked("npm", lock.name, name, said["version"], pinned, str(said.get("license", _UNKNOWN)))


def _go(module: Path, root: Path) -> Iterator[Locked]:
    sums = module.with_name("go.sum").read_text(encoding="utf-8")
    for name, version in _MODULE.findall(module.read_text(encoding="utf-8")):
        pinned = f"{name} {version} h1:" in sums
        yield Locked("go", str(module.relative_to(root)), name, version, pinned, _UNKNOWN)
