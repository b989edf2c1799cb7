"""The WS-Man server as real pywinrm sees it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import requests
from requests_credssp.exceptions import NTStatusException
from winrm.exceptions import (
    InvalidCredentialsError,
    WinRMOperationTimeoutError,
    WinRMTransportError,
    WSManFaultError,
)

from tests.twins.hyperv_host import everything, twin_host, winrm

WAYS = ("basic", "ntlm", "credssp", "basic+tls", "ntlm+tls", "sealed+tls", "credssp+tls")


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    with twin_host(tmp_path_factory.mktemp("twin"), schemes=("negotiate", "credssp", "basic")) as host:
        yield host


@pytest.fixture
def client(host):
    client = winrm(host)
    yield client
    client.transport.close_session()


@pytest.fixture
def shell(client):
    shell = client.open_shell(codepage=65001, noprofile=True)
    yield shell
    client.close_shell(shell, close_session=False)


@pytest.mark.parametrize("how", WAYS)
def test_a_command_is_fed_read_and_ended_over_every_transport(host, how):
    client = winrm(host, how)
    shell = client.open_shell(codepage=65001, idle_timeout="PT7200S", noprofile=True)
    command = client.run_command(shell, "cat", console_mode_stdin=False, skip_cmd_shell=True)
    client.send_command_input(shell, command, "hällo 漢字\n".encode())
    out, err, code, done = client.get_command_output_raw(shell, command)
    assert (out.decode(), err, code, done) == ("hällo 漢字\n", b"", -1, False)
    with pytest.raises(WinRMOperationTimeoutError):
        client.get_command_output_raw(shell, command)
    client.send_command_input(shell, command, b"last", end=True)
    assert everything(client, shell, command) == (b"last", b"", 0)
    client.cleanup_command(shell, command)
    client.close_shell(shell)
    assert not host.shells.present()


def test_a_session_runs_a_command_and_says_its_exit_code(host):
    from winrm import Session

    session = Session(
        host.http, auth=("administrator", "correct horse"), transport="ntlm", proxy=None, ca_trust_path=None
    )
    assert session.run_cmd("false").status_code == 1
    assert session.run_cmd("words", ["a b", '"c d"']).std_out == b'["a", "b", "c d"]\n'


def test_identify_says_what_windows_says(host):
    answer = requests.post(
        host.http,
        data=b"""<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"
            xmlns:i="http://schemas.dmtf.org/wbem/wsman/identity/1/wsmanidentity.xsd">
            <s:Header/><s:Body><i:Identify/></s:Body></s:Envelope>""",
        headers={"WSMANIDENTIFY": "unauthenticated", "Content-Type": "application/soap+xml;charset=UTF-8"},
        timeout=10,
    )
    assert answer.status_code == 200
    assert re.search(r"ProductVersion>OS: 10\.0\.\d+ SP: 0\.0 Stack: 3\.0<", answer.text)
    assert answer.headers["Server"] == "Microsoft-HTTPAPI/2.0"


def test_nobody_gets_more_than_identify_without_an_account(host):
    answer = requests.post(host.http, data=b"", timeout=10)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == 'Negotiate, CredSSP, Basic realm="WSMAN"'
    answer = requests.post(host.http, data=b"<x/>", headers={"WSMANIDENTIFY": "unauthenticated"}, timeout=10)
    assert answer.status_code == 500


@pytest.mark.parametrize("how", WAYS)
def test_a_wrong_password_is_refused_at_once(host, how):
    with pytest.raises((InvalidCredentialsError, NTStatusException)):
        winrm(host, how, password="wrong").open_shell()


@pytest.mark.parametrize("user", ["ADMINISTRATOR", r".\Administrator", r"twin\administrator"])
@pytest.mark.parametrize("how", ["basic", "ntlm"])
def test_a_local_account_has_several_spellings(host, how, user):
    client = winrm(host, how, username=user)
    client.close_shell(client.open_shell())


def test_a_foreign_certificate_is_not_spoken_to(host):
    with pytest.raises(requests.exceptions.SSLError):
        winrm(host, "basic+tls", ca_trust_path="/etc/ssl/certs/ca-certificates.crt").open_shell()


def test_a_login_bound_to_another_channel_is_refused(host, monkeypatch):
    monkeypatch.setattr("requests_ntlm.requests_ntlm._get_certificate_hash", lambda _: b"x" * 32)
    with pytest.raises(InvalidCredentialsError):
        winrm(host, "ntlm+tls").open_shell()


def test_clear_text_is_refused_where_windows_refuses_it(tmp_path):
    with twin_host(tmp_path, unencrypted=False) as host:
        with pytest.raises(WinRMTransportError) as caught:
            winrm(host, "basic").open_shell()
        assert caught.value.code == 500
        client = winrm(host, "ntlm")
        client.close_shell(client.open_shell())


def test_a_sealed_body_on_a_new_connection_spoils_the_client_until_it_begins_anew(host):
    client = winrm(host, "ntlm")
    shell = client.open_shell()
    client.transport.session.close()  # as http.sys does when nobody spoke for two minutes
    for _ in range(2):
        with pytest.raises(WinRMTransportError) as caught:
            client.run_command(shell, "false")
        assert caught.value.code == 400
    client.transport.close_session()
    client.run_command(shell, "false")
    client.close_shell(shell)


def test_the_console_mode_keeps_stdin_from_a_program(client, shell):
    command = client.run_command(shell, "cat")
    assert everything(client, shell, command) == (b"", b"", 0)


def test_a_program_that_is_not_there_is_what_cmd_says(client, shell):
    command = client.run_command(shell, "nothing", ["here"])
    out, err, code = everything(client, shell, command)
    assert (out, code) == (b"", 1)
    assert err.startswith(b"'nothing' is not recognized")


def test_a_command_line_longer_than_cmd_takes_does_not_run(client, shell):
    out, err, code = everything(client, shell, client.run_command(shell, "words", ["x" * 8186]))
    assert (out, err, code) == (b"", b"The command line is too long.\r\n", 1)
    assert everything(client, shell, client.run_command(shell, "words", ["x" * 8185]))[2] == 0


def test_arguments_are_split_as_windows_splits_them(client, shell):
    command = client.run_command(shell, r"words a\\b", [r'"c\\" \"d\"', '""', '"e""f" $x ;`y'])
    assert json.loads(everything(client, shell, command)[0]) == [r"a\\b", "c\\", '"d"', "", 'e"f', "$x", ";`y"]


def test_output_of_megabytes_comes_in_envelopes_of_the_size_that_was_asked_for(client, shell):
    command = client.run_command(shell, "sh", ["-c", '"head -c 3000000 /dev/zero; echo end >&2"'])
    sizes, done, code = [], False, -1
    while not done:
        out, _, code, done = client.get_command_output_raw(shell, command)
        sizes.append(len(out))
    assert (sum(sizes), code) == (3000000, 0)
    assert 100_000 < max(sizes) < 115_200


def test_a_command_that_is_signalled_is_gone(client, shell):
    command = client.run_command(shell, "pause", ["60"])
    client.cleanup_command(shell, command)
    with pytest.raises(WSManFaultError) as caught:
        client.get_command_output_raw(shell, command)
    assert caught.value.wsman_fault_code == 2150858843
    assert caught.value.fault_subcode == "w:InvalidSelectors"


def test_a_shell_that_is_not_there_is_a_fault(client):
    with pytest.raises(WSManFaultError) as caught:
        client.run_command("87E77BEB-6761-4C48-9D70-A00266B8459A", "false")
    assert caught.value.wsman_fault_code == 2150858843


def test_variables_of_a_shell_reach_its_programs(client):
    shell = client.open_shell(env_vars={"GREETING": "grüß"})
    command = client.run_command(shell, "sh", ["-c", '"echo $GREETING"'])
    assert everything(client, shell, command)[0].decode() == "grüß\n"
    client.close_shell(shell)


def test_a_receive_that_waits_is_aborted_when_the_shell_is_deleted(host, client):
    from concurrent.futures import ThreadPoolExecutor

    other = winrm(host, operation_timeout_sec=15)
    shell = client.open_shell()
    command = client.run_command(shell, "pause", ["60"])
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(other.get_command_output_raw, shell, command)
        with pytest.raises(WinRMOperationTimeoutError):
            client.get_command_output_raw(shell, command)
        client.close_shell(shell)
        with pytest.raises(WSManFaultError) as caught:
            waiting.result(15)
    assert caught.value.wsman_fault_code == 995


def test_two_connections_share_a_shell(host):
    from concurrent.futures import ThreadPoolExecutor

    reader, writer = winrm(host, "ntlm", operation_timeout_sec=15), winrm(host, "ntlm")
    shell = reader.open_shell()
    command = reader.run_command(shell, "lines", console_mode_stdin=False)
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(reader.get_command_output_raw, shell, command)
        writer.send_command_input(shell, command, b"over\n")
        assert waiting.result(15)[0] == b"over\n"
    reader.close_shell(shell)


def test_somebody_elses_shell_is_denied(tmp_path):
    from harness.twins.hyperv.host import Host, HostSettings

    with Host(HostSettings(tmp_path, accounts={"a": "1", "b": "2"}, unencrypted=True)) as host:
        shell = winrm(host, username="a", password="1").open_shell()
        with pytest.raises(WSManFaultError) as caught:
            winrm(host, username="b", password="2").run_command(shell, "false")
        assert caught.value.wsman_fault_code == 5


def test_keys_and_passwords_are_for_their_owner_alone(host):
    folder: Path = host.settings.folder
    assert {oct((folder / name).stat().st_mode & 0o777) for name in ("accounts", "server.key", "control")} == {"0o600"}
