"""The twin's door: certificates, logins, the datastore over HTTP, and what goes wrong on demand."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests
from pyVmomi import SoapStubAdapter, vim, vmodl

from harness.core import Deadline, Pending, wait_for
from harness.twins.pki import issue
from harness.twins.vsphere.control import CallFault, Control, Plan
from tests.twins.vsphere.client import Client, Failed
from tests.twins.vsphere.running import TwinProcess


@contextlib.contextmanager
def stub(twin: TwinProcess) -> Iterator[SoapStubAdapter]:
    """A connection without a login; pyVmomi leaves closing to the garbage collector, we do not."""
    host, port = twin.record["endpoint"].split(":")
    trust = ssl.create_default_context(cafile=twin.record["ca"])
    adapter = SoapStubAdapter(host=host, port=int(port), version="vim.version.version9", sslContext=trust)
    try:
        yield adapter
    finally:
        adapter.DropConnections()


def content_of(adapter: SoapStubAdapter) -> Any:
    return vim.ServiceInstance("ServiceInstance", adapter).RetrieveContent()


def test_the_record_says_where_it_is_and_its_key_is_its_owners_alone(twin: TwinProcess) -> None:
    assert twin.record["kind"] == "vsphere"
    assert twin.record["endpoint"].startswith("127.")
    assert twin.record["esxi"] == ["esx1", "esx2"]
    assert set(twin.record["networks"]) == {"VM Network", "peers"}
    key = Path(twin.record["ca"]).with_name("server.key")
    assert key.stat().st_mode & 0o077 == 0


def test_a_client_that_verifies_gets_in_by_the_ca_alone(twin: TwinProcess) -> None:
    host, port = twin.record["endpoint"].split(":")
    with socket.create_connection((host, int(port))) as plain, pytest.raises(ssl.SSLCertVerificationError):
        ssl.create_default_context().wrap_socket(plain, server_hostname=host)


def test_a_wrong_password_is_refused(twin: TwinProcess) -> None:
    with stub(twin) as adapter, pytest.raises(vim.fault.InvalidLogin):
        content_of(adapter).sessionManager.Login(twin.record["user"], "wrong", None)


@pytest.mark.parametrize("kind", ["expired", "other-host"])
def test_certificates_for_tests_are_as_bad_as_they_say(tmp_path: Path, kind: str) -> None:
    papers = issue(tmp_path, "vcenter.twin", kind=kind)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(papers.certificate, papers.key)
    client = ssl.create_default_context(cafile=papers.authority)
    near, far = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(near, far, server_hostname="127.0.0.1")
    theirs = server.wrap_bio(far, near, server_side=True)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(ours, theirs)


def shake_hands(*sides: ssl.SSLObject) -> None:
    for side in sides * 4:
        with contextlib.suppress(ssl.SSLWantReadError):
            side.do_handshake()


def test_the_datastore_asks_for_a_login(client: Client, twin: TwinProcess) -> None:
    stranger = requests.Session()
    stranger.trust_env, stranger.verify = False, twin.record["ca"]
    assert stranger.put(client.file("alien"), data=b"x").status_code == 401
    assert stranger.get(client.file("alien")).status_code == 401
    cookie = client.session._stub.cookie.split(";")[0].split("=")[1].strip('"')
    stranger.cookies.set("vmware_soap_session", cookie)
    assert stranger.put(client.file("ours"), data=b"0123456789").status_code == 201
    part = stranger.get(client.file("ours"), headers={"Range": "bytes=2-4"})
    assert (part.status_code, part.content) == (206, b"234")
    assert stranger.get(client.file("../log")).status_code in (400, 404)
    stranger.close()


def test_reading_needs_a_login_too(twin: TwinProcess) -> None:
    with stub(twin) as adapter, pytest.raises(vim.fault.NotAuthenticated):
        _ = content_of(adapter).rootFolder.childEntity


def test_unset_properties_read_as_none(client: Client) -> None:
    machine = client.create("unset")
    assert machine.snapshot is None
    assert machine.resourceConfig is None


def test_the_hosts_clock_ticks_in_seconds(client: Client) -> None:
    said = client.host.configManager.dateTimeSystem.QueryDateTime()
    assert said.microsecond == 0
    assert abs((datetime.now(UTC) - said).total_seconds()) < 5


def test_hosts_show_what_the_lab_gave(client: Client, twin: TwinProcess) -> None:
    assert {host.name for host in client.all(vim.HostSystem)} == {"esx1", "esx2"}
    assert client.host.hardware.memorySize == 4 << 30
    assert client.host.capability.maxSupportedVcpus == 8
    store = client.all(vim.Datastore)[0]
    store.RefreshDatastore()
    assert 0 < store.summary.freeSpace < store.summary.capacity


def test_a_method_fails_as_often_as_planned(client: Client, control: Control) -> None:
    machine = client.create("planned")
    control.plan(Plan(calls=[CallFault("PowerOnVM_Task", "InsufficientResourcesFault", "planned", count=2)]))
    for _ in range(2):
        with pytest.raises(vim.fault.InsufficientResourcesFault):
            machine.PowerOnVM_Task()
    client.done(machine.PowerOnVM_Task())


def test_a_server_that_is_busy_says_so_and_one_that_breaks_says_nothing(client: Client, control: Control) -> None:
    control.plan(Plan(status=503, path="/folder", count=1))
    assert client.web.get(client.file("ours")).status_code == 503
    control.plan(Plan(cut=True, path="/folder", count=1))
    with pytest.raises(requests.ConnectionError):
        client.web.get(client.file("ours"))


def test_a_privilege_that_is_missing_is_missing_in_word_and_deed(client: Client, control: Control) -> None:
    machine = client.create("poor")
    control.plan(Plan(deny=["VirtualMachine.Interact.PowerOn"]))
    manager = client.content.authorizationManager
    session = client.content.sessionManager.currentSession.key
    asked = ["VirtualMachine.Interact.PowerOn", "VirtualMachine.Interact.PowerOff"]
    (answer,) = manager.HasPrivilegeOnEntities([client.folder], session, asked)
    assert {each.privId: each.isGranted for each in answer.privAvailability} == dict(
        zip(asked, (False, True), strict=True)
    )
    with pytest.raises(vim.fault.NoPermission):
        machine.PowerOnVM_Task()


@pytest.mark.parametrize(("choice", "state"), [("0", "poweredOn"), ("1", "poweredOff")])
def test_a_question_holds_the_power_on_until_it_is_answered(
    client: Client, control: Control, choice: str, state: str
) -> None:
    machine = client.create("asking", disks=(16,))
    control.plan(Plan(questions=["asking"]))
    task = machine.PowerOnVM_Task()

    def asked() -> bool | Pending:
        return True if machine.runtime.question else Pending("no question")

    wait_for("the question", asked, Deadline.after(30), every=0.02)
    assert task.info.state == "running"
    machine.AnswerVM(machine.runtime.question.id, choice)
    if state == "poweredOff":
        with pytest.raises(Failed, match="Cancel"):
            client.done(task)
    else:
        client.done(task)
    assert machine.runtime.powerState == state
    assert machine.runtime.question is None


def test_a_migration_is_an_event_and_a_change_of_host(client: Client, control: Control) -> None:
    machine = client.create("wanderer")
    there = next(name for name in ("esx1", "esx2") if name != machine.runtime.host.name)
    control.event("wanderer", "DrsVmMigratedEvent", there)
    assert machine.runtime.host.name == there
    by = vim.event.EventFilterSpec(entity=vim.event.EventFilterSpec.ByEntity(entity=machine, recursion="self"))
    events = client.content.eventManager.QueryEvents(by)
    (moved,) = [event for event in events if isinstance(event, vim.event.DrsVmMigratedEvent)]
    assert moved.sourceHost.name != moved.host.name == there


def test_a_revert_is_told_by_the_event_of_its_task(client: Client) -> None:
    machine = client.create("reverted", disks=(16,))
    snapshot = client.done(machine.CreateSnapshot_Task("before", "", False, False))
    task = snapshot.RevertToSnapshot_Task(None, True)
    client.done(task)
    by = vim.event.EventFilterSpec(entity=vim.event.EventFilterSpec.ByEntity(entity=machine, recursion="self"))
    events = client.content.eventManager.QueryEvents(by)
    (told,) = [each for each in events if isinstance(each, vim.event.TaskEvent) and each.info.key == task.info.key]
    assert told.info.descriptionId == "VirtualMachine.revertToSnapshot"
    assert told.fullFormattedMessage == "Task: VirtualMachine.revertToSnapshot"
    assert told.vm.vm == machine


def test_one_machine_does_one_thing_at_a_time(client: Client, control: Control) -> None:
    machine = client.create("busy", disks=(16,))
    control.plan(Plan(questions=["busy"]))
    task = machine.PowerOnVM_Task()
    with pytest.raises(vim.fault.TaskInProgress):
        machine.ReconfigVM_Task(vim.vm.ConfigSpec(memoryMB=256))
    wait_for("the question", lambda: True if machine.runtime.question else Pending("none"), Deadline.after(30))
    machine.AnswerVM("1", "0")
    client.done(task)


def test_a_task_can_be_cancelled(client: Client, control: Control) -> None:
    machine = client.create("cancelled", disks=(16,))
    control.plan(Plan(questions=["cancelled"]))
    task = machine.PowerOnVM_Task()
    wait_for("the question", lambda: True if machine.runtime.question else Pending("none"), Deadline.after(30))
    task.CancelTask()
    with pytest.raises(Failed) as failed:
        client.done(task)
    assert isinstance(failed.value.fault, vmodl.fault.RequestCanceled)
    wait_for("no question", lambda: True if not machine.runtime.question else Pending("one"), Deadline.after(30))
    client.done(machine.PowerOnVM_Task())


def test_a_machine_can_be_read_while_a_task_works_on_it(client: Client, control: Control) -> None:
    """The simulator's own tasks hold a machine's lock to their end; the twin's do not."""
    machine = client.create("readable", disks=(16,))
    control.plan(Plan(questions=["readable"]))
    task = machine.PowerOnVM_Task()
    wait_for("the question", lambda: True if machine.runtime.question else Pending("none"), Deadline.after(30))
    assert machine.runtime.powerState == "poweredOff"
    machine.AnswerVM("1", "0")
    client.done(task)


