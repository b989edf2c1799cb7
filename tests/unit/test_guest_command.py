"""``interop guest``: what is kept, and the way in."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner

from harness.cli.guest import command, ssh_command
from harness.core import LabError, UsageError
from harness.guest.login import known_hosts
from harness.lab import Run, load_lab
from harness.lab.keep import Kept, KeptGuest
from harness.lab.store import open_store
from tests.unit.fake_host import MemoryHost, MemoryMachine


@pytest.fixture
def kept(server, tmp_path, monkeypatch):
    """A kept guest that is really this machine."""
    monkeypatch.setenv("INTEROP_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("INTEROP_CACHE", str(tmp_path / "cache"))
    pinned = tmp_path / "known_hosts"
    pinned.write_text(known_hosts(server.endpoint, server.login.host_key))
    with Run.begin(load_lab("local")) as run:
        guest = KeptGuest(
            id="slot-1234abcd",
            lab=run.lab.path,
            host="kvm",
            machine="machine",
            run=run.id,
            until=datetime.now(UTC) + timedelta(hours=2),
            endpoint=server.endpoint,
            identity=server.key_file,
            known_hosts=pinned,
            account="root",
            why="test_x failed",
        )
        Kept(run.store).add(guest)
    return guest


def ran(argv: list[str]) -> subprocess.CompletedProcess:
    if not shutil.which("ssh"):
        pytest.skip("no ssh client on this machine")
    return subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False, stdin=subprocess.DEVNULL)


def test_kept_guests_are_listed_with_why_and_how_long(kept):
    """One line a guest."""
    shown = CliRunner().invoke(command, ["list"]).output
    assert kept.id in shown
    assert "test_x failed" in shown
    assert "1h59m" in shown


def test_without_kept_guests_the_list_says_so(tmp_path, monkeypatch):
    """No empty table."""
    monkeypatch.setenv("INTEROP_STATE", str(tmp_path))
    assert CliRunner().invoke(command, ["list"]).output == "no guests are kept\n"


def test_the_real_client_gets_in_with_the_pinned_key(kept):
    """And words reach the guest as they are."""
    done = ran(ssh_command(kept, [], ("printf", "%s|", "a b", "$HOME", "'")))
    assert (done.returncode, done.stdout) == (0, "a b|$HOME|'|")


def test_the_real_client_refuses_another_host_key(kept, server):
    """Somebody else may have the address by now."""
    kept.known_hosts.write_text(known_hosts(server.endpoint, server.login.host_key[:-8] + "AAAAAAAA"))
    done = ran(ssh_command(kept, [], ("true",)))
    assert done.returncode == 255
    assert "Host key verification failed" in done.stderr or "REMOTE HOST IDENTIFICATION" in done.stderr


def test_a_key_that_could_not_be_pinned_is_kept_when_first_seen(kept, tmp_path):
    """For images that bring their own."""
    empty = replace(kept, known_hosts=tmp_path / "none_yet")
    assert ran(ssh_command(empty, [], ("true",))).returncode == 0
    assert empty.known_hosts.read_text()


def test_a_jump_host_is_a_command_of_its_own(kept):
    """Quoted as one option."""
    argv = ssh_command(kept, ["ssh", "-W", "%h:%p", "me@jump host"])
    assert "ProxyCommand=ssh -W %h:%p 'me@jump host'" in argv


def test_a_guest_may_be_kept_longer(kept):
    """From now on, by its id's beginning."""
    done = CliRunner().invoke(command, ["extend", "slot-12", "3d"])
    assert done.exit_code == 0, done.output
    until = Kept(open_store()).find(kept.id).until
    assert timedelta(days=2, hours=23) < until - datetime.now(UTC) <= timedelta(days=3)


def test_a_span_that_is_none_is_told(kept):
    """With what one looks like."""
    done = CliRunner().invoke(command, ["extend", kept.id, "soon"])
    assert isinstance(done.exception, UsageError)
    assert "write for example" in str(done.exception)


def test_an_unknown_guest_is_told_with_the_nearest_word(kept):
    """A typing error costs one more try."""
    done = CliRunner().invoke(command, ["ssh", "slot-1234abce"])
    assert isinstance(done.exception, UsageError)
    assert "did you mean 'slot-1234abcd'?" in str(done.exception)


def test_a_released_guest_is_gone_with_all_that_was_its_own(kept, monkeypatch):
    """Machine, entry and leases."""
    host = MemoryHost()
    machine = host.machines["machine"] = MemoryMachine(1, None)
    monkeypatch.setattr("harness.cli.guest.connect", lambda *_: host)
    done = CliRunner().invoke(command, ["release", kept.id])
    assert done.output == f"{kept.id} is gone\n"
    assert machine.gone
    assert Kept(open_store()).all() == []


def test_a_machine_out_of_reach_is_left_to_the_reaper(kept, monkeypatch):
    """The guest is given up all the same, and the message says what remains."""
    monkeypatch.setattr("harness.cli.guest.connect", lambda *_: MemoryHost())
    done = CliRunner().invoke(command, ["release", kept.id])
    assert isinstance(done.exception, LabError)
    assert "interop reap" in str(done.exception)
    assert Kept(open_store()).all() == []
