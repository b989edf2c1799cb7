"""The line to the agent: noise, old answers and silence, from a peer that speaks the agent's protocol."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from harness.core import Deadline
from harness.core.waiting import pause
from harness.twins.engine import VMWARE, EngineError, GuestSilent, guest_agent
from harness.twins.engine.guest_agent import Agent, AgentRefused
from harness.twins.engine.tools import Tools
from harness.twins.engine.wire import Keyboard, listener

UNIT = VMWARE.tools
WANTED = f"/etc/systemd/system/multi-user.target.wants/{UNIT}"


_ADDRESSES = [{"ip-address": "10.78.3.7"}, {"ip-address": "fe80::1"}]
ANSWERS = {
    "guest-get-host-name": {"host-name": "one"},
    "guest-network-get-interfaces": [
        {"hardware-address": "00:50:56:00:00:01", "ip-addresses": _ADDRESSES},
        {"name": "lo"},
    ],
    "guest-get-osinfo": {"id": "debian", "pretty-name": "Debian 12", "kernel-release": "6.1"},
    "guest-exec": {"pid": 7},
    "guest-exec-status": {"exited": True, "out-data": base64.b64encode(b"2:12.2.0-1+deb12u3").decode()},
}


class Peer:
    """A guest's end of the line, with files."""

    def __init__(self, path: Path) -> None:
        self.files: dict[str, bytes] = {WANTED: b"[Unit]"}
        self.noise = b""
        self.instead = b""
        self.answers: dict[str, object] = {}
        self.late: dict[str, float] = {}
        self.asked: list[str] = []
        self.ran: list[dict] = []
        self._bound = listener(path)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._bound.shutdown(socket.SHUT_RDWR)  # for a test that never called
        self._thread.join()
        self._bound.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):  # our caller hung up
            self._converse(self._bound.accept()[0])

    def _converse(self, line: socket.socket) -> None:
        with line, line.makefile("rb") as questions:
            line.sendall(self.noise)
            for question in questions:
                self._answer(line, json.loads(question.rpartition(b"\xff")[2]))

    def _answer(self, line: socket.socket, question: dict) -> None:
        name, given = question["execute"], question.get("arguments", {})
        self.asked.append(name)
        answer: object = (ANSWERS | self.answers).get(name, {})
        if name == "guest-sync-delimited":
            line.sendall(b"\xff" + json.dumps({"return": given["id"]}).encode() + b"\n")
            return
        if name in self.late:
            pause(self.late[name])
        if name == "guest-exec":
            self.ran.append(given)
        if name == "guest-file-open":
            self._open, answer = given["path"], 1000
        if name == "guest-file-read":
            answer = {"buf-b64": base64.b64encode(self.files.get(self._open, b"")).decode(), "eof": True}
        said = json.dumps({"return": answer}).encode()
        refused = isinstance(answer, dict) and "error" in answer
        if refused:
            said = json.dumps(answer).encode()
        if name == "guest-file-open" and given["path"] not in self.files:
            said = b'{"error": {"class": "GenericError", "desc": "No such file"}}'
        if name != "guest-shutdown" or refused:
            line.sendall((self.instead or said) + b"\n")


@pytest.fixture
def place(tmp_path):
    return tmp_path / "agent"


@pytest.fixture
def agent(place):
    return Agent(place)


@pytest.fixture
def peer(place, agent):
    made = Peer(place)
    yield made
    agent.close()
    made.close()


@pytest.fixture
def tools(agent):
    return Tools(agent, VMWARE)


def soon() -> Deadline:
    return Deadline.after(10)


@pytest.mark.parametrize(
    "noise", [b"", b'{"return": 99}\n\xff{"ret', b"login: \r\n[  1.0] panic\n", b"\x80\xff\n\n[]\n"]
)
def test_what_was_said_before_is_not_taken_for_an_answer(peer, agent, noise):
    peer.noise = noise
    assert agent.ask("guest-get-host-name", soon()) == {"host-name": "one"}


def test_file_systems_are_frozen_and_thawed_around_what_needs_it(peer, tools):
    peer.answers = {"guest-fsfreeze-freeze": 2, "guest-fsfreeze-thaw": 2}
    with tools.frozen(soon()):
        assert peer.asked[-1] == "guest-fsfreeze-freeze"
    assert peer.asked[-1] == "guest-fsfreeze-thaw"


def test_file_systems_thaw_whatever_went_wrong_meanwhile(peer, tools):
    peer.answers = {"guest-fsfreeze-freeze": 2, "guest-fsfreeze-thaw": 2}
    with pytest.raises(ZeroDivisionError), tools.frozen(soon()):
        raise ZeroDivisionError
    assert peer.asked[-1] == "guest-fsfreeze-thaw"


