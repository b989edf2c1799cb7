"""vCPUs and memory that come and go: asked, shown by the host, seen by the guest."""

from __future__ import annotations

import pytest

from harness.backends.capabilities import Capability
from harness.backends.model import Shape
from harness.backends.protocol import Refused
from harness.core import GiB, MiB, Pending, Size, wait_for
from tests.contract.test_contract_power import await_console

AUTO_ONLINE = "/sys/devices/system/memory/auto_online_blocks"


def test_a_machine_that_is_off_takes_any_size(site, machine):
    """The host shows it, and the kernel finds it at its next start."""
    machine.resize(site.deadline(), vcpus=2, memory=Size(384 * MiB))
    view = site.view(machine)
    assert (view.vcpus, view.memory) == (2, 384 * MiB)
    machine.start(site.deadline())
    found = await_console(machine, r"Memory: \d+K/(\d+)K available")
    assert 300 << 10 < int(found[1]) <= 384 << 10
    await_console(machine, r"smp: Brought up 1 node, 2 CPUs")


@pytest.mark.proves(Capability.CPU_HOT_ADD)
def test_a_vcpu_is_added_while_the_guest_runs(site, spoilt):
    """The guest can put it in service."""
    assert spoilt.cpus.masks().present == {0, 1}
    spoilt.machine.resize(site.deadline(), vcpus=3)
    assert site.view(spoilt.machine).vcpus == 3

    def present():
        cpus = spoilt.cpus.masks().present
        return cpus if len(cpus) == 3 else Pending(f"present CPUs {sorted(cpus)}")

    assert wait_for("a third CPU", present, site.deadline(60), fault=AssertionError) == {0, 1, 2}
    assert spoilt.cpus.bring_up() == {0, 1, 2}


@pytest.mark.proves(Capability.CPU_HOT_ADD)
def test_more_vcpus_than_there_is_room_for_are_refused(site, guest):
    """Host and guest stay as they are."""
    most = site.view(guest.machine).max_vcpus
    with pytest.raises(Refused):
        guest.machine.resize(site.deadline(), vcpus=most + 1)
    assert site.view(guest.machine).vcpus == 2
    assert guest.cpus.online() == {0, 1}


@pytest.mark.proves(Capability.CPU_HOT_REMOVE)
def test_a_vcpu_is_removed_while_the_guest_runs(site, spoilt):
    """After it was added, and put in service."""
    spoilt.machine.resize(site.deadline(), vcpus=3)
    wait_for(
        "a third CPU",
        lambda: len(spoilt.cpus.bring_up()) == 3 or Pending("two"),
        site.deadline(60),
        fault=AssertionError,
    )
    spoilt.machine.resize(site.deadline(), vcpus=2)
    assert site.view(spoilt.machine).vcpus == 2
    assert spoilt.cpus.masks().present == {0, 1}


@pytest.mark.proves(Capability.MEMORY_HOT_ADD)
def test_memory_is_added_while_the_guest_runs(site, spoilt):
    """The guest's total grows by as much once it takes the new blocks into service."""
    before = spoilt.memory.total()
    spoilt.run(["tee", AUTO_ONLINE], stdin=b"online\n")
    spoilt.machine.resize(site.deadline(), memory=Size(GiB + GiB // 2))
    assert site.view(spoilt.machine).memory == GiB + GiB // 2

    def grown():
        total = spoilt.memory.total()
        return total if total - before >= 500 * MiB else Pending(f"{before} before, {total} now")

    total = wait_for("more memory", grown, site.deadline(60), fault=AssertionError)
    assert total - before <= 512 * MiB


@pytest.mark.proves(Capability.MEMORY_HOT_ADD)
def test_more_memory_than_there_is_room_for_is_refused(site, guest):
    """Host and guest stay as they are."""
    assert guest.shape.max_memory is not None
    before = guest.memory.total()
    with pytest.raises(Refused):
        guest.machine.resize(site.deadline(), memory=Size(guest.shape.max_memory + GiB))
    assert site.view(guest.machine).memory == guest.shape.memory
    assert guest.memory.total() == before


def test_what_was_asked_is_what_host_and_guest_show(site, guest):
    """vCPUs, memory and firmware."""
    asked: Shape = guest.shape
    view = site.view(guest.machine)
    assert (view.vcpus, view.memory, view.firmware) == (asked.vcpus, asked.memory, asked.firmware)
    assert view.max_vcpus >= (asked.max_vcpus or asked.vcpus)
    assert len(guest.cpus.online()) == asked.vcpus
    assert asked.memory * 0.85 <= guest.memory.total() <= asked.memory
    assert guest.system.firmware() is asked.firmware


@pytest.mark.proves(Capability.DYNAMIC_MEMORY)
def test_memory_is_borrowed_from_a_guest_and_given_back(site, spoilt):
    """The host sees how far the guest's balloon has come; the machine has what it had."""
    machine = spoilt.machine
    whole = site.view(machine).memory
    for asked in (Size(whole - 128 * MiB), whole):
        machine.balloon(asked, site.deadline())

        def there(asked=asked):
            now = machine.assigned(site.deadline())
            return True if now == asked else Pending(f"the guest has {now}")

        wait_for(f"the balloon to leave {asked}", there, site.deadline(60), fault=AssertionError)
    for wrong in (Size(0), Size(whole + MiB)):
        with pytest.raises(Refused):
            machine.balloon(wrong, site.deadline())
    assert (site.view(machine).memory, machine.assigned(site.deadline())) == (whole, whole)
