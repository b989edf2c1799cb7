"""Real guests behind the cmdlets: a tiny one of each generation, driven by the shipped agent over the wire."""

from __future__ import annotations

import base64
import contextlib
import socket
from pathlib import Path

import pytest

from harness.core import Deadline, Pending, wait_for
from harness.image import resolve
from harness.qemu.switch import Plug
from harness.qemu.switchboard import SwitchClient
from harness.twins.hyperv.config import TwinConfig
from harness.twins.hyperv.twin import Twin
from tests.twins.engine.tiny import tiny_disk
from tests.twins.hyperv_agent import MODES, NETWORKS, Refused, Talk
from tests.twins.hyperv_host import PASSWORD, USER

MB = 1 << 20
PROMPT = b"(initramfs) "
FRAME = b"\xff" * 6 + bytes.fromhex("020000000001") + b"\x88\xb5" + bytes(46)
"""To everybody, of a type kept for experiments."""


class Console:
    """The guest's serial console, as the agent's pump keeps it."""

    def __init__(self, talk: Talk, path: Path) -> None:
        self.talk, self.path, self.at = talk, path, 0

    def until_prompt(self, seconds: float = 150) -> str:
        """What was said until the guest's next prompt."""
        said = b""

        def prompted():
            nonlocal said
            for row in self.talk.one("Read-InteropConsole", ".", Path=self.path, Offset=self.at, Limit=100_000):
                data = base64.b64decode(row["."])
                said, self.at = said + data, self.at + len(data)
            return (
                True
                if said.rstrip(b"\r\n").endswith(PROMPT.rstrip()) or PROMPT in said[-20:]
                else Pending(repr(said[-99:]))
            )

        wait_for("the guest's prompt", prompted, Deadline.after(seconds), every=0.2)
        return said.decode("utf-8", "replace")

    def ask(self, command: str) -> str:
        """What a command says."""
        self.talk.one("Write-InteropConsole", Path=self.path, Data=base64.b64encode(f"{command}\n".encode()).decode())
        return self.until_prompt(60).partition("\n")[2].removesuffix(PROMPT.decode()).replace("\r", "").strip()


@pytest.fixture(scope="module")
def disk(tmp_path_factory) -> Path:
    """The image's kernel and initramfs, which stops at its shell."""
    return tiny_disk(tmp_path_factory.mktemp("tiny"), resolve("debian12"))


@pytest.fixture(scope="module", params=[(1, MODES[1]), (2, MODES[0])], ids=["first", "second"])
def guest(request, disk, tmp_path_factory):
    """A guest at its prompt: its agent and its console."""
    generation, mode = request.param
    mode = getattr(mode, "values", (mode,))[0]
    if mode == "pwsh":
        import shutil

        if shutil.which("pwsh") is None:
            mode = "emulated"
    folder = tmp_path_factory.mktemp("twin")
    config = TwinConfig(folder=folder, accounts={USER: PASSWORD}, powershell=mode, networks=NETWORKS, accel="tcg")
    with Twin(config) as twin:
        talk = Talk(twin)
        log, system = twin.store / "console.log", twin.store / "system.vhdx"
        pipe = f"interop-test-{folder.name}-{generation}"
        talk.one("New-VHD", Path=system, ParentPath=disk, Differencing=True)
        talk.one("New-VM", Name="guest", Generation=generation, VHDPath=system, MemoryStartupBytes=512 * MB)
        talk.one("Set-VM", Name="guest", CheckpointType="Standard", StaticMemory=True)
        talk.one("Connect-VMNetworkAdapter", VMName="guest", SwitchName="lan")
        if generation == 2:
            talk.one("Set-VMFirmware", VMName="guest", EnableSecureBoot="Off")
        talk.one("Set-VMComPort", VMName="guest", Number=1, Path=f"\\\\.\\pipe\\{pipe}")
        talk.one("Start-InteropConsole", Pipe=pipe, Path=log, Fresh=True)
        talk.one("Start-VM", Name="guest")
        console = Console(talk, log)
        console.until_prompt()
        yield generation, talk, console
        talk.close()