def test_a_guest_that_freezes_nothing_is_no_quiet_one(peer, tools):
    peer.answers = {"guest-fsfreeze-freeze": 0, "guest-fsfreeze-thaw": 0}
    with pytest.raises(GuestSilent, match="froze no file system"), tools.frozen(soon()):
        raise AssertionError("nothing is frozen")
    assert peer.asked[-1] == "guest-fsfreeze-thaw"


def test_a_guest_without_the_service_is_not_even_asked(peer, tools):
    peer.files.clear()
    with pytest.raises(GuestSilent, match="not enabled"), tools.frozen(soon()):
        raise AssertionError("nobody would freeze")
    assert "guest-fsfreeze-freeze" not in peer.asked


def test_a_refusal_is_the_agents(peer, agent):
    with pytest.raises(AgentRefused, match="No such file"):
        agent.ask("guest-file-open", soon(), path="/nowhere", mode="r")
    assert agent.read("/nowhere", soon()) is None


def test_a_guest_that_floods_the_line_is_given_up(peer, agent):
    peer.noise = b"x" * (3 << 20)
    with pytest.raises(GuestSilent):
        agent.ask("guest-ping", Deadline.after(5))


@pytest.mark.parametrize(
    "word",
    [b"{}\n", b'{"return": 99}\n', b"\xff\n", b'{"return": true}\n', b'{"return": 1.0}\n', b"[" * 100_000 + b"\n"],
    ids=["objects", "another id", "no JSON", "a word that Python takes for 1", "another such", "nested"],
)
def test_a_guest_that_says_one_thing_after_the_other_is_given_up(place, agent, word):
    """It never is silent, so no time-out of a read ends it; and it never was greeted."""
    with listener(place) as bound:

        def babble() -> None:
            line, _ = bound.accept()
            with line, contextlib.suppress(OSError):
                while True:
                    line.sendall(word * 100)

        thread = threading.Thread(target=babble, daemon=True)
        thread.start()
        with pytest.raises(GuestSilent, match="says"):
            agent.ask("guest-ping", Deadline.after(0.5))
        thread.join(10)
        assert not thread.is_alive(), "it still is listened to"


def test_who_still_asks_the_agent_of_a_machine_that_ended_does_not_take_the_next_ones_line(peer, place, agent):
    """A machine that is reverted listens at the same path in its next process, which serves one line."""
    started = agent.ask("guest-exec", soon(), path="/bin/true")
    agent.close()
    peer.close()
    following = Peer(place)
    try:
        with pytest.raises(GuestSilent, match="has ended"):
            agent.ask("guest-exec-status", soon(), pid=started["pid"])
        fresh = Agent(place)
        assert fresh.ask("guest-get-host-name", soon()) == {"host-name": "one"}
        fresh.close()
        assert "guest-exec-status" not in following.asked
    finally:
        agent.close()
        following.close()


def test_what_is_typed_for_a_machine_that_ended_is_not_typed_into_the_next_one(place):
    """Neither by a keyboard that was never used before."""
    keyboard = Keyboard(place)
    keyboard.close()
    with listener(place) as bound:
        with pytest.raises(EngineError, match="has ended"):
            keyboard.type(b"reboot\n", 5.0)
        bound.settimeout(0.2)
        with pytest.raises(TimeoutError):
            bound.accept()


@pytest.mark.parametrize("told", [float("inf"), float("nan"), [7], "soon", None])
def test_a_time_that_is_none_sets_no_clock(peer, tools, told):
    peer.answers["guest-get-time"] = told
    with pytest.raises(GuestSilent, match="no agent"):
        tools.set_clock(soon())
    assert "guest-set-time" not in peer.asked


def test_addresses_that_are_none_are_cut(peer, tools):
    """Whatever it claims to have, a hundred times over: the host shows a little of it."""
    many = [{"ip-address": "9" * 2000} for _ in range(200)]
    peer.answers["guest-network-get-interfaces"] = [{"hardware-address": "00:50:56:00:00:01", "ip-addresses": many}]
    (found,) = tools.view(soon()).addresses.values()
    assert len(found) == 64
    assert {len(address) for address in found} == {64}


