"""A guest that is really this machine, behind a real ssh server."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import socket
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from harness.backends.model import Endpoint, PowerState
from harness.backends.protocol import Refused
from harness.backends.views import ServiceView
from harness.core import Deadline, GuestError, Size
from harness.guest import (
    CommandFailed,
    CommandTimeout,
    ConnectionLost,
    Guest,
    GuestHung,
    GuestPanic,
    Identity,
    NetworkDead,
    NotReady,
    Probe,
)
from harness.guest.ready import settle
from harness.image.model import Format, Image
from tests.unit.fake_machine import NIC, FakeHost, FakeMachine, Log
from tests.unit.pty_console import PtyConsole

PANIC = b"[ 9.9] Kernel panic - not syncing: out of luck\n[ 9.9] ---[ end Kernel panic ]---\n"


@pytest.fixture
def machine(server):
    return FakeMachine(server.endpoint)


@pytest.fixture
def guest(machine, server):
    guest = make(machine, server)
    yield guest
    guest.disconnect()


def make(machine, server, *, host=None, nics=(NIC,)):
    image = Image("test", "digest", {Format.QCOW2: Path("x")}, Size(0))
    return Guest(machine, host or FakeHost(), image, Identity("guest", "0" * 32, nics, server.login))


@pytest.fixture
def nobody():
    """An endpoint where nothing listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield Endpoint("127.0.0.1", bound.getsockname()[1])


@pytest.mark.parametrize("word", ["a b", "$(id)", "'", '"', "\\", "`id`", "*", "-n", "", "ü\n", ";exit 9", "\x01"])
def test_any_argument_reaches_the_command_as_it_is(guest, word):
    """No shell reads the words of a command."""
    assert guest.run(["printf", "%s|", word, "end"]).stdout == f"{word}|end|".encode()


def test_an_argument_that_no_command_can_have_is_refused(guest):
    """NUL ends a word in C."""
    with pytest.raises(ValueError, match="not a command line"):
        guest.run(["echo", "a\0b"])


def test_a_command_that_fails_is_an_error_unless_asked_otherwise(guest):
    """With the end of what it said."""
    assert guest.run(["sh", "-c", "exit 3"], check=False).status == 3
    with pytest.raises(CommandFailed, match=r"(?s)ended with 3: no luck"):
        guest.run(["sh", "-c", "echo no luck >&2; exit 3"])


def test_an_account_that_is_not_root_uses_sudo_without_a_password(machine, server):
    """Every command is root's."""
    guest = make(machine, server)
    guest.identity = replace(guest.identity, login=replace(guest.identity.login, user="tester"))
    assert guest._line(["id", "-u"]) == "exec sudo -n -- env LC_ALL=C.UTF-8 id -u"


def test_a_script_is_explicit(guest):
    """Pipes and variables belong to shell()."""
    assert guest.shell("x=5; echo $x | tr 5 6").text == "6"


def test_text_shows_what_cannot_be_decoded(guest):
    """And lines are split."""
    assert guest.run(["printf", "a\\377\\nb\\n"]).lines == ["a\\xff", "b"]


def test_facts_are_read_afresh_each_time(guest, tmp_path):
    """Nothing is cached over what a test did in between."""
    path = tmp_path / "fact"
    probe = Probe.file(str(path), int)
    path.write_text("1")
    assert guest.read(probe) == 1
    path.write_text("2")
    assert guest.read_all(probe, probe) == (2, 2)


def test_many_facts_cost_one_command(guest, server):
    """However many."""
    before = server.commands
    assert guest.read_all(*[Probe("n", ("echo", str(n)), int) for n in range(64)]) == tuple(range(64))
    assert server.commands == before + 1


def test_files_are_written_whole_and_read_back(guest, tmp_path):
    """Also where the folder is new and the name is odd."""
    path, data = str(tmp_path / "new folder" / "it's"), bytes(range(256)) * 1000
    guest.files.write(path, data, mode=0o600)
    assert guest.files.read(path) == data
    assert guest.files.sha256(path) == hashlib.sha256(data).hexdigest()
    assert Path(path).stat().st_mode & 0o777 == 0o600
    assert [found.name for found in (tmp_path / "new folder").iterdir()] == ["it's"]  # no part is left


