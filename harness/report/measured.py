"""The measurements of a run, read back from its results; and what is kept of one where its raw samples are too many.

A file that is damaged takes its own measurement away, and nothing else.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

from harness.core import UsageError
from harness.measure import Better, Measurement, records
from harness.report.cells import Cell

ATTACHED = "measurement "
"""How the names of these attachments begin."""
UNCERTAINTY = "_uncertainty"
"""``clock_offset_uncertainty`` says how well ``clock_offset`` is known, and is no measurement by itself."""
_DIGITS = 6
"""Significant digits: no clock or counter of a guest tells more, and each digit is kept for every run for ever."""
_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Spread:
    """Raw samples in five numbers (J. Tukey, Exploratory Data Analysis, 1977), in the unit of the samples.

    Args:
        count: how many samples there were.
        least: the smallest.
        lower: the lower quartile.
        median: the middle one.
        upper: the upper quartile.
        most: the largest.
    """

    count: int
    least: float
    lower: float
    median: float
    upper: float
    most: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> Spread | None:
        """The five numbers of two samples or more; None for fewer: there is no spread to tell of."""
        if len(samples) < 2:
            return None
        lower, middle, upper = quantiles(samples, n=4, method="inclusive")
        numbers = (rounded(one) for one in (min(samples), lower, middle, upper, max(samples)))
        return cls(len(samples), *numbers)


@dataclass(frozen=True, slots=True)
class Figure:
    """One measurement as it is kept.

    Args:
        name: ``boot_kernel``; unique within its check.
        value: in ``unit``.
        unit: ``s``, ``B/s``; empty for a ratio.
        better: which way it improves.
        uncertainty: half the width of the interval that holds the true value, as the check itself or the samples tell;
            None: nobody knows.
        spread: its raw samples in five numbers; None: it has none.
    """

    name: str
    value: float
    unit: str = ""
    better: Better = Better.HIGHER
    uncertainty: float | None = None
    spread: Spread | None = None


class Measurements:
    """Everything a run measured, raw samples included.

    Args:
        results: the folder of its results. A measurement that was taken lies there in a file of its own
            (:mod:`harness.measure.records`); runs of an older harness have theirs as attachments alone.
    """

    def __init__(self, results: Path) -> None:
        found = records.read(results)
        self.damaged = found.damaged
        self._kept: dict[str, list[Measurement]] = {}
        for one in found:
            self._kept.setdefault(one.history, []).append(one.measurement)

    def of(self, cell: Cell) -> dict[str, Measurement]:
        """What a result measured, by name."""
        return {one.name: one for one in [*_attached(cell), *self._kept.get(cell.history, ())]}

    def figures(self, cell: Cell) -> tuple[Figure, ...]:
        """The same as it is kept, sorted by name."""
        return summarised(list(self.of(cell).values()))


def summarised(taken: Sequence[Measurement]) -> tuple[Figure, ...]:
    """Measurements of one result as they are kept, sorted by name; of two with one name the last."""
    by_name = {one.name: one for one in taken}
    found = []
    for name in sorted(by_name):
        if name.endswith(UNCERTAINTY) and name.removesuffix(UNCERTAINTY) in by_name:
            continue
        one, stated = by_name[name], by_name.get(name + UNCERTAINTY)
        known = stated.value if stated else uncertainty(one.value, one.samples)
        found.append(
            Figure(
                name,
                rounded(one.value),
                one.unit,
                one.better,
                None if known is None else rounded(known),
                Spread.of(one.samples),
            )
        )
    return tuple(found)


def _attached(cell: Cell) -> Iterator[Measurement]:
    """The measurements that lie with a result as attachments, raw samples included."""
    for name, path in cell.attachments:
        if name.startswith(ATTACHED):
            found = _read(path)
            if found is not None:
                yield found


def uncertainty(value: float, samples: Sequence[float]) -> float | None:
    """How well the median of samples is known: half the width of its distribution-free 95 % interval.

    The interval lies between two order statistics, whose ranks the binomial distribution with p = 1/2 gives (H. A.
    David and H. N. Nagaraja, Order Statistics, 3rd edition, 2003, section 7.1).

    Args:
        value: the figure that was made of the samples.
        samples: six or more.

    Returns:
        None where the samples are too few for such an interval, or the figure is not their median: what is known of a
        maximum or a distance these ranks don't tell.
    """
    count = len(samples)
    if count < 6 or not math.isclose(median(samples), value, rel_tol=1e-6, abs_tol=1e-300):
        return None
    # The largest rank r at which P(fewer than r of n coins show heads) is at most 2.5 %.
    rank, tail = 0, 0.0
    while (tail := tail + math.comb(count, rank) / 2**count) <= (1 - _CONFIDENCE) / 2:
        rank += 1
    ordered = sorted(samples)
    return (ordered[count - rank] - ordered[rank - 1]) / 2


def rounded(value: float) -> float:
    """A number with as many digits as mean something."""
    return float(f"{value:.{_DIGITS}g}")


def _read(path: Path) -> Measurement | None:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        return Measurement(
            str(said["name"]),
            float(said["value"]),
            str(said.get("unit", "")),
            Better(said.get("better", Better.HIGHER)),
            tuple(float(one) for one in said.get("samples", ())),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, UsageError):
        return None
