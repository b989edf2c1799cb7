"""Changes of a running machine of vSphere: what is refused, by the fault's type, and a NIC's cable."""

from __future__ import annotations

import pytest

from harness.backends.capabilities import Capability
from harness.backends.model import PowerState, Shape
from harness.core import MiB, Size
from tests.contract import vsphere
from tests.contract.vsphere import Watch, done, ended, name_of, raw, vim_fault

ROOMY = Shape(vcpus=1, memory=Size(256 * MiB), max_vcpus=2, max_memory=Size(512 * MiB))

service = vsphere.service


def test_what_a_running_machine_refuses_is_a_fault_of_its_own(site, seen, service):
    """Each by the fault's type; our driver says Refused of what it does not ask at all."""
    from pyVmomi import vim

    spec = vim.vm.ConfigSpec
    roomy = site.can(Capability.CPU_HOT_ADD, ROOMY) and site.can(Capability.MEMORY_HOT_ADD, ROOMY)
    machine = site.create(ROOMY if roomy else Shape(vcpus=1, memory=Size(256 * MiB)))
    plain = site.create()
    asked = {
        "add a vCPU": (machine, lambda now: spec(numCPUs=2)),
        "add memory": (machine, lambda now: spec(memoryMB=384)),
        "remove a vCPU": (machine, lambda now: spec(numCPUs=1)),
        "remove memory": (machine, lambda now: spec(memoryMB=256)),
        "add 10000 vCPUs": (machine, lambda now: spec(numCPUs=10000)),
        "add memory beyond the host's": (machine, lambda now: spec(memoryMB=64 << 20)),
        "add memory by one MiB": (machine, lambda now: spec(memoryMB=385)),
        "change its firmware": (machine, lambda now: spec(firmware="efi")),
        "turn hot add off": (machine, lambda now: spec(cpuHotAddEnabled=False)),
        "add a vCPU without hot add": (plain, lambda now: spec(numCPUs=2)),
        "add memory without hot add": (plain, lambda now: spec(memoryMB=512)),
        "remove the disk it runs from": (
            plain,
            lambda now: spec(deviceChange=[removal(now, vim.vm.device.VirtualDisk)]),
        ),
        "remove its controller": (
            plain,
            lambda now: spec(deviceChange=[removal(now, vim.vm.device.VirtualSCSIController)]),
        ),
        "remove its NIC": (plain, lambda now: spec(deviceChange=[removal(now, vim.vm.device.VirtualEthernetCard)])),
    }
    notes = {}
    try:
        for one in (machine, plain):
            one.start(site.deadline())
        for what, (one, change) in asked.items():
            mine = raw(service, one)
            took = Watch()
            try:
                fault = ended(mine.ReconfigVM_Task(change(mine)))
            except vim_fault() as error:
                fault = error
            notes[what] = f"{name_of(fault)} ({took.seconds:.2f} s)"
        seen.tell("changes of a running machine", **notes)
        for one in (machine, plain):
            assert site.view(one).state is PowerState.RUNNING
    finally:
        site.destroy(machine)
        site.destroy(plain)
    for what in ("add 10000 vCPUs", "add memory beyond the host's", "add a vCPU without hot add"):
        assert not notes[what].startswith("accepted"), notes


def removal(mine, kind):
    """The removal of a machine's first device of a kind."""
    from pyVmomi import vim

    device = next(one for one in mine.config.hardware.device if isinstance(one, kind))
    return vim.vm.device.VirtualDeviceSpec(operation="remove", device=device)


@pytest.mark.proves(Capability.LINK_STATE)
def test_a_running_machines_nic_is_disconnected_and_connected(site, seen, service, guest):
    """How soon the guest sees its cable go and come; what the host shows of it then."""
    from pyVmomi import vim

    mine, mac = raw(service, guest.machine), guest.identity.nics[1].mac
    cards = [one for one in mine.config.hardware.device if isinstance(one, vim.vm.device.VirtualEthernetCard)]
    (card,) = [one for one in cards if one.macAddress.lower() == mac]
    notes = {}
    for word, up in (("out", False), ("in", True)):
        card.connectable.connected = up
        change = vim.vm.device.VirtualDeviceSpec(operation="edit", device=card)
        took = Watch()
        done(mine.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=[change])))
        notes[f"cable_{word}_task_seconds"] = took.seconds
        guest.nics.wait_carrier(mac, up, site.deadline(60))
        notes[f"cable_{word}_seen_by_guest_seconds"] = took.seconds
        shown = next(one for one in mine.config.hardware.device if one.key == card.key).connectable
        notes[f"cable_{word}_shown"] = f"connected {shown.connected}, status {shown.status}"
        assert bool(shown.connected) is up
    seen.tell("a NIC's cable while running", **notes)
