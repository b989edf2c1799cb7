"""Charts as inline SVG: the same bytes for the same numbers, readable without seeing, and coloured by the page.

Everything is text with coordinates to a tenth of a pixel. Series differ in colour and in the shape of their marks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import escape

from harness.report.quantities import digits

WIDTH, HEIGHT = 620, 340
LEFT = 70
_RIGHT, _TOP, _BOTTOM = 14, 12, 46
_LETTER = 7
"""Pixels that a letter takes, roughly: enough to keep words from running into each other."""
_TICKS = 6
SERIES = 8
"""Colours of series; the ninth begins anew."""
_DAY = 86400.0
# Steps of a time axis, in seconds: a minute to a year.
_TIMES = (60, 300, 900, 3600, 3 * 3600, 6 * 3600, 12 * 3600, *(_DAY * days for days in (1, 2, 7, 14, 30, 90, 180, 365)))


@dataclass(frozen=True, slots=True)
class Drawing:
    """A chart, and the same data as a table.

    Args:
        name: in words that fit an identifier (``boot``).
        title: what it shows.
        summary: what a person who sees it would say, in one or two sentences.
        svg: the picture.
        head: the table's columns.
        rows: its rows; the first column names the row.
        note: what must be known to read it.
    """

    name: str
    title: str
    summary: str
    svg: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Axis:
    """One direction of a chart.

    Args:
        label: what it measures, with its unit.
        low: the value at the left or the bottom.
        high: the value at the other end.
        ticks: values, and what stands beside each.
        log: equal ratios are equal distances.
    """

    label: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    log: bool = False

    def at(self, value: float) -> float:
        """Where a value lies: 0 at ``low``, 1 at ``high``; no further."""
        if self.log:
            value, low, high = (math.log(max(one, self.low)) for one in (value, self.low, self.high))
        else:
            low, high = self.low, self.high
        return min(max((value - low) / (high - low), 0.0), 1.0)


def linear(label: str, values: Sequence[float], *, zero: bool = True) -> Axis:
    """An axis with round ticks around all values.

    Args:
        label: what it measures.
        values: those that it must hold.
        zero: it begins at 0, so that lengths can be compared.
    """
    low, high = min(*values, 0.0) if zero else min(values), max(values)
    if high <= low:
        high = low + (abs(low) or 1.0)
    step = _round_step((high - low) / _TICKS)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple((number * step, _tick(number * step, step)) for number in range(first, last + 1))
    return Axis(label, first * step, last * step, ticks)


def logarithmic(label: str, values: Sequence[float]) -> Axis:
    """An axis over powers of ten around all values that are more than 0."""
    known = [value for value in values if value > 0] or [1.0]
    first, last = math.floor(math.log10(min(known)) + 1e-9), math.ceil(math.log10(max(known)) - 1e-9)
    last = max(last, first + 1)
    every = -(-(last - first) // 8)
    ticks = tuple((10.0**power, _power(power)) for power in range(first, last + 1, every))
    return Axis(label, 10.0**first, 10.0**last, ticks, log=True)


def times(label: str, seconds: Sequence[float]) -> Axis:
    """An axis of moments, given in seconds since the epoch, with ticks at round hours or days, UTC."""
    low, high = min(seconds), max(seconds)
    if high - low < 60:
        low, high = low - 1800, high + 1800
    margin = (high - low) * 0.03
    low, high = low - margin, high + margin
    step = next((one for one in _TIMES if (high - low) / one <= _TICKS), _TIMES[-1])
    shape = "%Y-%m-%d" if step >= _DAY else "%m-%d %H:%M"
    first = math.ceil(low / step) * step
    ticks = []
    while first <= high:
        ticks.append((first, datetime.fromtimestamp(first, tz=UTC).strftime(shape)))
        first += step
    return Axis(label, low, high, tuple(ticks))


@dataclass(slots=True)
class Chart:
    """A chart that is being drawn.

    Args:
        name: identifies its title and description on the page.
        title: what it shows.
        summary: the same in a sentence or two, for those who don't see it.
        x: the axis to the right.
        y: the axis upwards.
        height: of the whole, in pixels.
        left: pixels that are kept for what stands to the left of the plot.
    """

    name: str
    title: str
    summary: str
    x: Axis
    y: Axis
    height: int = HEIGHT
    left: int = LEFT
    _parts: list[str] = field(default_factory=list)
    _legend: list[tuple[str, int]] = field(default_factory=list)

    def point(self, x: float, y: float) -> tuple[float, float]:
        """Where a value lies, in pixels."""
        wide, high = WIDTH - self.left - _RIGHT, self.height - _TOP - _BOTTOM
        return self.left + wide * self.x.at(x), _TOP + high * (1 - self.y.at(y))

    def line(self, points: Sequence[tuple[float, float]], series: int, *, dashed: bool = False) -> None:
        """A line through points."""
        if len(points) > 1:
            path = "L".join(_pair(*self.point(*one)) for one in points)
            self._parts.append(f'<path class="line c{series % SERIES}{" dashed" * dashed}" d="M{path}"/>')

    def band(self, points: Sequence[tuple[float, float, float]], series: int) -> None:
        """The area between two values of each point: x, the lower, the upper."""
        if len(points) > 1:
            there = [_pair(*self.point(x, high)) for x, _, high in points]
            back = [_pair(*self.point(x, low)) for x, low, _ in reversed(points)]
            self._parts.append(f'<path class="band c{series % SERIES}" d="M{"L".join(there + back)}Z"/>')

    def mark(self, x: float, y: float, series: int, *, uncertainty: float | None = None) -> None:
        """A point, with a bar that tells its uncertainty."""
        across, down = self.point(x, y)
        if uncertainty:
            _, low = self.point(x, y - uncertainty)
            _, high = self.point(x, y + uncertainty)
            self._parts.append(
                f'<path class="bar c{series % SERIES}" d="M{_pair(across, low)}L{_pair(across, high)}"/>'
            )
        self._parts.append(_shape(across, down, series))

    def box(self, ends: tuple[float, float], place: tuple[int, int], series: int, words: str) -> None:
        """A part of a horizontal bar.

        Args:
            ends: where it begins and ends.
            place: its row, and of how many.
            series: its colour.
            words: what it says when pointed at.
        """
        left, right = (self.point(one, 0)[0] for one in ends)
        row, rows = place
        tall = (self.height - _TOP - _BOTTOM) / rows
        top = _TOP + tall * row + tall * 0.18
        size = f'x="{left:.1f}" y="{top:.1f}" width="{max(right - left, 0):.1f}" height="{tall * 0.64:.1f}"'
        self._parts.append(f'<rect class="box c{series % SERIES}" {size}><title>{escape(words)}</title></rect>')

    def legend(self, words: str, series: int) -> None:
        """Name a series."""
        self._legend.append((words, series))

    def svg(self, *, rows: Sequence[str] = ()) -> str:
        """The picture.

        Args:
            rows: what stands to the left of each row, instead of an axis with numbers.
        """
        lines, at = self._legend_lines()
        height = self.height + lines * 18
        return (
            f'<svg class=chart viewBox="0 0 {WIDTH} {height}" role=img '
            f'aria-labelledby="{self.name}-title {self.name}-desc">'
            f"<title id={self.name}-title>{escape(self.title)}</title>"
            f"<desc id={self.name}-desc>{escape(self.summary)}</desc>"
            f"{self._axes(rows)}{''.join(self._parts)}{at}</svg>"
        )

    def _axes(self, rows: Sequence[str]) -> str:
        left, bottom = self.left, self.height - _BOTTOM
        found = []
        for value, words in self.x.ticks:
            x, _ = self.point(value, self.y.low)
            found.append(f'<path class=grid d="M{x:.1f} {_TOP}V{bottom}"/>')
            over = x + len(words) * _LETTER / 2 > WIDTH
            x, anchor = (WIDTH - 2.0, "end") if over else (x, "middle")
            found.append(f'<text class=tick x="{x:.1f}" y="{bottom + 16}" text-anchor={anchor}>{escape(words)}</text>')
        middle = (left + WIDTH - _RIGHT) / 2
        found.append(
            f'<text class=label x="{middle:.1f}" y="{bottom + 36}" text-anchor=middle>{escape(self.x.label)}</text>'
        )
        if rows:
            tall = (bottom - _TOP) / len(rows)
            for number, words in enumerate(rows):
                y = _TOP + tall * (number + 0.5) + 4
                found.append(f'<text class=tick x="{left - 8}" y="{y:.1f}" text-anchor=end>{escape(words)}</text>')
        else:
            for value, words in self.y.ticks:
                _, y = self.point(self.x.low, value)
                found.append(f'<path class=grid d="M{left} {y:.1f}H{WIDTH - _RIGHT}"/>')
                found.append(f'<text class=tick x="{left - 8}" y="{y + 4:.1f}" text-anchor=end>{escape(words)}</text>')
            y = (_TOP + bottom) / 2
            turned = f'transform="rotate(-90 14 {y:.1f})"'
            found.append(
                f'<text class=label x="14" y="{y:.1f}" {turned} text-anchor=middle>{escape(self.y.label)}</text>'
            )
        found.append(f'<path class=frame d="M{left} {_TOP}V{bottom}H{WIDTH - _RIGHT}"/>')
        return "".join(found)

    def _legend_lines(self) -> tuple[int, str]:
        """Names of series below the chart, as many a line as fit."""
        x, line, found = float(LEFT), 1, []
        for words, series in self._legend:
            wide = 26 + _LETTER * len(words)
            if x > LEFT and x + wide > WIDTH - _RIGHT:
                x, line = float(LEFT), line + 1
            y = self.height + 18 * line - 10
            found.append(_shape(x + 5, y - 4, series))
            found.append(f'<text class=tick x="{x + 14:.1f}" y="{y}">{escape(words)}</text>')
            x += wide
        return (line if found else 0), "".join(found)


def _shape(x: float, y: float, series: int) -> str:
    """A circle, square, triangle or diamond: colour alone tells nothing to many."""
    kind = series % 4
    if kind == 0:
        return f'<circle class="mark c{series % SERIES}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>'
    corners = {
        1: ((-3.2, -3.2), (3.2, -3.2), (3.2, 3.2), (-3.2, 3.2)),
        2: ((0, -4.2), (4, 3.2), (-4, 3.2)),
        3: ((0, -4.6), (4.6, 0), (0, 4.6), (-4.6, 0)),
    }[kind]
    path = "L".join(_pair(x + across, y + down) for across, down in corners)
    return f'<path class="mark c{series % SERIES}" d="M{path}Z"/>'


def _pair(x: float, y: float) -> str:
    return f"{x:.1f} {y:.1f}"


def _round_step(rough: float) -> float:
    """1, 2 or 5 times a power of ten, not less than ``rough``."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))


def _tick(value: float, step: float) -> str:
    return f"{value:.{max(-math.floor(math.log10(step)), 0)}f}"


def _power(power: int) -> str:
    return digits(10.0**power, 1) if -3 <= power <= 4 else f"1e{power}"


def left_of(rows: Sequence[str]) -> int:
    """Pixels to keep for names of rows: up to some 30 letters."""
    return max(LEFT, 16 + min(max(map(len, rows)), 30) * _LETTER)
