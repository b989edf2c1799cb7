"""How slow the slow ones are: latencies by percentile, the tail stretched (G. Tene, HdrHistogram)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.report.plots.chart import Axis, Chart, Drawing, logarithmic
from harness.report.plots.series import Colours, Where
from harness.report.quantities import Scale

_TOLD = (50.0, 90.0, 99.0, 99.9)
_FEW = 20
"""Samples below which nothing can be said of a distribution."""
_POINTS = 80


@dataclass(frozen=True, slots=True)
class Samples:
    """Raw samples of one measurement on each pool.

    Args:
        name: identifies it (``answer``).
        label: what was measured, by which check.
        unit: of the samples.
        values: by pool.
    """

    name: str
    label: str
    unit: str
    values: Mapping[Where, Sequence[float]]


def latencies(samples: Sequence[Samples], colours: Colours) -> list[Drawing]:
    """A chart for each measurement that has samples enough on some pool."""
    found = []
    for one in samples:
        enough = {whose: sorted(values) for whose, values in sorted(one.values.items()) if len(values) >= _FEW}
        if enough and max(values[-1] for values in enough.values()) > 0:
            found.append(_drawing(one, enough, colours))
    return found


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The smallest of sorted values that so many percent of them do not exceed (nearest rank)."""
    return ordered[max(math.ceil(len(ordered) * percent / 100 - 1e-9), 1) - 1]


def _beyond(ordered: Sequence[float], percent: float) -> bool:
    """Whether a sample lies beyond a percentile."""
    return len(ordered) * (100 - percent) / 100 >= 1 - 1e-9


def _drawing(one: Samples, values: Mapping[Where, Sequence[float]], colours: Colours) -> Drawing:
    most = max(len(ordered) for ordered in values.values())
    scale = Scale.of(one.unit, [percentile(ordered, 99) for ordered in values.values()])
    floor = min(value for ordered in values.values() for value in ordered[len(ordered) // 10 :] if value > 0)
    top = max(ordered[-1] for ordered in values.values())
    y = logarithmic(f"latency ({scale.unit})", [floor / scale.factor, top / scale.factor])
    said = [
        f"{whose.words}: half within {scale.text(percentile(ordered, 50))}, 99 % within "
        f"{scale.text(percentile(ordered, 99))}"
        for whose, ordered in values.items()
    ]
    title = f"Latency by percentile: {one.label}"
    chart = Chart(f"latency-{one.name}", title, ". ".join(said), _percentiles(most), y)
    for whose, ordered in values.items():
        series = colours[whose]
        points = [
            (1 / (1 - rank / len(ordered)), max(ordered[rank] / scale.factor, y.low)) for rank in _ranks(len(ordered))
        ]
        chart.line(points, series)
        for told in _TOLD:
            if _beyond(ordered, told):
                chart.mark(100 / (100 - told), percentile(ordered, told) / scale.factor, series)
        chart.legend(f"{whose.words}, {len(ordered)} samples", series)
    return Drawing(
        f"latency-{one.name}",
        title,
        ". ".join(said) + ".",
        chart.svg(),
        ("pool", "samples", *(f"{told:g} % ({scale.unit})" for told in _TOLD), f"slowest ({scale.unit})"),
        tuple(
            (
                whose.words,
                str(len(ordered)),
                *(scale.number(percentile(ordered, told)) if _beyond(ordered, told) else "" for told in _TOLD),
                scale.number(ordered[-1]),
            )
            for whose, ordered in values.items()
        ),
        "From left to right each step is ten times as rare. A percentile stands where a sample or more lies beyond it.",
    )


def _percentiles(most: int) -> Axis:
    """Equal distances from the median to one in ten, in a hundred, in a thousand ...: no further than samples tell."""
    ticks = [
        (1.0, "0"),
        (2.0, "50"),
        (4.0, "75"),
        (10.0, "90"),
        (100.0, "99"),
        (1e3, "99.9"),
        (1e4, "99.99"),
        (1e5, "99.999"),
    ]
    high = float(max(most, 10))
    return Axis("percentile (%)", 1.0, high, tuple(tick for tick in ticks if tick[0] <= high), log=True)


def _ranks(count: int) -> list[int]:
    """Which of so many sorted samples a line goes through: evenly on its axis, the largest among them."""
    chosen = {round(count * (1 - count ** -(step / (_POINTS - 1)))) for step in range(_POINTS)}
    return sorted(min(rank, count - 1) for rank in chosen)
