"""What goes wrong with cmdlets on demand, with the real PowerShell engine and without."""

from __future__ import annotations

import time
from contextlib import closing

import pytest

from harness.core import UsageError
from harness.twins.hyperv.host import control
from tests.twins.hyperv_agent import MODES, Refused, Talk, ref, step, talking
from tests.twins.hyperv_host import PASSWORD, USER

STOP_SECONDS = 1.5


@pytest.fixture(scope="module", params=MODES)
def talk(request, tmp_path_factory):
    """An agent on a host where `Stop-VM` waits a moment for a guest."""
    with talking(tmp_path_factory.mktemp("twin"), request.param, stop_seconds=STOP_SECONDS) as talk:
        yield talk


@pytest.fixture
def wrong(talk):
    """Plan what goes wrong, by the control socket as others do."""
    yield lambda *entries: control(talk.twin.world.settings.folder, {"plan": entries})
    control(talk.twin.world.settings.folder, {"plan": []})


@pytest.fixture
def vm(talk, request):
    """A machine that runs."""
    name = f"{request.node.originalname}-{len(talk.one('Get-VM', 'Name'))}"
    talk.ask(step("New-VM", into="vm", Name=name, NoVHD=True), step("Start-VM", VM=ref("vm")))
    return name


def state(talk, vm):
    return talk.one("Get-VM", "State", Name=vm)[0]["State"]


def refused(talk, call, **arguments):
    with pytest.raises(Refused) as caught:
        talk.one(call, **arguments)
    return caught.value


def test_a_guest_that_does_nothing_about_it_keeps_stop_vm_waiting(talk, vm, wrong):
    """So long as the host waits; then it is refused, or, where that was asked for, the power is cut."""
    wrong({"do": "deaf", "on": "Stop-VM", "times": 2})
    for force in (False, True):
        began = time.monotonic()
        if force:
            talk.one("Stop-VM", Name=vm, Force=True)
        else:
            assert refused(talk, "Stop-VM", Name=vm).id.startswith("OperationFailed,")
        assert time.monotonic() - began >= STOP_SECONDS
        assert state(talk, vm) == ("Off" if force else "Running")


def test_a_parameter_that_is_overlooked_changes_nothing(talk, wrong, tmp_path):
    """The cmdlet does what it does without."""
    wrong({"do": "overlook", "on": "New-VHD", "parameter": "LogicalSectorSizeBytes"})
    for name, sector in (("overlooked.vhdx", 512), ("asked.vhdx", 4096)):
        size = {"SizeBytes": 64 << 20, "LogicalSectorSizeBytes": 4096}
        made = talk.one("New-VHD", "LogicalSectorSize", "Size", Path=tmp_path / name, Dynamic=True, **size)
        assert made == [{"LogicalSectorSize": sector, "Size": 64 << 20}]
    with pytest.raises(UsageError, match="needs to know what is overlooked"):
        wrong({"do": "overlook", "on": "New-VHD"})


def test_a_guest_that_is_deaf_goes_on_when_it_is_asked_by_cim(talk, vm, wrong):
    """The host took the request, and that is all it says."""
    ask = (
        step("Get-CimInstance", into="vm", Namespace="root/virtualization/v2", ClassName="Msvm_ComputerSystem")
        | {"where": [["ElementName", f"^{vm}$"]]},
        step("Get-CimAssociatedInstance", into="it", InputObject=ref("vm"), ResultClassName="Msvm_ShutdownComponent"),
        step(
            "Invoke-CimMethod",
            "ReturnValue",
            InputObject=ref("it"),
            MethodName="InitiateShutdown",
            Arguments={"Force": False, "Reason": "x"},
        ),
    )
    wrong({"do": "deaf", "on": "Invoke-CimMethod"})
    for expected in ("Running", "Off"):
        assert talk.ask(*ask)[2] == [{"ReturnValue": 0}]
        assert state(talk, vm) == expected


@pytest.mark.parametrize("arguments", [{"TurnOff": True}, {}, {"Force": True}])
def test_a_machine_is_stuck_in_stopping_and_nothing_gets_it_out(talk, vm, wrong, arguments):
    """As when its worker process hangs: it is not even removed."""
    wrong({"do": "stuck", "on": "stop-vm"})
    refused(talk, "Stop-VM", Name=vm, **arguments)
    assert state(talk, vm) == "Stopping"
    for call, more in (
        ("Stop-VM", {"TurnOff": True}),
        ("Stop-VM", {}),
        ("Start-VM", {}),
        ("Save-VM", {}),
        ("Restart-VM", {"Force": True}),
        ("Checkpoint-VM", {}),
        ("Remove-VM", {"Force": True}),
    ):
        assert refused(talk, call, Name=vm, **more).id.startswith("InvalidState,"), call
    assert state(talk, vm) == "Stopping"


