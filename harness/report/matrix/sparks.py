"""The last runs of one cell as a line the size of a word (E. Tufte, Beautiful Evidence, 2006): inline SVG, no axes.

Drawn small in bytes, too: a page has thousands. What comes out is markup, with everything in it escaped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from html import escape
from itertools import groupby

from harness.report.summary import Verdict

WIDTH, HEIGHT = 60, 14
_BAD = (Verdict.FAILED, Verdict.GUEST, Verdict.LAB, Verdict.ERROR)
# A class of the page's style sheet: good, bad, known, flaky, nothing said.
_CLASS = {
    Verdict.PASSED: "g",
    Verdict.KNOWN: "k",
    Verdict.FLAKY: "y",
    Verdict.SKIPPED: "n",
    Verdict.AWAY: "n",
} | dict.fromkeys(_BAD, "f")
# Where a state stands, from the top: what is bad stands up.
_LEVEL = {"g": 11, "k": 6, "y": 6, "n": 11, "f": 3}


def states(seen: Sequence[Verdict | None], slots: int) -> str:
    """What a test came to, one tick a run, the newest at the right end; empty for fewer than two runs.

    Args:
        seen: oldest first; None: it was not run.
        slots: how many runs fill the width.
    """
    if sum(one is not None for one in seen) < 2:
        return ""
    step, at, paths = WIDTH / slots, slots - len(seen), dict[str, list[str]]()
    for kind, group in groupby(None if one is None else _CLASS[one] for one in seen):
        count = sum(1 for _ in group)
        if kind is not None:
            paths.setdefault(kind, []).append(f"M{_short(at * step)} {_LEVEL[kind]}h{_short(count * step)}")
        at += count
    drawn = "".join(f'<path class={kind} d="{"".join(parts)}"/>' for kind, parts in sorted(paths.items()))
    return _svg(drawn, _words(seen))


def values(seen: Sequence[float | None], slots: int, words: str) -> str:
    """What a measurement came to, as a line from its least to its largest value, the newest at the right end.

    Args:
        seen: oldest first; None: it was not taken.
        slots: how many runs fill the width.
        words: what it says, for those who don't see it.
    """
    known = [one for one in seen if one is not None]
    if len(known) < 2:
        return ""
    low, high = min(known), max(known)
    step, offset, parts, pen = (WIDTH - 3) / (slots - 1), slots - len(seen), [], "M"
    for number, one in enumerate(seen):
        if one is None:
            continue
        x = 1 + (offset + number) * step
        y = HEIGHT / 2 if high == low else 2 + (HEIGHT - 4) * (high - one) / (high - low)
        parts.append(f"{pen}{_short(x)} {_short(y)}")
        pen = "L"
    return _svg(f'<path class=l d="{"".join(parts)}"/>', words)


def _svg(drawn: str, words: str) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role=img aria-label="{escape(words)}">{drawn}</svg>'


def _words(seen: Sequence[Verdict | None]) -> str:
    counts = Counter(one for one in seen if one is not None)
    told = ", ".join(f"{counts[verdict]} {verdict.value}" for verdict in Verdict if counts[verdict])
    return f"last {sum(counts.values())} runs: {told}"


def _short(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")
