"""Where results of a night go: a folder, or an object store, by fsspec.

::

    NIGHT/                                  shared-20260301-2000
      night.json                            what was planned and what was left out
      cells/HOST/FIRMWARE/IMAGE/RELEASE/    one cell
        1/begun.json                        its first attempt: who began it, and when
        1/run/                              the folder of a pytest run: results and all
        1/ended.json                        written last: without it the attempt's worker died, or still runs
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.core import LabError, UsageError

BEGUN, ENDED, RUN = "begun.json", "ended.json", "run"
_NIGHT, _CELLS = "night.json", "cells"


class Place:
    """Where results of nights go.

    Args:
        url: a folder, or a URL that fsspec knows.

    Raises:
        UsageError: fsspec knows no such place, or lacks what it needs for it.
    """

    def __init__(self, url: str) -> None:
        try:
            from fsspec.core import url_to_fs  # noqa: PLC0415 - an extra: only nights need it
        except ImportError as error:
            raise UsageError("nights need fsspec", hint="pip install 'interop-harness[shared]'") from error
        self.url = url
        try:
            self._files, root = url_to_fs(str(Path(url).expanduser().absolute()) if "://" not in url else url)
        except (ImportError, ValueError) as error:
            raise UsageError(f"results cannot go to {_scheme(url)}: {error}") from error
        self._root = str(root).rstrip("/")

    def nights(self) -> list[str]:
        """The names of the nights there, oldest first."""
        with self._told("list"):
            if not self._files.exists(self._root):
                return []
            found = self._files.glob(f"{self._root}/*/{_NIGHT}")
        return sorted(str(path).split("/")[-2] for path in found)

    def put_night(self, night: str, said: dict[str, Any]) -> None:
        """Write down what a night is to be."""
        self._write(f"{night}/{_NIGHT}", said)

    def night(self, night: str) -> dict[str, Any]:
        """What it was to be.

        Raises:
            UsageError: there is no such night.
        """
        said = self._read(f"{night}/{_NIGHT}")
        if said is None:
            raise UsageError(f"{_scheme(self.url)}: no night is called {night!r}")
        return said

    def begin(self, night: str, cell: str, attempt: int, said: dict[str, Any]) -> None:
        """Say that an attempt at a cell begins."""
        self._write(f"{self._at(night, cell, attempt)}/{BEGUN}", said)

    def end(self, night: str, cell: str, attempt: int, run: Path, said: dict[str, Any]) -> None:
        """Bring an attempt's results, and say last how it ended: who reads that finds them whole."""
        at = self._at(night, cell, attempt)
        with self._told("write"):
            if run.is_dir():
                # The slash: the folder's content, whether or not the other side has the folder.
                self._files.put(f"{run}/", f"{self._root}/{at}/{RUN}/", recursive=True)
        self._write(f"{at}/{ENDED}", said)

    def has_ended(self, night: str, cell: str, attempt: int) -> bool:
        """Whether it is known there how an attempt ended."""
        return self._read(f"{self._at(night, cell, attempt)}/{ENDED}") is not None

    def attempts(self, night: str) -> dict[str, dict[int, dict[str, Any]]]:
        """By cell and attempt, what was said when it began and ended: keys ``begun`` and ``ended``."""
        with self._told("list"):
            base = f"{self._root}/{night}/{_CELLS}/"
            found = [*self._files.glob(f"{base}*/*/*/*/*/{BEGUN}"), *self._files.glob(f"{base}*/*/*/*/*/{ENDED}")]
        attempts: dict[str, dict[int, dict[str, Any]]] = {}
        for path in map(str, found):
            *cell, attempt, name = path.split("/")[-6:]
            said = self._read(f"{night}/{_CELLS}/{'/'.join([*cell, attempt, name])}")
            if attempt.isdigit() and said is not None:
                attempts.setdefault("/".join(cell), {}).setdefault(int(attempt), {})[name.removesuffix(".json")] = said
        return attempts

    def fetch(self, night: str, cell: str, attempt: int, into: Path) -> Path | None:
        """An attempt's run as a folder here; None where it left no results.

        Args:
            night: which.
            cell: its name.
            attempt: which of its attempts.
            into: what is not here yet is copied below it.
        """
        at = f"{self._root}/{self._at(night, cell, attempt)}/{RUN}"
        with self._told("read"):
            if not self._files.exists(at):
                return None
            if "file" in _protocols(self._files):
                return Path(at)
            into.mkdir(parents=True, exist_ok=True)
            self._files.get(f"{at}/", f"{into}/", recursive=True)
        return into

    def _at(self, night: str, cell: str, attempt: int) -> str:
        return f"{night}/{_CELLS}/{cell}/{attempt}"

    def _write(self, path: str, said: dict[str, Any]) -> None:
        with self._told("write"):
            whole = f"{self._root}/{path}"
            self._files.makedirs(whole.rpartition("/")[0], exist_ok=True)
            self._files.pipe_file(whole, json.dumps(said, indent=1, sort_keys=True).encode())

    def _read(self, path: str) -> dict[str, Any] | None:
        with self._told("read"):
            try:
                said = json.loads(self._files.cat_file(f"{self._root}/{path}"))
            except FileNotFoundError:
                return None
            except ValueError as error:
                raise LabError(f"{_scheme(self.url)}: {path} is no JSON: {error}", operation="results") from error
        return said if isinstance(said, dict) else None

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:  # fsspec's own word for everything that goes wrong in a store
            raise LabError(f"{_scheme(self.url)}: cannot {what}: {error}", operation="results") from error


def _scheme(url: str) -> str:
    """A place in words; what a URL may carry of an account is left out."""
    scheme, bar, rest = url.partition("://")
    return f"{scheme}{bar}{rest.rpartition('@')[2]}"


def _protocols(files: Any) -> tuple[str, ...]:
    return (files.protocol,) if isinstance(files.protocol, str) else tuple(files.protocol)
