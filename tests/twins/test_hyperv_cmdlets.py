"""The emulated host as the shipped agent sees it, with the real PowerShell engine and without: the same both times."""

from __future__ import annotations

import subprocess
import uuid

import pytest

from tests.twins.hyperv_agent import MODES, Refused, ref, step, talking

GB = 1 << 30


@pytest.fixture(scope="module", params=MODES)
def talk(request, tmp_path_factory):
    with talking(tmp_path_factory.mktemp("twin"), request.param, merge_seconds=0.5, memory=4 * GB) as talk:
        yield talk


@pytest.fixture
def vm(talk):
    """A machine of generation 2, by its name, which nobody else has."""
    name = f"g{uuid.uuid4().hex[:8]}"
    talk.one("New-VM", Name=name, NoVHD=True, Generation=2, MemoryStartupBytes=GB, SwitchName="lan")
    yield name
    talk.ask(
        step("Get-VM", into="vm", Name=f"{name}*"),
        step("Stop-VM", VM=ref("vm"), TurnOff=True) | {"when": "vm"},
        step("Remove-VM", VM=ref("vm"), Force=True) | {"when": "vm"},
    )


def refused(work):
    with pytest.raises(Refused) as caught:
        work()
    return caught.value


def state(talk, vm):
    return talk.one("Get-VM", "State", Name=vm)[0]["State"]


def test_the_agent_says_which_engine_it_runs_in(talk):
    assert talk.ready["ok"]
    assert (talk.ready["engine"] == "twin") == (talk.twin.engine == "emulated")
    assert talk.twin.said()["powershell"] == talk.twin.engine


def test_a_new_machine_has_a_nic_and_its_generations_drives(talk):
    first, second = (
        talk.ask(
            step("New-VM", "Id.Guid", "State", "Generation", into="vm", Name="new", NoVHD=True, Generation=generation),
            step("Get-VMNetworkAdapter", "Name", "SwitchName", "MacAddress", "DynamicMacAddressEnabled", VM=ref("vm")),
            step("Get-VMDvdDrive", "ControllerType", "ControllerNumber", "Path", VM=ref("vm")),
            step("Get-VMScsiController", "ControllerNumber", VM=ref("vm")),
            step("Remove-VM", VM=ref("vm"), Force=True),
        )
        for generation in (1, 2)
    )
    assert uuid.UUID(first[0][0]["Id.Guid"])
    assert (first[0][0]["State"], first[0][0]["Generation"], second[0][0]["Generation"]) == ("Off", 1, 2)
    assert first[1] == [
        {
            "Name": "Network Adapter",
            "SwitchName": None,
            "MacAddress": "000000000000",
            "DynamicMacAddressEnabled": True,
        }
    ]
    assert first[2] == [{"ControllerType": "IDE", "ControllerNumber": 1, "Path": None}]
    assert second[2] == []
    assert (len(first[3]), len(second[3])) == (1, 1)


def test_names_may_be_shared_and_take_wildcards(talk, vm):
    talk.one("New-VM", Name=vm, NoVHD=True)
    talk.one("New-VM", Name=f"{vm}[1]", NoVHD=True)
    assert len(talk.one("Get-VM", "Id", Name=vm)) == 2
    assert len(talk.one("Get-VM", "Id", Name=f"{vm}*")) == 3
    assert [row["Name"] for row in talk.one("Get-VM", "Name", Name=f"{vm}`[1`]")] == [f"{vm}[1]"]
    assert talk.one("Get-VM", "Id", Name="nothing*") == []
    assert refused(lambda: talk.one("Get-VM", Name="nothing")).id == (
        "InvalidParameter,Microsoft.HyperV.PowerShell.Commands.GetVM"
    )


def test_a_machine_that_is_not_there_is_told_by_its_category(talk):
    said = refused(lambda: talk.one("Start-VM", Name="nothing"))
    assert (said.id.partition(",")[0], said.category) == ("ObjectNotFound", "ObjectNotFound")
    said = refused(lambda: talk.one("Get-VM", Id=str(uuid.uuid4())))
    assert said.id.partition(",")[0] == "InvalidParameter"


