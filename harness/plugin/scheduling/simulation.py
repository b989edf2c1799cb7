"""A night in no time: the dispatcher's rules with workers that only count seconds."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import count

from harness.plugin.scheduling.dispatcher import Dispatcher
from harness.plugin.scheduling.night import Group, Task


@dataclass(frozen=True, slots=True)
class Span:
    """When a test ran, and on which worker."""

    task: Task
    worker: str
    start: float
    stop: float


@dataclass(slots=True)
class _Worker:
    """As a worker of xdist does: it begins a test once it knows what follows."""

    told: deque[Task] = field(default_factory=deque)
    last: bool = False
    running: bool = False

    def begin(self) -> Task | None:
        if self.running or not self.told or (len(self.told) == 1 and not self.last):
            return None
        self.running = True
        return self.told.popleft()


class _Night:
    """A night that is played through."""

    def __init__(self, dispatcher: Dispatcher, took: Mapping[str, float]) -> None:
        self._dispatcher = dispatcher
        self._took = took
        self._crew: dict[str, _Worker] = {}
        self._events: list[tuple[float, int, str, str]] = []  # when, a number, worker, its test; none: the worker dies
        self._numbers = count()
        self._hired = count()
        self.spans: dict[str, Span] = {}

    def hire(self) -> None:
        """Another worker."""
        number = next(self._hired)
        self._crew[f"gw{number}"] = _Worker()
        self._dispatcher.join(f"gw{number}", number)

    def expect(self, when: float, worker: str, test: str = "") -> None:
        """A test is to end then, or its worker to die."""
        heapq.heappush(self._events, (when, next(self._numbers), worker, test))

    def play(self) -> None:
        """From the first event to the last."""
        self._begin(0.0)
        while self._events:
            now, _, worker, test = heapq.heappop(self._events)
            if worker not in self._crew:
                continue
            if test:
                self._dispatcher.done(worker)
                self._crew[worker].running = False
            else:
                self._bury(worker, now)
            self._begin(now)

    def _begin(self, now: float) -> None:
        for order in self._dispatcher.orders(now):
            worker = self._crew[order.worker]
            worker.told.extend([order.task] if order.task else [])
            worker.last = worker.last or order.task is None
        for name, worker in self._crew.items():
            task = worker.begin()
            if task is not None:
                stop = now + self._took.get(task.name, task.seconds)
                self.spans[task.name] = Span(task, name, now, stop)
                self.expect(stop, name, task.name)

    def _bury(self, worker: str, now: float) -> None:
        del self._crew[worker]
        victim = self._dispatcher.running(worker)
        self._dispatcher.leave(worker)
        if victim is not None:
            self.spans[victim.name] = replace(self.spans[victim.name], stop=now)
        self.hire()


def simulate(
    order: Iterable[Group],
    workers: int,
    *,
    spread: bool,
    took: Mapping[str, float] | None = None,
    deaths: Mapping[str, float] | None = None,
) -> list[Span]:
    """What would run when.

    Args:
        order: the groups, what matters most first, with the seconds that are expected.
        workers: how many there are: ``gw0`` ...
        spread: see :class:`Dispatcher`.
        took: what tests really take, by name, where it is not what was expected.
        deaths: when workers die, by name; a new one takes a dead one's place at once.

    Returns:
        The tests in the order in which they began; one whose worker died ends there.

    Raises:
        RuntimeError: tests are left and nothing happens any more: the dispatcher's fault.
    """
    dispatcher = Dispatcher(order, spread=spread)
    night = _Night(dispatcher, took or {})
    for _ in range(workers):
        night.hire()
    for worker, when in (deaths or {}).items():
        night.expect(when, worker)
    night.play()
    if dispatcher.pending:
        raise RuntimeError("tests are left, and no worker may begin one")
    return list(night.spans.values())


def makespan(spans: Iterable[Span]) -> float:
    """The seconds from the beginning to the end of the last test."""
    return max((span.stop for span in spans), default=0.0)
