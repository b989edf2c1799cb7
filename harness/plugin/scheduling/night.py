"""What is to be spread over workers: tests in groups, and the time below which nothing can be done."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Task:
    """One test.

    Args:
        name: its identifier.
        seconds: how long it takes, as far as is known.
        quiet: it measures, alone in its capacity domain.
    """

    name: str
    seconds: float
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class Member:
    """A host that may run a group.

    Args:
        host: the lab's name of it.
        domain: what it shares processors with; nobody else is active there while one measures.
    """

    host: str
    domain: str


@dataclass(frozen=True, slots=True)
class Group:
    """Tests that share a warm guest: one worker runs them, one after the other.

    They keep this order, but that those which measure may come earlier, when others measure.

    Args:
        name: column, shape, and how guests are used.
        members: the hosts of its pool; which of them it is follows from the worker. Empty: it needs no host.
        tasks: its tests.
    """

    name: str
    members: tuple[Member, ...]
    tasks: tuple[Task, ...]

    @property
    def seconds(self) -> float:
        """How long its tests take, one after the other."""
        return sum(task.seconds for task in self.tasks)

    @property
    def quiet(self) -> float:
        """How much of that is measuring."""
        return sum(task.seconds for task in self.tasks if task.quiet)

    def member(self, number: int) -> Member | None:
        """The host that worker ``number`` runs it on: the same choice as a session's when it opens a pool."""
        return self.members[number % len(self.members)] if self.members else None


def lower_bound(groups: Iterable[Group], workers: int) -> float:
    """The seconds that no schedule on so many workers can go below.

    While a test measures, nothing else is active in its domain: what is left of the time must hold the rest of the
    domain's work, spread over all workers, and the rest of each group, which one worker runs. Besides, all work takes
    its share of the workers, and a group cannot be torn apart. (Graham, "Bounds on multiprocessing timing anomalies",
    SIAM J. Appl. Math. 17 (1969), for the bounds without quiet.)

    Args:
        groups: all there is to do.
        workers: how many share it, one at least.
    """
    everything = list(groups)
    if not everything:
        return 0.0
    bounds = [sum(group.seconds for group in everything) / workers, max(group.seconds for group in everything)]
    domains: dict[str, list[Group]] = defaultdict(list)
    for group in everything:
        places = {member.domain for member in group.members}
        if len(places) == 1:  # of others it depends on the worker which domain they measure in
            domains[places.pop()].append(group)
    for held in domains.values():
        loud = [group.seconds - group.quiet for group in held]
        bounds.append(sum(group.quiet for group in held) + max(sum(loud) / workers, *loud))
    return max(bounds)
