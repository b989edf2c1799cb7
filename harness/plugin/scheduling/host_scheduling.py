"""The scheduler that xdist asks."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from xdist.report import report_collection_diff  # type: ignore[import-untyped]
from xdist.workermanage import parse_tx_spec_config  # type: ignore[import-untyped]

from harness.plugin.scheduling.dispatcher import Dispatcher
from harness.plugin.scheduling.night import Group
from harness.plugin.scheduling.planning import plan
from harness.plugin.scheduling.tally import Tally


class HostScheduling:
    """Groups by host and shape, longest first by history; who measures is alone; a dead worker's tests move on.

    It implements ``xdist.scheduler.Scheduling``. Nodes are xdist's ``WorkerController``; xdist has no types.

    Args:
        config: pytest's.
        log: xdist's ``Producer``.
        group: makes the groups of a collection, once it is known: each test is in one of them, by its index as text.
        clock: seconds, from any beginning.
    """

    def __init__(
        self,
        config: pytest.Config,
        log: Any,
        group: Callable[[Sequence[str]], list[Group]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._log = log.hostsched
        self._group = group
        self._clock = clock
        self._expected = len(parse_tx_spec_config(config))
        self._nodes: dict[str, Any] = {}
        self._collections: dict[str, list[str]] = {}
        self._collection: list[str] = []
        self._dispatcher: Dispatcher | None = None
        self._begun: set[str] = set()
        self._given_up = False
        self.tally: Tally | None = None
        """What came of it so far; None until tests are handed out."""
        config.pluginmanager.register(self, "interop_scheduling")

    @property
    def night(self) -> list[Group]:
        """What ran, with the seconds that it took, its tests named by their identifiers."""
        ran = self.tally.groups if self.tally is not None else []
        return [
            replace(group, tasks=tuple(replace(task, name=self._collection[int(task.name)]) for task in group.tasks))
            for group in ran
        ]

    @property
    def nodes(self) -> list[Any]:
        """The workers that are alive."""
        return list(self._nodes.values())

    @property
    def collection_is_completed(self) -> bool:
        """Whether as many workers have collected as there were in the beginning."""
        return len(self._collections) >= self._expected

    @property
    def tests_finished(self) -> bool:
        """Whether nothing is left to run."""
        return self._given_up or (self._dispatcher is not None and not self._dispatcher.pending)

    @property
    def has_pending(self) -> bool:
        """Whether tests are handed out, and some are not done."""
        return self._dispatcher is not None and self._dispatcher.pending

    def add_node(self, node: Any) -> None:
        """A worker has started; it collects now."""
        self._nodes[node.gateway.id] = node

    def add_node_collection(self, node: Any, collection: Sequence[str]) -> None:
        """A worker has collected; one that takes a dead one's place must have found the same tests."""
        if self._dispatcher is not None and not self._same(node, collection):
            node.shutdown()
            return
        self._collections[node.gateway.id] = list(collection)

    def schedule(self) -> None:
        """Hand out tests: the first time all workers have collected, and whenever another one has."""
        if self._dispatcher is None:
            self._collection = next(iter(self._collections.values()))
            different = [
                node for name, node in self._nodes.items() if not self._same(node, self._collections.get(name))
            ]
            if different:
                self._given_up = True
                return
            planned = plan(self._group(self._collection), max(len(self._nodes), 1))
            self._log(f"{len(planned.order)} groups, {planned.expected:.0f} s expected, {planned.bound:.0f} s at least")
            self._dispatcher = Dispatcher(planned.order, spread=planned.spread)
            self.tally = Tally(planned.order, self._expected, self._clock())
        for name in self._nodes:
            if name in self._collections and not self._dispatcher.knows(name):
                self._dispatcher.join(name, _number(name))
        self._advance()

    def mark_test_complete(self, node: Any, item_index: int, duration: float = 0) -> None:
        """A worker has run a test, its fixtures' tear-down included."""
        assert self._dispatcher is not None
        assert self.tally is not None
        self.tally.note(str(item_index), duration, self._clock())
        self._dispatcher.done(node.gateway.id)
        self._advance()

    def mark_test_pending(self, item: str) -> None:
        """A test is to run again: nobody asks for that here."""
        raise NotImplementedError(item)

    def remove_pending_tests_from_node(self, node: Any, indices: Sequence[int]) -> None:
        """A worker gave tests back: nobody asks it to."""
        raise NotImplementedError(node, indices)

    def remove_node(self, node: Any) -> str | None:
        """A worker is gone, dead or done.

        Returns:
            The test that it ran when it died: it is the one to report, and is not run again. None where it ran none.

        Raises:
            KeyError: it was gone already, or never was there.
        """
        name = node.gateway.id
        del self._nodes[name]
        if self._dispatcher is None or not self._dispatcher.knows(name):
            self._collections.pop(name, None)  # the one that takes its place collects anew
            return None
        running = self._dispatcher.running(name)
        test = self._collection[int(running.name)] if running else None
        began = test in self._begun
        self._dispatcher.leave(name, began=began)
        if began and self.tally is not None:
            self.tally.lost(self._clock())
        self._advance()
        return test if began else None

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """A worker says that it begins a test: one that died on the way there has none to be blamed for it."""
        self._begun.add(nodeid)

    def _advance(self) -> None:
        """Tell workers what they may do now; those that somebody else ends are given nothing more."""
        assert self._dispatcher is not None
        for name, node in self._nodes.items():
            if node.shutting_down and self._dispatcher.knows(name):
                self._dispatcher.close(name)
        for order in self._dispatcher.orders(self._clock()):
            node = self._nodes[order.worker]
            if order.task is None:
                node.shutdown()
            else:
                node.send_runtest_some([int(order.task.name)])

    def _same(self, node: Any, collection: Sequence[str] | None) -> bool:
        """Whether a worker found the tests that the first one found; where it did not, it is said which differ."""
        if collection is None:  # it has not collected yet: another died
            return True
        first = next(iter(self._collections))
        known = self._collection or self._collections[first]
        difference = report_collection_diff(known, list(collection), first, node.gateway.id)
        if difference is None:
            return True
        self._log(difference)
        report = pytest.CollectReport(nodeid=node.gateway.id, outcome="failed", longrepr=difference, result=[])
        self._config.hook.pytest_collectreport(report=report)
        return False


def _number(name: str) -> int:
    digits = name.removeprefix("gw")
    return int(digits) if digits.isdecimal() else 0
