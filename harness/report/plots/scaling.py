"""How much more many vCPUs do than one, by hypervisor: measured, fitted, and what the fit leaves over."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeAlias

from harness.report.history import Night
from harness.report.plots.chart import Chart, Drawing, linear
from harness.report.plots.series import Colours, Seen, Where, by_pool, measured, newest
from harness.report.plots.usl import Fit, fit
from harness.report.quantities import digits

_NAMED = re.compile(r"^speed_up_(\d+)$")
_STEPS = 60


def scaling(nights: Sequence[Night], colours: Colours) -> list[Drawing]:
    """A chart of the newest speed-ups of each pool, and one of what the fits leave over; none without speed-ups.

    A speed-up is a measurement called ``speed_up`` of a test with a parameter ``vcpus``, or ``speed_up_4`` for four.
    """
    found = {
        whose: sorted((processors(one), one.figure.value, one.figure.uncertainty) for one in newest(seen))
        for whose, seen in by_pool(pair for pair in measured(nights) if processors(pair[1])).items()
    }
    if not found:
        return []
    fits = {whose: fit([(number, value) for number, value, _ in points]) for whose, points in found.items()}
    return [_speed_ups(found, fits, colours), *([_residuals(found, fits, colours)] if any(fits.values()) else [])]


def processors(seen: Seen) -> int:
    """How many vCPUs a measurement is the speed-up of; 0: it is none."""
    if named := _NAMED.match(seen.figure.name):
        return int(named[1])
    vcpus = dict(seen.entry.params).get("vcpus", "")
    return int(vcpus) if seen.figure.name == "speed_up" and vcpus.isdigit() else 0


Points: TypeAlias = dict[Where, list[tuple[int, float, float | None]]]
Fits: TypeAlias = dict[Where, Fit | None]


def _speed_ups(found: Points, fits: Fits, colours: Colours) -> Drawing:
    numbers = [number for points in found.values() for number, _, _ in points]
    most = max(numbers)
    tops = [value + (known or 0) for points in found.values() for _, value, known in points]
    said, rows = [], []
    for whose, points in found.items():
        law = fits[whose]
        if law:
            peak = f", peak at {law.peak:.0f} vCPUs" if law.peak and law.peak < 1000 else ""
            said.append(
                f"{whose.words}: contention {law.sigma:.4f}, coherency {law.kappa:.6f}{peak}, off by {law.error:.3f}"
            )
        else:
            number, value, _ = points[-1]
            said.append(f"{whose.words}: {digits(value)} times with {number} vCPUs; too few sizes to fit")
        for number, value, known in points:
            fitted = law(number) if law else None
            rows.append(
                (
                    whose.words,
                    str(number),
                    digits(value, 4),
                    "" if known is None else digits(known, 2),
                    "" if fitted is None else digits(fitted, 4),
                    "" if fitted is None else f"{value - fitted:+.4f}",
                )
            )
    title = "Work of many vCPUs, as a multiple of one"
    chart = Chart(
        "scaling", title, ". ".join(said), linear("vCPUs", [float(most)]), linear("speed-up (times)", [*tops, 1.0])
    )
    chart.line([(1, 1), (min(most, chart.y.high), min(most, chart.y.high))], 7, dashed=True)
    for whose, points in found.items():
        law, series = fits[whose], colours[whose]
        if law:
            span = [1 + (most - 1) * step / _STEPS for step in range(_STEPS + 1)]
            chart.line([(number, law(number)) for number in span], series)
        for number, value, known in points:
            chart.mark(number, value, series, uncertainty=known)
        chart.legend(whose.words, series)
    return Drawing(
        "scaling",
        title,
        ". ".join(said) + ".",
        chart.svg(),
        ("pool", "vCPUs", "speed-up", "±", "fitted", "measured - fitted"),
        tuple(rows),
        "Dots: medians with their 95 % intervals. Lines: the Universal Scalability Law, C(N) = N / (1 + σ (N - 1) + "
        "κ N (N - 1)), by least squares; σ is contention, κ coherency (Gunther 2007). Dashed: N times the work of one. "
        "A fit needs three sizes besides 1.",
    )


def _residuals(found: Points, fits: Fits, colours: Colours) -> Drawing:
    numbers = [number for points in found.values() for number, _, _ in points]
    left = [one for law in fits.values() if law for one in law.residuals]
    bars = [known for points in found.values() for _, _, known in points if known]
    reach = max(*map(abs, left), *bars, 0.001)
    title = "What the fitted law leaves over"
    worst = max(left, key=abs)
    summary = f"Measured minus fitted speed-up; the furthest is {worst:+.3f}."
    chart = Chart(
        "residuals",
        title,
        summary,
        linear("vCPUs", [float(max(numbers))]),
        linear("measured - fitted (times)", [-reach, reach], zero=False),
        height=220,
    )
    chart.line([(chart.x.low, 0), (chart.x.high, 0)], 7, dashed=True)
    rows = []
    for whose, points in found.items():
        series = colours[whose]
        if law := fits[whose]:
            for (number, _, known), over in zip(points, law.residuals, strict=True):
                chart.mark(number, over, series, uncertainty=known)
                rows.append((whose.words, str(number), f"{over:+.4f}", "" if known is None else digits(known, 2)))
            chart.legend(whose.words, series)
    return Drawing(
        "residuals",
        title,
        summary,
        chart.svg(),
        ("pool", "vCPUs", "measured - fitted", "±"),
        tuple(rows),
        "A pattern here, rather than dots on both sides of the line, says that the law is not what happens.",
    )