def test_a_killed_session_must_log_in_again(twin: TwinProcess, client: Client) -> None:
    with stub(twin) as adapter:
        manager = content_of(adapter).sessionManager
        session = manager.Login(twin.record["user"], twin.record["password"], None)
        client.content.sessionManager.TerminateSession([session.key])
        with pytest.raises(vim.fault.NotAuthenticated):
            vim.ServiceInstance("ServiceInstance", adapter).CurrentTime()


def test_many_threads_make_and_break_machines_at_once(twin: TwinProcess) -> None:
    def work(number: int) -> None:
        mine = Client(twin.record)
        try:
            for turn in range(2):
                machine = mine.create(f"crowd-{number}-{turn}", disks=(8,))
                mine.done(machine.PowerOnVM_Task())
                mine.done(machine.PowerOffVM_Task())
                mine.done(machine.Destroy_Task())
        finally:
            mine.close()

    with ThreadPoolExecutor(4) as crowd:
        list(crowd.map(work, range(4)))


def test_a_killed_twin_leaves_no_process(simulator: Path, tmp_path: Path) -> None:
    with TwinProcess(tmp_path / "twin", networks={}) as twin:
        client = Client(twin.record)
        client.done(client.create("orphan", disks=(8,)).PowerOnVM_Task())
        children = twin.descendants()
        assert any(name.startswith("qemu") for name in children.values())
        assert any(name.startswith("vcsim") for name in children.values())
        client.stub.DropConnections()
        client.web.close()
        twin.process.kill()
        twin.process.wait()

        def gone() -> bool | Pending:
            left = [pid for pid in children if alive(pid)]
            return Pending(str(left)) if left else True

        wait_for("the twin's processes to end", gone, Deadline.after(20))


def test_a_twin_whose_simulator_dies_ends_with_an_error(simulator: Path, tmp_path: Path) -> None:
    import os
    import signal

    with TwinProcess(tmp_path / "twin", networks={}) as twin:
        (number,) = [pid for pid, name in twin.descendants().items() if name.startswith("vcsim")]
        os.kill(number, signal.SIGKILL)
        assert twin.process.wait(30) == 1
        assert "simulator ended" in twin.log.read_text()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_latency_is_added_to_every_request(client: Client, control: Control) -> None:
    control.plan(Plan(latency=200))
    began = time.monotonic()
    client.session.CurrentTime()
    assert time.monotonic() - began >= 0.2
