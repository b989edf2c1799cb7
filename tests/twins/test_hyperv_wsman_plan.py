"""The fault plan: for each thing that goes wrong, what a real client sees of it."""

from __future__ import annotations

import pytest
import requests
from winrm.exceptions import (
    InvalidCredentialsError,
    WinRMOperationTimeoutError,
    WinRMTransportError,
    WSManFaultError,
)

from harness.core import Deadline, Pending, UsageError, wait_for
from harness.twins.hyperv.host import control
from harness.twins.hyperv.plan import Planned
from tests.twins.hyperv_host import everything, psrp, twin_host, winrm


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    with twin_host(tmp_path_factory.mktemp("twin")) as host:
        yield host


@pytest.fixture
def wrong(host):
    """Plan what goes wrong, by the control socket as others do."""
    yield lambda *entries: control(host.settings.folder, {"plan": entries})
    control(host.settings.folder, {"plan": []})


@pytest.fixture
def client(host):
    client = winrm(host, "ntlm")
    yield client
    client.transport.close_session()


@pytest.fixture
def shell(host, client):
    """A shell with a program that repeats its lines."""
    shell = client.open_shell()
    yield shell, client.run_command(shell, "lines", console_mode_stdin=False)
    host.shells.delete(shell)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("shells", 2150859173),
        ("operations", 2150859174),
        ("commands", 2150859241),
        ("envelope", 2150858823),
        ("busy", 170),
        ("aborted", 0x3E3),
        ("cancelled", 0x4C7),
        ("disconnected", 0x803381C4),
        ("stream", 0x803381DE),
        ("denied", 5),
    ],
)
def test_each_fault_arrives_with_its_code(client, wrong, name, code):
    wrong({"do": "fault", "on": "Create", "fault": name})
    with pytest.raises(WSManFaultError) as caught:
        client.open_shell()
    assert (caught.value.code, caught.value.wsman_fault_code) == (500, code)
    client.close_shell(client.open_shell())  # once, as was asked


def test_a_busy_send_took_nothing_and_may_be_repeated(client, shell, wrong):
    wrong({"do": "fault", "on": "Send", "fault": "busy", "times": 2})
    for _ in range(2):
        with pytest.raises(WSManFaultError):
            client.send_command_input(*shell, b"once\n")
    client.send_command_input(*shell, b"once\n", end=True)
    assert everything(client, *shell)[0] == b"once\n"


def test_a_send_may_time_out_although_its_data_was_taken(client, shell, wrong):
    wrong({"do": "fault", "on": "Send", "fault": "timeout", "taken": True})
    with pytest.raises(WinRMOperationTimeoutError):
        client.send_command_input(*shell, b"once\n")
    assert client.get_command_output_raw(*shell)[0] == b"once\n"


def test_an_operation_time_out_on_receive_loses_nothing(client, shell, wrong):
    wrong({"do": "fault", "on": "Receive", "fault": "timeout", "times": 2})
    client.send_command_input(*shell, b"kept\n", end=True)
    assert everything(client, *shell)[0] == b"kept\n"


def test_a_create_slower_than_its_time_leaks_a_shell(host, client, wrong):
    before = len(host.shells.present())
    wrong({"do": "slow", "on": "Create", "seconds": 1.5})
    with pytest.raises(WinRMOperationTimeoutError):
        client.open_shell()
    shells = wait_for(
        "the shell that nobody knows",
        lambda: s if len(s := host.shells.present()) > before else Pending("none"),
        Deadline.after(10),
    )
    host.shells.delete(shells[-1].shell_id)


def test_a_silent_host_is_a_read_time_out(host, wrong):
    client = winrm(host, "ntlm", read_timeout_sec=2)
    shell = client.open_shell()
    wrong({"do": "silent", "on": "Command", "seconds": 3})
    with pytest.raises(requests.exceptions.ReadTimeout):
        client.run_command(shell, "false")
    client.transport.close_session()
    client.close_shell(shell)


def test_a_connection_cut_inside_a_send_leaves_it_open_whether_it_was_taken(host, client, shell, wrong):
    for taken in (False, True):
        wrong({"do": "cut", "on": "Send", "taken": taken})
        with pytest.raises(requests.exceptions.ConnectionError):
            client.send_command_input(*shell, f"{taken}\n".encode())
        client.transport.close_session()
    client.send_command_input(*shell, b"again\n", end=True)
    assert everything(client, *shell)[0] == b"True\nagain\n"


