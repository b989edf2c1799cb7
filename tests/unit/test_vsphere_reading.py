"""Reading and waiting: few round trips, whatever is not set or not there, and never by attribute."""

from __future__ import annotations

import ast
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("pyVmomi")

from pyVmomi import VmomiSupport

from harness.backends.protocol import WrongState
from harness.backends.vsphere import collector, inventory, tasks
from harness.backends.vsphere.errors import BadAnswer, Busy, Cancelled, Gone
from harness.backends.vsphere.refs import Ref, bound, plain, ref_of
from harness.backends.vsphere.session import Session
from harness.core import Deadline, LabError, Pending, UsageError
from tests.unit import vsphere_host
from tests.unit.vsphere_host import certificate, fault, settings, within

SOURCES = Path(collector.__file__).parent
STATE = "runtime.powerState"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A vcsim whose power-on takes its time, a front, and a folder."""
    folder = tmp_path_factory.mktemp("vsphere")
    with (
        vsphere_host.vcsim("-vm", "10", "-slow", "Suspend") as upstream,
        vsphere_host.front(upstream, certificate(folder / "tls", "127.0.0.1")) as front,
    ):
        yield front, folder


@pytest.fixture(scope="module")
def front(place):
    return place[0]


@pytest.fixture(scope="module")
def session(place):
    """Logged in."""
    made = Session(settings(*place), "vc", within())
    yield made
    made.close()


@pytest.fixture(scope="module")
def machines(session):
    """Those of somebody else, which are there."""
    return list(collector.children(session, session.root, "VirtualMachine", ["name"], within()))


def trips(session, work):
    """What ``work`` returns, and the round trips that it took."""
    before = session.trips
    result = work()
    return result, dict(session.trips - before)


# The rule: nothing is read by attribute.


def test_no_attribute_of_a_managed_object_can_be_read():
    """What passes through our hands is inert: no round trip happens behind anybody's back."""
    managed = Ref("VirtualMachine", "vm-1").managed
    with pytest.raises(AssertionError, match="use the collector"):
        _ = managed.runtime
    with pytest.raises(AssertionError, match=r"use Session\.call"):
        managed.PowerOn()


def test_managed_objects_in_answers_are_inert_as_well(session, machines):
    values = collector.read_one(session, machines[0], "network", "runtime", deadline=within())
    assert all(isinstance(ref, Ref) for ref in values["network"])
    for managed in (values["runtime"].host, session.content.rootFolder):
        with pytest.raises(AssertionError, match="use the collector"):
            _ = managed.name


def test_references_are_all_that_the_driver_makes():
    """Only the two modules that must know pyVmomi's managed objects make them, and none takes the library's sugar."""
    for path in SOURCES.glob("*.py"):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
                assert not any(name.startswith("pyVim") for name in names), f"{path.name}:{node.lineno}"
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute):
                assert node.value.attr != "managed", f"{path.name}:{node.lineno} reads an attribute of a managed object"
            if isinstance(node, ast.Call) and path.name not in ("refs.py", "wire.py"):
                assert not makes_managed(node.func), f"{path.name}:{node.lineno} makes a managed object"


def makes_managed(function):
    """Whether calling this makes a managed object of pyVmomi's."""
    if isinstance(function, ast.Call):
        return getattr(function.func, "id", "") == "managed_type"
    words = []
    while isinstance(function, ast.Attribute):
        words.insert(0, function.attr)
        function = function.value
    if not isinstance(function, ast.Name) or function.id not in ("vim", "vmodl"):
        return False
    try:
        kind = VmomiSupport.GetVmodlType(".".join([function.id, *words]))
    except KeyError:
        return False
    return isinstance(kind, type) and issubclass(kind, VmomiSupport.ManagedObject)


def test_references_pass_to_the_host_and_back():
    ref = Ref("Folder", "group-1")
    assert plain([bound(ref), "x", 1]) == [ref, "x", 1]
    assert bound((ref,))[0]._GetMoId() == "group-1"
    assert ref_of(ref.managed) == ref


# Reading.


