"""Power: what the host reports, and what the guest felt of it."""

from __future__ import annotations

import re
import time
from datetime import timedelta

import pytest

from harness.backends.capabilities import Capability
from harness.backends.model import Firmware, PowerState, Shape
from harness.backends.protocol import GuestIgnored
from harness.core import Deadline, MiB, Pending, Size, wait_for
from harness.core.waiting import pause
from harness.guest import Guest
from tests.contract.site import BOOT

KERNEL_BANNER = r"Linux version \d+"


def uptime(guest: Guest) -> float:
    """Seconds of the guest's own uptime."""
    return float(guest.files.read("/proc/uptime").split()[0])


def console_text(machine, size=1 << 20):
    """What a machine's first serial port has put out since power-on."""
    return machine.console().read(0, size).decode("utf-8", "replace")


def await_console(machine, pattern, since=0):
    """Wait until the console shows a pattern after an offset, for as long as a guest may take to boot.

    An emulator that is reset is slower than one that is started: the new kernel is written over translated code.
    """

    def seen():
        text = machine.console().read(since, 1 << 20).decode("utf-8", "replace")
        return re.search(pattern, text) or Pending(repr(text[-300:]))

    return wait_for(f"{pattern!r} on the console", seen, Deadline.after(BOOT), fault=AssertionError)


def test_a_new_machine_is_off_and_cold(site, machine):
    """It never was on: its console is empty."""
    assert site.view(machine).state is PowerState.OFF
    assert console_text(machine) == ""


def test_a_machine_that_is_started_runs_the_image(site, machine):
    """The kernel of the image speaks on its console."""
    machine.start(site.deadline())
    assert site.view(machine).state is PowerState.RUNNING
    await_console(machine, KERNEL_BANNER)


def test_a_stopped_machine_is_off_at_once_and_starts_again(site, machine):
    """The next power-on has a console of its own."""
    machine.start(site.deadline())
    await_console(machine, r"\S")
    machine.stop(site.deadline())
    assert site.view(machine).state is PowerState.OFF
    if site.sees_processes:
        assert site.processes(machine.id) == []
    machine.start(site.deadline())
    assert site.view(machine).state is PowerState.RUNNING
    await_console(machine, KERNEL_BANNER)
    assert len(re.findall(KERNEL_BANNER, console_text(machine))) == 1


@pytest.mark.proves(Capability.BIOS)
def test_a_machine_with_bios_boots_by_it(guest):
    """As the guest sees it."""
    assert guest.shape.firmware is Firmware.BIOS
    assert guest.system.firmware() is Firmware.BIOS


@pytest.mark.proves(Capability.UEFI)
def test_a_machine_with_uefi_boots_by_it(other):
    """As the guest sees it."""
    assert other.shape.firmware is Firmware.UEFI
    assert other.system.firmware() is Firmware.UEFI


@pytest.mark.proves(Capability.TOPOLOGY)
def test_vcpus_are_grouped_as_asked(site):
    """The kernel's first lines say how many packages it found."""
    from harness.backends.model import Topology

    shape = Shape(vcpus=2, memory=Size(256 * MiB), topology=Topology(sockets=1, cores=2, threads=1))
    made = site.create(shape)
    assert site.view(made).topology == shape.topology
    made.start(site.deadline())
    await_console(made, r"smp: Brought up 1 node, 2 CPUs")
    found = await_console(made, r"smpboot: Max logical packages: (\d+)")
    site.destroy(made)
    assert found[1] == "1"


@pytest.mark.proves(Capability.NUMA)
def test_vcpus_and_memory_are_in_as_many_nodes_as_asked(site):
    """The kernel's first lines say how many nodes it brought up."""
    made = site.create(Shape(vcpus=2, memory=Size(256 * MiB), numa_nodes=2))
    assert site.view(made).numa_nodes == 2
    made.start(site.deadline())
    await_console(made, r"smp: Brought up 2 nodes, 2 CPUs")
    site.destroy(made)


def test_a_reset_boots_anew_in_the_same_power_session(site, spoilt):
    """The console goes on where it was, with the boot of the same kernel."""
    machine = spoilt.machine
    end = spoilt.console.end
    machine.reset(site.deadline())
    assert site.view(machine).state is PowerState.RUNNING
    await_console(machine, KERNEL_BANNER, since=end)


