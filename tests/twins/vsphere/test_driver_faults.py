"""Our driver against the twin as it is run, when things go wrong: every fault is named, and nothing waits for ever.

What the driver does with faults of the protocol alone stands in ``tests/unit/test_vsphere_*.py``; here is what needs
the twin's own behaviour: its questions, its leases, its certificates, its privileges, its cluster.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from pyVmomi import vim

from harness.backends.model import DiskSpec, MachineSpec, NetworkKind, NetworkSpec, PowerState, PublishedImage, Shape
from harness.backends.views import HELD, MOVED, ResourceKind
from harness.backends.vsphere import create, transfer
from harness.backends.vsphere.check import ON_FOLDER
from harness.backends.vsphere.errors import Cancelled, Gone, Unavailable
from harness.cli import interop
from harness.core import Deadline, LabError, MiB, Pending, Size, wait_for
from harness.twins.vsphere.control import CallFault, Control, Plan
from tests.twins.vsphere.client import MIB, Client
from tests.twins.vsphere.driving import OWNER, opened, small, within
from tests.twins.vsphere.running import TwinProcess

Make = Callable[[], Any]


@pytest.fixture(scope="module")
def driver(twin: TwinProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Our connection, which all tests share: after each fault it must still work."""
    host = opened(twin.record, tmp_path_factory.mktemp("driver"))
    yield host
    host.close()


@pytest.fixture
def make(driver: Any, client: Client, image: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Make]:
    """Makes small machines without NICs, and takes them away; the client does so with their images."""
    published: PublishedImage = driver.publish(small(image, request.node.name), within())
    numbers = count(1)
    made: list[Any] = []

    def one() -> Any:
        name = f"{request.node.name[:40]}-{next(numbers)}"
        seed = tmp_path / f"{name}.iso"
        seed.write_bytes(b"no seed")
        shape = Shape(vcpus=1, memory=Size(128 * MiB))
        spec = MachineSpec(name=name, image=published, shape=shape, nics=(), seed=seed, owner=OWNER)
        made.append(driver.create(spec, within()))
        return made[-1]

    yield one
    for machine in made:
        machine.destroy(within())


def machines(driver: Any, word: str) -> list[str]:
    """What the driver finds of its own that has to do with a machine: itself, and the folder of its files."""
    return [thing.name for thing in driver.owned(within()) if word in thing.name or word in thing.handle]


def images(driver: Any) -> list[str]:
    """Images that nobody finished."""
    return [thing.name for thing in driver.owned(within()) if thing.kind is ResourceKind.IMAGE]


def seen(client: Client, machine: Any) -> Any:
    """The machine as another client has it."""
    return vim.VirtualMachine(machine.id, client.stub)


# Questions.


def test_a_question_at_power_on_is_answered(make: Make, client: Client, control: Control) -> None:
    machine = make()
    control.plan(Plan(questions=[machine.spec.name]))
    machine.start(within())
    assert machine.view(within()).state is PowerState.RUNNING
    assert seen(client, machine).runtime.question is None


def test_a_question_to_which_no_answer_helps_fails_the_power_on(make: Make, client: Client, control: Control) -> None:
    """A host that has no room asks whether to try again, for ever: the power-on is cancelled instead."""
    machine = make()
    control.plan(Plan(out_of_space=[machine.spec.name]))
    deadline = within(600)
    with pytest.raises(LabError, match=r"no more space .*no answer would help"):
        machine.start(deadline)
    assert deadline.seconds > 300
    assert machine.view(within()).state is PowerState.OFF
    theirs = seen(client, machine)
    wait_for("no question", lambda: True if not theirs.runtime.question else Pending("one"), within())
    machine.start(within())


def test_a_question_that_we_may_not_answer_fails_at_once_with_its_reason(
    make: Make, client: Client, control: Control
) -> None:
    """The privilege is named, the power-on is cancelled, and time enough is left."""
    machine = make()
    control.plan(Plan(questions=[machine.spec.name], deny=["VirtualMachine.Interact.AnswerQuestion"]))
    deadline = within(600)
    with pytest.raises(LabError, match=r"answer: NoPermission.*VirtualMachine\.Interact\.AnswerQuestion"):
        machine.start(deadline)
    assert deadline.seconds > 300
    assert machine.view(within()).state is PowerState.OFF
    theirs = seen(client, machine)
    wait_for("no question", lambda: True if not theirs.runtime.question else Pending("one"), within())
    control.plan()
    machine.start(within())