def test_states_follow_one_another_as_they_do(talk, vm):
    for verb, expected in (
        ("Start-VM", "Running"),
        ("Start-VM", "Running"),
        ("Suspend-VM", "Paused"),
        ("Resume-VM", "Running"),
        ("Save-VM", "Saved"),
        ("Start-VM", "Running"),
        ("Restart-VM", "Running"),
    ):
        talk.one(verb, Name=vm, **({"Force": True} if verb == "Restart-VM" else {}))
        assert state(talk, vm) == expected
    talk.one("Stop-VM", Name=vm, TurnOff=True)
    assert state(talk, vm) == "Off"


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        ("Set-VMProcessor", {"Count": 2}),
        ("Set-VMProcessor", {"MaximumCountPerNumaNode": 2}),
        ("Set-VM", {"ProcessorCount": 2}),
        ("Set-VMMemory", {"DynamicMemoryEnabled": True}),
        ("Set-VMFirmware", {"EnableSecureBoot": "Off"}),
        ("Remove-VM", {"Force": True}),
        ("Add-VMScsiController", {}),
        ("Set-VMNetworkAdapter", {"StaticMacAddress": "00155D000001"}),
    ],
)
def test_what_needs_a_machine_that_is_off_is_refused_while_it_runs(talk, vm, call, arguments):
    talk.one("Start-VM", Name=vm)
    key = "Name" if call in {"Set-VM", "Remove-VM"} else "VMName"
    said = refused(lambda: talk.one(call, **{key: vm}, **arguments))
    assert said.category == "InvalidOperation"
    assert said.id == f"InvalidState,Microsoft.HyperV.PowerShell.Commands.{call.replace('-', '')}"
    talk.one("Stop-VM", Name=vm, TurnOff=True)
    if call != "Remove-VM":
        talk.one(call, **{key: vm}, **arguments)


def test_verbs_that_make_no_sense_now_are_refused(talk, vm):
    for verb in ("Suspend-VM", "Save-VM"):
        assert refused(lambda verb=verb: talk.one(verb, Name=vm)).id.startswith("InvalidState,")
    talk.one("Start-VM", Name=vm)
    talk.one("Save-VM", Name=vm)
    assert refused(lambda: talk.one("Suspend-VM", Name=vm)).id.startswith("InvalidState,")
    assert refused(lambda: talk.one("Add-VMNetworkAdapter", VMName=vm)).id.startswith("InvalidState,")


def test_a_checkpoint_with_memory_goes_on_where_a_running_machine_was(talk, vm):
    talk.one("Set-VM", Name=vm, CheckpointType="Standard", Notes="before")
    talk.one("Start-VM", Name=vm)
    talk.one("Checkpoint-VM", Name=vm, SnapshotName="warm")
    talk.one("Set-VM", Name=vm, Notes="after")
    talk.one("Restore-VMSnapshot", VMName=vm, Name="warm", Confirm=False)
    assert talk.one("Get-VM", "State", "Notes", Name=vm) == [{"State": "Running", "Notes": "before"}]
    talk.one("Stop-VM", Name=vm, TurnOff=True)
    talk.one("Restore-VMSnapshot", VMName=vm, Name="warm", Confirm=False)
    assert state(talk, vm) == "Saved"
    talk.one("Start-VM", Name=vm)
    assert state(talk, vm) == "Running"


def test_a_checkpoint_without_memory_leaves_the_machine_off(talk, vm):
    talk.one("Checkpoint-VM", Name=vm, SnapshotName="cold")
    talk.one("Start-VM", Name=vm)
    talk.one("Restore-VMSnapshot", VMName=vm, Name="cold", Confirm=False)
    assert state(talk, vm) == "Off"


def test_a_production_checkpoint_holds_no_memory(talk, vm):
    """A guest without VSS, as this one, gives none while it runs; ``Production`` takes a standard one then, unasked."""
    talk.one("Set-VM", Name=vm, CheckpointType="ProductionOnly")
    talk.one("Checkpoint-VM", Name=vm, SnapshotName="cold")
    talk.one("Start-VM", Name=vm)
    said = refused(lambda: talk.one("Checkpoint-VM", Name=vm, SnapshotName="running"))
    assert said.id.startswith("OperationFailed,")
    talk.one("Set-VM", Name=vm, CheckpointType="Production")
    talk.one("Checkpoint-VM", Name=vm, SnapshotName="running")
    talk.one("Stop-VM", Name=vm, TurnOff=True)
    for name, left in (("running", "Saved"), ("cold", "Off")):
        talk.one("Restore-VMSnapshot", VMName=vm, Name=name, Confirm=False)
        assert state(talk, vm) == left


