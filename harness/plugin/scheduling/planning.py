"""The order in which groups are handed out: the one that does best when the night is played through beforehand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations
from random import Random

from harness.plugin.scheduling.night import Group, lower_bound
from harness.plugin.scheduling.simulation import makespan, simulate

_WORK = 100_000
"""Tests that may be played through in all: about a second."""
_FEW = 5
"""So few groups are tried in every order."""
_GOOD = 1.01
"""Times the lower bound: closer is not worth looking for, no test takes exactly as long as the last time."""
_SPREAD = 1.02
"""Times the shortest time that it may take to keep hosts on different workers: what they gain is not in the figures."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How to begin.

    Args:
        order: the groups, what matters most first.
        spread: hosts of different groups go to different workers, even where an earlier group waits for it.
        expected: how long it takes if every test takes what is expected, in seconds.
        bound: the lower bound of that.
    """

    order: tuple[Group, ...]
    spread: bool
    expected: float
    bound: float


def plan(groups: Sequence[Group], workers: int, *, work: int = _WORK) -> Plan:
    """Choose an order.

    Longest first is never more than a third above the best (Graham 1969), and quiet comes on top of that. So each of a
    few orders is played through, and then changes to the best one, as long as they make it shorter. The same groups
    give the same order.

    Args:
        groups: with the seconds that are expected.
        workers: how many there are.
        work: how many tests may be played through at most, in all.
    """
    bound = lower_bound(groups, workers)
    best: dict[bool, tuple[float, tuple[Group, ...]]] = {}
    tests = max(sum(len(group.tasks) for group in groups), 1)
    for spread in (True, False):
        left = max(work // tests // 2, 1)
        for order in _candidates(groups, lambda spread=spread: best[spread][1]):  # type: ignore[misc]
            seconds = makespan(simulate(order, workers, spread=spread))
            if spread not in best or seconds < best[spread][0]:
                best[spread] = seconds, order
            left -= 1
            if left <= 0 or best[spread][0] <= _GOOD * bound:
                break
        if best[spread][0] <= _GOOD * bound:
            break
    shortest = min(seconds for seconds, _ in best.values())
    spread = best[True][0] <= _SPREAD * shortest
    seconds, order = best[spread]
    return Plan(order, spread, seconds, bound)


def _candidates(groups: Sequence[Group], best: Callable[[], tuple[Group, ...]]) -> Iterator[tuple[Group, ...]]:
    """Orders to try: longest first by several measures; then all of few, or the best so far with one group moved."""
    yield tuple(sorted(groups, key=lambda group: -group.seconds))
    yield tuple(sorted(groups, key=lambda group: -(group.seconds - group.quiet)))
    yield tuple(sorted(groups, key=lambda group: (-group.quiet, -group.seconds)))
    yield tuple(sorted(groups, key=lambda group: (group.quiet, -group.seconds)))
    if len(groups) <= _FEW:
        yield from permutations(groups)
        return
    random = Random(len(groups))  # noqa: S311  a search, not a secret
    while True:
        order = list(best())
        for _ in range(random.choice((1, 1, 2))):
            order.insert(random.randrange(len(order)), order.pop(random.randrange(len(order))))
        yield tuple(order)