@pytest.mark.parametrize("method", ["ReconfigVM_Task", "Destroy_Task"])
def test_a_question_in_another_task_is_answered(make: Make, client: Client, control: Control, method: str) -> None:
    """Of any verb, and of the end."""
    machine = make()
    control.plan(Plan(questions=[machine.spec.name], asking_in=method))
    deadline = within(600)
    if method == "ReconfigVM_Task":
        machine.resize(deadline, vcpus=2)
        assert seen(client, machine).runtime.question is None
    machine.destroy(deadline)
    assert deadline.seconds > 300


def test_a_question_of_the_image_while_it_is_cloned_is_answered(make: Make, client: Client, control: Control) -> None:
    base = seen(client, SimpleNamespace(id=make().spec.image.handle))
    control.plan(Plan(questions=[base.name], asking_in="CloneVM_Task"))
    deadline = within(600)
    assert make().view(deadline).state is PowerState.OFF
    assert deadline.seconds > 300
    assert base.runtime.question is None


def test_a_question_while_a_clone_is_completed_is_answered(make: Make, client: Client, control: Control) -> None:
    """As on a host that does not take the whole configuration over with the clone."""
    name = make().spec.name.removesuffix("1") + "2"
    control.plan(Plan(questions=[name], asking_in="ReconfigVM_Task"))
    deadline = within(600)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(create, "_differs", lambda values, path, wanted: path == "config.annotation")
        machine = make()
    assert machine.spec.name == name
    assert deadline.seconds > 300
    assert seen(client, machine).runtime.question is None


def test_a_machine_that_is_held_by_a_question_while_it_runs_says_so_and_can_be_ended(
    make: Make, driver: Any, client: Client, control: Control
) -> None:
    """Nobody asked for anything when its disk found no room: its record and its description tell of it."""
    machine = make()
    machine.start(within())
    assert HELD not in {event.kind for event in machine.events(within())}
    control.event(machine.spec.name, "outOfSpace")
    last = machine.events(within())[-1]
    assert last.kind == HELD
    assert "no more space" in last.message
    assert "Retry, Cancel" in last.message
    assert "no more space" in machine.view(within()).raw
    deadline = within(600)
    machine.stop(deadline)
    assert machine.view(within()).state is PowerState.OFF
    machine.start(within())
    control.event(machine.spec.name, "outOfSpace")
    machine.destroy(deadline)
    assert deadline.seconds > 300
    assert machines(driver, machine.spec.name) == []


# Somebody else.


@pytest.mark.parametrize("kind", ["VmMigratedEvent", "DrsVmMigratedEvent", "VmDasBeingResetEvent"])
def test_what_the_cluster_did_to_a_machine_is_told_as_a_move(make: Make, control: Control, kind: str) -> None:
    """And a machine that was taken elsewhere still is ours to use."""
    machine = make()
    machine.start(within())
    before = {event.kind for event in machine.events(within())}
    control.event(machine.spec.name, kind, "" if kind == "VmDasBeingResetEvent" else "esx2")
    (moved,) = [event for event in machine.events(within()) if event.kind == MOVED]
    assert MOVED not in before
    assert moved.message
    machine.stop(within())
    machine.destroy(within())


def test_a_machine_that_somebody_renamed_goes_on_under_its_id(make: Make, driver: Any, client: Client) -> None:
    """In the middle of its use: it starts, is found with its owner, and goes with its files."""
    machine = make()
    machine.start(within())
    client.done(seen(client, machine).Rename_Task("taken by somebody"))
    machine.reset(within())
    (thing,) = [thing for thing in driver.owned(within()) if thing.handle == machine.id]
    assert thing.owner is not None
    assert (thing.name, thing.owner.run) == ("taken by somebody", OWNER.run)
    machine.destroy(within())
    assert machines(driver, machine.spec.name) == []