def test_checkpoints_have_parents_and_are_merged_later(talk, vm, tmp_path):
    disk = tmp_path / "d.vhdx"
    talk.one("New-VHD", Path=disk, SizeBytes=64 << 20, Dynamic=True)
    talk.one("Add-VMHardDiskDrive", VMName=vm, Path=disk)
    talk.one("Checkpoint-VM", Name=vm, SnapshotName="one")
    talk.one("Checkpoint-VM", Name=vm, SnapshotName="two")
    assert talk.one("Get-VMSnapshot", "Name", "ParentSnapshotName", VMName=vm) == [
        {"Name": "one", "ParentSnapshotName": None},
        {"Name": "two", "ParentSnapshotName": "one"},
    ]
    assert talk.one("Get-VMHardDiskDrive", "Path", VMName=vm)[0]["Path"].endswith(".avhdx")
    # One for each checkpoint: of a chain all but the last are nowhere else to be seen.
    kept = {each["FullName"] for each in talk.one("Get-ChildItem", "FullName", Path=tmp_path, Filter="*.avhdx")}
    assert len(kept) == 2
    assert talk.one("Get-VMHardDiskDrive", "Path", VMName=vm)[0]["Path"] in kept
    talk.one("Restore-VMSnapshot", VMName=vm, Name="one", Confirm=False)
    assert len(list(tmp_path.glob("*.avhdx"))) == 2
    talk.one("Remove-VMSnapshot", VMName=vm, Name="*")
    assert refused(lambda: talk.one("Remove-VM", Name=vm, Force=True)).id.startswith("InvalidState,")
    from harness.core import Deadline, Pending, wait_for

    def path():
        shown = talk.one("Get-VMHardDiskDrive", "Path", VMName=vm)[0]["Path"]
        return Pending(shown) if shown.endswith(".avhdx") else shown

    wait_for("the merge", lambda: (talk.one("Get-VM", "Status", Name=vm), path())[1], Deadline.after(20))
    assert path() == str(disk)
    assert not list(tmp_path.glob("*.avhdx"))


def test_a_disk_that_came_after_a_checkpoint_is_written_to_itself_once_its_own_is_gone(talk, vm, tmp_path):
    from harness.core import Deadline, Pending, wait_for

    talk.one("Checkpoint-VM", Name=vm, SnapshotName="before")
    disk = tmp_path / "late.vhdx"
    talk.one("New-VHD", Path=disk, SizeBytes=64 << 20, Dynamic=True)
    talk.one("Add-VMHardDiskDrive", VMName=vm, Path=disk)
    talk.one("Checkpoint-VM", Name=vm, SnapshotName="after")
    assert len(list(tmp_path.glob("late_*.avhdx"))) == 1
    talk.one("Remove-VMSnapshot", VMName=vm, Name="after")

    def merged():
        talk.one("Get-VM", "Status", Name=vm)
        left = list(tmp_path.glob("late_*.avhdx"))
        return Pending(str(left)) if left else True

    wait_for("the merge", merged, Deadline.after(20))
    assert talk.one("Get-VMHardDiskDrive", "Path", VMName=vm)[-1]["Path"] == str(disk)


def test_checkpoints_are_made_automatically_where_that_was_asked_for(talk, vm, tmp_path):
    """By a start from Off, until the machine is switched off. Servers ask for none of new machines, as clients do."""
    shown = ("Name", "IsAutomaticCheckpoint")
    disk = tmp_path / "d.vhdx"
    talk.one("New-VHD", Path=disk, SizeBytes=64 << 20, Dynamic=True)
    talk.one("Add-VMHardDiskDrive", VMName=vm, Path=disk)
    assert talk.one("Get-VM", "AutomaticCheckpointsEnabled", Name=vm) == [{"AutomaticCheckpointsEnabled": False}]
    talk.one("Start-VM", Name=vm)
    assert talk.one("Get-VMSnapshot", *shown, VMName=vm) == []
    talk.one("Stop-VM", Name=vm, TurnOff=True)
    talk.one("Set-VM", Name=vm, AutomaticCheckpointsEnabled=True)
    assert talk.one("Get-VMSnapshot", *shown, VMName=vm) == []
    talk.one("Start-VM", Name=vm)
    [made] = talk.one("Get-VMSnapshot", *shown, VMName=vm)
    assert made["IsAutomaticCheckpoint"]
    assert talk.one("Get-VMHardDiskDrive", "Path", VMName=vm)[0]["Path"].endswith(".avhdx")
    talk.one("Save-VM", Name=vm)
    talk.one("Start-VM", Name=vm)
    assert talk.one("Get-VMSnapshot", *shown, VMName=vm) == [made], "one is enough"
    talk.one("Stop-VM", Name=vm, TurnOff=True)
    assert talk.one("Get-VMSnapshot", *shown, VMName=vm) == []
    merged = step("Get-VM", "Name", Name=vm) | {"where": [["Status", "^Operating normally$"]], "within": 20}
    assert talk.ask(merged)[0] == [{"Name": vm}]
    assert talk.one("Get-VMHardDiskDrive", "Path", VMName=vm) == [{"Path": str(disk)}]


