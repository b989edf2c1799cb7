"""ssh to a guest, against a real server on this machine's loopback."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import socket
import threading
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import asyncssh
import pytest

from harness.backends.model import Endpoint
from harness.core import Deadline
from harness.guest import answering, wire
from harness.guest.ssh import (
    CommandTimeout,
    ConnectionLost,
    HostKeyMismatch,
    Jump,
    Ssh,
    Unreachable,
    known_hosts,
)
from tests.unit.ssh_server import SshServer


def soon(seconds: float = 20) -> Deadline:
    return Deadline.after(seconds)


def test_a_command_returns_its_status_and_both_streams_as_bytes(ssh):
    """Nothing is decoded on the way."""
    done = ssh.run("printf '\\377\\000a'; printf 'oops' >&2; exit 3", soon())
    assert (done.status, done.stdout, done.stderr) == (3, b"\xff\0a", b"oops")


def test_many_commands_share_one_connection(ssh, server):
    """A connection costs more than a command."""
    for _ in range(5):
        ssh.run("true", soon())
    assert server.logins == 1


def test_threads_may_run_commands_at_once(ssh, server):
    """Each command has a channel of its own."""
    answers: dict[int, bytes] = {}

    def ask(number: int) -> None:
        answers[number] = ssh.run(f"echo {number}", soon()).stdout

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {number: b"%d\n" % number for number in range(8)}
    assert server.logins == 1


def test_stdin_travels_whole(ssh):
    """A megabyte of every byte comes back as it went."""
    data = bytes(range(256)) * 4096
    assert ssh.run("cat", soon(), stdin=data).stdout == data


def test_a_command_that_reads_no_stdin_is_no_error(ssh):
    """Its status is what counts."""
    assert ssh.run("exit 4", soon(), stdin=b"x" * (4 << 20)).status == 4


def test_output_beyond_the_limit_is_dropped_and_told(ssh):
    """The command still ends properly, with its own status."""
    done = ssh.run("head -c 5000000 /dev/zero; exit 7", soon(), limit=1000)
    assert (done.status, len(done.stdout), done.cut) == (7, 1000, True)


def test_output_up_to_the_limit_is_not_cut(ssh):
    """The limit itself is allowed."""
    assert not ssh.run("head -c 1000 /dev/zero", soon(), limit=1000).cut


def test_endless_rubbish_ends_with_the_deadline_and_the_connection_lives(ssh, server):
    """A guest printing for hours costs the deadline and no memory."""
    with pytest.raises(CommandTimeout, match="did not end"):
        ssh.run("cat /dev/urandom", soon(1.5), limit=1000)
    assert ssh.run("echo alive", soon()).stdout == b"alive\n"
    assert server.logins == 1


def test_a_command_that_overruns_says_what_it_had_printed(ssh):
    """The last words are often the reason."""
    with pytest.raises(CommandTimeout, match="half way"):
        ssh.run("echo half way; sleep 60", soon(1.5))


def test_a_peer_that_dies_in_the_middle_is_a_lost_connection(ssh, server):
    """Never a result without a status."""
    timer = threading.Timer(0.7, server.cut_connections)
    timer.start()
    with pytest.raises(ConnectionLost):
        ssh.run("echo begun; sleep 60", soon())
    timer.join()


def test_after_a_lost_connection_the_next_command_makes_a_new_one(ssh, server):
    """What was lost is not retried, what comes next is not lost."""
    timer = threading.Timer(0.5, server.cut_connections)
    timer.start()
    with pytest.raises(ConnectionLost):
        ssh.run("sleep 60", soon())
    timer.join()
    assert ssh.run("echo again", soon()).stdout == b"again\n"
    assert server.logins == 2


def test_a_command_killed_by_a_signal_shows_it(ssh):
    """As in subprocess: minus the signal's number."""
    assert ssh.run("kill -9 $$", soon()).status == -9


def test_another_host_key_is_refused_from_the_first_connection_on(server):
    """The key comes from the seed, so there is no trust on first use."""
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    ssh = Ssh("guest", lambda _: server.endpoint, replace(server.login, host_key=other))
    with pytest.raises(HostKeyMismatch, match="another host key"):
        ssh.run("true", soon())


