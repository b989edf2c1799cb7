"""What a guest sees of its machine: one tiny guest, booted once, and brought back before every test."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.core import Deadline, GiB, MiB
from harness.core.waiting import Pending, pause, wait_for
from harness.twins.engine import Disk, EngineMachine, ExitReason, MachineState, Nic
from tests.twins.engine.conftest import Heard, await_heard, await_state, opened, tiny_hardware
from tests.twins.engine.tiny import Shell

NAT, PEER, LATER = (Nic(f"00:50:56:00:00:0{at}", network) for at, network in enumerate(("nat", "peers", "peers")))
BOOTED = "booted"
BLOCKS = "cd /sys/devices/system/memory; echo memory*; cd /"


@pytest.fixture(scope="module")
def watcher() -> Heard:
    return Heard()


@pytest.fixture(scope="module", params=["bios", "uefi"])
def booted(request, disk: Path, watcher: Heard, tmp_path_factory) -> Iterator[EngineMachine]:
    """A guest at its prompt."""
    engine = opened(tmp_path_factory.mktemp("engine"), watcher)
    machine = engine.add("vm-1", tiny_hardware(disk, nics=(NAT, PEER), uefi=request.param == "uefi"))
    machine.power_on()
    Shell(machine).await_prompt()
    machine.snapshot(BOOTED, memory=True)
    yield machine
    engine.close()


@pytest.fixture
def guest(booted: EngineMachine, watcher: Heard) -> EngineMachine:
    """As it was after its boot."""
    booted.revert(BOOTED)
    watcher.exits.clear()
    watcher.reboots.clear()
    return booted


@pytest.fixture
def shell(guest: EngineMachine) -> Shell:
    made = Shell(guest)
    made.skip()
    return made


def await_said(shell: Shell, command: str, wanted: str, seconds: float = 30) -> None:
    """A guest takes its time to notice."""

    def said() -> bool | Pending:
        answer = shell.ask(command)
        return wanted in answer or Pending(answer)

    wait_for(wanted, said, Deadline.after(seconds), every=0.3)


def test_it_finds_itself_on_vmware(shell):
    dmi = shell.ask("cd /sys/class/dmi/id; cat sys_vendor product_name product_serial chassis_asset_tag; cd /")
    assert dmi.splitlines()[:2] == ["VMware, Inc.", "VMware7,1"]
    assert "VMware-" in dmi
    assert "interop-serial-agent" in dmi
    assert "Hypervisor detected: VMware" in shell.ask("dmesg")


def test_its_nics_and_controllers_have_vmware_drivers(shell):
    drivers = shell.ask("cd /sys/bus/pci/drivers; echo vmxnet3/0000* vmw_pvscsi/0000*; cd /")
    assert drivers.split() == ["vmxnet3/0000:00:10.0", "vmxnet3/0000:00:11.0", "vmw_pvscsi/0000:00:03.0"]


def test_vcpus_come_while_it_runs(guest, shell):
    guest.reconfigure(replace(guest.hardware, vcpus=4))
    await_said(shell, "echo /sys/devices/system/cpu/cpu?", "cpu3")
    shell.ask("for cpu in /sys/devices/system/cpu/cpu[23]; do echo 1 > $cpu/online; done")
    await_said(shell, "cat /sys/devices/system/cpu/online", "0-3")


def test_memory_comes_while_it_runs(guest, shell):
    before = shell.ask(BLOCKS).split()
    guest.reconfigure(replace(guest.hardware, memory=GiB))

    def more() -> bool | Pending:
        blocks = shell.ask(BLOCKS).split()
        return len(blocks) == len(before) + 4 or Pending(str(blocks))

    wait_for("four more blocks", more, Deadline.after(30))


def test_disks_come_grow_and_go_after_a_revert_too(guest, shell):
    disk = Disk(Path("/data.vmdk"), 64 * MiB, serial="DATA", unit=1)
    system = guest.hardware.disks
    guest.reconfigure(replace(guest.hardware, disks=(*system, disk)))
    await_said(shell, "cat /sys/block/sdb/size", "131072")
    assert "DATA" in shell.ask("cat /sys/block/sdb/device/vpd_pg80")
    guest.reconfigure(replace(guest.hardware, disks=(*system, replace(disk, size=128 * MiB))))
    shell.ask("echo 1 > /sys/block/sdb/device/rescan")
    await_said(shell, "cat /sys/block/sdb/size", "262144")
    guest.reconfigure(replace(guest.hardware, disks=system))
    await_said(shell, "echo /sys/block/sd*", "/sys/block/sda")
    assert "sdb" not in shell.ask("echo /sys/block/sd*")


def test_nics_come_and_go(guest, shell):
    guest.reconfigure(replace(guest.hardware, nics=(NAT, PEER, LATER)))
    await_said(shell, "cat /sys/class/net/eth2/address", LATER.mac)
    guest.reconfigure(replace(guest.hardware, nics=(NAT, LATER)))
    await_said(shell, "echo eth[$(cat /sys/class/net/*/address)]", LATER.mac)
    assert PEER.mac not in shell.ask("cat /sys/class/net/*/address")


def test_a_pulled_cable_is_seen_and_stays_pulled(guest, shell):
    shell.ask("echo 0x1003 > /sys/class/net/eth1/flags")
    await_said(shell, "cat /sys/class/net/eth1/carrier", "1")
    guest.reconfigure(replace(guest.hardware, nics=(NAT, replace(PEER, connected=False))))
    await_said(shell, "cat /sys/class/net/eth1/carrier", "0")
    guest.suspend()
    guest.power_on()
    shell.skip()
    assert shell.ask("cat /sys/class/net/eth1/carrier") == "0"
    guest.reconfigure(replace(guest.hardware, nics=(NAT, PEER)))
    await_said(shell, "cat /sys/class/net/eth1/carrier", "1")


def test_memory_is_what_it_was_through_snapshot_and_suspend(guest, shell):
    shell.ask("echo one > /run/mark")
    guest.snapshot("one", memory=True)
    shell.ask("echo two > /run/mark")
    guest.suspend()
    guest.power_on()
    shell.skip()
    assert shell.ask("cat /run/mark") == "two"
    guest.revert("one")
    shell.skip()
    assert shell.ask("cat /run/mark") == "one"
    guest.delete_snapshot("one")


def test_a_revert_takes_the_guests_clock_back_with_its_memory(guest, shell):
    def uptime():
        return float(shell.ask("cat /proc/uptime").split()[0])

    then = uptime()
    guest.snapshot("then", memory=True)
    pause(10)
    before = uptime()
    assert before - then >= 10
    guest.revert("then")
    shell.skip()
    assert then < uptime() < before, "the ten seconds before the revert are still there"
    guest.delete_snapshot("then")


def test_a_snapshot_fits_a_guest_that_grew_meanwhile(guest, shell):
    guest.reconfigure(replace(guest.hardware, vcpus=3, memory=768 * MiB, nics=(NAT, PEER, LATER)))
    guest.snapshot("grown", memory=True)
    larger = guest.hardware
    guest.revert(BOOTED)
    assert guest.hardware.vcpus == 2
    guest.revert("grown")
    shell.skip()
    assert guest.hardware == larger
    await_said(shell, "cat /sys/class/net/*/address", LATER.mac)
    guest.delete_snapshot("grown")


def test_an_nmi_arrives(guest, shell):
    guest.nmi()
    shell.await_words("NMI received for unknown reason")


def test_a_reboot_of_its_own_is_told_once(guest, shell, watcher):
    guest.serial_write(b"reboot -f\n")
    await_heard(lambda: watcher.reboots)
    assert watcher.reboots == ["vm-1"]
    assert guest.state is MachineState.RUNNING


def test_a_guest_that_switches_itself_off_is_off(guest, shell, watcher):
    guest.serial_write(b"poweroff -f\n")
    await_state(guest, MachineState.OFF)
    await_heard(lambda: watcher.exits)
    assert watcher.exits == [("vm-1", ExitReason.GUEST_SHUTDOWN)]


DOOMED = """
import os, sys, signal
from pathlib import Path
from tests.twins.engine.conftest import Heard, opened, hardware
machine = opened(Path(sys.argv[1]), Heard()).add("vm-1", hardware())
machine.power_on()
print(machine.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_twin_takes_its_machines_along(tmp_path):
    argv = [sys.executable, "-c", DOOMED, str(tmp_path)]
    here = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=here)
    pid = int(done.stdout)
    wait_for("QEMU's end", lambda: not Path(f"/proc/{pid}").exists() or Pending("it runs"), Deadline.after(30))


def test_nothing_is_listened_on_but_loopback(guest):
    process = Path(f"/proc/{guest.pid}")
    own = {str(path.readlink()).strip("socket:[]") for path in (process / "fd").iterdir()}
    tables = [process / "net" / name for name in ("tcp", "udp", "tcp6", "udp6")]
    rows = [line.split() for table in tables if table.exists() for line in table.read_text().splitlines()[1:]]
    places = [row[1] for row in rows if row[9] in own]
    assert places
    assert all(place.split(":")[0].endswith("7F") for place in places)  # 127.x.y.z, little-endian
