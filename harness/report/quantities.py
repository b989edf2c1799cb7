"""Numbers as people read them: three or four digits, a fitting prefix, and the same one for all that stand in a row."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

_SECONDS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
_BYTES = tuple((1024.0**power, f"{prefix}B") for power, prefix in ((3, "Gi"), (2, "Mi"), (1, "Ki"), (0, "")))
_LADDERS = {
    "s": _SECONDS,
    "ms": tuple((factor / 1e-3, unit) for factor, unit in _SECONDS),
    "ns": tuple((factor / 1e-9, unit) for factor, unit in _SECONDS),
    "B": _BYTES,
    "B/s": tuple((factor, f"{unit}/s") for factor, unit in _BYTES),
}
"""By unit: how many of it make one of each larger or smaller unit, largest first. Others stay as they are."""


@dataclass(frozen=True, slots=True)
class Scale:
    """A unit to show numbers in.

    Args:
        unit: as it is shown.
        factor: how many of the measurement's own unit make one.
    """

    unit: str
    factor: float = 1.0

    @classmethod
    def of(cls, unit: str, values: Iterable[float]) -> Scale:
        """The unit in which the largest of ``values`` has one to three digits before the point.

        Args:
            unit: the measurement's own.
            values: in that unit.
        """
        largest = max((abs(value) for value in values), default=0.0)
        ladder = _LADDERS.get(unit)
        if ladder is None:
            return cls(unit)
        if not largest:
            return cls(unit)
        for factor, shown in ladder:
            if largest >= factor:
                return cls(shown, factor)
        factor, shown = ladder[-1]
        return cls(shown, factor)

    def number(self, value: float) -> str:
        """``value`` without its unit."""
        return digits(value / self.factor)

    def text(self, value: float) -> str:
        """``value`` with its unit."""
        return f"{self.number(value)} {self.unit}".rstrip()


def digits(value: float, significant: int = 3) -> str:
    """A number with so many significant digits, and none of the integer part dropped: ``45.2``, ``0.000604``, ``1234``.

    Very small and very large ones stand with an exponent.
    """
    if value == 0:
        return "0"
    magnitude = math.floor(math.log10(abs(value)))
    if not -5 <= magnitude < 7:
        return f"{value:.{significant - 1}e}"
    text = f"{value:.{max(significant - 1 - magnitude, 0)}f}"
    return text if float(text) else "0"


def change(value: float, reference: float) -> str:
    """By how much ``value`` differs from ``reference``: ``+3.4 %``, ``×12`` from tenfold on; empty without a base."""
    if reference == 0:
        return "" if value else "0 %"
    ratio = value / reference
    if ratio >= 10:
        return f"×{ratio:.0f}"
    percent = 100 * (ratio - 1) * (1 if reference > 0 else -1)
    text = f"{percent:+.1f}" if abs(percent) < 10 else f"{percent:+.0f}"
    return f"{text} %" if float(text) else "0 %"
