"""From a release file, or its name, to a :class:`Release`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from harness.backends import registry
from harness.core import UsageError
from harness.core.config import check, complaint, nearest, parse_yaml, problem, read_text
from harness.core.named import Shelf
from harness.lab.releases.models import MustChange, ReleaseFile, Required, Side

_RELEASES = Shelf("releases", "release", "`interop release list` shows them")


class Which(StrEnum):
    """A side of a release."""

    BASELINE = "baseline"
    CANDIDATE = "candidate"


@dataclass(frozen=True, slots=True)
class Release:
    """A release, as its file has it.

    Args:
        name: what it is called.
        path: its file.
        said: what stands in it.
        tree: the same with lines and columns, for messages.
    """

    name: str
    path: Path
    said: ReleaseFile
    tree: Any = field(repr=False, compare=False)

    @classmethod
    def load(cls, name_or_path: str | Path) -> Self:
        """Read a release: a path, or a name that ``./configs/releases`` or the product's ``configs/releases`` holds.

        Raises:
            UsageError: there is none; or one line ``file:line:column dotted.path: problem`` for everything wrong in it.
        """
        path = find_release(name_or_path)
        return cls.read(read_text(path), path)

    @classmethod
    def read(cls, text: str, path: Path) -> Self:
        """Check a release file's text; ``path`` is where it stands.

        Raises:
            UsageError: as :meth:`load`.
        """
        tree = parse_yaml(text, str(path))
        said, problems = check(tree, ReleaseFile)
        if said is not None:
            known = {*registry.names(), *registry.KNOWN}
            problems = [
                problem(tree, ("hosts", at), f"no backend is called {name!r}{nearest(name, known)}")
                for at, name in enumerate(said.hosts)
                if name not in known
            ]
        if said is None or problems:
            raise complaint(str(path), problems)
        return cls(said.name or path.stem, path.resolve(), said, tree)

    @classmethod
    def asked(cls, text: str) -> tuple[Self, Which]:
        """What ``--release`` names: ``NAME``, ``FILE``, and ``@baseline`` behind for that side; else the candidate.

        Raises:
            UsageError: as :meth:`load`; or there is no such side.
        """
        name, at, side = text.rpartition("@")
        if not at or "/" in side:
            return cls.load(text), Which.CANDIDATE
        if side not in set(Which):
            hint = "write NAME for the candidate, or NAME@baseline"
            raise UsageError(
                f"--release {text}: a release has no side {side!r}{nearest(side, map(str, Which))}", hint=hint
            )
        return cls.load(name), Which(side)

    def side(self, which: Which) -> Side:
        """One of its two sides."""
        return self.said.baseline if which is Which.BASELINE else self.said.candidate

    @property
    def baseline(self) -> Side:
        """What is trusted today."""
        return self.said.baseline

    @property
    def candidate(self) -> Side:
        """What may ship tomorrow."""
        return self.said.candidate

    @property
    def hosts(self) -> tuple[str, ...]:
        """The backends whose guests get it."""
        return self.said.hosts

    @property
    def services(self) -> tuple[str, ...]:
        """Units that must run; of each, the names that distributions give it, with blanks between."""
        return self.said.services

    @property
    def must_change(self) -> MustChange:
        """What must be of another version on the candidate's side."""
        return self.said.must_change

    @property
    def required(self) -> tuple[Required, ...]:
        """The checks that must pass for a sign-off."""
        return self.said.required

    @property
    def measure(self) -> Mapping[str, float]:
        """By measurement, the relative loss that does not matter."""
        return self.said.measure

    def digest(self, which: Which) -> str:
        """What decides how a guest of this side comes about: sha256, hex, over pins and commands.

        The candidate is installed over the baseline, as its users do it, so its digest holds both. Paths do not count.
        """
        sides = [self.baseline] if which is Which.BASELINE else [self.baseline, self.candidate]
        seen = self.must_change.model_dump(mode="json")
        text = json.dumps([[_contents(side) for side in sides], seen, self.services], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def word(self, which: Which) -> str:
        """As ``--release`` takes it and reports show it."""
        return self.name if which is Which.CANDIDATE else f"{self.name}@{which}"

    def option(self, which: Which) -> str:
        """As ``--release`` finds this very file from anywhere."""
        return str(self.path) if which is Which.CANDIDATE else f"{self.path}@{which}"


def _contents(side: Side) -> dict[str, Any]:
    told: dict[str, Any] = side.model_dump(mode="json")
    for file in (*told["files"], *([told["tarball"]] if told["tarball"] else [])):
        del file["path"]
    return told


def find_release(name_or_path: str | Path) -> Path:
    """The file of a release.

    Raises:
        UsageError: there is none; suggests the nearest name.
    """
    return _RELEASES.find(name_or_path)


def releases() -> dict[str, Path]:
    """The releases that can be named, those of the working directory before the product's own."""
    return _RELEASES.files()


def release_schema() -> dict[str, Any]:
    """The JSON Schema of release files."""
    return ReleaseFile.model_json_schema()