def test_files_exist_until_they_are_removed(guest, tmp_path):
    """A dangling link exists as well."""
    path = tmp_path / "link"
    path.symlink_to("nowhere")
    assert guest.files.exists(str(path))
    guest.files.remove(str(path))
    guest.files.remove(str(path))
    assert not guest.files.exists(str(path))


def test_a_missing_file_is_an_error(guest, tmp_path):
    """Named by the guest's own words."""
    with pytest.raises(CommandFailed, match="No such file"):
        guest.files.read(str(tmp_path / "missing"))


def test_a_slow_command_of_a_guest_that_lives_is_only_slow(guest):
    """Its connection is tried before anything is said about the guest."""
    with pytest.raises(CommandTimeout):
        guest.run(["sleep", "60"], timeout=timedelta(seconds=1))


def test_a_panic_ends_a_command_before_its_time_out(guest, machine):
    """The console is watched meanwhile."""
    machine.port = Log(b"boot\n")
    timer = threading.Timer(0.5, lambda: setattr(machine.port, "data", b"boot\n" + PANIC))
    timer.start()
    with pytest.raises(GuestPanic, match="out of luck"):
        guest.run(["sleep", "60"])
    timer.join()


def test_a_connection_that_comes_back_was_only_a_connection(guest, server):
    """The guest is not blamed for more."""
    timer = threading.Timer(0.5, server.cut_connections)
    timer.start()
    with pytest.raises(ConnectionLost):
        guest.run(["sleep", "60"])
    timer.join()


def test_a_machine_that_is_off_is_said_to_be_off(guest, machine, server):
    """The host's view comes before any guess."""
    machine.state = PowerState.OFF
    assert "its machine is off" in guest.diagnose(ConnectionLost("lost")).message


@pytest.fixture
def impatient(monkeypatch):
    """Waits as long as tests can: what is waited for is certain here."""
    monkeypatch.setattr("harness.guest.ready._COMES_BACK", 0.5)
    monkeypatch.setattr("harness.guest.ready._LOGS_IN", 0.5)
    monkeypatch.setattr("harness.guest.ready._CONSOLE_ANSWERS", 6.0)


def test_a_dead_network_is_the_products_failure_when_the_console_answers(guest, machine, nobody, impatient):
    """An assertion, with the guest's own view of its network."""
    machine.where = nobody
    machine.port = PtyConsole([shutil.which("dash") or "bash"])
    try:
        found = guest.diagnose(ConnectionLost("lost"))
    finally:
        machine.port.close()
    assert isinstance(found, NetworkDead)
    assert isinstance(found, AssertionError)
    assert "lives, as its serial console answers" in str(found)


class Tells(Log):
    """A port that nobody can type into."""

    def write(self, data):
        raise Refused("the port is a file")


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(("beats", "kind"), [(True, NetworkDead), (False, GuestHung)])
def test_where_nobody_can_type_the_integration_services_vouch_for_the_guest(guest, machine, nobody, beats, kind):
    """They do not go by the network; without them the guest hangs, as far as anybody can tell."""
    machine.where, machine.port = nobody, Tells()
    machine.services = lambda deadline: (ServiceView("heartbeat", True, beats),)
    found = guest.diagnose(ConnectionLost("lost"))
    assert isinstance(found, kind), found
    assert "integration services answer" in str(found)


def test_a_login_that_takes_too_long_is_no_dead_network(guest, machine, impatient):
    """A server that speaks proves the network, however slow the guest is."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        machine.where = Endpoint("127.0.0.1", server.getsockname()[1])
        stop = threading.Event()

        def greet() -> None:
            lines = []
            server.settimeout(0.1)
            while not stop.is_set():
                with contextlib.suppress(TimeoutError):
                    lines.append(server.accept()[0])
                    lines[-1].sendall(b"SSH-2.0-slow\r\n")
            for line in lines:
                line.close()

        slow = threading.Thread(target=greet)
        slow.start()
        try:
            found = guest.diagnose(ConnectionLost("lost"))
        finally:
            stop.set()
            slow.join()
    assert isinstance(found, GuestHung)
    assert "answers and lets nobody in" in found.message


def test_a_guest_that_was_reset_is_said_to_have_booted_again(guest, machine, nobody, impatient):
    """Nobody asked it to, and all that it says is its kernel's first line; what it said before is history."""
    machine.where, machine.port = nobody, Tells()
    machine.port.data += b"[    0.000000] Linux version 6.1.0 (of the first boot)\r\n"
    guest.mark_console()
    assert "booted again" not in guest.diagnose(ConnectionLost("lost")).message
    machine.port.data += b"[   30.0] CPU7 has been hot-added\r\n[    0.000000] Linux version 6.1.0 (again)\r\n"
    found = guest.diagnose(ConnectionLost("lost"))
    assert isinstance(found, GuestHung)
    assert "; it booted again since it last answered; last lines of its console" in found.message


