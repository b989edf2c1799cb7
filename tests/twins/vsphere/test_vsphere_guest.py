"""A whole Debian behind the twin: uploaded, cloned, booted, reached, and described by its own tools."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import asyncssh
import pytest
from pyVmomi import vim

from harness.core import Deadline, LabError, Pending, wait_for
from harness.core.waiting import pause
from harness.image.keys import generate
from harness.image.model import Format
from harness.image.seed import SeedNic, SeedSpec, write_seed
from harness.image.store import Store
from tests.twins.vsphere.client import Client, cd, nic, serial
from tests.twins.vsphere.running import TwinProcess

_BOOT = 400


@pytest.fixture(scope="module")
def debian() -> Path:
    """The image's streamOptimized VMDK."""
    store = Store()
    try:
        entry = store.find("debian12")
    except LabError as error:
        pytest.skip(error.message)
    return store.convert(entry.image, Format.VMDK, Deadline.after(300)).files[Format.VMDK]


def test_a_debian_boots_behind_the_twin_and_its_tools_speak(
    client: Client, twin: TwinProcess, debian: Path, tmp_path: Path
) -> None:
    host_key, login = generate(), generate("somebody")
    spec = SeedSpec(
        instance_id="i-twin",
        hostname="behind-the-twin",
        nics=(SeedNic("00:50:56:00:10:00", "10.78.3.4/16"),),
        host_key=host_key,
        authorized_keys=(login.public,),
    )
    seed = write_seed(spec, tmp_path / "seed.iso")
    client.web.put(client.file("seed.iso"), data=seed.read_bytes()).raise_for_status()
    base = client.imported("debian", debian, 6 * 1024)
    snapshot = client.done(base.CreateSnapshot_Task("base", "", False, False))
    devices = [nic("VM Network"), cd(f"[{client.store}] seed.iso"), serial(f"[{client.store}] guest/serial.log")]
    changes = [vim.vm.device.VirtualDeviceSpec(operation="add", device=device) for device in devices]
    machine = client.clone(base, snapshot, "guest", *changes, numCPUs=2, memoryMB=1024, cpuHotAddEnabled=True)
    client.done(machine.PowerOnVM_Task())

    def tools() -> bool | Pending:
        status = machine.guest.toolsRunningStatus
        return True if status == "guestToolsRunning" and machine.guest.ipAddress else Pending(status)

    wait_for("the tools", tools, Deadline.after(_BOOT), every=1)
    assert machine.guest.hostName == "behind-the-twin"
    assert machine.guest.ipAddress == "10.78.3.4"
    assert [(each.macAddress, each.connected) for each in machine.guest.net] == [("00:50:56:00:10:00", True)]
    assert machine.guestHeartbeatStatus == "green"
    log = client.web.get(client.file("guest/serial.log"), headers={"Range": "bytes=0-99"})
    assert log.status_code == 206
    assert len(log.content) == 100

    def asked(command: str) -> str | Pending:
        try:
            return by_ssh(command, "127.78.3.4", host_key.public, login.private)
        except (OSError, asyncssh.Error) as error:
            return Pending(repr(error))

    def ask(command: str) -> str:
        return wait_for(command, lambda: asked(command), Deadline.after(_BOOT), every=1)

    # The agent is up before sshd is.
    assert ask("cat /sys/class/dmi/id/product_name") == "VMware7,1"
    the_guest_reads_what_its_host_says(client, machine, ask)
    the_guest_goes_on_after_a_standby_of_its_own(client, machine, ask)
    the_tools_set_a_clock_that_is_behind(client, machine, ask)
    client.reconfigure(machine, numCPUs=4)
    picture = client.done(machine.CreateScreenshot_Task())
    path = picture.removeprefix(f"[{client.store}] ")
    assert client.web.get(client.file(path)).content.startswith(b"\x89PNG")
    machine.ShutdownGuest()

    def off() -> bool | Pending:
        return True if machine.runtime.powerState == "poweredOff" else Pending(machine.runtime.powerState)

    wait_for("the guest to power itself off", off, Deadline.after(_BOOT), every=1)
    assert machine.guest.toolsRunningStatus == "guestToolsNotRunning"