def test_a_machine_that_somebody_deleted_while_it_ran_is_said_to_be_gone(
    make: Make, driver: Any, client: Client
) -> None:
    """By every verb; what we kept beside it is still taken away."""
    machine = make()
    machine.start(within())
    theirs = seen(client, machine)
    client.done(theirs.PowerOffVM_Task())
    client.done(theirs.Destroy_Task())
    for verb in (machine.view, machine.reset, machine.start, machine.events):
        with pytest.raises(Gone, match="not on the host any more"):
            verb(within())
    machine.destroy(within())
    assert machines(driver, machine.spec.name) == []


# The front.


@pytest.mark.parametrize(
    ("kind", "words", "hint"),
    [("expired", "certificate has expired", "renew it"), ("other-host", "mismatch", "as the certificate has it")],
)
def test_a_twin_with_a_bad_certificate_is_not_logged_in_to(
    simulator: Path, tmp_path: Path, kind: str, words: str, hint: str
) -> None:
    with TwinProcess(tmp_path / "twin", networks={}, certificate=kind) as bad, pytest.raises(LabError) as caught:
        opened(bad.record, tmp_path)
    assert words in caught.value.message
    assert hint in (caught.value.hint or "")
    assert bad.record["password"] not in str(caught.value)


def test_a_vcenter_that_answers_503_for_a_while_is_asked_again_and_then_told_of(
    make: Make, driver: Any, control: Control
) -> None:
    """Reading survives two; a change is asked once, and can be asked again when the vCenter is back."""
    machine = make()
    control.plan(Plan(status=503, path="/sdk", count=2))
    assert machine.view(within()).state is PowerState.OFF
    control.plan(Plan(status=503, path="/sdk", count=1000))
    for verb in (machine.view, machine.start, driver.clock):
        with pytest.raises(Unavailable, match="503"):
            verb(within())
    control.plan()
    assert machine.view(within()).state is PowerState.OFF
    machine.start(within())


def test_a_lease_that_times_out_in_mid_upload_is_told_and_leaves_nothing(
    driver: Any, client: Client, control: Control, image: Path, twin: TwinProcess
) -> None:
    """The file comes to a halt after its first piece, for longer than the vCenter waits for news."""
    names: set[str] = set()
    real = transfer.Stream.read

    def halting(stream: transfer.Stream, size: int = 1 << 20) -> bytes:
        piece = real(stream, min(size, 512))
        if stream.sent == 512:
            names.update(machine.name for machine in client.all(vim.VirtualMachine))

            def ended() -> bool | Pending:
                left = client.all(vim.VirtualMachine)
                return Pending(f"{len(left)} machines") if left else True

            wait_for("the lease to end", ended, within(30))
        return piece

    control.plan(Plan(lease_seconds=1))
    before = set(client.folders())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transfer.Stream, "read", halting)
        with pytest.raises(Cancelled, match=r"upload: the lease ended with \d+ % sent: Timedout") as caught:
            driver.publish(small(image, "late"), within())
    assert any(name.startswith("interop-base-") for name in names), "it was being made"
    assert "heard nothing" in (caught.value.hint or "")
    assert set(client.folders()) - before == set()
    assert images(driver) == []
    assert not list((twin.folder / "bodies").rglob("*.vmdk"))
    control.plan()
    assert driver.publish(small(image, "late"), within()).handle


