"""Every verb in every state: what makes no sense raises WrongState and changes nothing, what is done stays done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from harness.backends import protocol
from harness.backends.model import DiskSpec, PowerState
from harness.backends.protocol import Refused, WrongState
from harness.core import Deadline, LabError, MiB, Size

OFF, RUNNING, PAUSED, SAVED = PowerState.OFF, PowerState.RUNNING, PowerState.PAUSED, PowerState.SAVED
MINUTE = 60.0


@dataclass(frozen=True)
class Verb:
    """A call, the protocol it belongs to, and the states in which it is wrong, or has nothing to do."""

    name: str
    kind: Any
    call: Callable[[Any, Deadline], Any]
    wrong: tuple[PowerState, ...] = ()
    idle: tuple[PowerState, ...] = ()


VERBS = [
    Verb("start", protocol.Machine, lambda m, d: m.start(d), wrong=(RUNNING, PAUSED)),
    Verb("stop", protocol.Machine, lambda m, d: m.stop(d), idle=(OFF,)),
    Verb("reset", protocol.Machine, lambda m, d: m.reset(d), wrong=(OFF, PAUSED, SAVED)),
    Verb("pause", protocol.Pausable, lambda m, d: m.pause(d), wrong=(OFF, PAUSED, SAVED)),
    Verb("resume", protocol.Pausable, lambda m, d: m.resume(d), wrong=(OFF, RUNNING, SAVED)),
    Verb("save", protocol.Savable, lambda m, d: m.save(d), wrong=(OFF, SAVED)),
    Verb("restore", protocol.Savable, lambda m, d: m.restore(d), wrong=(OFF, RUNNING, PAUSED)),
    Verb(
        "checkpoint with memory",
        protocol.Checkpointed,
        lambda m, d: m.checkpoint("x", d, memory=True),
        wrong=(OFF, SAVED),
    ),
    Verb(
        "checkpoint of disks",
        protocol.Checkpointed,
        lambda m, d: m.checkpoint("x", d, memory=False),
        wrong=(RUNNING, PAUSED, SAVED),
    ),
    Verb(
        "revert to nothing",
        protocol.Checkpointed,
        lambda m, d: m.revert("never-taken", d),
        wrong=(OFF, RUNNING, PAUSED, SAVED),
    ),
    Verb(
        "drop nothing",
        protocol.Checkpointed,
        lambda m, d: m.drop_checkpoint("never-taken", d),
        idle=(OFF, RUNNING, PAUSED, SAVED),
    ),
    Verb(
        "quiesced checkpoint",
        protocol.Quiescing,
        lambda m, d: m.quiesced_checkpoint("x", d),
        wrong=(OFF, PAUSED, SAVED),
    ),
    Verb("balloon", protocol.Ballooning, lambda m, d: m.balloon(Size(128 * MiB), d), wrong=(OFF, PAUSED, SAVED)),
    Verb("look at the balloon", protocol.Ballooning, lambda m, d: m.assigned(d), wrong=(OFF, PAUSED, SAVED)),
    Verb("shutdown", protocol.ShutdownRequest, lambda m, d: m.shutdown(d), wrong=(OFF, PAUSED, SAVED)),
    Verb("reboot", protocol.ShutdownRequest, lambda m, d: m.reboot(d), wrong=(OFF, PAUSED, SAVED)),
    Verb("nmi", protocol.NmiInjector, lambda m, d: m.nmi(d), wrong=(OFF, PAUSED, SAVED)),
    Verb("screenshot", protocol.Screenshot, lambda m, d: m.screenshot(d), wrong=(OFF, SAVED)),
    Verb("exchange", protocol.Exchange, lambda m, d: m.exchange("anything", d), wrong=(OFF, PAUSED, SAVED)),
    Verb("detach no disk", protocol.DiskPlug, lambda m, d: m.detach_disk("never-there", d), idle=(OFF, RUNNING)),
    Verb("detach no NIC", protocol.NicPlug, lambda m, d: m.detach_nic("52:54:00:00:00:99", d), idle=(OFF, RUNNING)),
    Verb(
        "attach to saved",
        protocol.DiskPlug,
        lambda m, d: m.attach_disk(DiskSpec("late", Size(8 * MiB)), d),
        wrong=(SAVED,),
    ),
    Verb("resize", protocol.Machine, lambda m, d: m.resize(d, vcpus=2), wrong=(SAVED,)),
]


@pytest.fixture(scope="module")
def zoo(site: Any) -> Iterator[dict[PowerState, Any]]:
    """A machine in each state, made when it is first asked for."""
    machines: dict[PowerState, Any] = {}
    yield machines
    for made in machines.values():
        site.destroy(made)


@pytest.fixture
def held(request: pytest.FixtureRequest, site: Any, zoo: dict[PowerState, Any]) -> Any:
    """The machine in one state: no test here may change it."""
    if request.param not in zoo:
        made = site.create()
        try:
            _bring_to(made, request.param, site.deadline())
        except BaseException:  # skipping is one: a machine that never came to the state must not pass for one in it
            site.destroy(made)
            raise
        zoo[request.param] = made
    return zoo[request.param]


def _bring_to(machine: Any, state: PowerState, deadline: Deadline) -> None:
    for wanted, kind in ((PAUSED, protocol.Pausable), (SAVED, protocol.Savable)):
        if state is wanted and not isinstance(machine, kind):
            pytest.skip(f"this machine is never {state.value}")
    if state is not OFF:
        machine.start(deadline)
    if state is PAUSED:
        machine.pause(deadline)
    if state is SAVED:
        machine.save(deadline)


def _cells(kind: str) -> Any:
    """A mark that gives a test each cell of the table: the state, and the verb that is wrong or idle in it."""
    cells = [
        pytest.param(state, verb, id=f"{verb.name} when {state.value}")
        for state in (OFF, RUNNING, PAUSED, SAVED)
        for verb in VERBS
        if state in getattr(verb, kind)
    ]
    return pytest.mark.parametrize(("held", "verb"), cells, indirect=["held"])


def _shown(site: Any, machine: Any) -> tuple[Any, ...]:
    view = site.view(machine)
    names = machine.checkpoints(site.deadline()) if isinstance(machine, protocol.Checkpointed) else ()
    return view.state, view.vcpus, view.memory, view.nics, view.disks, names


@_cells("wrong")
def test_a_verb_that_makes_no_sense_is_refused_and_changes_nothing(site, held, verb):
    """The error says what was wanted and in which state the machine is."""
    if not isinstance(held, verb.kind):
        pytest.skip(f"this machine has no {verb.kind.__name__}")
    before = _shown(site, held)
    with pytest.raises(WrongState) as caught:
        verb.call(held, site.deadline(MINUTE))
    assert caught.value.host == site.host.name
    assert _shown(site, held) == before


@_cells("idle")
def test_a_verb_whose_work_is_done_already_does_nothing(site, held, verb):
    """No error, no change."""
    if not isinstance(held, verb.kind):
        pytest.skip(f"this machine has no {verb.kind.__name__}")
    before = _shown(site, held)
    verb.call(held, site.deadline(MINUTE))
    assert _shown(site, held) == before


@pytest.mark.parametrize("held", [OFF, RUNNING], ids=lambda state: state.value, indirect=True)
def test_a_link_that_is_not_there_cannot_be_cut(site, held):
    """Its MAC says which is meant."""
    if not isinstance(held, protocol.LinkSwitch):
        pytest.skip("this machine has no LinkSwitch")
    before = _shown(site, held)
    with pytest.raises((WrongState, Refused)):
        held.link("52:54:00:00:00:99", False, site.deadline(MINUTE))
    assert _shown(site, held) == before


def test_destroying_twice_is_no_error(site):
    """Idempotent, and the machine cannot be opened any more."""
    made = site.create()
    made.destroy(site.deadline())
    made.destroy(site.deadline())
    site.destroy(made)
    with pytest.raises(LabError):
        site.hypervisor.open(made.id, site.deadline())


@pytest.mark.parametrize("state", [RUNNING, PAUSED, SAVED], ids=lambda state: state.value)
def test_a_machine_is_destroyed_in_any_state(site, state):
    """Its processes end as well."""
    made = site.create()
    _bring_to(made, state, site.deadline())
    site.destroy(made)
    assert made.id not in site.handles()
    if site.sees_processes:
        assert site.processes(made.id) == []
