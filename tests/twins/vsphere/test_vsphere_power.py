"""Power of the twin's machines: what a client of vSphere does, QEMU does."""

from __future__ import annotations

import pytest
from pyVmomi import vim

from tests.twins.vsphere.client import Client, Failed
from tests.twins.vsphere.running import TwinProcess


def emulators(twin: TwinProcess) -> int:
    return sum(name.startswith("qemu-system") for name in twin.descendants().values())


def test_a_machine_that_is_powered_on_is_a_process(client: Client, twin: TwinProcess) -> None:
    machine = client.create("power", disks=(16,), nics=("VM Network",))
    assert emulators(twin) == 0
    client.done(machine.PowerOnVM_Task())
    assert machine.runtime.powerState == "poweredOn"
    assert emulators(twin) == 1
    client.done(machine.PowerOffVM_Task())
    assert machine.runtime.powerState == "poweredOff"
    assert emulators(twin) == 0


def test_a_reset_keeps_the_machine_on(client: Client, twin: TwinProcess) -> None:
    machine = client.create("reset", disks=(16,))
    client.done(machine.PowerOnVM_Task())
    before = twin.descendants()
    client.done(machine.ResetVM_Task())
    assert machine.runtime.powerState == "poweredOn"
    assert twin.descendants() == before


def test_a_suspended_machine_has_no_process_and_continues(client: Client, twin: TwinProcess) -> None:
    machine = client.create("suspend", disks=(16,))
    client.done(machine.PowerOnVM_Task())
    client.done(machine.SuspendVM_Task())
    assert machine.runtime.powerState == "suspended"
    assert emulators(twin) == 0
    client.done(machine.PowerOnVM_Task())
    assert machine.runtime.powerState == "poweredOn"
    assert emulators(twin) == 1


@pytest.mark.parametrize("verb", ["PowerOffVM_Task", "ResetVM_Task", "SuspendVM_Task"])
def test_a_machine_that_is_off_refuses(client: Client, verb: str) -> None:
    machine = client.create("off")
    with pytest.raises(Failed) as failed:
        client.done(getattr(machine, verb)())
    assert isinstance(failed.value.fault, vim.fault.InvalidPowerState)


def test_a_machine_that_is_on_is_neither_powered_on_nor_destroyed(client: Client) -> None:
    machine = client.create("on", disks=(16,))
    client.done(machine.PowerOnVM_Task())
    for task in (machine.PowerOnVM_Task(), machine.Destroy_Task()):
        with pytest.raises(Failed) as failed:
            client.done(task)
        assert isinstance(failed.value.fault, vim.fault.InvalidPowerState)