def test_a_session_killed_in_the_middle_of_a_task_does_not_stop_it(
    make: Make, driver: Any, client: Client, control: Control
) -> None:
    """The wait logs in anew; the power-on is asked once."""
    machine = make()
    answered = driver.session.call

    def killing(operation: str, ref: Any, method: str, deadline: Deadline, *arguments: Any) -> Any:
        result = answered(operation, ref, method, deadline, *arguments)
        if method == "PowerOnVM_Task":
            manager: Any = client.content.sessionManager
            manager.TerminateSession([driver.session.key])
        return result

    before = driver.session.trips["PowerOnVM_Task"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(driver.session, "call", killing)
        machine.start(within())
    assert driver.session.trips["PowerOnVM_Task"] == before + 1
    assert machine.view(within()).state is PowerState.RUNNING


def test_a_task_that_fails_half_way_is_the_labs_fault_and_can_be_asked_again(make: Make, control: Control) -> None:
    """By a fault that no client provoked."""
    machine = make()
    control.plan(Plan(calls=[CallFault("PowerOnVM_Task", "InsufficientCpuResourcesFault", machine.spec.name)]))
    with pytest.raises(LabError, match="InsufficientCpuResourcesFault") as caught:
        machine.start(within())
    assert "capacity" in (caught.value.hint or "")
    machine.start(within())


def test_a_clone_that_somebody_cancels_is_told_and_leaves_nothing(make: Make, driver: Any, control: Control) -> None:
    """As an administrator does in the vSphere client; the next one is made."""
    name = make().spec.name.removesuffix("1") + "2"
    control.plan(Plan(calls=[CallFault("CloneVM_Task", "RequestCanceled")]))
    with pytest.raises(Cancelled, match=r"create: RequestCanceled"):
        make()
    assert machines(driver, name) == []
    control.plan()
    assert make().view(within()).state is PowerState.OFF


# Privileges.


def checked(twin: TwinProcess, folder: Path) -> Any:
    """What `interop lab check --connect` says of the twin as of a real vCenter."""
    record = twin.record
    (folder / "password").write_text(record["password"])
    host = {key: record[key] for key in ("endpoint", "user", "ca", "datacenter", "datastore")}
    host |= {"backend": "vsphere", "esxi": record["esxi"][0], "password": f"file:{folder / 'password'}"}
    networks = {"management": {"kind": "network", "source": "VM Network", "subnet": "192.0.2.0/24"}}
    lab = folder / "lab.yaml"
    lab.write_text(json.dumps({"hosts": {"vc": host}, "networks": networks}))
    return CliRunner().invoke(interop, ["lab", "check", "--connect", str(lab)])


def test_lab_check_names_each_privilege_that_is_missing(
    twin: TwinProcess, control: Control, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INTEROP_STATE", str(tmp_path / "state"))
    fit = checked(twin, tmp_path)
    assert "missing" not in fit.output
    missing = ("VirtualMachine.Interact.Reset", "Datastore.FileManagement", "Network.Assign", "Resource.AssignVMToPool")
    control.plan(Plan(deny=missing))
    unfit = checked(twin, tmp_path)
    assert unfit.exit_code == 1
    for privilege in missing:
        assert privilege in unfit.output, unfit.output
    others = set(ON_FOLDER) - set(missing)
    assert not [privilege for privilege in others if privilege in unfit.output]


def test_a_denied_verb_names_its_privilege_and_the_page_that_has_the_role(make: Make, control: Control) -> None:
    machine = make()
    control.plan(Plan(deny=["VirtualMachine.Interact.PowerOn"]))
    with pytest.raises(LabError, match=r"start: NoPermission.*VirtualMachine\.Interact\.PowerOn") as caught:
        machine.start(within())
    assert "docs/vsphere-host.md" in (caught.value.hint or "")
    control.plan()
    machine.start(within())


# Room.


def test_a_datastore_without_room_is_said_by_the_check_and_by_the_upload(
    driver: Any, client: Client, control: Control, image: Path, twin: TwinProcess
) -> None:
    control.plan(Plan(free=4 * MIB))
    again = opened(twin.record, twin.folder)
    try:
        remarks = {remark.subject: remark for remark in again.examine((_network(),), within())}
    finally:
        again.close()
    assert remarks["space"].fine is False
    with pytest.raises(LabError) as caught:
        driver.publish(small(image, "full"), within())
    assert "free space on the datastore" in (caught.value.hint or ""), caught.value
    assert images(driver) == []


def test_a_datastore_without_room_for_a_machine_or_a_disk_is_the_labs_fault(
    make: Make, driver: Any, control: Control
) -> None:
    """With what to do about it; nothing half-made stays, and with room it goes on."""
    machine = make()
    name = machine.spec.name.removesuffix("1") + "2"
    for method, verb in (
        ("CloneVM_Task", make),
        ("ReconfigVM_Task", lambda: machine.attach_disk(DiskSpec("late", Size(16 * MiB)), within())),
    ):
        control.plan(Plan(calls=[CallFault(method, "NoDiskSpace")]))
        with pytest.raises(LabError, match="NoDiskSpace") as caught:
            verb()
        assert "free space on the datastore" in (caught.value.hint or "")
    assert machines(driver, name) == []
    assert machine.view(within()).disks == ()
    machine.attach_disk(DiskSpec("late", Size(16 * MiB)), within())


def _network() -> NetworkSpec:
    return NetworkSpec("management", NetworkKind.NETWORK, "VM Network")