def test_an_idle_connection_ends_without_a_word(host, client, shell, wrong):
    wrong({"do": "hang-up", "on": "Send", "seconds": 0.2})
    client.send_command_input(*shell, b"x\n")
    from harness.core.waiting import pause

    pause(1)
    with pytest.raises(WinRMTransportError) as caught:  # sealed for the connection that is no more
        client.send_command_input(*shell, b"y\n")
    assert caught.value.code == 400
    client.transport.close_session()
    client.send_command_input(*shell, b"y\n", end=True)
    assert everything(client, *shell)[0] == b"x\ny\n"


def test_an_idle_connection_over_tls_is_no_loss(host, wrong):
    client = winrm(host, "basic+tls")
    shell = client.open_shell()
    wrong({"do": "hang-up", "on": "Command", "seconds": 0.2})
    command = client.run_command(shell, "false")
    from harness.core.waiting import pause

    pause(1)
    assert everything(client, shell, command)[2] == 1
    client.close_shell(shell)


def test_a_shell_that_expires_is_not_there(client, shell, wrong):
    wrong({"do": "expire", "on": "Receive"})
    with pytest.raises(WSManFaultError) as caught:
        client.get_command_output_raw(*shell)
    assert caught.value.wsman_fault_code == 2150858843


def test_a_program_that_is_killed_ends_with_a_code_of_windows(client, shell, wrong):
    wrong({"do": "kill", "on": "Send"})
    client.send_command_input(*shell, b"never seen\n")
    assert everything(client, *shell) == (b"", b"", 1)


def test_output_is_split_at_any_byte(client, shell, wrong):
    wrong({"do": "split", "on": "Receive", "times": None, "size": 1})
    client.send_command_input(*shell, "漢🙂\n".encode(), end=True)
    pieces, done = [], False
    while not done:
        out, _, _, done = client.get_command_output_raw(*shell)
        pieces.append(out)
    assert max(map(len, pieces)) == 1
    assert b"".join(pieces).decode() == "漢🙂\n"


def test_a_bare_status_is_no_fault(client, wrong):
    wrong({"do": "status", "on": "Create", "status": 503})
    with pytest.raises(WinRMTransportError) as caught:
        client.open_shell()
    assert (caught.value.code, caught.value.response_text) == (503, "")


def test_an_account_may_be_locked_any_time(host, wrong):
    wrong({"do": "unauthorised", "times": None})
    with pytest.raises(InvalidCredentialsError):
        winrm(host, "basic").open_shell()


def test_faults_come_when_they_are_due(client, wrong):
    wrong({"do": "fault", "on": "Create", "fault": "shells", "skip": 1, "times": 1})
    client.close_shell(client.open_shell(), close_session=False)
    with pytest.raises(WSManFaultError):
        client.open_shell()
    client.close_shell(client.open_shell())


def test_the_other_client_sees_the_same_fault(host, wrong):
    from pypsrp.exceptions import WSManFaultError as Fault
    from pypsrp.shell import WinRS

    wrong({"do": "fault", "on": "Create", "fault": "shells"})
    with pytest.raises(Fault) as caught, WinRS(psrp(host, "negotiate")):
        pass
    assert caught.value.code == 2150859173


def test_a_host_that_reboots_comes_back_without_its_shells(host, client, shell):
    folder = host.settings.folder
    assert control(folder, {"listen": False}) == {"shells": [], "listening": False}
    with pytest.raises(requests.exceptions.ConnectionError):
        client.get_command_output_raw(*shell)
    assert control(folder, {"listen": True})["listening"]
    client.transport.close_session()
    with pytest.raises(WSManFaultError) as caught:
        client.get_command_output_raw(*shell)
    assert caught.value.wsman_fault_code == 2150858843


@pytest.mark.parametrize("entry", [{"do": "dance"}, {"do": "cut", "when": 1}, {"do": "fault", "fault": "mine"}, {}])
def test_a_plan_that_makes_no_sense_is_refused(wrong, entry):
    with pytest.raises(UsageError):
        wrong(entry)
    with pytest.raises(UsageError):
        Planned.parse(entry)
