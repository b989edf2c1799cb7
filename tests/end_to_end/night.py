"""What long tests have shown already, so that a second call goes on where the first one ended.

A journal below ``build/`` for each state of the code: whatever is changed in it, everything must be shown again.
``python -m tests.end_to_end.night NAME COMMAND...`` runs a command unless that was done.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
JOURNALS = CHECKOUT / "build" / "night"
PRODUCT = ("harness", "fixtures", "suites", "configs")
_SPOILING = ("defects", "planting.py", "repeating.py", "telling.py", "calibrated.yaml")
PLANTED = tuple(f"tests/end_to_end/{name}" for name in _SPOILING)
EVERYTHING = (*PRODUCT, "tests", "docs", "benchmarks", "Makefile", "pyproject.toml", "requirements.txt")
_NO_CONTENT = {"__pycache__", "node_modules"}


def content(root: Path, parts: Iterable[str]) -> str:
    """A name for what stands in these files and folders: another where a byte, a name or a place differs."""
    digest = hashlib.sha256()
    for part in sorted(parts):
        for path in sorted(_files(root / part)):
            body = path.read_bytes()
            digest.update(f"{path.relative_to(root)}\0{len(body)}\0".encode())
            digest.update(body)
    return digest.hexdigest()[:16]


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    for below in path.rglob("*") if path.is_dir() else ():
        if below.is_file() and not _NO_CONTENT & set(below.parts) and not below.name.startswith("."):
            yield below


@dataclass
class Night:
    """What was shown of one state of the code.

    Args:
        file: the journal, a line of JSON each; made with its first line.
    """

    file: Path
    _lines: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for line in self.file.read_text(encoding="utf-8").splitlines() if self.file.exists() else ():
            try:
                self._lines.append(json.loads(line))
            except ValueError:  # whoever wrote it was killed while doing so
                continue

    @classmethod
    def of(cls, *parts: str, about: str = "") -> Night:
        """The night of the code as it is now.

        Args:
            parts: the files and folders that matter.
            about: whatever else does, such as the image.
        """
        about = hashlib.sha256(about.encode()).hexdigest()[:8]
        return cls(JOURNALS / f"{content(CHECKOUT, parts)}-{about}.jsonl")

    def all_of(self, name: str) -> list[dict[str, Any]]:
        """What was noted by a name, oldest first."""
        return [line for line in self._lines if line["name"] == name]

    def note(self, name: str, **what: Any) -> None:
        """Note something; it is on disk when this returns."""
        line = {"name": name, **what}
        self.file.parent.mkdir(parents=True, exist_ok=True)
        torn = self.file.exists() and not self.file.read_bytes().endswith(b"\n")
        with self.file.open("a", encoding="utf-8") as journal:
            journal.write("\n" * torn + json.dumps(line) + "\n")
        self._lines.append(line)


def main(argv: list[str]) -> int:
    """Run a command once for this state of the code; its exit status, or 0 where it was done before."""
    name, *command = argv
    night = Night.of(*EVERYTHING)
    if night.all_of(name):
        sys.stdout.write(f"{name}: done before, and nothing was changed since (build/night/{night.file.name})\n")
        return 0
    status = subprocess.run(command, check=False).returncode
    if status == 0:
        night.note(name)
    return status


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