def test_many_machines_are_read_in_one_round_trip(session, machines):
    found, taken = trips(session, lambda: collector.read(session, machines, [STATE, "name"], within()))
    assert len(found) == len(machines) == 20
    assert taken == {"RetrievePropertiesEx": 1}
    assert {values[STATE] for values in found.values()} == {"poweredOff"}


def test_what_is_not_set_is_not_there(session, machines):
    assert collector.read_one(session, machines[0], "snapshot", "resourceConfig", deadline=within()).keys() <= {
        "resourceConfig"
    }


def test_a_machine_that_is_gone_is_left_out_of_many_and_told_of_one(session, machines):
    gone = Ref("VirtualMachine", "vm-999")
    found = collector.read(session, [machines[0], gone, machines[1]], ["name"], within())
    assert list(found) == machines[:2]
    with pytest.raises(Gone, match="not on the host any more"):
        collector.read_one(session, gone, "name", deadline=within())


def test_views_are_destroyed_whatever_happens(session, front):
    def views():
        return front.calls["CreateContainerView"] - front.calls["DestroyView"]

    before = views()
    front.faults["RetrievePropertiesEx"] = fault("SystemError", "A general system error occurred.")
    with pytest.raises(LabError):
        collector.children(session, session.root, "Datacenter", ["name"], within())
    collector.children(session, session.root, "Datacenter", ["name"], within())
    assert views() == before


def test_one_value_that_cannot_be_understood_takes_no_other_along(session, machines, monkeypatch):
    whole = collector._retrieve

    def picky(session, spec, deadline, operation):
        if "name" in spec.propSet[0].pathSet:
            raise BadAnswer("an enumeration has a word that is not known")
        return whole(session, spec, deadline, operation)

    monkeypatch.setattr(collector, "_retrieve", picky)
    assert collector.read_one(session, machines[0], "name", STATE, deadline=within()) == {STATE: "poweredOff"}


def test_an_answer_that_is_no_soap_is_a_lab_error(session, front, machines):
    front.faults["RetrievePropertiesEx"] = "<html>a proxy's page</html>"
    with pytest.raises(BadAnswer, match="without a fault"):
        collector.read(session, machines, ["name"], within())


# Waiting.


def test_a_wait_tells_at_once_of_what_is_so_already(session, machines):
    def wait():
        return collector.wait_one(session, "it", machines[0], [STATE], lambda values: values[STATE], deadline=within())

    wait()
    seen, taken = trips(session, wait)
    assert seen == "poweredOff"
    assert taken == {"CreateFilter": 1, "WaitForUpdatesEx": 1, "DestroyPropertyFilter": 1}


def test_a_wait_that_is_in_vain_says_what_it_saw(session, machines, front):
    before = front.calls["DestroyPropertyFilter"]
    with pytest.raises(LabError, match=r"waited .* for the moon; last seen: poweredOff"):
        collector.wait_one(
            session, "the moon", machines[0], [STATE], lambda values: Pending(values[STATE]), deadline=within(0.2)
        )
    assert front.calls["DestroyPropertyFilter"] == before + 1


def filters(front):
    """How many a host has of us."""
    return front.calls["CreateFilter"] - front.calls["DestroyPropertyFilter"]


@pytest.mark.parametrize("error", [LabError("no"), ValueError("a mistake of ours"), KeyboardInterrupt()])
def test_a_wait_whose_caller_raises_leaves_no_filter_behind(session, machines, front, error):
    """Filters stay on the host as long as the session, and each update is counted out to all of them."""

    def accept(values):
        raise error

    before = filters(front)
    with pytest.raises(type(error)):
        collector.wait_one(session, "it", machines[0], [STATE], accept, deadline=within())
    assert filters(front) == before
    assert collector.wait_one(session, "it", machines[0], [STATE], lambda values: values[STATE], deadline=within())


