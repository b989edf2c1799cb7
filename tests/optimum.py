"""The shortest time in which groups can be done, exactly: an integer program for HiGHS, which knows no rule of ours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations, pairwise

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from harness.plugin.scheduling import Group

_SOLVED, _OUT_OF_TIME = 0, 1  # as scipy.optimize.milp says
_PATIENCE = 60.0  # seconds
Terms = Iterable[tuple[int, float]]


class Program:
    """Times and choices, and what must hold between them.

    Args:
        large: seconds that no time goes beyond.
    """

    def __init__(self, large: float) -> None:
        self._large = large
        self._times: dict[tuple, int] = {}
        self._choices: dict[tuple, int] = {}
        self._rows: list[tuple[list[tuple[int, float]], float, float]] = []

    def time(self, *name: object) -> int:
        """A time between 0 and ``large``, by any name."""
        return self._times.setdefault(name, len(self._times) + len(self._choices))

    def choice(self, *name: object) -> int:
        """0 or 1, by any name."""
        return self._choices.setdefault(name, len(self._times) + len(self._choices))

    def demand(self, low: float, terms: Terms, high: float = np.inf) -> None:
        """``low`` <= sum of the terms <= ``high``."""
        self._rows.append((list(terms), low, high))

    def after(self, later: int, earlier: int, gap: float, *, unless: Terms = (), slack: int = 0) -> None:
        """``later`` >= ``earlier`` + ``gap``, given up where ``slack`` + the terms of ``unless`` is one or more."""
        off = [(column, factor * self._large) for column, factor in unless]
        self.demand(gap - slack * self._large, [(later, 1.0), (earlier, -1.0), *off])

    def least(self, column: int) -> float | None:
        """The smallest value that a variable can have; None where that is not proven within a minute."""
        size = len(self._times) + len(self._choices)
        matrix = np.zeros((len(self._rows), size))
        for number, (terms, _, _) in enumerate(self._rows):
            for where, factor in terms:
                matrix[number, where] += factor
        whole, cost = np.zeros(size), np.zeros(size)
        whole[list(self._choices.values())] = 1
        cost[column] = 1.0
        found = milp(
            cost,
            integrality=whole,
            bounds=Bounds(np.zeros(size), np.where(whole > 0, 1.0, self._large)),
            constraints=LinearConstraint(matrix, *zip(*[row[1:] for row in self._rows], strict=True)),
            options={"mip_rel_gap": 0.0, "time_limit": _PATIENCE},
        )
        assert found.status in (_SOLVED, _OUT_OF_TIME), found.message
        return float(found.fun) if found.status == _SOLVED else None


def optimum(groups: Sequence[Group], workers: int, *, at_least: float = 0.0) -> float | None:
    """The makespan of a best schedule; None where it is not proven within a minute.

    Groups are not torn apart, and a worker runs one at a time. Tests that measure may stand anywhere in their group,
    and exclude every other test of their domain; the others keep their order. (Disjunctions with a large constant:
    Manne, "On the job-shop scheduling problem", Operations Research 8, 1960.)

    Args:
        groups: few, each of one host.
        workers: how many.
        at_least: a bound known by other means; the search ends sooner with it.
    """
    program = Program(large=sum(group.seconds for group in groups))
    end = program.time("end")
    program.demand(at_least, [(end, 1.0)])
    for g, group in enumerate(groups):
        _one_after_the_other(program, g, group)
        program.after(end, program.time("done", g), 0)
        program.demand(1, [(program.choice("on", g, w), 1.0) for w in range(workers)], 1)
    for g, h in combinations(range(len(groups)), 2):
        first = program.choice("first", g, h)
        for w in range(workers):
            both = [(program.choice("on", g, w), -1.0), (program.choice("on", h, w), -1.0)]
            program.after(program.time("begun", h), program.time("done", g), 0, unless=[*both, (first, -1.0)], slack=3)
            program.after(program.time("begun", g), program.time("done", h), 0, unless=[*both, (first, 1.0)], slack=2)
    tests = [(g, t) for g, group in enumerate(groups) for t in range(len(group.tasks))]
    for one, other in combinations(tests, 2):
        _alone(program, groups, one, other)
    program.demand(1, [(program.choice("on", 0, 0), 1.0)], 1)  # workers are alike
    return program.least(end)


def _one_after_the_other(program: Program, g: int, group: Group) -> None:
    for t, task in enumerate(group.tasks):
        program.after(program.time("start", g, t), program.time("begun", g), 0)
        program.after(program.time("done", g), program.time("start", g, t), task.seconds)
    for first, second in pairwise(t for t, task in enumerate(group.tasks) if not task.quiet):
        program.after(program.time("start", g, second), program.time("start", g, first), group.tasks[first].seconds)


def _alone(program: Program, groups: Sequence[Group], one: tuple[int, int], other: tuple[int, int]) -> None:
    (g, t), (h, u) = one, other
    first, second = groups[g].tasks[t], groups[h].tasks[u]
    if (first.quiet or second.quiet) and groups[g].members[0].domain == groups[h].members[0].domain:
        before = program.choice("before", one, other)
        begun, then = program.time("start", *one), program.time("start", *other)
        program.after(then, begun, first.seconds, unless=[(before, -1.0)], slack=1)
        program.after(begun, then, second.seconds, unless=[(before, 1.0)])
