"""Quotas, expiry, PowerShell behind a command, and what a twin that is killed leaves behind: nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from winrm import Session
from winrm.exceptions import WSManFaultError

from harness.core import Deadline, Pending, wait_for
from harness.twins.hyperv.programs import powershell
from tests.twins.hyperv_host import encoded, everything, twin_host, winrm

needs_pwsh = pytest.mark.skipif(shutil.which("pwsh") is None, reason="pwsh is not on PATH")


def refused(code, work):
    with pytest.raises(WSManFaultError) as caught:
        work()
    assert caught.value.wsman_fault_code == code


def test_a_user_may_have_so_many_shells(tmp_path):
    with twin_host(tmp_path, quotas={"shells_per_user": 2}) as host:
        client = winrm(host)
        shells = [client.open_shell(), client.open_shell()]
        refused(2150859173, client.open_shell)
        client.close_shell(shells[0])
        client.open_shell()


def test_commands_that_nobody_signalled_count(tmp_path):
    with twin_host(tmp_path, quotas={"commands_per_shell": 2}) as host:
        client = winrm(host)
        shell = client.open_shell()
        first = client.run_command(shell, "false")
        everything(client, shell, first)
        client.run_command(shell, "false")
        refused(2150859241, lambda: client.run_command(shell, "false"))
        client.cleanup_command(shell, first)
        client.run_command(shell, "false")


def test_operations_are_given_back_by_a_new_shell_alone(tmp_path):
    with twin_host(tmp_path, quotas={"operations_per_shell": 2}) as host:
        client = winrm(host)
        shell = client.open_shell()
        for _ in range(2):
            client.cleanup_command(shell, client.run_command(shell, "false"))
        refused(2150859174, lambda: client.run_command(shell, "false"))
        client.run_command(client.open_shell(), "false")


def test_an_envelope_may_be_so_large(tmp_path):
    with twin_host(tmp_path, quotas={"envelope_kb": 32}) as host:
        client = winrm(host, "ntlm")
        shell = client.open_shell()
        command = client.run_command(shell, "cat", console_mode_stdin=False)
        refused(2150858823, lambda: client.send_command_input(shell, command, b"x" * 32_000))
        client.send_command_input(shell, command, b"x" * 16_000, end=True)
        assert len(everything(client, shell, command)[0]) == 16_000


def gone(host):
    wait_for(
        "the shell to expire", lambda: Pending("it is there") if host.shells.present() else True, Deadline.after(15)
    )


def test_a_shell_that_nobody_uses_expires_with_its_processes(tmp_path):
    with twin_host(tmp_path) as host:
        client = winrm(host)
        shell = client.open_shell(idle_timeout="PT1S")
        command = client.run_command(shell, "pause", ["60"])
        pid = host.shells.present()[0].commands[command].pid
        gone(host)
        wait_for("its process to end", lambda: Pending("it runs") if alive(pid) else True, Deadline.after(15))
        refused(2150858843, lambda: client.get_command_output_raw(shell, command))


def test_a_shell_in_use_does_not_idle_but_lives_so_long(tmp_path):
    with twin_host(tmp_path, quotas={"lifetime_seconds": 2.5}) as host:
        client = winrm(host, operation_timeout_sec=15)
        shell = client.open_shell(idle_timeout="PT0.5S")
        command = client.run_command(shell, "pause", ["60"])
        # Longer than it may idle; what ends it is its lifetime.
        refused(995, lambda: client.get_command_output_raw(shell, command))
        gone(host)


def test_a_program_that_reads_nothing_makes_a_send_time_out(tmp_path):
    from winrm.exceptions import WinRMOperationTimeoutError

    with twin_host(tmp_path) as host:
        client = winrm(host)
        shell = client.open_shell()
        command = client.run_command(shell, "pause", ["60"], console_mode_stdin=False)
        with pytest.raises(WinRMOperationTimeoutError):
            client.send_command_input(shell, command, b"x" * 200_000)


@needs_pwsh
def test_powershell_runs_for_real(tmp_path):
    with twin_host(tmp_path, programs={"powershell": powershell()}) as host:
        session = Session(
            host.http, auth=("Administrator", "correct horse"), transport="ntlm", proxy=None, ca_trust_path=None
        )
        done = session.run_ps("[Console]::Out.WriteLine('{0}' -f (6*7)); exit 3")
        assert (done.std_out, done.status_code) == (b"42\r\n", 3)


@needs_pwsh
def test_powershell_gets_its_input_line_by_line(tmp_path):
    with twin_host(tmp_path, programs={"powershell": powershell()}) as host:
        client = winrm(host, "ntlm", operation_timeout_sec=20, read_timeout_sec=30)
        shell = client.open_shell(codepage=65001, noprofile=True)
        options = (
            "-NoProfile -NonInteractive -ExecutionPolicy Bypass -InputFormat Text -OutputFormat Text -EncodedCommand"
        )
        script = 'process { [Console]::Out.WriteLine("<$_>"); [Console]::Out.Flush() } end { $null = $input; exit 5 }'
        command = client.run_command(
            shell,
            "powershell.exe",
            [*options.split(), encoded(script)],
            console_mode_stdin=False,
            skip_cmd_shell=True,
        )
        for line in (b"one", b"two"):
            client.send_command_input(shell, command, line + b"\n")
            assert client.get_command_output_raw(shell, command)[0] == b"<" + line + b">\r\n"
        client.send_command_input(shell, command, b"", end=True)
        assert everything(client, shell, command) == (b"", b"", 5)


@pytest.fixture
def process(tmp_path):
    """The twin as a process of its own."""
    child = subprocess.Popen(
        [sys.executable, "-m", "harness.twins.hyperv"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with child:
        config = {"folder": str(tmp_path / "twin"), "unencrypted": True, "accounts": {"u": "p"}}
        child.stdin.write(json.dumps(config) + "\n")
        child.stdin.flush()
        yield child, json.loads(child.stdout.readline())
        child.kill()


def there(said):
    return SimpleNamespace(
        http=said["http"], https=said["endpoint"], identity=SimpleNamespace(authority=Path(said["ca"]))
    )


def test_a_process_says_how_it_is_reached_and_ends_with_its_input(process):
    child, said = process
    client = winrm(there(said), "sealed+tls", username=said["user"], password=said["password"])
    client.close_shell(client.open_shell())
    child.stdin.close()
    assert child.wait(20) == 0
    assert not (Path(said["folder"]) / "control").exists()


def test_a_configuration_that_makes_no_sense_is_said_in_one_line():
    for config in ('{"folder": "/x", "colour": 1}', "{}", "nonsense"):
        done = subprocess.run(
            [sys.executable, "-m", "harness.twins.hyperv"], input=config, capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        assert done.stderr.startswith("hyperv twin: ")
        assert "Traceback" not in done.stderr


@needs_pwsh
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_twin_that_ends_leaves_no_process_behind(process, number):
    child, said = process
    client = winrm(there(said), username="u", password="p")
    command = client.run_command(client.open_shell(), "powershell -Command", ["[Console]::In.ReadToEnd()"])
    assert command
    children = Path(f"/proc/{child.pid}/task/{child.pid}/children")
    pids = wait_for("its process", lambda: offspring(child.pid) or Pending(f"none in {children}"), Deadline.after(20))
    os.kill(child.pid, number)
    child.wait(20)
    wait_for("its end", lambda: Pending("there") if any(map(alive, pids)) else True, Deadline.after(20))


def offspring(pid):
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(word) for word in (task / "children").read_text().split()]
    return found


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
