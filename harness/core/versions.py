"""Versions compared as dpkg compares them, and ranges of them (``>=2:12.1, <13``).

The order is that of Debian Policy 5.6.12 (deb-version(7)): an epoch, the upstream version, a revision; in the latter
two, runs of digits count as numbers, letters sort before all else, and ``~`` sorts before the end of the version. rpm
orders the versions that distributions really give (digits, dots, ``~``) alike; it takes all separators for equal, and
where that matters a range can be written without them.
"""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from itertools import zip_longest
from typing import Annotated, Self

from pydantic import AfterValidator

from harness.core.errors import UsageError

_BOUND = re.compile(r"(>=|<=|==|>|<)\s*((?:\d+:)?\d[A-Za-z0-9.+~^:_-]*)")
_COMPARE = {">=": operator.ge, "<=": operator.le, "==": operator.eq, ">": operator.gt, "<": operator.lt}
_END = ((0,), 0)

# What distributions append to the release of a kernel: a flavour (-amd64, -azure, -cloud-amd64) or an architecture.
_FLAVOUR = re.compile(r"(?:-(?!rc\d)[a-z][a-z0-9_]*)+$|\.(?:x86_64|aarch64|ppc64le|s390x|i686)$")


@dataclass(frozen=True, slots=True)
class Version:
    """A version in its three parts.

    Args:
        epoch: the number before the first colon; None where there is none, which counts as 0.
        upstream: the version of those who wrote the program.
        revision: what stands behind the last hyphen; None where there is none, which counts as 0.
    """

    epoch: int | None
    upstream: str
    revision: str | None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Take a version apart; any text is one."""
        epoch, colon, rest = text.strip().partition(":")
        if not (colon and epoch.isdecimal()):
            epoch, rest = "", text.strip()
        upstream, hyphen, revision = rest.rpartition("-")
        return cls(int(epoch) if epoch else None, upstream if hyphen else rest, revision if hyphen else None)

    @classmethod
    def of_kernel(cls, release: str) -> Self:
        """The version in a kernel's release (``uname -r``): without its flavour, and a release candidate is older."""
        return cls.parse(re.sub(r"-rc(\d+)", r"~rc\1", _FLAVOUR.sub("", release.strip())))

    def compared(self, other: Version) -> int:
        """Less than 0 where this is older than ``other``, 0 where they are equal, more where it is newer."""
        if (self.epoch or 0) != (other.epoch or 0):
            return -1 if (self.epoch or 0) < (other.epoch or 0) else 1
        return _compared(self.upstream, other.upstream) or _compared(self.revision or "0", other.revision or "0")


def compare(one: str, other: str) -> int:
    """Two versions in dpkg's order: less than 0 where ``one`` is older, 0 where they are equal, more where newer."""
    return Version.parse(one).compared(Version.parse(other))


def check_range(text: str) -> str:
    """Check a range such as ``>=2:12.1, <13``, and give it back.

    Raises:
        ValueError: it is none.
    """
    for part in text.split(","):
        if not _BOUND.fullmatch(part.strip()):
            raise ValueError(
                f"{part.strip()!r} is no bound of versions; write for example '>=8.0' or '>=5.10, <6.1.0-40'"
            )
    return text


def within(seen: Version, wanted: str) -> bool:
    """Whether a version lies in a range.

    What a bound leaves out does not count: without an epoch it is held against every epoch, and without a revision
    against every revision (``==12.2.0`` holds ``2:12.2.0-1+deb12u4``).

    Args:
        seen: the version.
        wanted: bounds with commas between them, all of which must hold.

    Raises:
        UsageError: ``wanted`` is no range.
    """
    for part in wanted.split(","):
        found = _BOUND.fullmatch(part.strip())
        if found is None:
            raise UsageError(f"{wanted!r} is no range of versions")
        bound = Version.parse(found[2])
        epoch = None if bound.epoch is None else seen.epoch
        revision = None if bound.revision is None else seen.revision
        if not _COMPARE[found[1]](Version(epoch, seen.upstream, revision).compared(bound), 0):
            return False
    return True


VersionRange = Annotated[str, AfterValidator(check_range)]
"""A range of versions, as a file's field."""


def _compared(one: str, other: str) -> int:
    for left, right in zip_longest(_parts(one), _parts(other), fillvalue=_END):
        if left != right:
            return -1 if left < right else 1
    return 0


def _parts(text: str) -> list[tuple[tuple[int, ...], int]]:
    """What is no digit, letter by letter and with its end, and the number behind it; in turn."""
    return [((*map(_weight, words), 0), int(digits or 0)) for words, digits in re.findall(r"([^0-9]*)([0-9]*)", text)]


def _weight(letter: str) -> int:
    if letter == "~":
        return -1
    return ord(letter) if letter.isascii() and letter.isalpha() else ord(letter) + 256
