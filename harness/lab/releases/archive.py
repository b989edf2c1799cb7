"""Packages from the archive that images are built from: apt verifies its signature, in a place of its own.

Nothing of this machine's apt is changed: lists and settings are kept in the harness's cache.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from filelock import FileLock

from harness.core import Deadline, LabError, paths
from harness.core.process import need, run
from harness.image import debian_sources

ARCHITECTURE = "amd64"
"""What guests are."""


class Archive:
    """One suite of the archive.

    Args:
        suite: ``bookworm``, ``bookworm-backports`` ...
        folder: where apt keeps its lists; default: in the cache.
    """

    def __init__(self, suite: str, folder: Path | None = None) -> None:
        self.suite = suite
        self._folder = folder or paths.cache() / "releases" / "apt" / suite
        self._fresh = False

    def fetch(self, name: str, version: str, into: Path, deadline: Deadline) -> Path:
        """Download one version of a package.

        Args:
            name: the package.
            version: its whole version.
            into: the folder that gets the file.
            deadline: when to give up.

        Raises:
            NotThere: the suite has no such version.
            LabError: the archive cannot be reached, or its signature or a hash is wrong.
        """
        offered = self.versions(name, deadline)
        if version not in offered:
            raise NotThere(self.suite, name, version, offered)
        with TemporaryDirectory(dir=into) as folder:
            # `=` sets the version apart and no version holds a blank: nothing here can become an option.
            run([*self._apt("apt-get"), "download", f"{name}={version}"], deadline, cwd=Path(folder), env=_english())
            found = list(Path(folder).glob("*.deb"))
            if len(found) != 1:
                raise LabError(f"apt-get download left {[path.name for path in found]}", operation="download")
            return found[0].replace(into / found[0].name)

    def versions(self, name: str, deadline: Deadline) -> tuple[str, ...]:
        """The versions of a package that the suite has, newest first.

        Raises:
            LabError: as :meth:`fetch`.
        """
        self._update(deadline)
        said = run([*self._apt("apt-cache"), "madison", name], deadline, env=_english()).decode("utf-8", "replace")
        return tuple(parse_madison(said, name))

    def _update(self, deadline: Deadline) -> None:
        if self._fresh:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self._folder / ".lock", timeout=deadline.seconds):
            for needed in ("state/lists/partial", "cache/archives/partial", "parts"):
                (self._folder / needed).mkdir(parents=True, exist_ok=True)
            (self._folder / "archive.sources").write_text(debian_sources.sources_of(self.suite), encoding="utf-8")
            settings = [f"{line};" for line in debian_sources.options(deadline)]
            # The lists and no more: descriptions in other languages and icons are of no use here.
            settings += ['Acquire::Languages "none";', 'Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";']
            settings += ['Acquire::IndexTargets::deb::CNF::DefaultEnabled "false";']
            (self._folder / "apt.conf").write_text("\n".join(settings) + "\n", encoding="utf-8")
            # Else a mirror that cannot be reached is a mere warning.
            run([*self._apt("apt-get"), "--error-on=any", "--quiet", "update"], deadline, env=_english())
        self._fresh = True

    def _apt(self, tool: str) -> Sequence[str | Path]:
        options = {
            "Dir::State": self._folder / "state",
            "Dir::State::lists": self._folder / "state" / "lists",
            "Dir::State::status": "/dev/null",
            "Dir::Cache": self._folder / "cache",
            "Dir::Etc::sourcelist": self._folder / "archive.sources",
            "Dir::Etc::sourceparts": self._folder / "parts",
            "APT::Architecture": ARCHITECTURE,
            "APT::Architectures": ARCHITECTURE,
            # As root apt becomes a user who may not write here.
            "APT::Sandbox::User": "root",
        }
        return [
            need(tool, "apt"),
            f"--config-file={self._folder / 'apt.conf'}",
            *(f"--option={key}={value}" for key, value in options.items()),
        ]


class NotThere(Exception):
    """The suite does not have the version that was asked for.

    Args:
        suite: which.
        name: the package.
        version: what was asked for.
        offered: the versions that it has.
    """

    def __init__(self, suite: str, name: str, version: str, offered: Sequence[str]) -> None:
        has = ", ".join(offered) or "none at all"
        super().__init__(f"{suite} has no {name} {version}; it has {has}")
        self.offered = tuple(offered)


def parse_madison(said: str, name: str) -> list[str]:
    """``apt-cache madison``: ``package | version | where``, a line a version."""
    lines = [[part.strip() for part in line.split("|")] for line in said.splitlines()]
    return list(
        dict.fromkeys(parts[1] for parts in lines if len(parts) == 3 and parts[0] == name and _packages(parts[2]))
    )


def _packages(where: str) -> bool:
    return re.search(r"\bPackages$", where) is not None


def _english() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C.UTF-8"}
