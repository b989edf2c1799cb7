"""Where the time of a boot goes, by phase and hypervisor."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from harness.report.history import SHOWN, Night
from harness.report.plots.chart import Chart, Drawing, left_of, linear
from harness.report.plots.series import Seen, by_pool, measured, newest
from harness.report.quantities import digits

# As systemd-analyze names them, in the order in which they happen.
_PHASES = ("firmware", "loader", "kernel", "initrd", "userspace")
_REST = "before and after"
_CHECK, _WHOLE = "L02", "boot"


def boots(nights: Sequence[Night]) -> list[Drawing]:
    """A bar for each pool's newest boot; none where no boot was measured."""
    found = by_pool((whose, one) for whose, one in measured(nights, _CHECK) if one.figure.name.startswith(_WHOLE))
    if not found:
        return []
    phases = {whose: _phases(newest(seen)) for whose, seen in found.items()}
    wholes = {whose: sum(parts.values()) for whose, parts in phases.items()}
    names = [name for name in (*_PHASES, _REST) if any(name in parts for parts in phases.values())]
    said, rows = [], []
    for whose, parts in phases.items():
        longest = max(parts, key=lambda name: parts[name])
        said.append(f"{whose.words}: {digits(wholes[whose])} s, most of it {longest} ({digits(parts[longest])} s)")
        usual = [one.figure.value for one in found[whose] if one.figure.name == _WHOLE][-SHOWN:]
        rows.append(
            (
                whose.words,
                *(digits(parts[name]) if name in parts else "" for name in names),
                digits(wholes[whose]),
                f"{digits(median(usual))} of {len(usual)}" if usual else "",
            )
        )
    title = "Boot, from power-on to the first shell, by phase"
    height = 70 + 44 * len(phases)
    names_of_rows = [whose.words for whose in phases]
    chart = Chart(
        "boot",
        title,
        ". ".join(said),
        linear("time (s)", list(wholes.values())),
        linear("", [1.0]),
        height=height,
        left=left_of(names_of_rows),
    )
    for row, (whose, parts) in enumerate(phases.items()):
        begun = 0.0
        for name in names:
            if name in parts:
                words = f"{whose.words}, {name}: {digits(parts[name])} s"
                chart.box((begun, begun + parts[name]), (row, len(phases)), names.index(name), words)
                begun += parts[name]
    for series, name in enumerate(names):
        chart.legend(name, series)
    return [
        Drawing(
            "boot",
            title,
            ". ".join(said) + ".",
            chart.svg(rows=names_of_rows),
            ("pool", *(f"{name} (s)" for name in names), "whole (s)", "median of runs (s)"),
            tuple(rows),
            f"Check {_CHECK}, the newest run of each pool. Phases are systemd's; “{_REST}” is what it does not see: "
            "until the kernel started, and from its last unit to the first answer by ssh.",
        )
    ]


def _phases(seen: Sequence[Seen]) -> dict[str, float]:
    """Seconds of each phase, in the order in which they happen; what no phase explains last."""
    taken = {one.figure.name: one.figure.value for one in seen}
    parts = {name: taken[f"{_WHOLE}_{name}"] for name in _PHASES if f"{_WHOLE}_{name}" in taken}
    rest = taken.get(_WHOLE, 0.0) - sum(parts.values())
    return parts | ({_REST: rest} if rest > 0 else {})