def test_disks_stand_on_one_another_as_qemu_img_sees_them(talk, tmp_path):
    base, child = tmp_path / "base.vhdx", tmp_path / "child.vhdx"
    subprocess.run(["qemu-img", "create", "-q", "-f", "vhdx", str(base), "64M"], check=True)
    made = talk.one("New-VHD", "VhdType", "Size", "ParentPath", Path=child, ParentPath=base, Differencing=True)
    assert made == [{"VhdType": "Differencing", "Size": 64 << 20, "ParentPath": str(base)}]
    chain = subprocess.run(
        ["qemu-img", "info", "--backing-chain", str(child)], check=True, capture_output=True, text=True
    ).stdout
    assert f"backing file: {base}" in chain
    talk.one("Resize-VHD", Path=child, SizeBytes=128 << 20)
    assert talk.one("Get-VHD", "Size", Path=child) == [{"Size": 128 << 20}]
    assert talk.one("Test-VHD", ".", Path=child) == [{".": True}]
    base.unlink()
    assert talk.one("Test-VHD", ".", Path=child) == [{".": False}]


def test_sectors_are_the_disks_own(talk, tmp_path):
    """Wherever its file goes, and those of disks that stand on it; QEMU still takes the file for a sound one."""
    sectors = {"LogicalSectorSizeBytes": 4096, "PhysicalSectorSizeBytes": 4096}
    first, moved, child = tmp_path / "first.vhdx", tmp_path / "moved.vhdx", tmp_path / "child.vhdx"
    made = talk.one("New-VHD", "LogicalSectorSize", Path=first, SizeBytes=64 << 20, Dynamic=True, **sectors)
    assert made == [{"LogicalSectorSize": 4096}]
    talk.one("Resize-VHD", Path=first, SizeBytes=128 << 20)
    talk.one("Move-Item", LiteralPath=str(first), Destination=str(moved))
    talk.one("New-VHD", Path=child, ParentPath=moved, Differencing=True)
    for path in (moved, child):
        assert talk.one("Get-VHD", "LogicalSectorSize", "Size", Path=path) == [
            {"LogicalSectorSize": 4096, "Size": 128 << 20}
        ]
    subprocess.run(["qemu-img", "check", "-q", str(moved)], check=True)
    assert refused(lambda: talk.one("Resize-VHD", Path=moved, SizeBytes=(128 << 20) + 512)).category in {
        "InvalidArgument",
        "InvalidData",
    }
    talk.one("New-VHD", Path=first, SizeBytes=64 << 20, Dynamic=True)
    assert talk.one("Get-VHD", "LogicalSectorSize", Path=first) == [{"LogicalSectorSize": 512}]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"SizeBytes": 64 << 20}, "the file exists"),
        ({"SizeBytes": 1000}, "no whole sectors"),
        ({"SizeBytes": (64 << 20) + 512, "LogicalSectorSizeBytes": 4096}, "no whole sectors of 4096"),
        (
            {"SizeBytes": 64 << 20, "LogicalSectorSizeBytes": 4096, "PhysicalSectorSizeBytes": 512},
            "logical ones are larger than physical ones",
        ),
        ({"ParentPath": "/nowhere/x.vhdx", "Differencing": True}, "no parent"),
    ],
)
def test_a_disk_that_cannot_be_made_is_refused(talk, tmp_path, arguments, why):
    path = tmp_path / "d.vhdx"
    if why == "the file exists":
        path.touch()
    assert refused(lambda: talk.one("New-VHD", Path=path, **arguments)).category in {
        "InvalidArgument",
        "ObjectNotFound",
    }


