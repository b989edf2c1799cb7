"""A capability is declared if and only if it is implemented, and every declared one is proved by a test here."""

from __future__ import annotations

import pytest

from harness.backends import protocol
from harness.backends.capabilities import NOT_YET, Capability
from harness.backends.model import Shape
from harness.backends.protocol import Refused
from harness.core import Size
from tests.contract.conftest import files, main_shape

OF_MACHINES = {
    Capability.PAUSE: protocol.Pausable,
    Capability.SAVE: protocol.Savable,
    Capability.CHECKPOINT: protocol.Checkpointed,
    Capability.CHECKPOINT_WITH_MEMORY: protocol.Checkpointed,
    Capability.QUIESCE: protocol.Quiescing,
    Capability.DYNAMIC_MEMORY: protocol.Ballooning,
    Capability.SHUTDOWN: protocol.ShutdownRequest,
    Capability.DISK_HOT_ADD: protocol.DiskPlug,
    Capability.DISK_RESIZE: protocol.DiskResize,
    Capability.FULL_DISK: protocol.FullDisk,
    Capability.NIC_HOT_ADD: protocol.NicPlug,
    Capability.LINK_STATE: protocol.LinkSwitch,
    Capability.HEARTBEAT: protocol.Services,
    Capability.EXCHANGE: protocol.Exchange,
    Capability.FILE_COPY: protocol.FileCopy,
    Capability.SERVICE_TOGGLE: protocol.ServiceSwitch,
    Capability.SCREENSHOT: protocol.Screenshot,
    Capability.NMI: protocol.NmiInjector,
    Capability.HOST_EVENTS: protocol.HostEvents,
}

LEFT_TO_SUITES = {
    Capability.STEAL: "what a guest reads while others load the host",
    Capability.PTP: "a device in the guest, without a verb",
    Capability.MULTIQUEUE: "a device's property, without a verb",
    Capability.OFFLOAD: "a device's property, without a verb",
    Capability.VMBUS: "a bus of the guest's, without a verb",
}


@pytest.mark.parametrize("capability", OF_MACHINES, ids=lambda capability: capability.name)
def test_a_machine_has_the_verbs_of_what_is_declared(site, machine, capability):
    """Verbs without a declaration are never called; a declaration without verbs breaks tests."""
    able = site.hypervisor.capabilities(main_shape(site))
    kind = OF_MACHINES[capability]
    if any(OF_MACHINES[each] is kind for each in able & OF_MACHINES.keys()):
        assert isinstance(machine, kind)
    else:
        assert not isinstance(machine, kind)


def test_what_the_contract_leaves_out_is_not_there(site, machine):
    """Cells of tables that are not even collected are about verbs that the machine lacks."""
    assert not [kind for kind in site.column.lacks if isinstance(machine, kind)]


def test_a_host_has_the_verb_of_its_clock_if_it_declares_one(site):
    """HOST_CLOCK is the host's own."""
    assert isinstance(site.hypervisor, protocol.HostClock) == site.can(Capability.HOST_CLOCK)


def test_every_declared_capability_is_proved_by_a_test_here(site, request):
    """A capability that no test proves may be a lie."""
    items = request.session.items
    if files(request.config) - {item.path for item in items}:
        pytest.skip("only a part of the contract was collected")
    if request.config.option.keyword or request.config.option.markexpr:
        pytest.skip("only a part of the contract was selected")
    here = [item for item in items if _column(item) == _column(request.node)]
    proved = {capability for item in here for mark in item.iter_markers("proves") for capability in mark.args}
    declared = set(site.hypervisor.capabilities(main_shape(site)))
    assert declared - proved - set(LEFT_TO_SUITES) == set()
    assert not declared & set(NOT_YET)


def _column(item):
    """The host that a test is about."""
    return getattr(item, "callspec", None) and item.callspec.params.get("site")


@pytest.mark.parametrize(
    ("capability", "change"),
    [
        (Capability.CPU_HOT_ADD, {"vcpus": 2}),
        (Capability.MEMORY_HOT_ADD, {"memory": Size.parse("512 MiB")}),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_what_a_shape_keeps_no_room_for_is_refused(site, machine, capability, change):
    """A running machine without room for it stays as it is."""
    assert capability not in site.hypervisor.capabilities(machine.spec.shape)
    machine.start(site.deadline())
    before = site.view(machine)
    with pytest.raises(Refused):
        machine.resize(site.deadline(), **change)
    after = site.view(machine)
    assert (after.state, after.vcpus, after.memory) == (before.state, before.vcpus, before.memory)


def test_both_firmwares_are_declared_or_refused(site):
    """A host without UEFI says so before it makes anything."""
    from harness.backends.model import Firmware

    for firmware in Firmware:
        shape = Shape(vcpus=1, memory=Size.parse("256 MiB"), firmware=firmware)
        if Capability[firmware.name] in site.hypervisor.capabilities(shape):
            made = site.create(shape)
            assert site.view(made).firmware is firmware
            site.destroy(made)
        else:
            spec, _ = site.order(shape)
            with pytest.raises(Refused):
                site.make(spec)
            site.forget(spec)