def the_guest_reads_what_its_host_says(client: Client, machine: vim.VirtualMachine, ask: Callable[[str], str]) -> None:
    """A key that comes, changes and goes; and nothing while the tools' unit is masked."""

    def say(value: str) -> None:
        client.reconfigure(machine, extraConfig=[vim.option.OptionValue(key="guestinfo.word", value=value)])

    def reads(value: str | None) -> bool | Pending:
        told = json.loads(ask("cat /run/twin/guestinfo.json"))
        return True if told.get("guestinfo.word") == value else Pending(str(told))

    def guest_reads(value: str | None) -> None:
        wait_for(f"the guest to read {value}", lambda: reads(value), Deadline.after(60), every=1)

    for value in ("seven", "größer 🐧"):
        say(value)
        guest_reads(value)
    say("")
    guest_reads(None)
    ask("systemctl mask --runtime open-vm-tools.service")
    say("unheard")
    pause(timedelta(seconds=6))  # more than one look of the tools
    assert reads(None) is True
    ask("systemctl unmask --runtime open-vm-tools.service")
    guest_reads("unheard")


def the_guest_goes_on_after_a_standby_of_its_own(
    client: Client, machine: vim.VirtualMachine, ask: Callable[[str], str]
) -> None:
    """Asked by its tools; it is suspended then, and is the same boot after the next power-on."""

    def suspended() -> bool | Pending:
        return True if machine.runtime.powerState == "suspended" else Pending(machine.runtime.powerState)

    boot = ask("cat /proc/sys/kernel/random/boot_id")
    machine.StandbyGuest()
    wait_for("the guest to stand by", suspended, Deadline.after(120), every=0.2)
    by = vim.event.EventFilterSpec(entity=vim.event.EventFilterSpec.ByEntity(entity=machine, recursion="self"))
    events = client.content.eventManager.QueryEvents(by)
    assert [each for each in events if isinstance(each, vim.event.VmGuestStandbyEvent)]
    client.done(machine.PowerOnVM_Task())
    assert ask("cat /proc/sys/kernel/random/boot_id") == boot


def the_tools_set_a_clock_that_is_behind(
    client: Client, machine: vim.VirtualMachine, ask: Callable[[str], str]
) -> None:
    """Once after a machine was suspended, unless it is told not to; all the time where they are told to."""

    def behind() -> float:
        return time.time() - float(ask("date +%s.%N"))

    def go_on() -> None:
        ask("date --set='1 hour ago'")
        client.done(machine.SuspendVM_Task())
        client.done(machine.PowerOnVM_Task())

    def right() -> bool | Pending:
        return True if abs(found := behind()) < 60 else Pending(f"{found:.0f} s behind")

    go_on()
    wait_for("the clock to be set", right, Deadline.after(120), every=1)
    client.reconfigure(machine, extraConfig=[vim.option.OptionValue(key="time.synchronize.resume.disk", value="FALSE")])
    go_on()
    wait_for(
        "the tools", lambda: machine.guestHeartbeatStatus == "green" or Pending("no heartbeat"), Deadline.after(120)
    )
    pause(timedelta(seconds=6))  # more than one look of the tools
    assert 3000 < behind() < 4200
    client.reconfigure(machine, tools=vim.vm.ToolsConfigInfo(syncTimeWithHost=True))
    wait_for("the clock to be kept", right, Deadline.after(120), every=1)


def by_ssh(command: str, address: str, host_key: str, private: str) -> str:
    """What a command in the guest says."""
    import asyncio

    async def ask() -> str:
        known = asyncssh.import_known_hosts(f"[{address}]:2222 {host_key}\n")
        key = asyncssh.import_private_key(private)
        async with asyncssh.connect(
            address, 2222, username="root", known_hosts=known, client_keys=[key], config=None
        ) as connection:
            done = await connection.run(command, check=True)
            return str(done.stdout).strip()

    return asyncio.run(ask())
