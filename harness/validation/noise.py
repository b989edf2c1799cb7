"""A lab held against itself: how often it would raise a false alarm, and how small a loss it can see, pool by pool."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from harness.core import LabError, UsageError, paths
from harness.measure.judge import Series
from harness.report.results import write_whole
from harness.validation.figures import Paired, Which

FEWEST = 6
"""Pairs below which a series says nothing of its noise that would be worth writing down."""


@dataclass(frozen=True, slots=True)
class Noise:
    """What holding a pool against itself showed.

    Args:
        pool: which.
        series: how many measurements.
        pairs: pairs of each, at least.
        budget: pairs that a validation may take, for which the rest holds.
        alarms: false alarms per validation of this pool, as a share of trials drawn from its own pairs.
        at_most: with 99 % confidence it is not more than this.
        smallest: by measurement, the smallest loss that is found in 95 % of validations; None: no loss would be.
        date: when, as ISO 8601.
        twin: it was measured on a stand-in or under emulation, at least in part.
        loud: of so many measurements some rounds were not alone on their host.
    """

    pool: str
    series: int
    pairs: int
    budget: int
    alarms: float
    at_most: float
    smallest: Mapping[str, float | None]
    date: str = ""
    twin: bool = False
    loud: int = 0

    def __str__(self) -> str:
        seen = [loss for loss in self.smallest.values() if loss is not None]
        blind = len(self.smallest) - len(seen)
        best, worst = (f"{min(seen):.1%}", f"{max(seen):.1%}") if seen else ("", "")
        span = best if best == worst else f"{best} to {worst}, by measurement"
        words = f"false alarms in {self.alarms:.2%} of validations (99 % confidence: at most {self.at_most:.2%})"
        words += f"; the smallest loss that {self.budget} pairs show: {span}" if seen else ""
        words += f"; {blind} measurements are too noisy for any" if blind else ""
        words += f"; not all in quiet: {self.loud}" if self.loud else ""
        taken = f"{self.series} measurements, {self.pairs} pairs of A against A, {self.date}"
        return f"{words} ({taken}{', on a twin or under emulation' if self.twin else ''})"


def noise(paired: Paired, budget: int) -> list[Noise]:
    """What a lab's own A/A pairs say, pool by pool.

    Losses are the smallest of all: where a release's practical limit is larger, one within that is none.

    Raises:
        UsageError: there is nothing to look at, or a measurement has too few pairs; says how many there are.
    """
    series = paired.series
    if not series:
        raise UsageError(f"no measurement has {FEWEST} pairs", hint="a larger --budget, or fewer failures")
    from harness.measure import needed  # noqa: PLC0415  numpy and scipy, see harness.measure.judge

    pools: dict[str, list[Series]] = defaultdict(list)
    for one in series:
        pools[one.pool].append(one)
    found = []
    for pool, there in sorted(pools.items()):
        keys = {Which(one.check, one.name, pool) for one in there}
        few = min(there, key=lambda one: one.pairs)
        if few.pairs < FEWEST:
            raise UsageError(f"{few}: {few.pairs} pairs say nothing of its noise; {FEWEST} are the least")
        rate = needed.false_alarms(there, budget=budget)
        smallest = {
            f"{one.check} {one.name}": needed.smallest_change(one, budget=budget, family=len(series)) for one in there
        }
        found.append(
            Noise(
                pool,
                len(there),
                few.pairs,
                budget,
                rate.value,
                rate.interval[1],
                {name: loss if math.isfinite(loss) else None for name, loss in smallest.items()},
                datetime.now(tz=UTC).date().isoformat(),
                twin=bool(keys & paired.twins),
                loud=len(keys & paired.loud.keys()),
            )
        )
    return found


def keep(lab: str, found: Sequence[Noise]) -> Path:
    """Keep it for the statements of this lab; of pools that were not looked at now, what was known stays."""
    path = _file(lab)
    path.parent.mkdir(parents=True, exist_ok=True)
    known = {one.pool: one for one in (*recall(lab), *found)}
    write_whole(path, json.dumps([asdict(one) for one in known.values()], indent=2).encode())
    return path


def recall(lab: str) -> list[Noise]:
    """What was kept for this lab; empty where it never was held against itself.

    Raises:
        LabError: the file cannot be read.
    """
    path = _file(lab)
    try:
        return [Noise(**one) for one in json.loads(path.read_text(encoding="utf-8"))]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError) as error:
        raise LabError(f"{path}: cannot be read: {error}", hint="`interop validate --self` writes it anew") from error


def _file(lab: str) -> Path:
    return paths.state() / "noise" / f"{lab}.json"