def test_a_question_that_cannot_be_answered_ends_its_task_and_its_filter(session, machines, front, monkeypatch):
    """Whoever waits is told; the task is cancelled, for it would wait for ever."""
    machine = machines[3]
    tasks.run(session, "power on", machine, "PowerOnVM_Task", within(), None)
    whole = collector._Watch._apply

    def asking(watch, known, change):
        whole(watch, known, change)
        if machine in known:
            known[machine]["runtime.question"] = SimpleNamespace(id="1", text="Well?")

    monkeypatch.setattr(collector._Watch, "_apply", asking)

    def refuse(question):
        raise LabError(f"no answer to {question.text}")

    before, cancelled = filters(front), front.calls["CancelTask"]
    with pytest.raises(LabError, match=r"no answer to Well\?"):
        tasks.run(session, "suspend", machine, "SuspendVM_Task", within(), machine=machine, question=refuse)
    assert filters(front) == before
    assert front.calls["CancelTask"] == cancelled + 1


def test_a_task_goes_on_when_the_machine_that_is_watched_with_it_has_left(session, machines):
    """As it does by its own removal, of which the host tells before the task has ended."""
    machine, doomed = machines[4], machines.pop()
    tasks.run(session, "power on", machine, "PowerOnVM_Task", within(), None)
    thread = threading.Thread(target=lambda: tasks.run(session, "destroy", doomed, "Destroy_Task", within()))

    def begun(question):
        raise AssertionError(question)

    real = collector._Watch._follow

    def following(watch, made):
        if doomed in watch.watched:
            thread.start()
        return real(watch, made)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collector._Watch, "_follow", following)
        tasks.run(session, "suspend", machine, "SuspendVM_Task", within(), machine=doomed, question=begun)
    thread.join()
    assert collector.read_one(session, machine, STATE, deadline=within()) == {STATE: "suspended"}


def test_who_set_the_deadline_is_told_when_it_has_come(session, machines):
    """Limits are held against that time."""
    told = []
    deadline = Deadline.after(60, told=lambda: told.append(True))
    collector.wait_one(session, "its name", machines[0], ["name"], lambda values: values["name"], deadline=deadline)
    assert told == [True]


