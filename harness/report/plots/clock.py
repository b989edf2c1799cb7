"""How far guests' clocks were from their hosts', and how fast they ran away, over runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from harness.report.history import Night
from harness.report.plots.chart import Axis, Chart, Drawing, linear, logarithmic, times
from harness.report.plots.series import Colours, Seen, Where, by_pool, measured
from harness.report.quantities import Scale, digits

_FAR = 50.0
"""From this ratio of the largest to the smallest value on a linear axis shows only the largest."""
_ROWS = 10
"""Of each pool, the newest runs that the table shows; the chart shows all that there are."""
_NOTE = "Check {}: sizes without their sign, so that less is better. Bands: within what each reading is uncertain."
_CUT = f"The table has the newest {_ROWS} runs of each pool."


@dataclass(frozen=True, slots=True)
class _Told:
    """What a chart tells: its name, the check and the measurement that it is of, and its title."""

    name: str
    check: str
    figure: str
    title: str


_ALL = (
    _Told("offset", "T06", "clock_offset", "How far guests' clocks are from their hosts'"),
    _Told("drift", "T07", "clock_drift", "How fast guests' clocks run away from their hosts'"),
    _Told("step", "T03", "clocksource_step", "How far guests' clocks jump when their source is taken away"),
)


def clocks(nights: Sequence[Night], colours: Colours) -> list[Drawing]:
    """Offset, drift and steps, each where it was measured."""
    return [drawing for told in _ALL for drawing in _over_time(nights, colours, told)]


def _over_time(nights: Sequence[Night], colours: Colours, told: _Told) -> list[Drawing]:
    found = by_pool(pair for pair in measured(nights, told.check) if pair[1].figure.name == told.figure)
    if not found:
        return []
    seen = [one for several in found.values() for one in several]
    scale = Scale.of(seen[0].figure.unit, [one.figure.value for one in seen])
    said = [_in_words(whose, several, scale) for whose, several in found.items()]
    moments = times("start of the run (UTC)", [one.at for one in seen])
    values = _values(f"{told.name} ({scale.unit})", seen, scale)
    chart = Chart(f"clock-{told.name}", told.title, ". ".join(said), moments, values)
    for whose, several in found.items():
        _draw(chart, colours[whose], several, scale)
        chart.legend(whose.words, colours[whose])
    cut = any(len(several) > _ROWS for several in found.values())
    return [
        Drawing(
            f"clock-{told.name}",
            told.title,
            ". ".join(said) + ".",
            chart.svg(),
            ("pool", "run", "start (UTC)", f"{told.name} ({scale.unit})", "±"),
            tuple(row for whose, several in found.items() for row in _rows(whose, several, scale)),
            " ".join([_NOTE.format(told.check), *([_CUT] if cut else [])]),
        )
    ]


def _in_words(whose: Where, several: Sequence[Seen], scale: Scale) -> str:
    last = several[-1].figure
    known = "" if last.uncertainty is None else f" ± {scale.number(last.uncertainty)}"
    runs = "one run" if len(several) == 1 else f"the last of {len(several)} runs"
    return f"{whose.words}: {scale.number(last.value)}{known} {scale.unit} in {runs}"


def _values(label: str, seen: Sequence[Seen], scale: Scale) -> Axis:
    values = [one.figure.value / scale.factor for one in seen]
    ends = [(one.figure.value + (one.figure.uncertainty or 0)) / scale.factor for one in seen]
    least = min((value for value in values if value > 0), default=0.0)
    if least and max(values) / least > _FAR:
        return logarithmic(label, [*values, *ends])
    return linear(label, ends)


def _draw(chart: Chart, series: int, several: Sequence[Seen], scale: Scale) -> None:
    points = [(one.at, one.figure.value / scale.factor, _known(one, scale)) for one in several]
    chart.band(
        [(at, max(value - (known or 0), chart.y.low), value + (known or 0)) for at, value, known in points], series
    )
    chart.line([(at, value) for at, value, _ in points], series)
    for at, value, known in points:
        chart.mark(at, value, series, uncertainty=known)


def _known(one: Seen, scale: Scale) -> float | None:
    return None if one.figure.uncertainty is None else one.figure.uncertainty / scale.factor


def _rows(whose: Where, several: Sequence[Seen], scale: Scale) -> list[tuple[str, ...]]:
    return [
        (
            whose.words,
            one.night.run,
            datetime.fromtimestamp(one.at, tz=UTC).strftime("%Y-%m-%d %H:%M"),
            digits(one.figure.value / scale.factor, 4),
            "" if one.figure.uncertainty is None else digits(one.figure.uncertainty / scale.factor, 2),
        )
        for one in several[-_ROWS:]
    ]
