"""A named number with its unit, the direction that is better, and the raw samples it was made from."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from harness.core import UsageError


class Better(StrEnum):
    """Which way a measurement improves."""

    HIGHER = "higher"
    LOWER = "lower"


@dataclass(frozen=True, slots=True)
class Measurement:
    """One figure of one check on one host.

    Args:
        name: what was measured, unique within its check: ``offset``, ``write throughput``.
        value: the figure itself.
        unit: ``s``, ``MiB/s``, ``%``; empty for a ratio.
        better: which way it improves.
        samples: the raw values it was made from, in the order they were taken.

    Raises:
        UsageError: no name, or a figure that is no finite number.
    """

    name: str
    value: float
    unit: str = ""
    better: Better = Better.HIGHER
    samples: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise UsageError("a measurement needs a name")
        wrong = [number for number in (self.value, *self.samples) if not math.isfinite(number)]
        if wrong:
            raise UsageError(f"measurement {self.name!r}: {wrong[0]} is not a finite number")

    def __str__(self) -> str:
        return f"{self.name} {self.value:.6g} {self.unit}".rstrip()

    def plain(self) -> dict[str, Any]:
        """As JSON-able data: what is attached to a result, and what later comparisons read."""
        return asdict(self) | {"better": self.better.value, "samples": list(self.samples)}