def state(talk):
    return talk.one("Get-VM", "State", Name="guest")[0]["State"]


def test_a_guest_finds_what_its_host_shows(guest):
    generation, talk, console = guest
    assert console.ask("cat /sys/class/dmi/id/sys_vendor /sys/class/dmi/id/product_name").split("\n") == [
        "Microsoft Corporation",
        "Virtual Machine",
    ]
    assert ("efi" in console.ask("ls /sys/firmware")) == (generation == 2)
    assert console.ask("cat /sys/block/sda/size") == str(256 * MB // 512)
    mac = talk.one("Get-VMNetworkAdapter", "MacAddress", VMName="guest")[0]["MacAddress"]
    assert console.ask("cat /sys/class/net/e*/address").replace(":", "").upper() == mac


def test_a_checkpoint_brings_memory_back(guest):
    _, talk, console = guest
    console.ask("echo before > /tmp-note")
    talk.one("Checkpoint-VM", Name="guest", SnapshotName="warm")
    console.ask("echo after > /tmp-note")
    talk.one("Restore-VMSnapshot", VMName="guest", Name="warm", Confirm=False)
    assert state(talk) == "Running"
    assert console.ask("cat /tmp-note") == "before"
    talk.one("Remove-VMSnapshot", VMName="guest", Name="warm")


def test_a_saved_guest_goes_on(guest):
    _, talk, console = guest
    console.ask("echo kept > /tmp-kept")
    talk.one("Save-VM", Name="guest")
    assert state(talk) == "Saved"
    talk.one("Start-VM", Name="guest")
    assert console.ask("cat /tmp-kept") == "kept"


def remove_disk(talk, path):
    """Take the drive with this disk away, wherever it was put."""
    drives = talk.one("Get-VMHardDiskDrive", "Path", "ControllerLocation", VMName="guest", ControllerType="SCSI")
    [at] = [drive["ControllerLocation"] for drive in drives if drive["Path"] == str(path)]
    place = {"ControllerType": "SCSI", "ControllerNumber": 0, "ControllerLocation": at}
    talk.one("Remove-VMHardDiskDrive", VMName="guest", **place)
    left = talk.one("Get-VMHardDiskDrive", "Path", VMName="guest")
    assert str(path) not in [drive["Path"] for drive in left]


def test_a_disk_comes_while_it_runs_and_the_guest_reads_its_identifier(guest):
    _, talk, console = guest
    path = talk.twin.store / "data.vhdx"
    made = talk.one("New-VHD", "DiskIdentifier", Path=path, SizeBytes=64 * MB, Dynamic=True)
    talk.one("Add-VMHardDiskDrive", VMName="guest", ControllerType="SCSI", ControllerNumber=0, Path=path)
    identifier = made[0]["DiskIdentifier"].replace("-", "").lower()
    found = wait_for(
        "the disk in the guest",
        lambda: said if identifier in (said := console.ask("cat /sys/block/sd*/device/vpd_pg80")) else Pending(said),
        Deadline.after(60),
    )
    assert identifier in found
    talk.one("Resize-VHD", Path=path, SizeBytes=96 * MB)
    console.ask("for each in /sys/block/sd*/device/rescan; do echo 1 > $each; done")
    assert str(96 * MB // 512) in console.ask("cat /sys/block/sd*/size").split("\n")
    remove_disk(talk, path)
    # Its controller stays: what was saved with it is restored with it, and it takes a disk again.
    talk.one("Save-VM", Name="guest")
    talk.one("Start-VM", Name="guest")
    talk.one("Remove-Item", LiteralPath=path, Force=True)
    talk.one("New-VHD", Path=path, SizeBytes=32 * MB, Dynamic=True)
    talk.one("Add-VMHardDiskDrive", VMName="guest", ControllerType="SCSI", ControllerNumber=0, Path=path)
    # Another disk of the same name: nothing is left of the first.
    wait_for(
        "the other disk in the guest",
        lambda: (
            True
            if str(32 * MB // 512) in (said := console.ask("cat /sys/block/sd*/size")).split("\n")
            else Pending(said)
        ),
        Deadline.after(60),
    )
    remove_disk(talk, path)


def test_an_adapter_comes_and_goes_while_a_second_generation_runs(guest):
    """The first takes none, and says so."""
    generation, talk, console = guest
    nic = {"VMName": "guest", "Name": "late", "SwitchName": "lan", "StaticMacAddress": "00155D0000AA"}
    if generation == 1:
        with pytest.raises(Refused) as caught:
            talk.one("Add-VMNetworkAdapter", **nic)
        assert caught.value.id.startswith("InvalidState"), caught.value
        return
    addresses = "cat /sys/class/net/*/address"
    before = console.ask(addresses)
    talk.one("Add-VMNetworkAdapter", **nic)
    wait_for(
        "the adapter in the guest",
        lambda: True if "00:15:5d:00:00:aa" in (said := console.ask(addresses)) else Pending(said),
        Deadline.after(60),
    )
    talk.one("Remove-VMNetworkAdapter", VMName="guest", Name="late")
    wait_for(
        "the adapter to be gone",
        lambda: True if (said := console.ask(addresses)) == before else Pending(said),
        Deadline.after(60),
    )


def test_an_adapter_hears_what_is_said_in_its_vlan_alone(guest):
    """Said by a port beside it; the guest's own counter tells what came."""
    _, talk, console = guest
    console.ask("for each in /sys/class/net/e*/flags; do echo 0x1003 > $each; done")
    switch = SwitchClient(talk.twin.store.parent / "engine" / "switch")

    def heard():
        return int(console.ask("cat /sys/class/net/e*/statistics/rx_packets"))

    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.closing(switch))
        ports = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(2)]
        for port in ports:
            port.bind(("127.0.0.1", 0))
            stack.callback(switch.unplug, port.getsockname())
        trunk = {"Trunk": True, "AllowedVlanIdList": "7,8", "NativeVlanId": 7}
        for own, other, mode in (
            (None, 7, {"Untagged": True}),
            (7, None, {"Access": True, "VlanId": 7}),
            (7, 8, {"Access": True, "VlanId": 7}),
            (7, 9, trunk),
        ):
            talk.one("Set-VMNetworkAdapterVlan", VMName="guest", **mode)
            before = heard()
            for port, vlan in zip(ports, (other, own), strict=True):
                switch.plug(port.getsockname(), Plug("twin", vlan=vlan))
            for port in ports:
                port.sendto(FRAME, switch.address)
            wait_for("the frame", lambda: True if heard() > before else Pending("not come"), Deadline.after(30))  # noqa: B023
            assert heard() == before + 1


def test_a_guest_that_ends_itself_is_off_and_the_host_tells(guest):
    _, talk, console = guest
    talk.one("Write-InteropConsole", Path=console.path, Data=base64.b64encode(b"poweroff -f\n").decode())
    wait_for("it to be off", lambda: True if state(talk) == "Off" else Pending(state(talk)), Deadline.after(60))
    log = "Microsoft-Windows-Hyper-V-Worker-Admin"
    assert talk.one("Get-WinEvent", "Id", FilterHashtable={"LogName": log}, MaxEvents=1) == [{"Id": 18504}]


def test_a_legacy_adapter_is_a_tulip_for_the_guest(guest):
    """Which the first generation alone has; its other adapter stays what it was."""
    generation, talk, console = guest
    legacy = {"VMName": "guest", "Name": "old", "IsLegacy": True, "StaticMacAddress": "00155D0000BB"}
    talk.one("Stop-VM", Name="guest", TurnOff=True)
    if generation == 2:
        with pytest.raises(Refused) as caught:
            talk.one("Add-VMNetworkAdapter", **legacy)
        assert caught.value.id.startswith("NotSupported"), caught.value
        return
    talk.one("Add-VMNetworkAdapter", **legacy)
    talk.one("Start-VM", Name="guest")
    console.until_prompt()
    # A DEC 21143 beside virtio's: this small guest has no driver of the former.
    devices = console.ask("cat /sys/bus/pci/devices/*/uevent").split()
    assert devices.count("PCI_ID=1011:0019") == 1, devices
    assert devices.count("PCI_ID=1AF4:1000") == 1, devices