def test_an_agent_that_was_stopped_after_its_greeting_is_given_up(peer, tools, monkeypatch):
    """What it was asked then may take as long as a large file: ten minutes, in which no one would look after it."""
    monkeypatch.setattr(guest_agent, "_ANSWER", 0.05)
    peer.late = {"guest-exec": 1.0}
    with pytest.raises(GuestSilent, match="no agent answers"):
        tools.keep("/run/told", b"{}", Deadline.after(600))


def test_file_systems_are_given_the_time_they_need_to_freeze(peer, tools, monkeypatch):
    peer.answers = {"guest-fsfreeze-freeze": 2, "guest-fsfreeze-thaw": 2}
    monkeypatch.setattr(guest_agent, "_ANSWER", 0.5)
    peer.late = {"guest-fsfreeze-freeze": 1.0}
    with tools.frozen(soon()):
        assert peer.asked[-1] == "guest-fsfreeze-freeze"


def test_nothing_but_greetings_is_said_to_a_guest_that_does_not_answer(place, agent):
    with listener(place) as bound:
        with pytest.raises(GuestSilent, match="no agent answers"):
            agent.tell("guest-shutdown", Deadline.after(0.3), mode="powerdown")
        line, _ = bound.accept()
        with line:
            assert b"guest-shutdown" not in line.recv(65536)
    agent.close()


def test_tools_tell_who_and_where_the_guest_is(peer, tools):
    seen = tools.view(soon())
    assert (seen.running, seen.version, seen.hostname, seen.os_id) == (True, "12.2.0", "one", "debian")
    assert seen.addresses == {"00:50:56:00:00:01": ("10.78.3.7", "fe80::1")}
    assert seen.guestinfo["guestinfo.ip"] == "10.78.3.7"


def test_a_program_runs_in_the_guest_once_a_boot(peer, tools):
    tools.view(soon())
    tools.view(soon())
    assert peer.asked.count("guest-exec") == 1
    tools.forget()
    tools.view(soon())
    assert peer.asked.count("guest-exec") == 2


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({WANTED: None}, "is not enabled"),
        ({f"/etc/systemd/system/{UNIT}": b""}, "is masked"),
        ({f"/run/systemd/system/{UNIT}": b""}, "is masked"),
    ],
)
def test_a_guest_without_its_service_has_no_tools(peer, tools, changes, why):
    for path, content in changes.items():
        if content is None:
            del peer.files[path]
        else:
            peer.files[path] = content
    seen = tools.view(soon())
    assert not seen.running
    assert why in seen.detail
    with pytest.raises(GuestSilent, match=why):
        tools.power("powerdown", soon())
    assert "guest-shutdown" not in peer.asked


@pytest.mark.parametrize("answer", [b"[]", b'{"return": 7}', b'{"return": {"host-name": 5}}', b'{"error": 3}'])
def test_an_agent_that_talks_nonsense_is_no_agent(peer, tools, answer):
    peer.instead = answer
    assert tools.view(Deadline.after(2)).running is False


def test_a_shutdown_is_asked_for_without_an_answer(peer, tools):
    tools.power("powerdown", soon())
    assert peer.asked[-1] == "guest-shutdown"


def test_a_shutdown_that_ended_its_own_helper_has_begun(peer, tools):
    """The agent's service is stopped, and shutdown(8) with it, perhaps before that has heard that all is well."""
    peer.answers["guest-shutdown"] = {"error": {"desc": "child process has terminated abnormally"}}
    tools.power("powerdown", soon())
    peer.answers["guest-shutdown"] = {"error": {"desc": "child process has failed to shutdown"}}
    with pytest.raises(AgentRefused, match="has failed to shutdown"):
        tools.power("powerdown", soon())


def test_what_the_host_told_is_never_seen_half_written(peer, tools):
    """However short: a file that is opened to be written is empty for a moment, and the guest may read it then."""
    tools.keep("/run/told", b"{}", soon())
    assert "guest-file-write" not in peer.asked
    assert [ran["path"] for ran in peer.ran] == ["/bin/sh"]


def test_what_the_host_told_goes_in_one_message_however_large_its_file(peer, tools, tmp_path):
    """A pool of many pairs is mostly NULs, and the line is slow."""
    content = b"".join(f"key {number}".encode().ljust(2560, b"\0") for number in range(130))
    target = tmp_path / "folder" / "pool"
    tools.keep(str(target), content, soon())
    assert "guest-file-write" not in peer.asked
    (ran,) = peer.ran
    packed = base64.b64decode(ran["input-data"])
    assert len(packed) < len(content) / 50
    subprocess.run([ran["path"], *ran["arg"]], input=packed, check=True)
    assert target.read_bytes() == content
    assert [path.name for path in target.parent.iterdir()] == ["pool"]