def test_a_disk_has_one_user(talk, vm, tmp_path):
    disk = tmp_path / "d.vhdx"
    talk.one("New-VHD", Path=disk, SizeBytes=64 << 20, Dynamic=True)
    talk.one("New-VM", Name=f"{vm}-2", VHDPath=disk, MemoryStartupBytes=512 << 20)
    talk.one("Add-VMHardDiskDrive", VMName=vm, Path=disk)
    talk.one("Start-VM", Name=vm)
    assert refused(lambda: talk.one("Start-VM", Name=f"{vm}-2")).category == "ResourceBusy"


def test_memory_of_the_host_comes_to_an_end(talk, vm):
    talk.one("Set-VM", Name=vm, MemoryStartupBytes=8 * GB)
    assert refused(lambda: talk.one("Start-VM", Name=vm)).id.startswith("OutOfMemory,")
    assert state(talk, vm) == "Off"


def test_generations_differ_in_what_they_can(talk, vm):
    talk.one("New-VM", Name=f"{vm}-1", NoVHD=True, Generation=1, MemoryStartupBytes=512 << 20)
    talk.one("Start-VM", Name=vm)
    talk.one("Start-VM", Name=f"{vm}-1")
    talk.one("Add-VMNetworkAdapter", VMName=vm, Name="second", SwitchName="lan")
    assert refused(lambda: talk.one("Add-VMNetworkAdapter", VMName=f"{vm}-1")).id.startswith("InvalidState,")
    assert refused(lambda: talk.one("Get-VMFirmware", VMName=f"{vm}-1")).id.startswith("NotSupported,")
    assert refused(lambda: talk.one("Get-VMBios", VMName=vm)).id.startswith("NotSupported,")
    talk.one("Remove-VMNetworkAdapter", VMName=vm, Name="second")


def test_cables_and_vlans(talk, vm):
    nic = step("Get-VMNetworkAdapter", into="nic", VMName=vm)
    talk.ask(nic, step("Disconnect-VMNetworkAdapter", VMNetworkAdapter=ref("nic")))
    assert talk.one("Get-VMNetworkAdapter", "Connected", "SwitchName", VMName=vm) == [
        {"Connected": False, "SwitchName": None}
    ]
    talk.ask(nic, step("Connect-VMNetworkAdapter", VMNetworkAdapter=ref("nic"), SwitchName="outer"))
    talk.one("Set-VMNetworkAdapterVlan", VMName=vm, Trunk=True, AllowedVlanIdList="1-3,7", NativeVlanId=3)
    assert talk.one("Get-VMNetworkAdapterVlan", "OperationMode", "AllowedVlanIdList", "NativeVlanId", VMName=vm) == [
        {"OperationMode": "Trunk", "AllowedVlanIdList": [1, 2, 3, 7], "NativeVlanId": 3}
    ]
    assert refused(lambda: talk.one("Set-VMNetworkAdapterVlan", VMName=vm, Access=True, VlanId=4095)).category in {
        "InvalidArgument",
        "InvalidData",
    }
    assert refused(lambda: talk.one("Connect-VMNetworkAdapter", VMName=vm, SwitchName="nowhere")).category == (
        "InvalidArgument"
    )


def test_integration_services_are_told_by_the_suffix_of_their_id(talk, vm):
    rows = talk.one("Get-VMIntegrationService", "Id", "Enabled", VMName=vm)
    by_suffix = {row["Id"].rpartition("\\")[2]: row["Enabled"] for row in rows}
    assert by_suffix["84EAAE65-2F2E-45F5-9BB5-0E857DC8EB47"] is True
    assert by_suffix["6C09BB55-D683-4DA0-8931-C9BF705F6480"] is False
    service = step("Get-VMIntegrationService", "Enabled", into="service", VMName=vm) | {
        "where": [["Id", "9F8233AC-BE49-4C79-8EE3-E7E1985B2077$"]]
    }
    talk.ask(service, step("Disable-VMIntegrationService", VMIntegrationService=ref("service")))
    assert talk.ask(service)[0] == [{"Enabled": False}]
    talk.one("Start-VM", Name=vm)
    assert "0x800710DF" in str(refused(lambda: talk.one("Stop-VM", Name=vm)))


