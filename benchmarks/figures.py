"""Samples, their median and spread, and ratios of two series."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Series:
    """What was measured several times, in seconds."""

    name: str
    samples: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle of the samples."""
        return statistics.median(self.samples)

    @property
    def spread(self) -> tuple[float, float]:
        """The least and the greatest sample."""
        return min(self.samples), max(self.samples)

    def __str__(self) -> str:
        low, high = self.spread
        return f"{self.name} {_seconds(self.median)} ({_seconds(low)} to {_seconds(high)}, n={len(self.samples)})"


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the outcome: a value, what it is made of, and what was promised.

    Args:
        name: what it is.
        value: the ratio, or seconds where ``unit`` says so.
        promise: at most this is promised; None: nothing is.
        parts: the series it was computed from.
        unit: empty for a ratio.
    """

    name: str
    value: float
    promise: float | None
    parts: tuple[Series, ...]
    unit: str = ""

    @property
    def kept(self) -> bool:
        """Whether the promise is kept."""
        return self.promise is None or self.value <= self.promise

    @property
    def spread(self) -> tuple[float, float]:
        """The least and the greatest value of the first part's samples, against the median of the second."""
        first, *others = self.parts
        base = others[0].median if others else 1.0
        return first.spread[0] / base, first.spread[1] / base


def ratio(name: str, top: Series, bottom: Series, promise: float | None) -> Figure:
    """The median of one series over that of another."""
    return Figure(name, top.median / bottom.median, promise, (top, bottom))


def absolute(name: str, series: Series, promise: float | None) -> Figure:
    """The median of one series, in seconds."""
    return Figure(name, series.median, promise, (series,), unit="s")


def timed(action: Callable[[], object], clock: Callable[[], float] = time.monotonic) -> float:
    """How long ``action`` took, in seconds."""
    began = clock()
    action()
    return clock() - began


def _seconds(value: float) -> str:
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"


def lines(figures: Sequence[Figure]) -> list[list[str]]:
    """The figures as rows of a table: name, value, spread, promise, and the parts."""
    rows = []
    for figure in figures:
        low, high = figure.spread
        promise = "" if figure.promise is None else f"<= {figure.promise:g}{' ' + figure.unit if figure.unit else ''}"
        unit = f" {figure.unit}" if figure.unit else ""
        rows.append(
            [
                figure.name,
                f"{figure.value:.3f}{unit}",
                f"{low:.3f} to {high:.3f}",
                f"{promise} {'kept' if figure.kept else 'NOT KEPT'}" if promise else "",
                "; ".join(str(part) for part in figure.parts),
            ]
        )
    return rows
