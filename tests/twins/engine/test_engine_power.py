"""Machines come, go, are kept and come back: real QEMU processes, no system in them."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from harness.core import MiB
from harness.qemu.monitor import Monitor
from harness.twins.engine import (
    Disk,
    EngineError,
    EngineMachine,
    ExitReason,
    GuestSilent,
    MachineState,
    Nic,
    NotSupported,
    WrongMachineState,
)
from tests.twins.engine.conftest import await_heard, await_state, hardware


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def test_a_machine_is_a_process_between_power_on_and_power_off(machine, heard):
    assert (machine.state, machine.pid) == (MachineState.OFF, None)
    machine.power_on()
    pid = machine.pid
    assert machine.state is MachineState.RUNNING
    assert machine.hardware.uuid in Path(f"/proc/{pid}/cmdline").read_text()
    machine.power_off()
    assert gone(pid)
    machine.power_off()
    assert heard.exits == []


def test_wrong_states_are_refused_and_change_nothing(machine):
    for verb in (machine.reset, machine.suspend, machine.pause, machine.resume, machine.nmi, machine.screenshot):
        with pytest.raises(WrongMachineState, match="is off"):
            verb()
    with pytest.raises(WrongMachineState):
        machine.snapshot("m", memory=True)
    machine.power_on()
    with pytest.raises(WrongMachineState, match="is running, not off or suspended"):
        machine.power_on()
    with pytest.raises(WrongMachineState):
        machine.content(machine.hardware.disks[0].path)
    machine.suspend()
    with pytest.raises(WrongMachineState):
        machine.snapshot("disks", memory=False)
    assert machine.state is MachineState.SUSPENDED


def test_a_killed_process_is_told_as_a_crash(machine, heard):
    machine.power_on()
    os.kill(machine.pid, signal.SIGKILL)
    await_state(machine, MachineState.OFF)
    await_heard(lambda: heard.exits == [("vm-1", ExitReason.CRASHED)])
    machine.power_on()
    assert machine.state is MachineState.RUNNING


def test_a_pause_lasts_until_it_is_over(machine):
    machine.power_on()
    machine.pause()
    assert machine.state is MachineState.PAUSED
    with pytest.raises(WrongMachineState):
        machine.nmi()
    machine.resume()
    machine.nmi()
    assert machine.state is MachineState.RUNNING


def test_a_suspended_machine_goes_on_in_a_new_process(machine, heard):
    machine.power_on()
    before = machine.pid
    machine.suspend()
    assert (machine.state, machine.pid, gone(before)) == (MachineState.SUSPENDED, None, True)
    machine.power_on()
    assert machine.state is MachineState.RUNNING
    assert machine.pid != before
    machine.suspend()
    machine.power_off()
    assert machine.state is MachineState.OFF
    machine.power_on()
    assert heard.exits == []


@pytest.mark.parametrize("uefi", [False, True])
def test_snapshots_with_memory_survive_their_process(engine, uefi):
    machine = engine.add("vm-1", hardware(uefi=uefi))
    machine.power_on()
    machine.snapshot("moment", memory=True)
    first = machine.pid
    machine.revert("moment")
    assert machine.pid != first, "a process of its own, or its clocks would not go back"
    machine.power_off()
    machine.revert("moment")
    assert machine.state is MachineState.RUNNING
    assert [(each.name, each.memory) for each in machine.snapshots()] == [("moment", True)]
    machine.delete_snapshot("moment")
    assert machine.snapshots() == ()


def test_a_revert_brings_hardware_back(machine):
    old = machine.hardware
    machine.snapshot("off", memory=False)
    machine.reconfigure(replace(old, vcpus=2, disks=(*old.disks, Disk(Path("/more.vmdk"), MiB, unit=1))))
    machine.power_on()
    machine.snapshot("on", memory=True)
    larger = machine.hardware
    machine.revert("off")
    assert (machine.state, machine.hardware) == (MachineState.OFF, old)
    machine.revert("on")
    assert (machine.state, machine.hardware) == (MachineState.RUNNING, larger)


def test_disks_of_a_running_machine_can_be_kept_without_its_memory(machine):
    machine.power_on()
    machine.snapshot("disks", memory=False)
    machine.snapshot("both", memory=True)
    machine.revert("disks")
    assert machine.state is MachineState.OFF
    machine.revert("both")
    assert machine.state is MachineState.RUNNING


def test_snapshots_have_one_name_each(machine):
    machine.snapshot("a", memory=False)
    machine.snapshot("b", memory=False)
    with pytest.raises(EngineError, match="has a snapshot 'a' already"):
        machine.snapshot("a", memory=False)
    with pytest.raises(EngineError, match="no snapshot 'c'; it has a, b"):
        machine.revert("c")
    machine.rename_snapshot("a", "z")
    assert [each.name for each in machine.snapshots()] == ["z", "b"]


def test_a_screenshot_is_a_png(machine):
    machine.power_on()
    assert machine.screenshot().startswith(b"\x89PNG\r\n\x1a\n")


def test_what_a_running_machine_cannot_become_is_refused_before_anything_happens(machine):
    now = machine.hardware
    machine.power_on()
    disk = Disk(Path("/ide.vmdk"), MiB, bus="ide")
    for wanted in (
        replace(now, vcpus=2),
        replace(now, memory=now.memory * 2),
        replace(now, uefi=True),
        replace(now, disks=(replace(now.disks[0], size=MiB),)),
        replace(now, disks=(*now.disks, disk)),
        replace(now, nics=(Nic("00:50:56:00:00:01", "nowhere"),)),
        replace(now, nics=(Nic("00:50:56:00:00:01", "nat", model="virtio"),)),
    ):
        with pytest.raises(NotSupported):
            machine.reconfigure(wanted)
    assert machine.hardware == now
    machine.power_off()
    machine.reconfigure(replace(now, vcpus=2, memory=now.memory * 2))
    assert machine.hardware.vcpus == 2


def test_nothing_runs_while_a_vcpu_comes(engine, monkeypatch):
    """A new vCPU that may run before QEMU reset it for the second time begins with the firmware, and resets all."""
    machine = engine.add("vm-1", hardware(vcpus=1, max_vcpus=4))
    machine.power_on()
    asked, command = [], Monitor.command

    def noted(self, word, *more, **named):
        asked.append(word)
        return command(self, word, *more, **named)

    monkeypatch.setattr(Monitor, "command", noted)
    machine.reconfigure(replace(machine.hardware, vcpus=3))
    assert asked[asked.index("stop") :] == ["stop", "device_add", "device_add", "cont"]
    assert machine.state is MachineState.RUNNING


def test_a_device_that_nobody_releases_stays(engine, monkeypatch):
    monkeypatch.setattr("harness.twins.engine.reconfigure._RELEASE", 0.5)
    nic = Nic("00:50:56:00:00:01", "peers")
    machine = engine.add("vm-1", hardware(nics=(nic,)))
    machine.power_on()
    with pytest.raises(GuestSilent, match="did not let go"):
        machine.reconfigure(replace(machine.hardware, nics=()))
    assert machine.hardware.nics == (nic,)


def test_a_machine_without_an_agent_has_no_tools(machine):
    assert "the machine is off" in machine.tools().detail
    machine.power_on()
    seen = machine.tools()
    assert (seen.running, seen.detail) == (False, "no agent answers on the second serial port")
    with pytest.raises(GuestSilent):
        machine.guest_shutdown()


def test_many_hands_at_one_machine_are_served_one_after_another(machine):
    machine.power_on()
    problems: list[Exception] = []

    def work(number: int) -> None:
        try:
            machine.snapshot(f"s{number}", memory=True)
            machine.revert(f"s{number}")
            machine.screenshot()
        except EngineError as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert len(machine.snapshots()) == 4


def test_a_destroyed_machine_leaves_nothing(engine, machine, tmp_path):
    machine.power_on()
    machine.snapshot("m", memory=True)
    machine.destroy()
    machine.destroy()
    assert engine.machines() == ()
    left = [path.name for path in (tmp_path / "engine").rglob("*") if path.is_file()]
    assert left == []
    with pytest.raises(EngineError, match="no machine 'vm-1'"):
        engine.machine("vm-1")


def test_a_machine_that_does_not_start_is_off_and_says_why(engine, tmp_path):
    machine = engine.add("vm-1", hardware(cdrom=tmp_path / "missing.iso"))
    with pytest.raises(EngineError, match=r"missing\.iso"):
        machine.power_on()
    assert machine.state is MachineState.OFF


def test_keys_are_unique(engine, machine: EngineMachine):
    with pytest.raises(EngineError, match="already"):
        engine.add(machine.key, hardware())
    with pytest.raises(EngineError, match="is a disk of"):
        engine.delete_disk(machine.hardware.disks[0].path)
