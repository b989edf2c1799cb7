"""Whoever answers in a guest's place is refused before anything is said to them that only the guest may know."""

from __future__ import annotations

import asyncio
import socket
import threading
from pathlib import Path

import asyncssh
import pytest

from harness.backends.model import Endpoint
from harness.core import Deadline, GuestError, LabError, Size
from harness.guest import Guest, Identity, NotReady
from harness.guest.ssh import HostKeyMismatch, Ssh, Unreachable
from harness.image.model import Format, Image
from tests.unit.fake_machine import NIC, FakeHost, FakeMachine
from tests.unit.ssh_server import SshServer


def soon(seconds: float = 10) -> Deadline:
    return Deadline.after(seconds)


@pytest.fixture
def servers(tmp_path):
    """The guest, and somebody else who takes the guest's own key as well: only their host keys tell them apart."""
    made = []
    for name in ("guest", "other"):
        folder = tmp_path / name
        folder.mkdir()
        made.append(SshServer(folder))
    (tmp_path / "other" / "authorized").write_bytes((tmp_path / "guest" / "authorized").read_bytes())
    yield made
    for server in made:
        server.close()


@pytest.fixture
def guest(servers):
    image = Image("test", "digest", {Format.QCOW2: Path("x")}, Size(0))
    machine = FakeMachine(servers[0].endpoint)
    guest = Guest(machine, FakeHost(), image, Identity("guest", "0" * 32, (NIC,), servers[0].login))
    yield guest
    guest.disconnect()


def reboot_into(guest: Guest, server: SshServer) -> None:
    guest.disconnect()
    guest.machine.where = server.endpoint


def test_a_host_key_that_changed_between_boots_is_refused_by_name(guest, servers):
    """The lab's fault and not the guest's: another machine holds its address."""
    assert guest.run(["echo", "me"]).text == "me"
    reboot_into(guest, servers[1])
    with pytest.raises(HostKeyMismatch, match=r"guest: 127\.0\.0\.1:\d+ answered with another host key") as caught:
        guest.run(["cat"], stdin=b"a secret for the guest")
    assert isinstance(caught.value, LabError)
    assert caught.value.hint == "another guest or service holds this address"


def test_who_is_refused_hears_no_name_no_key_and_no_command(guest, servers):
    """Neither the account nor a signature nor what was to be run or written."""
    guest.run(["true"])
    assert servers[0].asked == ["root"], "a server that is trusted hears the account"
    reboot_into(guest, servers[1])
    with pytest.raises(HostKeyMismatch):
        guest.run(["cat"], stdin=b"a secret for the guest")
    assert (servers[1].logins, servers[1].asked, servers[1].commands) == (1, [], 0)


def test_a_guest_that_never_comes_back_as_itself_is_not_ready_and_why_is_said(guest, servers):
    """While it boots its own server may be up before it was given its key: it is asked until the deadline."""
    reboot_into(guest, servers[1])
    with pytest.raises(NotReady, match="answered with another host key"):
        guest.wait_ready(soon(1.5))
    assert servers[1].asked == []


def test_a_host_key_stays_pinned_after_it_was_refused(guest, servers):
    """Nothing is learnt from an impostor, and the guest itself is known again."""
    for _ in range(2):
        reboot_into(guest, servers[1])
        with pytest.raises(HostKeyMismatch):
            guest.run(["true"])
    reboot_into(guest, servers[0])
    assert guest.run(["echo", "me"]).text == "me"


class Asks(asyncssh.SSHServer):
    """A server with the guest's own host key that wants a password, by every way there is."""

    def __init__(self, heard: list[str]) -> None:
        self.heard = heard

    def begin_auth(self, username):
        return True

    def password_auth_supported(self):
        return True

    def validate_password(self, username, password):
        self.heard.append(password)
        return True

    def kbdint_auth_supported(self):
        return True

    def get_kbdint_challenge(self, username, lang, submethods):
        self.heard.append("asked for a challenge")
        return "who", "password", "en", [("Password: ", False)]


def test_a_server_that_wants_a_password_gets_none(servers):
    """Keys alone are offered: there is nothing to be talked out of."""
    heard: list[str] = []

    async def listen():
        return await asyncssh.create_server(lambda: Asks(heard), "127.0.0.1", 0, server_host_keys=[servers[0].host_key])

    acceptor = asyncio.run_coroutine_threadsafe(listen(), servers[0].loop).result(10)
    ssh = Ssh("guest", lambda _: Endpoint("127.0.0.1", acceptor.get_port()), servers[0].login)
    with pytest.raises(Unreachable, match="was refused"):
        ssh.run("true", soon())
    servers[0].loop.call_soon_threadsafe(acceptor.close)
    assert heard == []


@pytest.fixture
def talker():
    """What answers on a port by words of its own."""
    opened = []

    def talk(words: bytes) -> Endpoint:
        bound = socket.create_server(("127.0.0.1", 0))

        def serve() -> None:
            while True:
                try:
                    line, _ = bound.accept()
                except OSError:
                    return
                with line:
                    try:
                        while True:
                            line.sendall(words)
                    except OSError:
                        continue

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        opened.append((bound, thread))
        return Endpoint("127.0.0.1", bound.getsockname()[1])

    yield talk
    for bound, thread in opened:
        bound.shutdown(socket.SHUT_RDWR)
        bound.close()
        thread.join(10)


@pytest.mark.parametrize(
    "words",
    [b"x" * 8192, b"\x1b[2J\r\n", b"SSH-2.0-" + b"a" * 250 + b"\r\n" + b"\xff" * 9000, b"HTTP/1.1 200 OK\r\n\r\n"],
    ids=["one line", "lines", "a version and rubbish", "another protocol"],
)
def test_what_is_no_ssh_server_is_told_as_such_in_few_words(servers, talker, words):
    """However much it says."""
    endpoint = talker(words)
    ssh = Ssh("guest", lambda _: endpoint, servers[0].login)
    with pytest.raises(Unreachable) as caught:
        ssh.connect(soon(3), retry=False)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "said", ["", "no", "../../etc/passwd", "<script>", "0" * 36, "11111111-1111-1111-1111-111111111111\n" * 2]
)
def test_what_is_no_boot_id_proves_no_reboot(guest, servers, monkeypatch, said):
    """Another word each time would look like another boot."""
    monkeypatch.setattr("harness.guest.guest._BOOT_ID", f"/dev/null; printf %s '{said}'")
    with pytest.raises(NotReady, match="is no boot id"):
        guest.wait_ready(soon(3))


def test_a_boot_id_without_end_is_none(guest, monkeypatch):
    monkeypatch.setattr("harness.guest.guest._BOOT_ID", "/dev/zero | head -c 5000000")
    with pytest.raises(GuestError, match="is no boot id") as caught:
        guest.read_boot_id(soon())
    assert len(str(caught.value)) < 1000