def test_waits_of_several_threads_do_not_mix(session, machines):
    """Each has a collector of its own."""
    results = {}

    def wait(machine):
        name = collector.wait_one(session, "x", machine, ["name"], lambda values: values["name"], deadline=within())
        results[machine] = name

    threads = [threading.Thread(target=wait, args=(machine,)) for machine in machines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    known = collector.read(session, machines, ["name"], within())
    assert results == {ref: values["name"] for ref, values in known.items()}


def test_a_machine_that_leaves_while_it_is_watched_is_told(session, machines):
    doomed = machines[-1]

    def accept(values):
        if not started:
            started.append(thread.start())
        return Pending(values[STATE])

    started = []
    thread = threading.Thread(target=lambda: tasks.run(session, "destroy", doomed, "Destroy_Task", within()))
    with pytest.raises(Gone):
        collector.wait_one(session, "nothing", doomed, [STATE], accept, deadline=within())
    thread.join()
    machines.remove(doomed)


# Tasks.


def test_a_task_takes_four_round_trips(session, machines):
    tasks.run(session, "rename", machines[0], "Rename_Task", within(), "another")
    _, taken = trips(session, lambda: tasks.run(session, "rename", machines[0], "Rename_Task", within(), "one"))
    assert taken == {"Rename_Task": 1, "CreateFilter": 1, "WaitForUpdatesEx": 1, "DestroyPropertyFilter": 1}


def test_a_task_that_fails_says_why(session, machines):
    with pytest.raises(WrongState, match="vc: power off: InvalidPowerState"):
        tasks.run(session, "power off", machines[0], "PowerOffVM_Task", within())


def test_a_task_that_overruns_its_deadline_is_cancelled(session, machines, front):
    """And cancelled means that it is known how it ended."""
    machine = machines[1]
    tasks.run(session, "power on", machine, "PowerOnVM_Task", within(), None)
    before = front.calls["CancelTask"]
    with pytest.raises(LabError, match="the task to suspend") as caught:
        tasks.run(session, "suspend", machine, "SuspendVM_Task", within(0.5))
    assert "cancelled" in caught.value.message or isinstance(caught.value, Cancelled)
    assert front.calls["CancelTask"] == before + 1


def test_a_task_cancelled_by_somebody_else_is_told(session, front, machines):
    """As an administrator does in the vSphere client."""
    machine = machines[2]
    tasks.run(session, "power on", machine, "PowerOnVM_Task", within(), None)
    errors = []

    def suspend():
        try:
            tasks.run(session, "suspend", machine, "SuspendVM_Task", within())
        except LabError as error:
            errors.append(error)

    thread = threading.Thread(target=suspend)
    thread.start()
    manager = session.manager("taskManager")
    running = collector.wait_one(
        session,
        "the task",
        manager,
        ["recentTask"],
        lambda values: _running(session, values["recentTask"]),
        deadline=within(),
    )
    session.call("cancel", running, "CancelTask", within())
    thread.join()
    assert isinstance(errors[0], Cancelled), errors


def _running(session, recent):
    """The one that runs."""
    infos = collector.read(session, recent, ["info.state"], within())
    return next((ref for ref, values in infos.items() if values.get("info.state") == "running"), Pending("none"))


def test_a_busy_object_is_asked_again_by_the_patient(session, front, machines):
    busy = fault("TaskInProgress", "Another task is already in progress.", '<task type="Task">task-1</task>')
    front.faults["Rename_Task"] = busy
    with pytest.raises(Busy):
        tasks.run(session, "rename", machines[0], "Rename_Task", within(), "two")
    front.faults["Rename_Task"] = busy
    tasks.run(session, "rename", machines[0], "Rename_Task", within(), "three", patient=True)


# The inventory.


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"datacenter": "DC1"}, "no datacenter 'DC1'; did you mean 'DC0'"),
        ({"esxi": "DC0_H1"}, "no esxi 'DC0_H1'; did you mean 'DC0_H0'"),
        ({"cluster": "DC0_CO", "esxi": None}, "no cluster 'DC0_CO'; did you mean 'DC0_C0'"),
        ({"cluster": "DC0_C0", "esxi": None}, "name one under `esxi:`"),
        ({"cluster": "DC0_C0", "esxi": "DC0_H0"}, "no esxi 'DC0_H0'"),
        ({"datastore": "LocalDS_1"}, "no datastore 'LocalDS_1'; did you mean 'LocalDS_0'"),
        ({"resource_pool": "Ressources"}, "no resource pool 'Ressources'; did you mean 'Resources'"),
    ],
)
def test_a_wrong_name_gets_the_nearest_that_is_there(session, place, changes, words):
    with pytest.raises(UsageError) as caught:
        inventory.resolve(session, settings(*place, **changes), within())
    assert words in caught.value.message
    assert caught.value.host == "vc"


def test_everything_is_found_by_its_name(session, place):
    found = inventory.resolve(session, settings(*place, cluster="DC0_C0", esxi="DC0_C0_H1"), within())
    assert (found.esxi, found.datastore, found.place.datacenter_path) == ("DC0_C0_H1", "LocalDS_0", "DC0")
    assert found.place.cluster is not None
    alone = inventory.resolve(session, settings(*place, datastore=None), within())
    assert alone.place.cluster is None
    assert alone.place.folder == found.place.folder


def test_an_esxi_in_maintenance_mode_is_said(session, place):
    found = inventory.resolve(session, settings(*place), within())
    tasks.run(session, "enter", found.place.host, "EnterMaintenanceMode_Task", within(), 0, False)
    with pytest.raises(LabError, match="DC0_H0 is in maintenance mode"):
        inventory.resolve(session, settings(*place), within())
    tasks.run(session, "leave", found.place.host, "ExitMaintenanceMode_Task", within(), 0)


def test_port_groups_of_both_kinds_are_found(session, place):
    found = inventory.resolve(session, settings(*place), within())
    groups = inventory.port_groups(session, found.place.host, within())
    assert groups["VM Network"].key == ""
    assert groups["DC0_DVPG0"].key
    assert groups["DC0_DVPG0"].switch
