"""What a twin is asked in both of its ways, subject by subject: what is right, and what is refused."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.twins.hyperv_agent import ref, step

GB = 1 << 30
Request = tuple[dict[str, Any], ...]


def asked(call: str, *get: str, **arguments: Any) -> Request:
    """A request of one step."""
    return (step(call, *get, **arguments),)


def machine(name: str, **more: Any) -> Request:
    """A new machine."""
    return asked("New-VM", "Name", "State", "Generation", Name=name, NoVHD=True, **{"Generation": 2, **more})


def reading(folder: Path) -> Iterator[Request]:
    """Whatever is told of a machine."""
    yield asked("New-VM", "Name", "State", "Generation", "ProcessorCount", "Notes", "Id", Name="read", NoVHD=True)
    for call, properties in {
        "Get-VMProcessor": ("Count", "ExposeVirtualizationExtensions"),
        "Get-VMMemory": ("Startup", "DynamicMemoryEnabled", "Minimum"),
        "Get-VMComPort": ("Name", "Path"),
        "Get-VMBios": ("StartupOrder", "NumLockEnabled"),
        "Get-VMNetworkAdapter": ("Name", "MacAddress", "VlanSetting.OperationMode", "IPAddresses", "Connected"),
        "Get-VMIntegrationService": ("Name", "Id", "Enabled", "PrimaryOperationalStatus", "PrimaryStatusDescription?"),
        "Get-VMDvdDrive": ("Name", "Path", "ControllerType"),
    }.items():
        yield asked(call, *properties, VMName="read")
    yield asked("Get-VM", "HardDrives", "Heartbeat", "Uptime", "ComPort1.Name", ".", Name="read")
    yield asked("Get-VM", "NetworkAdapters.Name", "DVDDrives.Count", "Id.Guid", "CreationTime", Name="read")
    yield asked("Get-VMHost", "LogicalProcessorCount", "MemoryCapacity", "SupportedVmVersions", "IovSupport")
    yield asked("Get-VMSwitch", "Name", "SwitchType", "Id")
    yield asked("Get-CimInstance", "Version", "Caption", ClassName="Win32_OperatingSystem")


def missing(folder: Path) -> Iterator[Request]:
    """What is not there."""
    nobody = str(uuid.UUID(int=7))
    yield asked("Get-VM", Name="nobody")
    yield asked("Get-VM", "Name", Name="nobody*")
    yield asked("Get-VM", Id=nobody)
    for verb in ("Start-VM", "Stop-VM", "Save-VM", "Suspend-VM", "Resume-VM", "Remove-VM", "Checkpoint-VM"):
        yield asked(verb, Name="nobody", **({"Force": True} if verb == "Remove-VM" else {}))
    for call in ("Get-VMProcessor", "Get-VMNetworkAdapter", "Get-VMHardDiskDrive", "Get-VMSnapshot", "Get-VMComPort"):
        yield asked(call, VMName="nobody")
    yield machine("lonely")
    yield asked("Connect-VMNetworkAdapter", VMName="lonely", SwitchName="nowhere")
    yield asked("New-VM", Name="lost", NoVHD=True, SwitchName="nowhere")
    yield asked("New-VM", Name="lost", VHDPath=folder / "nothing.vhdx")
    yield asked("Add-VMHardDiskDrive", VMName="lonely", Path=folder / "nothing.vhdx")
    yield asked("Get-VHD", Path=folder / "nothing.vhdx")
    yield asked("New-VHD", Path=folder / "child.vhdx", ParentPath=folder / "nothing.vhdx", Differencing=True)
    yield asked("Resize-VHD", Path=folder / "nothing.vhdx", SizeBytes=64 << 20)
    yield asked("Restore-VMSnapshot", VMName="lonely", Name="never", Confirm=False)
    yield asked("Remove-VMSnapshot", VMName="lonely", Name="never")
    yield asked("Disable-VMIntegrationService", VMName="lonely", Name="Nothing")
    yield asked(
        "Remove-VMHardDiskDrive", VMName="lonely", ControllerType="SCSI", ControllerNumber=0, ControllerLocation=9
    )
    yield asked("Get-CimInstance", Namespace="root/virtualization/v2", ClassName="Msvm_Nothing")
    yield asked("Get-WinEvent", FilterHashtable={"LogName": "No-Such-Log"})
    yield asked("Get-WinEvent", FilterHashtable={"LogName": "Microsoft-Windows-Hyper-V-Worker-Admin", "ID": 1})
    yield asked("Get-NetNeighbor", LinkLayerAddress="00-15-5D-00-00-77")
    yield (
        step("Get-VM", into="vm", Name="lonely"),
        step("Remove-VM", VM=ref("vm"), Force=True),
        step("Start-VM", VM=ref("vm")),
    )


def badly_called(folder: Path) -> Iterator[Request]:
    """What does not bind."""
    yield asked("New-VM", Nmae="x")
    yield asked("New-VM", Name="x", VHDPath="/x.vhdx", NoVHD=True)
    yield asked("New-VM", Name="x", Generation=3)
    yield asked("New-VM", Name="x", NewVHDPath="/x.vhdx")
    yield asked("New-VM", Name="x", MemoryStartupBytes="much")
    yield asked("New-VM", Name="x", NoVHD=True, MemoryStartupBytes=-1)
    yield asked("New-VM", Name="x", NoVHD=True, MemoryStartupBytes=1)
    yield asked("New-VM", Name="x", NoVHD=True, MemoryStartupBytes=1 << 62)
    yield asked("Start-VM", VM="x", Name="x")
    yield asked("Start-VM", Name="x", Na="y")
    yield asked("Start-VM", VM="no machine")
    yield asked("Get-VM", Id="no id")
    yield asked("Set-VM", Name="x", CheckpointType="Never")
    yield asked("Set-VM", Name="x", ProcessorCount="many")
    yield asked("Set-VM", Name="x", Notes=None)
    yield asked("Set-VMComPort", VMName="x")
    yield asked("Set-VMNetworkAdapterVlan", VMName="x", Access="yes")
    yield asked("Set-VMFirmware", VMName="x", EnableSecureBoot=True)
    yield asked("Get-VirtualMachine")
    yield asked("gci")
    yield asked("/bin/ls")
    yield asked("Start-VM")
    yield (step("Write-Output", ".", into="text", InputObject="x"), step("Start-VM", VM=ref("text")))
    yield (
        step("Get-VMHost", into="host"),
        step("Start-VM", VM=ref("host")),
    )


def power(folder: Path) -> Iterator[Request]:
    """Every verb in every state."""
    (folder / "agent").touch()
    verbs: list[tuple[str, dict[str, Any]]] = [
        ("Start-VM", {}),
        ("Suspend-VM", {}),
        ("Resume-VM", {}),
        ("Save-VM", {}),
        ("Restart-VM", {"Force": True}),
        ("Stop-VM", {"TurnOff": True}),
        ("Remove-VMSavedState", {}),
        ("Debug-VM", {"InjectNonMaskableInterrupt": True, "Force": True}),
        ("Checkpoint-VM", {"SnapshotName": "x"}),
        ("Copy-VMFile", {"SourcePath": folder / "agent", "DestinationPath": "/x", "FileSource": "Host"}),
        ("Set-VM", {"ProcessorCount": 2}),
        ("Set-VM", {"MemoryStartupBytes": 2 * GB}),
        ("Set-VMMemory", {"DynamicMemoryEnabled": False}),
        ("Set-VMProcessor", {"ExposeVirtualizationExtensions": False}),
        ("Set-VMComPort", {"Number": 1, "Path": "\\\\.\\pipe\\alike"}),
        ("Add-VMScsiController", {}),
        ("Add-VMNetworkAdapter", {"Name": "late"}),
        ("Stop-VM", {}),
        ("Stop-VM", {"Force": True}),
        ("Remove-VM", {"Force": True}),
    ]
    states = {
        "Off": (),
        "Running": ("Start-VM",),
        "Paused": ("Start-VM", "Suspend-VM"),
        "Saved": ("Start-VM", "Save-VM"),
    }
    for generation in (1, 2):
        for state, way in states.items():
            for at, (verb, arguments) in enumerate(verbs):
                name = f"p{generation}{state}{at}"
                key = "VMName" if verb.partition("-")[2] in _PARTS or verb == "Remove-VMSavedState" else "Name"
                yield (
                    step("New-VM", Name=name, NoVHD=True, Generation=generation, MemoryStartupBytes=GB),
                    *(step(each, Name=name) for each in way),
                    step("Get-VM", "State", Name=name),
                    step(verb, **{key: name}, **arguments),
                )
                yield asked("Get-VM", "State", "Status", "ProcessorCount", "MemoryAssigned", Name=f"{name}*")
                yield (
                    step("Get-VM", into="vm", Name=f"{name}*"),
                    step("Stop-VM", VM=ref("vm"), TurnOff=True) | {"when": "vm"},
                    step("Remove-VM", VM=ref("vm"), Force=True) | {"when": "vm"},
                )


_PARTS = {"VMMemory", "VMProcessor", "VMComPort", "VMScsiController", "VMNetworkAdapter"}


def checkpoints(folder: Path) -> Iterator[Request]:
    """A tree of them, with memory and without."""
    shown = ("Name", "State", "ParentSnapshotName", "SnapshotType", "CreationTime", "Id")
    yield machine("tree", MemoryStartupBytes=GB)
    yield asked("New-VHD", "VhdType", Path=folder / "tree.vhdx", SizeBytes=64 << 20, Dynamic=True)
    yield asked("Add-VMHardDiskDrive", "Path", VMName="tree", Path=folder / "tree.vhdx", Passthru=True)
    yield asked("Set-VM", Name="tree", CheckpointType="Standard")
    yield asked("Checkpoint-VM", *shown, Name="tree", SnapshotName="cold", Passthru=True)
    yield asked("Start-VM", Name="tree")
    yield asked("Checkpoint-VM", *shown, Name="tree", SnapshotName="warm", Passthru=True)
    yield asked("Get-VMSnapshot", *shown, VMName="tree")
    yield asked("Get-VMSnapshot", *shown, VMName="tree", Name="w*")
    yield asked("Restore-VMSnapshot", VMName="tree", Name="cold", Confirm=False)
    yield asked("Get-VM", "State", "ParentSnapshotName?", Name="tree")
    yield asked("Restore-VMSnapshot", VMName="tree", Name="warm", Confirm=False)
    yield asked("Get-VM", "State", "ParentSnapshotName?", Name="tree")
    yield asked("Rename-VMSnapshot", VMName="tree", Name="warm", NewName="hot")
    yield (
        step("Get-VMSnapshot", *shown, into="one", VMName="tree", Name="hot"),
        step("Remove-VMSnapshot", VMSnapshot=ref("one")),
        step("Get-VMSnapshot", *shown, VMName="tree"),
        step("Restore-VMSnapshot", VMSnapshot=ref("one"), Confirm=False),
    )
    yield asked("Set-VM", Name="tree", CheckpointType="Disabled")
    yield asked("Checkpoint-VM", Name="tree", SnapshotName="none")
    yield asked("Remove-VMSnapshot", VMName="tree", Name="*")
    yield asked("Stop-VM", Name="tree", TurnOff=True)


def drives(folder: Path) -> Iterator[Request]:
    """Disks, their files, and where they hang."""
    shown = ("Path", "ControllerType", "ControllerNumber", "ControllerLocation", "Name")
    disk = folder / "d.vhdx"
    yield asked(
        "New-VHD", "VhdType", "VhdFormat", "Size", "ParentPath", "Path", Path=disk, SizeBytes=64 << 20, Dynamic=True
    )
    yield asked("New-VHD", Path=disk, SizeBytes=64 << 20, Dynamic=True)
    yield asked("New-VHD", Path=folder / "odd.vhdx", SizeBytes=1000)
    yield asked("New-VHD", "VhdType", "Size", Path=folder / "c.vhdx", ParentPath=disk, Differencing=True)
    yield asked("Get-VHD", "VhdType", "Size", "ParentPath", "Attached", Path=folder / "c.vhdx")
    yield asked("Resize-VHD", Path=disk, SizeBytes=128 << 20)
    yield asked("Test-VHD", ".", Path=folder / "c.vhdx")
    for generation in (1, 2):
        name = f"disks{generation}"
        yield machine(name, Generation=generation, MemoryStartupBytes=512 << 20)
        for kind in ("IDE", "SCSI"):
            at = {"ControllerType": kind, "ControllerNumber": 0, "ControllerLocation": 1}
            yield asked("Add-VMHardDiskDrive", *shown, VMName=name, Path=folder / "c.vhdx", Passthru=True, **at)
            yield asked("Add-VMHardDiskDrive", VMName=name, Path=disk, **at)
            yield asked("Add-VMHardDiskDrive", VMName=name, Path=disk, **{**at, "ControllerLocation": 64})
        yield asked("Add-VMDvdDrive", *shown, VMName=name, Passthru=True)
        yield asked("Set-VMDvdDrive", VMName=name, Path=folder / "nothing.iso")
        yield asked("Get-VMScsiController", "ControllerNumber", "Drives.Count", VMName=name)
        yield asked("Start-VM", Name=name)
        yield asked("Add-VMHardDiskDrive", VMName=name, ControllerType="SCSI", Path=disk)
        yield asked(
            "Remove-VMHardDiskDrive", VMName=name, ControllerType="SCSI", ControllerNumber=0, ControllerLocation=1
        )
        yield asked(
            "Remove-VMHardDiskDrive", VMName=name, ControllerType="IDE", ControllerNumber=0, ControllerLocation=1
        )
        yield asked("Get-VMHardDiskDrive", *shown, VMName=name)
        yield asked("Get-VMDvdDrive", *shown, VMName=name)
        yield asked("Stop-VM", Name=name, TurnOff=True)


def services(folder: Path) -> Iterator[Request]:
    """Integration services, firmware, ports, cables and VLANs."""
    shown = ("Id", "Name", "Enabled", "PrimaryOperationalStatus", "PrimaryStatusDescription?")
    yield machine("served", SwitchName="lan", MemoryStartupBytes=512 << 20)
    for verb in ("Disable", "Enable"):
        yield asked(f"{verb}-VMIntegrationService", *shown, VMName="served", Name="Shut*", Passthru=True)
        yield (
            step("Get-VMIntegrationService", *shown, into="service", VMName="served")
            | {"where": [["Id", "2A34B1C2-FD73-4043-8A5B-DD2159BC743F$"]]},
            step(f"{verb}-VMIntegrationService", VMIntegrationService=ref("service")),
            step("Get-VMIntegrationService", *shown, VMName="served", Name="Key-Value*"),
        )
    yield asked("Get-VMFirmware", "SecureBoot", "BootOrder.Count", "SecureBootTemplate", VMName="served")
    yield asked("Set-VMFirmware", "SecureBoot", VMName="served", EnableSecureBoot="Off", Passthru=True)
    yield asked("Get-VMBios", VMName="served")
    yield asked("Set-VMComPort", VMName="served", Number=3, Path="\\\\.\\pipe\\x")
    yield asked("Set-VMComPort", VMName="served", Number=1, Path="x")
    nic = ("Name", "SwitchName", "Connected", "MacAddress", "DynamicMacAddressEnabled", "IsLegacy")
    yield asked("Set-VMNetworkAdapter", *nic, VMName="served", StaticMacAddress="00155D0000AA", Passthru=True)
    yield asked("Set-VMNetworkAdapter", VMName="served", StaticMacAddress="no address")
    yield asked("Disconnect-VMNetworkAdapter", VMName="served")
    yield asked("Get-VMNetworkAdapter", *nic, VMName="served")
    yield asked("Connect-VMNetworkAdapter", VMName="served", SwitchName="outer")
    yield asked("Set-VMNetworkAdapterVlan", VMName="served", Access=True, VlanId=5000)
    yield asked("Set-VMNetworkAdapterVlan", VMName="served", Trunk=True, AllowedVlanIdList="1-3,7", NativeVlanId=0)
    yield asked("Get-VMNetworkAdapterVlan", "OperationMode", "AllowedVlanIdList", "NativeVlanId", VMName="served")
    yield asked("Start-VM", Name="served")
    yield asked("Get-VMNetworkAdapter", *nic, VMName="served")
    system = {"Namespace": "root/virtualization/v2", "ClassName": "Msvm_ComputerSystem"}
    size = {"WidthPixels": {"$as": ["uint16", 16]}, "HeightPixels": {"$as": ["uint16", 8]}}
    picture = {"MethodName": "GetVirtualSystemThumbnailImage", "Arguments": {"TargetSystem": ref("vm"), **size}}
    yield (
        step("Get-CimInstance", into="vm", **system) | {"where": [["ElementName", "^served$"]]},
        step("Get-CimInstance", into="host", **{**system, "ClassName": "Msvm_VirtualSystemManagementService"}),
        step("Invoke-CimMethod", "ReturnValue", "ImageData", into="picture", InputObject=ref("host"), **picture),
        step("Compress-InteropData", Data={"$as": ["byte[]", ref("picture.ImageData")]}),
    )
    for method in ("InitiateReboot", "InitiateShutdown"):
        yield (
            step("Get-CimInstance", "ElementName", into="vm", **system) | {"where": [["ElementName", "^served$"]]},
            step(
                "Get-CimAssociatedInstance", into="it", InputObject=ref("vm"), ResultClassName="Msvm_ShutdownComponent"
            ),
            step(
                "Invoke-CimMethod",
                "ReturnValue",
                InputObject=ref("it"),
                MethodName=method,
                Arguments={"Force": False, "Reason": "x"},
            ),
            step("Get-VM", "State", Name="served"),
        )
    yield asked("Invoke-CimMethod", ClassName="Msvm_Nothing", MethodName="Nothing")
    log = "Microsoft-Windows-Hyper-V-Worker-Admin"
    yield asked("Get-WinEvent", "Id", "TimeCreated", FilterHashtable={"LogName": log, "ID": [18500]}, MaxEvents=1)


def functions(folder: Path) -> Iterator[Request]:
    """The agent's own, and those of files."""
    file = folder / "file"

    def chunk(offset: int, data: bytes, path: Path = file) -> Request:
        text = base64.b64encode(data).decode()
        return asked("Add-InteropChunk", "Length", Path=path, Offset=offset, Data=text)

    yield chunk(0, b"abcdef")
    yield chunk(3, b"xyz!")
    yield chunk(9, b"gap")
    yield chunk(0, b"new")
    yield chunk(0, b"")
    yield chunk(0, b"x", folder / "no" / "folder")
    yield asked("Add-InteropChunk", Path=file, Offset=0, Data="no base64!")
    yield asked("Add-InteropChunk", Path=file, Offset="far", Data="")
    yield asked("Add-InteropChunk", Path=file, Offfset=1, Data="")
    yield chunk(0, b"what it holds")
    yield asked("Get-FileHash", "Hash", "Algorithm", LiteralPath=file)
    yield asked("Get-FileHash", LiteralPath=folder / "nothing")
    yield asked("Get-Item", "Name", "Length", "FullName", "IsReadOnly", "Exists", LiteralPath=file)
    yield asked("Get-Item", LiteralPath=folder / "nothing")
    yield asked("Test-Path", ".", LiteralPath=folder / "nothing")
    yield asked("Test-Path", ".", LiteralPath=file, PathType="Leaf")
    yield asked("Test-Path", ".", LiteralPath=file, PathType="Container")
    yield asked("New-Item", "Name", Path=folder / "sub", ItemType="Directory")
    yield asked("New-Item", Path=folder / "sub", ItemType="Directory")
    yield asked("New-Item", "Name", Path=folder / "sub", ItemType="Directory", Force=True)
    yield asked("New-Item", "Name", Path=folder / "sub" / "a", Value="text")
    yield asked("New-Item", Path=folder / "sub" / "a", Value="text")
    yield asked("Get-ChildItem", "Name", LiteralPath=folder / "sub", File=True)
    yield asked("Get-ChildItem", "Name", LiteralPath=folder / "sub", Directory=True)
    yield asked("Get-ChildItem", LiteralPath=folder / "nothing")
    yield asked("Move-Item", LiteralPath=folder / "nothing", Destination=folder / "there")
    yield asked("Move-Item", LiteralPath=file, Destination=folder / "sub" / "a")
    yield asked("Move-Item", LiteralPath=file, Destination=folder / "sub" / "b")
    yield asked("Rename-Item", LiteralPath=folder / "sub" / "b", NewName="a")
    yield asked("Rename-Item", LiteralPath=folder / "nothing", NewName="a")
    yield asked("Set-ItemProperty", LiteralPath=folder / "sub" / "b", Name="IsReadOnly", Value=True)
    yield asked("Get-Item", "IsReadOnly", LiteralPath=folder / "sub" / "b")
    yield asked("Set-ItemProperty", LiteralPath=folder / "nothing", Name="IsReadOnly", Value=True)
    yield asked("Remove-Item", LiteralPath=folder / "nothing")
    yield asked("Remove-Item", LiteralPath=folder / "sub", Recurse=True, Force=True)
    for data in (7, [1, 2, 3], "text", 256, [[1]]):
        yield asked("Compress-InteropData", ".", Data=data)
    arguments = {"Token": "t", "Path": folder / "pulled", "Seconds": 5}
    yield asked("Receive-InteropFile", Uri="http://127.0.0.1:1/x", **arguments)
    yield asked("Receive-InteropFile", Uri="no address", **arguments)
    log = folder / "console.log"
    yield asked("Read-InteropConsole", ".", Path=log, Offset=0, Limit=10)
    yield asked("Start-InteropConsole", Pipe="alike-of-nobody", Path=log, Fresh=True)
    yield asked("Test-Path", ".", LiteralPath=f"{log}.in")
    yield asked("Write-InteropConsole", Path=log, Data="aGk=")
    yield asked("Write-InteropConsole", Path=log, Data="no base64!")
    yield asked("Read-InteropConsole", ".", Path=log, Offset=0, Limit=10)
    yield asked("Stop-InteropConsole", Path=log)
    yield asked("Stop-InteropConsole", Path=log)
    yield asked("Get-ChildItem", "Name", LiteralPath=folder, Filter="console*")
    yield chunk(0, b"0123456789", log)
    yield asked("Read-InteropConsole", ".", Path=log, Offset=4, Limit=3)
    yield asked("Read-InteropConsole", ".", Path=log, Offset=10, Limit=3)
    yield asked("Read-InteropConsole", ".", Path=log, Offset=99, Limit=3)