def test_a_cmdlet_takes_its_time_once_it_is_its_turn(talk, vm, wrong):
    """By its name, or by a pattern."""
    wrong({"do": "slow", "on": "Set-VM*", "skip": 1, "seconds": 1.0})
    talk.one("Set-VMProcessor", VMName="nobody*", Count=1)
    began = time.monotonic()
    talk.one("Set-VM", Name=vm, Notes="late")
    assert time.monotonic() - began >= 1.0
    assert talk.one("Get-VM", "Notes", Name=vm) == [{"Notes": "late"}]


def test_a_trunk_that_lets_every_vlan_pass_shows_the_list_that_it_was_told(talk, vm, wrong):
    """So that only frames tell."""
    wrong({"do": "open", "on": "Set-VMNetworkAdapterVlan", "times": None})
    talk.one("Set-VMNetworkAdapterVlan", VMName=vm, Trunk=True, AllowedVlanIdList="7,8", NativeVlanId=7)
    (nic,) = talk.twin.world.all()[-1].config.nics
    assert nic.vlan["passing"] == list(range(1, 4095))
    shown = talk.one("Get-VMNetworkAdapterVlan", "AllowedVlanIdList", "NativeVlanId", VMName=vm)
    assert shown == [{"AllowedVlanIdList": [7, 8], "NativeVlanId": 7}]


def test_what_happens_to_any_operation_happens_to_no_cmdlet(talk, vm, wrong):
    """An agent's cmdlets are inside of one."""
    wrong({"do": "slow", "on": "any", "times": None})
    talk.one("Set-VM", Name=vm, Notes="")
    assert talk.twin.host.plan.take_of_cmdlet("Set-VM") == {}


@pytest.mark.parametrize(
    "entry",
    [{"do": "cut", "on": "Stop-VM"}, {"do": "stuck", "on": "Send"}, {"do": "deaf"}, {"do": "fault", "on": "*-VM"}],
)
def test_what_cannot_happen_there_is_refused(wrong, entry):
    """To a cmdlet, or to an operation of WS-Man."""
    with pytest.raises(UsageError, match="does not happen to"):
        wrong(entry)


@pytest.mark.parametrize("mode", MODES)
def test_an_account_without_rights_reaches_no_machine(tmp_path, mode):
    """It may have a shell, and all of PowerShell that is not Hyper-V's."""
    accounts = {"guest": "x y z", USER: PASSWORD}
    with talking(tmp_path, mode, operators=[USER], accounts=accounts) as talk:
        talk.one("New-VM", Name="there", NoVHD=True)
        with closing(Talk(talk.twin, "guest", "x y z")) as other:
            for call, arguments in (
                ("Get-VM", {}),
                ("Get-VMHost", {}),
                ("Start-VM", {"Name": "there"}),
                ("Get-VHD", {"Path": "/x.vhdx"}),
            ):
                said = refused(other, call, **arguments)
                assert said.id == f"AccessDenied,Microsoft.HyperV.PowerShell.Commands.{call.replace('-', '')}"
                assert said.category == "PermissionDenied"
            wmi = {"Namespace": "root/virtualization/v2", "ClassName": "Msvm_ComputerSystem"}
            assert refused(other, "Get-CimInstance", **wmi).category == "PermissionDenied"
            assert len(other.one("Get-CimInstance", "Version", ClassName="Win32_OperatingSystem")) == 1
        assert talk.one("Get-VM", "State") == [{"State": "Off"}]


@pytest.mark.parametrize("mode", MODES)
def test_a_host_without_the_module_says_so_at_once(tmp_path, mode):
    """In the ready line; what is not of that module is still done."""
    with talking(tmp_path, mode, module=False) as talk:
        assert talk.ready["ok"] is False
        assert talk.ready["id"] == "Modules_ModuleNotFound,Microsoft.PowerShell.Commands.ImportModuleCommand"
        assert (talk.ready["step"], talk.ready["category"]) == (-1, "ResourceUnavailable")
        assert refused(talk, "Get-VM").id.partition(",")[0] == "CommandNotFoundException"
        assert len(talk.one("Get-CimInstance", "Version", ClassName="Win32_OperatingSystem")) == 1


def test_a_cmdlet_that_is_idle_ends_as_if_all_were_done(talk, vm, wrong):
    """Nothing comes of it, and the next one does its work again."""
    wrong({"do": "idle", "on": "Disable-VMIntegrationService"})
    for enabled in (True, False):
        talk.one("Disable-VMIntegrationService", VMName=vm, Name="Heartbeat")
        (seen,) = talk.one("Get-VMIntegrationService", "Enabled", VMName=vm, Name="Heartbeat")
        assert seen["Enabled"] is enabled
