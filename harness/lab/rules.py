"""The files of expectations: rules that say for which hosts they hold, and what such a host must show.

Rules are read from top to bottom; a later entry replaces an earlier one of the same key.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from harness.backends.model import Firmware
from harness.backends.views import HostFacts
from harness.core import Size, paths
from harness.core.config import StrictModel, load_again
from harness.lab.limits import LimitFile

_BOUND = re.compile(r"(>=|<=|==|>|<)\s*(\d+(?:\.\d+)*)")
_COMPARE = {">=": operator.ge, "<=": operator.le, "==": operator.eq, ">": operator.gt, "<": operator.lt}
_SPAN = re.compile(r"(\d+(?:\.\d+)?) ?(ms|s|min|h)")
_SPANS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0}


def _a_range(text: str) -> str:
    for part in text.split(","):
        if not _BOUND.fullmatch(part.strip()):
            raise ValueError("not a range of versions; write for example '>=8.0' or '>=5.10,<6.1'")
    return text


VersionRange = Annotated[str, AfterValidator(_a_range)]


class When(StrictModel):
    """Which hosts a rule is for; what is not named does not matter."""

    product: str | None = None
    """The product's name, as the host states it."""
    version: VersionRange | None = None
    """Versions of the product."""
    build: VersionRange | None = None
    """Builds of the product."""
    accelerated: str | None = None
    """What runs the vCPUs: kvm, tcg, hyperv, vmware."""
    twin: bool | None = None
    """True for stand-in hosts."""
    firmware: Firmware | None = None
    """BIOS or UEFI: Hyper-V's generation 1 and 2."""
    kernel: VersionRange | None = None
    """Versions of the guest's kernel; a rule that names it fits no guest whose kernel is unknown."""

    def fits(self, facts: HostFacts, firmware: Firmware, kernel: str | None) -> bool:
        """Whether everything named agrees."""
        same = (
            (self.product, facts.product),
            (self.accelerated, facts.accelerated),
            (self.twin, facts.twin),
            (self.firmware, firmware),
        )
        ranges = ((self.version, facts.version), (self.build, facts.build), (self.kernel, kernel))
        return all(wanted is None or wanted == seen for wanted, seen in same) and all(
            wanted is None or (seen is not None and within(seen, wanted)) for wanted, seen in ranges
        )


class Rule(StrictModel):
    """What one kind of host must show."""

    when: When = When()
    """Which hosts; empty: all of this backend."""
    shows: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Words of which the guest must show one (or, where a check says so, all)."""
    sizes: dict[str, int | str] = Field(default_factory=dict)
    """How much a check does: a count, ``10 s``, ``1 GiB``."""
    limits: dict[str, LimitFile] = Field(default_factory=dict)
    """Numbers that values are held against."""
    unsupported: dict[str, str | None] = Field(default_factory=dict)
    """Checks, or parts of them (``N12.channels``), that such a host cannot show, with the reason; null: it can."""


class RuleFile(StrictModel):
    """``configs/expectations/<backend>.yaml``."""

    rules: tuple[Rule, ...]
    """From the general to the particular."""


def shipped() -> Path:
    """The folder of the files that ship with the product."""
    return paths.configs() / "expectations"


def rules_of(backend: str, folder: Path | None = None) -> RuleFile:
    """The rules for hosts of a backend; those that ship, where no folder is named.

    Raises:
        UsageError: the file cannot be read or holds something wrong, with line and column.
    """
    return load_again((folder or shipped()) / f"{backend}.yaml", RuleFile)


def kind_of_size(value: int | str) -> str:
    """What a size counts: ``count``, ``duration`` or ``size``; ``word`` where it is none of these."""
    if isinstance(value, int):
        return "count"
    if span_of(value) is not None:
        return "duration"
    try:
        Size.parse(value)
    except ValueError:
        return "word"
    return "size"


def span_of(text: str) -> timedelta | None:
    """``10 s``, ``1.5 min`` as a span of time; None where it is none."""
    found = _SPAN.fullmatch(text)
    return timedelta(seconds=float(found[1]) * _SPANS[found[2]]) if found else None


def within(version: str, wanted: str) -> bool:
    """Whether a dotted version lies in a range such as ``>=5.10,<6.1``.

    Only the leading numbers of ``version`` count (``6.1.0-18-amd64`` is 6.1.0), and missing ones are 0.
    """
    leading = re.match(r"\d+(\.\d+)*", version)
    if not leading:
        return False
    for part in wanted.split(","):
        sign, bound = _BOUND.findall(part)[0]
        ours, theirs = _padded(_numbers(leading[0]), _numbers(bound))
        if not _COMPARE[sign](ours, theirs):
            return False
    return True


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split("."))


def _padded(*versions: Sequence[int]) -> list[tuple[int, ...]]:
    length = max(map(len, versions))
    return [tuple(version) + (0,) * (length - len(version)) for version in versions]
