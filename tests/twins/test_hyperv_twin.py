"""The twin as a process, with PowerShell behind it and without."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness import agent
from tests.twins.hyperv_agent import MODES, step, talking
from tests.twins.hyperv_host import encoded, everything, winrm


@pytest.mark.parametrize("mode", MODES)
def test_an_agent_of_another_release_is_noticed(tmp_path, mode):
    with talking(tmp_path, mode) as talk:
        client, shell = talk.client, talk.shell
        command = client.run_command(shell, agent.PROGRAM, agent.inline(), console_mode_stdin=False)
        client.send_command_input(shell, command, encoded("'hello'").encode() + b"\n", end=True)
        out, err, code = everything(client, shell, command)
        if mode == "emulated":
            assert (out, code) == (b"", 1)
            assert b"not the one that this twin knows" in err


@pytest.mark.parametrize("mode", MODES)
def test_a_folder_with_a_long_name_is_as_good_as_any(tmp_path, mode):
    """Though the path of a Unix socket has 107 characters; what lies elsewhere for it is gone at the end."""
    before = set(Path(tempfile.gettempdir()).glob("interop-twin-*"))
    with talking(tmp_path / ("long" * 25), mode) as talk:
        assert talk.one("Get-VMHost", "LogicalProcessorCount")
    assert set(Path(tempfile.gettempdir()).glob("interop-twin-*")) == before


def test_without_an_engine_no_other_script_runs(tmp_path):
    with talking(tmp_path, "emulated") as talk:
        command = talk.client.run_command(talk.shell, "powershell", ["-EncodedCommand", encoded("exit 0")])
        out, err, code = everything(talk.client, talk.shell, command)
        assert (out, code) == (b"", 1)
        assert b"no PowerShell engine" in err


@pytest.mark.parametrize("mode", MODES)
def test_an_installed_agent_runs_too(tmp_path, mode):
    """And says of which digest it is."""
    with talking(tmp_path, mode) as talk:
        script = talk.twin.store / "agent.ps1"
        script.write_bytes(agent.source() + b"# SIG # Begin signature block\r\n")
        client, shell = talk.client, talk.shell
        talk.command = client.run_command(
            shell, agent.PROGRAM, agent.installed(str(script)), console_mode_stdin=False, skip_cmd_shell=True
        )
        assert talk.answer(0)["script"] == agent.script_digest()
        assert talk.one("Get-VM", "Name") == []


@pytest.mark.parametrize("mode", MODES)
def test_a_file_without_a_signature_does_not_run_where_all_are_to_be_signed(tmp_path, mode):
    """As a Windows host has it, whose policy the agent's own command line asks for."""
    with talking(tmp_path, mode) as talk:
        script = talk.twin.store / "agent.ps1"
        script.write_bytes(agent.source())
        client, shell = talk.client, talk.shell
        for arguments, runs in (
            (agent.installed(str(script)), False),
            (["-EP", "allsigned", "-File", str(script)], False),
            (["-ExecutionPolicy", "Bypass", "-File", str(script)], True),
            (["-File", str(script)], True),
        ):
            command = client.run_command(shell, agent.PROGRAM, arguments, console_mode_stdin=False)
            client.send_command_input(shell, command, b"", end=True)
            out, err, code = everything(client, shell, command)
            assert (b'"ok":true' in out, code) == ((True, 0) if runs else (False, 1))
            assert (b"is not digitally signed" in err and b": UnauthorizedAccess" in err) is not runs


@pytest.mark.parametrize("mode", MODES)
def test_a_process_is_driven_by_what_it_says_of_itself(tmp_path, mode):
    config = {
        "folder": str(tmp_path / "a twin"),
        "powershell": mode,
        "guests": False,
        "networks": {"x": {"kind": "switch"}},
    }
    with subprocess.Popen(
        [sys.executable, "-m", "harness.twins.hyperv"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        child.stdin.write(json.dumps(config) + "\n")
        child.stdin.flush()
        said = json.loads(child.stdout.readline())
        assert (said["powershell"], said["agent"], said["switches"]) == (mode, agent.digest(), ["x"])
        host = SimpleNamespace(
            http=said["http"], https=said["endpoint"], identity=SimpleNamespace(authority=said["ca"])
        )
        client = winrm(host, "ntlm+tls", username=said["user"], password=said["password"])
        shell = client.open_shell()
        command = client.run_command(shell, agent.PROGRAM, agent.inline(), console_mode_stdin=False)
        client.send_command_input(shell, command, agent.first_line())
        line = json.dumps({"id": 1, "steps": [step("Get-VMSwitch", "Name")]}).encode() + b"\n"
        client.send_command_input(shell, command, line, end=True)
        out, _, code = everything(client, shell, command)
        assert b'"Name":"x"' in out
        assert code == 0
        child.stdin.close()
        assert child.wait(30) == 0