@pytest.mark.proves(Capability.PAUSE)
def test_a_paused_guest_stands_still_and_goes_on_where_it_was(site, guest):
    """Its own uptime has no trace of the pause; it is the same boot."""
    machine = guest.machine
    boot = guest.boot_id
    ran, began = uptime(guest), time.monotonic()
    machine.pause(site.deadline())
    held = time.monotonic()
    assert site.view(machine).state is PowerState.PAUSED
    pause(timedelta(seconds=2))
    held = time.monotonic() - held
    machine.resume(site.deadline())
    assert site.view(machine).state is PowerState.RUNNING
    ran = uptime(guest) - ran
    assert ran <= time.monotonic() - began - held + 0.1
    assert guest.boot_id == boot


@pytest.mark.proves(Capability.SAVE)
def test_a_saved_guest_goes_on_from_disk(site, each):
    """What it had in memory is still there, and its processes; while saved it runs nowhere."""
    machine = each.machine
    boot = each.boot_id
    each.files.write("/run/kept-in-memory", b"before the save")
    pid = each.shell("nohup sleep 100000 >/dev/null 2>&1 & echo $!").text.strip()
    machine.save(site.deadline())
    assert site.view(machine).state is PowerState.SAVED
    if site.sees_processes:
        assert site.processes(machine.id) == []
    machine.restore(site.deadline())
    assert site.view(machine).state is PowerState.RUNNING
    site.meet_again(each)
    assert each.boot_id == boot
    assert each.files.read("/run/kept-in-memory") == b"before the save"
    assert each.files.read(f"/proc/{pid}/comm") == b"sleep\n"


@pytest.mark.proves(Capability.SAVE)
def test_starting_a_saved_machine_continues_it(site, machine):
    """A start is not a boot then: the console holds one kernel's start."""
    machine.start(site.deadline())
    await_console(machine, KERNEL_BANNER)
    machine.save(site.deadline())
    machine.start(site.deadline())
    assert site.view(machine).state is PowerState.RUNNING
    end = len(console_text(machine))
    await_console(machine, r"\S", since=end)
    assert len(re.findall(KERNEL_BANNER, console_text(machine))) <= 1


@pytest.mark.proves(Capability.SAVE)
def test_stopping_a_saved_machine_discards_its_state(site, machine):
    """The next start is a boot."""
    machine.start(site.deadline())
    await_console(machine, KERNEL_BANNER)
    machine.save(site.deadline())
    machine.stop(site.deadline())
    assert site.view(machine).state is PowerState.OFF
    machine.start(site.deadline())
    await_console(machine, KERNEL_BANNER)


@pytest.mark.proves(Capability.SHUTDOWN)
def test_a_guest_that_is_asked_shuts_itself_down(site, spoilt):
    """It says so on its console, and the host shows it off when the verb returns."""
    machine = spoilt.machine
    end = spoilt.console.end
    machine.shutdown(site.deadline(300))
    assert site.view(machine).state is PowerState.OFF
    text = machine.console().read(end, 1 << 20).decode("utf-8", "replace")
    assert re.search(r"reboot: Power down|Reached target.*(?:Power|Shut)", text), text[-1000:]


@pytest.mark.proves(Capability.SHUTDOWN)
def test_a_guest_that_does_nothing_about_it_is_told(site, machine):
    """Nobody listens while the firmware still runs; the machine goes on."""
    machine.start(site.deadline())
    with pytest.raises(GuestIgnored):
        machine.shutdown(site.deadline(1))
    assert site.view(machine).state is PowerState.RUNNING


@pytest.mark.proves(Capability.SHUTDOWN)
def test_a_guest_that_is_asked_reboots(site, spoilt):
    """It goes down by itself, and the kernel starts anew in the same power session; a test need not wait for more."""
    machine = spoilt.machine
    end = spoilt.console.end
    machine.reboot(site.deadline())
    await_console(machine, rf"reboot: Restarting system[\s\S]*{KERNEL_BANNER}", since=end)
    assert site.view(machine).state is PowerState.RUNNING