def test_a_guest_silent_on_both_lines_hangs(guest, machine, nobody, impatient):
    """The guest's fault, not the lab's."""
    machine.where = nobody
    assert isinstance(guest.diagnose(ConnectionLost("lost")), GuestHung)


def test_a_panic_is_told_again_while_the_guest_is_down(guest, machine, nobody, impatient):
    """Every later command learns why it cannot work."""
    machine.where = nobody
    machine.port = Log(PANIC)
    assert isinstance(guest.diagnose(ConnectionLost("lost")), GuestPanic)
    assert isinstance(guest.diagnose(ConnectionLost("lost")), GuestPanic)


def test_ready_means_answering_by_ssh(guest):
    """The boot's id comes back."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert guest.wait_ready(Deadline.after(20)) == boot == guest.boot_id


def test_a_panic_ends_the_wait_for_a_boot(guest, machine, nobody):
    """No time-out is waited for."""
    machine.where, machine.port = nobody, Log(b"[ 0.0] Linux\n" + PANIC)
    with pytest.raises(GuestPanic, match="out of luck"):
        guest.wait_ready(Deadline.after(3600))


def test_a_guest_that_never_comes_shows_its_last_lines(guest, machine, nobody):
    """What was last seen on both lines."""
    machine.where, machine.port = nobody, Log(b"waiting for root device\n")
    with pytest.raises(NotReady, match=r"(?s)no ssh by.*waiting for root device"):
        guest.wait_ready(Deadline.after(1))


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(("beats", "kind"), [(True, NetworkDead), (False, GuestHung)])
def test_a_network_that_did_not_come_back_is_the_products_failure(guest, machine, nobody, beats, kind):
    """For a guest that was up before and lives; one that has never been is not ready, and that is all."""
    machine.where, machine.port = nobody, Tells()
    machine.services = lambda deadline: (ServiceView("heartbeat", True, beats),)
    for wait in (guest.wait_back, lambda deadline: guest.reboot_seen("another boot", deadline)):
        with pytest.raises(kind, match="integration services answer"):
            wait(Deadline.after(0.1))
    with pytest.raises(NotReady):
        guest.wait_ready(Deadline.after(0.1))


def test_a_machine_that_went_off_ends_the_wait(guest, machine, nobody):
    """It will not boot any more."""
    machine.where, machine.state = nobody, PowerState.OFF
    with pytest.raises(NotReady, match="its machine is off"):
        guest.wait_ready(Deadline.after(3600))


def test_a_panic_of_the_boot_before_does_not_count(guest, machine):
    """The console keeps it, but it is history."""
    machine.port = Log(b"")
    guest.wait_ready(Deadline.after(20))
    machine.port.data = PANIC
    with pytest.raises(GuestPanic):
        guest.check_console()
    assert guest.reboot_seen("another boot", Deadline.after(20))
    guest.check_console()


def test_the_same_boot_is_no_reboot(guest):
    """An open port proves nothing."""
    with pytest.raises(NotReady, match="still in boot"):
        guest.reboot_seen(guest.boot_id, Deadline.after(1.5))


def test_a_guest_without_a_nic_is_spoken_to_over_its_console(machine, server):
    """The same words, another line."""
    machine.port = PtyConsole([shutil.which("dash") or "bash"])
    guest = make(machine, server, nics=())
    try:
        assert guest.run(["echo", "hello"]).text == "hello"
        assert guest.read_all(Probe("one", ("echo", "1"), int), Probe("two", ("echo", "2"), int)) == (1, 2)
        assert server.logins == 0
    finally:
        machine.port.close()


def test_settling_names_what_still_runs(guest, machine):
    """This machine is never idle enough for a limit below zero."""
    with pytest.raises(GuestError, match=r"last seen: (CPUs busy|systemd)"):
        settle(guest, Deadline.after(0.1), busy=-1)