def test_a_machine_is_found_by_cim_and_asked_to_shut_down(talk, vm):
    talk.one("Start-VM", Name=vm)
    done = talk.ask(
        step("Get-VM", "Id.Guid", into="vm", Name=vm),
        step("Get-CimInstance", "Name", into="all", Namespace="root/virtualization/v2", ClassName="Msvm_ComputerSystem")
        | {"where": [["ElementName", f"^{vm}$"]]},
        step(
            "Get-CimAssociatedInstance", into="part", InputObject=ref("all"), ResultClassName="Msvm_ShutdownComponent"
        ),
        step(
            "Invoke-CimMethod",
            "ReturnValue",
            InputObject=ref("part"),
            MethodName="InitiateShutdown",
            Arguments={"Force": True, "Reason": "test"},
        ),
    )
    assert done[1][0]["Name"].lower() == done[0][0]["Id.Guid"]
    assert done[3] == [{"ReturnValue": 0}]
    assert state(talk, vm) == "Off"


def test_a_screenshot_is_rgb565(talk, vm):
    talk.one("Start-VM", Name=vm)
    rows = talk.ask(
        step("Get-CimInstance", into="system", Namespace="root/virtualization/v2", ClassName="Msvm_ComputerSystem")
        | {"where": [["ElementName", f"^{vm}$"]]},
        step(
            "Get-CimInstance",
            into="service",
            Namespace="root/virtualization/v2",
            ClassName="Msvm_VirtualSystemManagementService",
        ),
        step(
            "Invoke-CimMethod",
            "ReturnValue",
            "ImageData",
            InputObject=ref("service"),
            MethodName="GetVirtualSystemThumbnailImage",
            Arguments={
                "TargetSystem": ref("system"),
                "WidthPixels": {"$as": ["uint16", 16]},
                "HeightPixels": {"$as": ["uint16", 8]},
            },
        ),
    )[2]
    import base64

    assert len(base64.b64decode(rows[0]["ImageData"])) == 2 * 16 * 8


def test_events_tell_what_happened(talk, vm):
    talk.one("Start-VM", Name=vm)
    rows = talk.one(
        "Get-WinEvent",
        "Id",
        "Message",
        "TimeCreated",
        FilterHashtable={"LogName": "Microsoft-Windows-Hyper-V-Worker-Admin", "ID": 18500},
    )
    assert vm in rows[0]["Message"]


@pytest.mark.parametrize(
    ("arguments", "identifier"),
    [
        ({"Nmae": "x"}, "NamedParameterNotFound"),
        ({"Name": "x", "VHDPath": "/x.vhdx", "NoVHD": True}, "AmbiguousParameterSet"),
        ({"Name": "x", "Generation": 3}, "ParameterArgumentValidationError"),
        ({"Name": "x", "NewVHDPath": "/x.vhdx"}, "MissingMandatoryParameter"),
        ({"Name": "x", "MemoryStartupBytes": "much"}, "ParameterArgumentTransformationError"),
    ],
)
def test_what_does_not_bind_is_refused_before_anything_happens(talk, arguments, identifier):
    said = refused(lambda: talk.one("New-VM", **arguments))
    assert said.id.partition(",")[0] == identifier
    assert said.step == 0


def test_a_cmdlet_that_is_not_there_is_said(talk):
    assert refused(lambda: talk.one("Get-VirtualMachine")).id.partition(",")[0] == "CommandNotFoundException"


def test_what_was_done_before_a_failure_is_told(talk, vm):
    said = refused(lambda: talk.ask(step("Get-VM", "Name", Name=vm), step("Get-VM", "Absent", Name=vm)))
    assert (said.step, said.results) == (1, [[{"Name": vm}]])
    assert said.id == "PropertyNotFoundStrict"


@pytest.mark.parametrize(
    "text", ["ä漢🙂", "'\"`$(exit)`; & | < > %PATH%", "a\nb\tc", "C:\\x\\", "", "=x", "[]*?", "\x00\x01", "x" * 100_000]
)
def test_texts_arrive_as_they_were_sent(talk, vm, text):
    talk.one("Set-VM", Name=vm, Notes=text)
    assert talk.one("Get-VM", "Notes", Name=vm) == [{"Notes": text}]


def test_a_request_whose_answer_got_lost_is_done_once(talk, vm):
    number = talk.send(step("Rename-VM", Name=vm, NewName=f"{vm}-x"))
    talk.answer(number)
    talk._number -= 1
    assert talk.send(step("Get-VM", Name="never done")) == number
    assert talk.answer(number)["ok"]
    talk.one("Rename-VM", Name=f"{vm}-x", NewName=vm)
