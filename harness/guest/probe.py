"""Facts of a guest: how one is read and parsed. :mod:`harness.guest.batch` reads many for one round trip.

Nothing here is cached: a fact is as old as the call that read it.
"""

from __future__ import annotations

import csv
import json
import math
import shlex
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from harness.core import GuestError
from harness.guest.result import Result

T = TypeVar("T")

CAT = ("cat", "--")
"""What reads a file; a batch reads neighbouring ones in one process."""


_NONSENSE = (
    *(ValueError, LookupError, AttributeError, TypeError, ArithmeticError, RecursionError),
    *(struct.error, csv.Error),
)
"""What parsers raise of what they cannot read: also of numbers beyond all bounds, and of JSON nested without end."""


class ProbeFailed(GuestError):
    """A fact could not be read, or did not look as it must."""


@dataclass(frozen=True, slots=True)
class Probe(Generic[T]):
    """One fact of a guest.

    Args:
        name: what it is, for messages.
        argv: the command that prints it; no shell reads these words.
        parse: makes the value from the command's stdout.
        accept: statuses that are no failure.
    """

    name: str
    argv: tuple[str, ...]
    parse: Callable[[bytes], T]
    accept: tuple[int, ...] = (0,)

    @staticmethod
    def file(path: str, parse: Callable[[bytes], T], *, name: str = "") -> Probe[T]:
        """A file's content. Many of these in one batch cost the guest hardly more than one."""
        return Probe(name or path, (*CAT, path), parse)

    @staticmethod
    def maybe_file(path: str, parse: Callable[[bytes | None], T], *, name: str = "") -> Probe[T]:
        """A file's content, or None where there is no such file (or the guest cannot read it)."""
        # One process, and a missing file is told from an empty one by the first byte.
        line = 'if [ -r "$1" ]; then printf +; exec cat -- "$1"; fi'
        return Probe(
            name or path, ("sh", "-c", line, "-", path), lambda data: parse(data[1:] if data[:1] == b"+" else None)
        )

    @staticmethod
    def files(name: str, parse: Callable[[Mapping[str, bytes]], T], *globs: str) -> Probe[T]:
        """The text files that match shell patterns: path to content, in one process for all of them.

        Files that are empty, unreadable or missing are absent. The patterns are expanded by the guest's shell,
        so they must not hold blanks.
        """
        # `grep -Z` ends each path with a NUL: unlike a colon it can stand in neither a path nor a text file.
        line = 'exec grep -sadskip -HZ "" $*'
        return Probe(name, ("sh", "-c", line, "-", *globs), lambda data: parse(_by_path(data)), accept=(0, 1, 2))

    def value(self, result: Result, guest: str) -> T:
        """Parse what the command printed.

        Raises:
            ProbeFailed: its status is not accepted, its output was cut, or the parser could not read it.
        """
        if result.status not in self.accept:
            said = (result.stderr.strip() or result.stdout.strip())[-500:].decode("utf-8", "backslashreplace")
            raise ProbeFailed(f"{guest}: {self.name}: `{shlex.join(self.argv)}` ended with {result.status}: {said}")
        if result.cut:
            raise ProbeFailed(f"{guest}: {self.name}: `{shlex.join(self.argv)}` printed more than is kept")
        try:
            return self.parse(result.stdout)
        except _NONSENSE as error:
            shown, why = result.stdout[:300].decode("utf-8", "backslashreplace"), f"{error}"[:300]
            raise ProbeFailed(f"{guest}: {self.name} does not read as expected ({why}): {shown!r}") from error


def read_json(data: bytes | str) -> Any:
    """What a program in the guest printed as JSON.

    Raises:
        ValueError: it is none; also where a number is none (``NaN``, ``1e999``): JSON has no such (RFC 8259, 6).
    """
    return json.loads(data, parse_float=finite, parse_constant=finite)


def finite(text: str | bytes) -> float:
    """A number that is one.

    Raises:
        ValueError: it is none, or infinite: any comparison with it would be without meaning.
    """
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{number} is no number")
    return number


def _by_path(data: bytes) -> dict[str, bytes]:
    found: dict[str, list[bytes]] = {}
    for line in data.splitlines(keepends=True):
        path, nul, rest = line.partition(b"\0")
        if nul:
            found.setdefault(path.decode("utf-8", "surrogateescape"), []).append(rest)
    return {path: b"".join(lines) for path, lines in found.items()}