def test_without_a_pinned_key_the_first_one_is_kept(server):
    """Images that bring their own key are pinned from the first connection on."""
    ssh = Ssh("guest", lambda _: server.endpoint, replace(server.login, host_key=None))
    ssh.run("true", soon())
    assert ssh.host_key == server.login.host_key
    ssh.disconnect()


def test_a_refused_client_key_names_user_and_file(server, tmp_path):
    """The reader learns which key was tried."""
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(str(tmp_path / "other"))
    ssh = Ssh("guest", lambda _: server.endpoint, replace(server.login, private_key=tmp_path / "other"))
    with pytest.raises(Unreachable, match=r"user 'root' with .*other was refused"):
        ssh.run("true", soon())


def test_a_port_that_refuses_is_unreachable_by_the_deadline(server):
    """With what was last seen."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        ssh = Ssh("guest", lambda _: Endpoint("127.0.0.1", bound.getsockname()[1]), server.login)
        with pytest.raises(Unreachable, match="no ssh by the deadline"):
            ssh.run("true", soon(1))


def test_a_port_that_accepts_and_stays_silent_is_unreachable_by_the_deadline(server):
    """As slirp's forward of a guest that is not up yet."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        ssh = Ssh("guest", lambda _: Endpoint("127.0.0.1", silent.getsockname()[1]), server.login)
        with pytest.raises(Unreachable, match="no ssh by the deadline"):
            ssh.run("true", soon(3))


class Forward:
    """A forward that accepts for a guest which hears of the calls in ``heard`` alone, once there were ``calls``."""

    def __init__(self, server, heard: int, calls: int):
        self.server, self.heard, self.calls = server, heard, calls
        self.taken: list[socket.socket] = []
        self.bound = socket.create_server(("127.0.0.1", 0))
        self.endpoint = Endpoint("127.0.0.1", self.bound.getsockname()[1])
        self.threads = [threading.Thread(target=self.serve, daemon=True)]
        self.threads[0].start()

    def serve(self):
        while len(self.taken) < self.calls:
            self.taken.append(self.bound.accept()[0])
        near = self.taken[self.heard]
        far = self.far = socket.create_connection((self.server.endpoint.address, self.server.endpoint.port))
        for pair in ((near, far), (far, near)):
            self.threads.append(threading.Thread(target=self.pass_on, args=pair, daemon=True))
            self.threads[-1].start()

    @staticmethod
    def pass_on(one, other):
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
        with contextlib.suppress(OSError):
            other.shutdown(socket.SHUT_RDWR)

    def close(self):
        for thread in self.threads:
            thread.join(10)
        for each in (self.bound, self.far, *self.taken):
            each.close()


@pytest.mark.parametrize(
    ("heard", "calls"), [pytest.param(1, 2, id="a call that came too early"), pytest.param(0, 4, id="a slow guest")]
)
def test_a_guest_is_heard_by_whichever_call_it_answers_first(server, monkeypatch, heard, calls):
    """One that waits, for it may be slow, or a fresh one: of a call that came too early a guest may hear much later."""
    monkeypatch.setattr(wire, "_SILENCE", 60.0)
    monkeypatch.setattr(answering, "_FRESH", 0.1)
    forward = Forward(server, heard, calls)
    ssh = Ssh("guest", lambda _: forward.endpoint, server.login)
    assert ssh.run("echo up", soon(10)).stdout == b"up\n"
    ssh.disconnect()
    forward.close()


@pytest.fixture
def sockets(monkeypatch):
    """Those on which a guest was heard."""
    heard, real = [], wire.answering

    async def recorded(endpoint, patience):
        heard.append(await real(endpoint, patience))
        return heard[-1]

    monkeypatch.setattr(wire, "answering", recorded)
    return heard


def test_a_login_that_fails_before_it_begins_leaves_no_connection(server, sockets, tmp_path):
    """As one whose key cannot be read."""
    ssh = Ssh("guest", lambda _: server.endpoint, replace(server.login, private_key=tmp_path / "none"))
    with pytest.raises(Unreachable, match="none"):
        ssh.connect(soon(), retry=False)
    assert [each.fileno() for each in sockets] == [-1]