def attributes(folder: Path) -> Iterator[Request]:
    """What steps say beside their arguments."""

    def output(value: Any, **more: Any) -> dict[str, Any]:
        return step("Write-Output", ".", InputObject=value) | more

    numbers = [9, 10, 11, 1 << 40, -3]
    for rules in (
        [[".", 11]],
        [[".", "^1"]],
        [[".", "1$"], [".", 100]],
        [["Length", 3]],
    ):
        yield (output(numbers if rules[0][0] == "." else ["a", "bb", "ccc"], where=rules),)
    words = ["Alpha", "beta", "GAMMA delta", "", "épsilon", "a\nb", "$(x)"]
    for pattern in (
        "^a",
        "A$",
        "a.b",
        "^a$",
        "\\u0061lpha",
        "\\bdelta\\b",
        "^\\$\\(",
        "(?<x>a)l",
        "^$",
        "É",
        "\\d",
        "(",
    ):
        yield (output(words, where=[[".", pattern]]),)
    yield (output([True, False], where=[[".", "^True$"]]),)
    for number in (10, 0, -1):
        yield (output(["9", "11", "x", None, True, False, -0.5, 10], where=[[".", number]]),)
    yield (output("text", where=[["Nothing", "x"]]),)
    yield (output("text", where=[["Nothing?", "x"]]),)
    yield (output("text", where=[["Nothing?", "^$"]]),)
    there, nothing = output(1, **{"as": "there"}), output([1], **{"as": "nothing", "where": [[".", 0]]})
    for more in (
        {"when": "there"},
        {"when": "nothing"},
        {"unless": "there"},
        {"unless": "nothing"},
        {"when": "there", "unless": "nothing"},
        {"when": "there", "unless": "there"},
        {"when": "nothing", "unless": "nothing"},
        {"when": "never"},
        {"unless": "never"},
    ):
        yield (there, nothing, output("done", **more))
    lost = step("Get-Item", "Name", LiteralPath=folder / "nothing")
    yield (lost | {"allow": ["PathNotFound"]}, output("on"))
    yield (lost | {"allow": ["ItemNotFoundException"]}, output("on"))
    yield (lost | {"allow": ["PathNotFound"], "within": 1}, output("on"))
    yield (output([1], within=1, where=[[".", 0]]), output("on"))
    yield (output([1], within=30, where=[[".", 2]]), output("on"))
    yield (step("Get-VM", "Name", Name="nobody") | {"allow": ["InvalidParameter"]}, output("on"))
    yield (step("Get-VM", "Name", Nmae="nobody") | {"allow": ["NamedParameterNotFound"]}, output("on"))
    yield (step("Get-NoVM", "Name") | {"allow": ["CommandNotFoundException"]}, output("on"))
    yield (lost | {"as": "lost", "allow": ["PathNotFound"]}, step("Write-Output", ".", InputObject=ref("lost")))
    yield (step("Write-Output", ".", InputObject=ref("never")),)
    yield (
        step("Write-Output", into="some", InputObject=["a", "b"]),
        step("Write-Output", ".", InputObject=ref("some")),
        step("Write-Output", ".", InputObject=ref("some.Length")),
        step("Write-Output", ".", InputObject=ref("some.Nothing")),
    )
    yield (
        output({"$as": ["uint16", 5]}),
        output({"$as": ["double", "=0.5"]}),
        output({"$as": ["bigint", f"={2**70}"]}),
    )
    yield (output({"$as": ["uint16", -5]}),)
    yield (output({"$as": ["uint16", "=text"]}),)
    yield (output({"$as": ["no.such.type", 1]}),)
    yield (output({"$map": [["=a", 1], ["=b", ["=x"]]]}),)
    yield (output({"$what": 1}),)
    yield (output([[1, [2]], [], None, "x", {"$map": []}]),)
    yield (output(None), output([]), output([None]), output(True), output("2024-01-01T00:00:00Z"), output("/Date(0)/"))
    part = step("Write-Output", into="part", InputObject="x" * 90_000)
    yield (part, output([ref("part")] * 90), output([ref("part")] * 90))
    yield asked("Get-Date", "Nothing?")
    yield asked("Write-Output", "Nothing", InputObject=1)
    yield asked("Write-Output", "Length.Nothing", InputObject="x")


SUBJECTS: tuple[Callable[[Path], Iterator[Request]], ...] = (
    reading,
    missing,
    badly_called,
    power,
    checkpoints,
    drives,
    services,
    functions,
    attributes,
)
