"""Who runs what next: the rules by which groups reach workers, without xdist and without a clock of their own.

A worker of xdist begins a test only once it knows which one follows (fixtures are torn down by that), or that none
does. So each worker *holds* one test that it was told of and may not begin; telling it the next one lets the held one
begin. That is how tests are kept waiting here, before they start, and with no time-out running.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from harness.plugin.scheduling.night import Group, Member, Task


@dataclass(frozen=True, slots=True)
class Order:
    """What a worker is told.

    Args:
        worker: which one.
        task: its next test; the one before it may begin now. None: there is none, and its last one may begin.
    """

    worker: str
    task: Task | None


@dataclass(frozen=True, slots=True)
class _Place:
    """A test on a worker."""

    task: Task
    group: Group
    member: Member | None


@dataclass(slots=True)
class _Lane:
    """One worker."""

    worker: str
    number: int
    running: _Place | None = None
    until: float = 0.0
    held: _Place | None = None
    rest: deque[Task] = field(default_factory=deque)
    """What follows the held one in its group."""
    closed: bool = False

    @property
    def place(self) -> _Place | None:
        return self.held or self.running

    @property
    def host(self) -> str:
        place = self.place
        return place.member.host if place and place.member else ""

    @property
    def left(self) -> float:
        """The seconds of what it was given and has not begun."""
        return (self.held.task.seconds if self.held else 0.0) + sum(task.seconds for task in self.rest)


class Dispatcher:
    """Hands out groups in an order of priority, and holds back what would disturb a measurement.

    A test that measures begins when nothing else runs in its domain. While one waits for that, another test begins
    there only if it is expected to be done before those that run already: so who measures waits for no longer than
    without it, nobody is idle for longer than it must, and neither side starves. Others of that domain that have tests
    to measure in their groups take these next, so that all wait for each other once.

    Args:
        order: the groups, what matters most first.
        spread: give a worker a group of a host that no other worker is busy with, before one that comes first.
    """

    def __init__(self, order: Iterable[Group], *, spread: bool) -> None:
        self._waiting = list(order)
        self._spread = spread
        self._lanes: dict[str, _Lane] = {}

    @property
    def waiting(self) -> tuple[Group, ...]:
        """The groups that no worker has begun or is to begin next."""
        return tuple(self._waiting)

    @property
    def pending(self) -> bool:
        """Whether any test is not done."""
        return bool(self._waiting) or any(lane.place for lane in self._lanes.values())

    def join(self, worker: str, number: int) -> None:
        """A worker is there.

        Args:
            worker: its name.
            number: decides which member of a pool it runs tests on.
        """
        self._lanes[worker] = _Lane(worker, number)

    def knows(self, worker: str) -> bool:
        """Whether it has joined, and not left."""
        return worker in self._lanes

    def close(self, worker: str) -> None:
        """Somebody else told a worker to end: it runs what it was told of, and others get the rest."""
        lane = self._lanes[worker]
        lane.closed = True
        if lane.rest and lane.place is not None:
            self._waiting.insert(0, replace(lane.place.group, tasks=tuple(lane.rest)))
            lane.rest.clear()

    def running(self, worker: str) -> Task | None:
        """The test that a worker was let begin, and that is not done."""
        place = self._lanes[worker].running
        return place.task if place else None

    def leave(self, worker: str, *, began: bool = True) -> None:
        """A worker is gone: others get what it had not begun, before anything else.

        Args:
            worker: which one.
            began: whether the test that it was let begin did begin: then nobody runs it again.
        """
        lane = self._lanes.pop(worker)
        if lane.held is not None:
            self._waiting.insert(0, replace(lane.held.group, tasks=(lane.held.task, *lane.rest)))
        if lane.running is not None and not began:
            self._give_back(lane.running)

    def done(self, worker: str) -> None:
        """The test that a worker ran is over."""
        self._lanes[worker].running = None

    def orders(self, now: float) -> list[Order]:
        """What is to be told to workers now.

        Args:
            now: the time in seconds, from any beginning; grows from call to call.
        """
        # Each its first group before anyone's second.
        told = [self._tell(lane, now) for lane in self._lanes.values() if lane.place is None and not lane.closed]
        # Whoever measures first: it decides whether others may begin.
        for lane in sorted(self._lanes.values(), key=_wants_quiet, reverse=True):
            if lane.running is None and lane.held is not None and (lane.closed or self._may_begin(lane, now)):
                lane.running, lane.until = lane.held, now + lane.held.task.seconds
                lane.held = None
                if not lane.closed:
                    told.append(self._tell(lane, now))
        return told

    def _give_back(self, place: _Place) -> None:
        """Put a test in front of what is left of its group."""
        rest = self._waiting.pop(0).tasks if self._waiting and self._waiting[0].name == place.group.name else ()
        self._waiting.insert(0, replace(place.group, tasks=(place.task, *rest)))

    def _tell(self, lane: _Lane, now: float) -> Order:
        """The lane's next test: of its group, else of another."""
        if lane.rest and lane.running is not None:
            task = self._next_task(lane)
            lane.rest.remove(task)
            lane.held = replace(lane.running, task=task)
            return Order(lane.worker, task)
        group = self._next_group(lane, now)
        if group is None:
            lane.closed = True
            return Order(lane.worker, None)
        self._waiting.remove(group)
        task, *rest = group.tasks
        lane.held, lane.rest = _Place(task, group, group.member(lane.number)), deque(rest)
        return Order(lane.worker, task)

    def _next_task(self, lane: _Lane) -> Task:
        """The next test of the lane's group: one that measures, where another lane's next one does."""
        here = _domain(lane.running)
        others = [each.held for each in self._lanes.values() if each is not lane]
        if any(place is not None and place.task.quiet and _domain(place) == here for place in others):
            return next((task for task in lane.rest if task.quiet), lane.rest[0])
        return lane.rest[0]

    def _next_group(self, lane: _Lane, now: float) -> Group | None:
        """The group that will be this lane's when it is free; it has to be told before, while others still work.

        So those that become free before it choose before it; what they leave is for this one, if anything is left.
        """
        lanes = [each for each in self._lanes.values() if not each.closed]
        hosts = {each.worker: each.host for each in lanes}
        free = {each.worker: (max(each.until, now) if each.running else now) + each.left for each in lanes}
        waiting = list(self._waiting)
        while waiting:
            chooser = min(lanes, key=lambda each: (free[each.worker], each is not lane, each.number))
            others = {host for worker, host in hosts.items() if host and worker != chooser.worker}
            group = self._choose(waiting, chooser.number, others.__contains__)
            if chooser is lane:
                return group
            waiting.remove(group)
            member = group.member(chooser.number)
            hosts[chooser.worker] = member.host if member else ""
            free[chooser.worker] += group.seconds
        return None

    def _choose(self, waiting: list[Group], number: int, busy: Callable[[str], bool]) -> Group:
        if self._spread:
            for group in waiting:
                member = group.member(number)
                if member is None or not busy(member.host):
                    return group
        return waiting[0]

    def _may_begin(self, lane: _Lane, now: float) -> bool:
        place = lane.held
        if place is None or place.member is None:
            return True
        there = [each for each in self._lanes.values() if each is not lane and _domain(each.running) == _domain(place)]
        if place.task.quiet:
            return not there
        if any(each.running is not None and each.running.task.quiet for each in there):
            return False
        wanted = any(
            _wants_quiet(each) and _domain(each.held) == _domain(place)
            for each in self._lanes.values()
            if each is not lane
        )
        return not wanted or now + place.task.seconds <= max((each.until for each in there), default=now)


def _wants_quiet(lane: _Lane) -> bool:
    """It waits to measure."""
    return lane.running is None and lane.held is not None and lane.held.task.quiet


def _domain(place: _Place | None) -> str | None:
    return place.member.domain if place is not None and place.member is not None else None
