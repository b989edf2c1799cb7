"""What the twin lets its simulator know of a guest's tools, and when."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.twins.engine.values import MachineState, ToolsView
from harness.twins.vsphere import reporter
from harness.twins.vsphere.reporter import Reporter

SECONDS = 10.0
SILENT, UP = ToolsView(False, "no agent answers"), ToolsView(True, hostname="one")


class Machine:
    """A machine whose tools answer what the test says, one look after the other, and then always the same."""

    key = "vm-1"
    state = MachineState.RUNNING

    def __init__(self, *answers: ToolsView) -> None:
        self.answers = list(answers)
        self.kept: queue.Queue[bytes] = queue.Queue()
        self.looks = 0

    def tools(self) -> ToolsView:
        self.looks += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def guest_keep(self, path: str, content: bytes) -> None:
        self.kept.put(content)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> queue.Queue[bool]:
    """Whether the tools run, each time the simulator is told; the watcher does not dawdle."""
    heard: queue.Queue[bool] = queue.Queue()

    def post(control: Path, where: str, body: Any) -> None:
        if where == "/tools":
            heard.put(body["view"]["running"])

    monkeypatch.setattr(reporter, "post", post)
    monkeypatch.setattr(reporter, "_SOON", 0.01)
    monkeypatch.setattr(reporter, "_OFTEN", 0.01)
    return heard


@pytest.fixture
def watcher() -> Iterator[Reporter]:
    """A reporter, closed afterwards."""
    made = Reporter(Path("/nowhere"))
    yield made
    made.close()


def test_a_guest_that_misses_one_look_still_has_its_tools(told, watcher):
    """It was busy: of real tools a host misses several heartbeats before it says that they are gone."""
    machine = Machine(UP, SILENT, UP, SILENT, UP, ToolsView(True, hostname="two"))
    watcher.started(machine, set_clock=False)
    assert [told.get(timeout=SECONDS) for _ in range(2)] == [True, True]


def test_tools_that_stay_silent_are_gone(told, watcher):
    """And are told of once, until they come back."""
    machine = Machine(UP, SILENT, SILENT, SILENT, SILENT, UP)
    watcher.started(machine, set_clock=False)
    assert [told.get(timeout=SECONDS) for _ in range(3)] == [True, False, True]


def test_a_guest_that_rebooted_is_given_anew_what_it_may_read(told, watcher):
    """It lay in the guest's memory; and its tools are told of anew, for the simulator has forgotten them."""
    machine = Machine(UP)
    watcher.started(machine, set_clock=False)
    assert told.get(timeout=SECONDS)
    assert machine.kept.get(timeout=SECONDS) == b"{}"
    watcher.rebooted(machine)
    assert told.get(timeout=SECONDS)
    assert machine.kept.get(timeout=SECONDS) == b"{}"
    assert machine.kept.empty()
