"""The WS-Man server as real pypsrp sees it: another client's idea of the same protocol."""

from __future__ import annotations

import json

import pytest
from pypsrp.exceptions import AuthenticationError, WSManFaultError
from pypsrp.shell import Process, SignalCode, WinRS

from tests.twins.hyperv_host import psrp, twin_host

WAYS = [("ntlm", False), ("negotiate", False), ("basic", True), ("ntlm", True), ("negotiate", True)]


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    with twin_host(tmp_path_factory.mktemp("twin"), unencrypted=False) as host:
        yield host


@pytest.mark.parametrize(("auth", "tls"), WAYS)
def test_a_program_is_fed_and_read_over_every_transport(host, auth, tls):
    with psrp(host, auth, tls=tls) as client, WinRS(client, codepage=65001, no_profile=True) as shell:
        process = Process(shell, "words", ["a b", 'say "x"', "c\\"])
        process.invoke()
        assert process.rc == 0
        assert json.loads(process.stdout) == ["a", "b", "say", "x", "c\\"]


@pytest.mark.parametrize("auth", ["ntlm", "negotiate"])
def test_an_encrypted_message_over_tls_is_understood_too(host, auth):
    with psrp(host, auth, tls=True, encryption="always") as client, WinRS(client) as shell:
        process = Process(shell, "false")
        process.invoke()
        assert process.rc == 1


def test_a_shell_has_the_time_and_variables_that_were_asked_for(host):
    client = psrp(host)
    with WinRS(client, environment={"A": "b"}, idle_time_out=600) as shell:
        assert shell.idle_time_out == "PT600.000S"
        assert (shell.owner, shell.client_ip) == ("administrator", "127.0.0.1")
        process = Process(shell, "sh", ["-c", '"echo $A; echo oops >&2"'])
        process.invoke()
        assert (process.stdout, process.stderr) == (b"b\n", b"oops\n")
        state = shell._get_shell()
        assert state["ShellId"] == shell.id
        assert state["ShellRunTime"].startswith("P0DT0H0M")


def test_a_command_that_nobody_ran_is_a_fault_with_its_reason(host):
    client = psrp(host)
    with WinRS(client) as shell, pytest.raises(WSManFaultError) as caught:
        shell.receive(command_id="87E77BEB-6761-4C48-9D70-A00266B8459A")
    assert caught.value.code == 2150858843
    assert caught.value.machine == "TWIN"
    assert "no command 87E77BEB" in caught.value.reason


def test_control_c_interrupts_and_terminate_ends(host):
    with WinRS(psrp(host)) as shell:
        process = Process(shell, "pause", ["60"])
        process.begin_invoke()
        process.signal(SignalCode.CTRL_C)
        process.end_invoke()
        assert process.rc == 1
        process.signal(SignalCode.TERMINATE)
        with pytest.raises(WSManFaultError):
            process.poll_invoke()


def test_a_wrong_password_is_refused(host):
    with pytest.raises(AuthenticationError), WinRS(psrp(host, "negotiate", password="wrong")):
        pass


def test_an_action_that_shells_do_not_have_is_a_fault(host):
    client = psrp(host)
    with WinRS(client) as shell, pytest.raises(WSManFaultError) as caught:
        client.invoke(
            "http://schemas.microsoft.com/wbem/wsman/1/windows/shell/Dance",
            shell.resource_uri,
            None,
            selector_set=shell._selector_set,
        )
    assert caught.value.code == 0x80338001


def test_a_resource_that_is_not_there_is_a_fault(host):
    with pytest.raises(WSManFaultError) as caught:
        psrp(host).get("http://schemas.microsoft.com/wbem/wsman/1/config")
    assert caught.value.code == 0x80338000