def test_a_login_that_is_given_up_before_it_begins_leaves_no_connection(server, sockets, monkeypatch):
    """Keys are read in a thread of their own, which a busy machine may let wait."""

    async def slowly(*_, **__):
        await asyncio.sleep(60)

    monkeypatch.setattr(asyncssh.SSHClientConnectionOptions, "construct", slowly)
    ssh = Ssh("guest", lambda _: server.endpoint, server.login)
    with pytest.raises(Unreachable, match="by the deadline"):
        ssh.connect(soon(2))
    assert sockets
    assert {each.fileno() for each in sockets} == {-1}


@pytest.fixture
def jump_host(tmp_path):
    (tmp_path / "jump").mkdir()
    host = SshServer(tmp_path / "jump")
    yield host
    host.close()


def through(jump_host, server, folder, host_key: str) -> Ssh:
    pinned = folder / "jump_known_hosts"
    pinned.write_text(known_hosts(jump_host.endpoint, host_key))
    jump = Jump(jump_host.endpoint, "root", pinned, jump_host.key_file)
    return Ssh("guest", lambda _: server.endpoint, replace(server.login, jump=jump))


def test_a_guest_may_be_reached_through_a_jump_host(jump_host, server, tmp_path):
    """Both hosts prove who they are."""
    ssh = through(jump_host, server, tmp_path, jump_host.login.host_key)
    assert ssh.run("echo far", soon()).stdout == b"far\n"
    assert jump_host.jumps == [(server.endpoint.address, server.endpoint.port)]
    ssh.disconnect()


def test_a_jump_host_with_another_key_is_not_passed(jump_host, server, tmp_path):
    """Nothing is sent through a stranger."""
    ssh = through(jump_host, server, tmp_path, server.login.host_key)
    with pytest.raises(HostKeyMismatch):
        ssh.run("true", soon())
    assert (jump_host.jumps, server.logins) == ([], 0)


def test_a_jump_host_beyond_which_nobody_answers_is_left_each_time(jump_host, server, tmp_path, monkeypatch):
    """It would keep a connection for every try."""
    made, real = [], wire._tunnel

    async def recorded(jump):
        made.append(await real(jump))
        return made[-1]

    monkeypatch.setattr(wire, "_tunnel", recorded)
    with socket.create_server(("127.0.0.1", 0)) as gone:
        nobody = SimpleNamespace(endpoint=Endpoint(*gone.getsockname()), login=server.login)
    ssh = through(jump_host, nobody, tmp_path, jump_host.login.host_key)
    with pytest.raises(Unreachable):
        ssh.connect(soon(), retry=False)
    assert [each.is_closed() for each in made] == [True]


def test_what_watches_may_end_the_wait(ssh):
    """A panic on the console need not wait for keep-alives."""

    class PanicSeen(Exception):
        pass

    def watch() -> None:
        raise PanicSeen

    with pytest.raises(PanicSeen):
        ssh.run("sleep 60", soon(), watch=watch, every=timedelta(seconds=0.2))


def test_a_conversation_costs_one_process(ssh):
    """Every empty line asked is one line answered, stamped on both sides."""
    stamps = ssh.converse("n=0; while read -r x; do n=$((n+1)); echo $n; done", 5, soon())
    assert [stamp.answer for stamp in stamps] == [b"1", b"2", b"3", b"4", b"5"]
    assert all(stamp.sent <= stamp.received for stamp in stamps)


def test_a_conversation_cut_short_is_a_lost_connection(ssh):
    """Missing answers are not made up."""
    with pytest.raises(ConnectionLost, match="after 1 of 3"):
        ssh.converse("read -r x; echo one", 3, soon())


@pytest.mark.parametrize(
    "word", ["a b", "$(touch /x)", "'", '"', "\\", "`id`", "*", "~", "-n", "", "ü\n", ";", "#", "!"]
)
def test_quoting_brings_any_word_through_the_remote_shell(ssh, word):
    """The protocol has one string for a command; shlex makes it whole again."""
    line = shlex.join(["printf", "%s|", word, "end"])
    assert ssh.run(line, soon()).stdout == f"{word}|end|".encode()
