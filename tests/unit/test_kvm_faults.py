"""A libvirt that refuses, does not answer, or dies: one clear error each, and a way back.

The daemon is a real one, private to the test: a session daemon of an unprivileged user below a folder of its own.
"""

import os
import pwd
import signal
import socket
import subprocess
import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import libvirt
import pytest

from harness.backends.kvm import Settings, connect
from harness.backends.kvm.connection import Connection
from harness.backends.model import MachineSpec, NetworkKind, NetworkSpec, NicSpec, Ownership, Shape
from harness.backends.protocol import Refused
from harness.backends.registry import Context
from harness.core import Deadline, LabError, MiB, Pending, Size, wait_for
from harness.core.process import need, run
from harness.core.waiting import pause
from harness.image.model import Format, Image
from tests.unit.fake_ledger import NoLedger

OWNER = Ownership("run1", "token", datetime.now(UTC) + timedelta(hours=1))


def soon(seconds=60):
    return Deadline.after(seconds)


class Daemon:
    """A libvirtd that can be stopped, killed and started anew."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.uri = f"qemu+unix:///session?socket={folder}/run/libvirt/libvirt-sock"
        self.process = None

    def start(self) -> None:
        names = {"XDG_RUNTIME_DIR": "run", "XDG_CONFIG_HOME": "config", "XDG_CACHE_HOME": "cache"}
        places = {name: str(self.folder / place) for name, place in names.items()}
        self.process = subprocess.Popen(
            [need("libvirtd", "libvirt-daemon")],
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder), **places},
            user=_user(),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for("the daemon to listen", self._listens, soon(20))

    def _listens(self):
        with socket.socket(socket.AF_UNIX) as client:
            error = client.connect_ex(f"{self.folder}/run/libvirt/libvirt-sock")
        return Pending(os.strerror(error)) if error else True

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)
        if number is signal.SIGKILL:
            self.process.wait(10)


def _user() -> int | None:
    return pwd.getpwnam("nobody").pw_uid if os.getuid() == 0 else None


@pytest.fixture
def daemon():
    """A running daemon with a storage pool called ``pool``."""
    with tempfile.TemporaryDirectory(prefix="interop-") as name:  # a socket's path must be short
        folder = Path(name)
        for place in (folder, folder / "run", folder / "config", folder / "cache", folder / "pool"):
            place.mkdir(exist_ok=True)
            if _user():
                os.chown(place, _user(), -1)
        made = Daemon(folder)
        made.start()
        connection = libvirt.open(made.uri)
        target = f"<target><path>{folder}/pool</path></target>"
        connection.storagePoolDefineXML(f"<pool type='dir'><name>pool</name>{target}</pool>").create()
        connection.close()
        yield made
        made.send(signal.SIGKILL)


def opened(uri, tmp_path, **settings):
    chosen = Settings(uri=uri, accel="tcg", **({"storage": "pool"} | settings))
    return connect(chosen, Context("far", OWNER, NoLedger(), tmp_path / "scratch"))


@pytest.fixture
def host(daemon, tmp_path):
    """The daemon as a host."""
    made = opened(daemon.uri, tmp_path)
    yield made
    made.close()


@pytest.fixture
def machine(host, tmp_path):
    """A machine that is off."""
    disk = tmp_path / "disk.qcow2"
    run([need("qemu-img", "qemu-utils"), "create", "-q", "-f", "qcow2", disk, "1M"], soon())
    published = host.publish(Image("tiny", "0" * 64, {Format.QCOW2: disk}, Size(MiB)), soon())
    return host.create(MachineSpec("one", published, Shape(nics=0), (), None, OWNER), soon())


def the_fault(caught):
    """What every such error has: the host's name and what to do."""
    assert caught.value.host == "far"
    assert caught.value.hint
    return caught.value.message


def test_a_daemon_that_is_not_there_refuses(tmp_path):
    with pytest.raises(LabError) as caught:
        opened(f"qemu+unix:///session?socket={tmp_path}/none", tmp_path)
    assert "refuses: Failed to connect" in the_fault(caught)


def test_a_daemon_that_never_answers_is_left_in_time(tmp_path):
    with tempfile.TemporaryDirectory() as name, socket.socket(socket.AF_UNIX) as silent:
        silent.bind(f"{name}/sock")
        silent.listen()
        with pytest.raises(LabError) as caught:
            opened(f"qemu+unix:///session?socket={name}/sock", tmp_path, connect_seconds=0.5)
    assert "did not answer in time" in the_fault(caught)


def test_an_unknown_storage_pool_is_named(daemon, tmp_path):
    with pytest.raises(LabError, match="nowhere") as caught:
        opened(daemon.uri, tmp_path, storage="nowhere")
    assert "storage:" in caught.value.hint


def test_a_daemon_that_dies_is_one_error_and_is_found_again(daemon, machine):
    daemon.send(signal.SIGKILL)
    for _ in range(2):
        with pytest.raises(LabError) as caught:
            machine.view(soon(10))
        assert "refuse" in the_fault(caught) or "lost" in the_fault(caught)
    daemon.start()
    assert machine.view(soon()).raw


def test_who_asks_in_the_last_moment_is_answered(daemon):
    """A wait for a guest ends with a last look: its time-out is the guest's, and no fault of libvirt's."""

    def look(connection):
        pause(0.2)  # as on a busy controller
        return connection.getLibVersion()

    assert Connection(daemon.uri, "far").call("state", look, soon(0))


def test_a_daemon_that_hangs_is_left_in_time_and_is_found_again(daemon, machine):
    daemon.send(signal.SIGSTOP)
    with pytest.raises(LabError) as caught:
        machine.view(soon(0.5))
    assert "did not answer in time" in the_fault(caught)
    daemon.send(signal.SIGCONT)
    assert machine.view(soon()).raw


def test_what_a_daemon_keeps_is_owned_and_removed(host, machine):
    (thing,) = host.owned(soon(), "run1")
    assert (thing.handle, thing.owner.token, thing.name) == (machine.id, "token", "one")
    host.remove(thing, soon())
    assert list(host.owned(soon())) == []


def test_a_machine_behind_a_daemon_is_opened_as_it_was_asked_for(host, machine):
    assert host.open(machine.id, soon()).spec == machine.spec


def test_a_network_that_a_host_has_not_got_is_refused_before_anything_is_made(host, machine, daemon):
    """A restricted user network exists on embedded hosts only; no disk is left behind by the refusal."""
    files = sorted((daemon.folder / "pool").iterdir())
    nic = NicSpec("52:54:00:00:00:01", NetworkSpec("management", NetworkKind.USER))
    with pytest.raises(Refused, match="embedded hosts only"):
        host.create(MachineSpec("two", machine.spec.image, Shape(nics=1), (nic,), None, OWNER), soon())
    assert sorted((daemon.folder / "pool").iterdir()) == files


def test_a_daemons_host_tells_how_busy_it_is_and_how_much_of_it_is_ours(daemon, host, machine, tmp_path):
    """By libvirt's counters, machines without a system: another lab's on the same host is none of ours."""
    stranger = Context("far", replace(OWNER, run="run2", token="other"), NoLedger(), tmp_path / "other")
    theirs = connect(Settings(uri=daemon.uri, accel="tcg", storage="pool"), stranger)
    foreign = theirs.create(replace(machine.spec, name="two", owner=stranger.owner), soon())
    assert host.load(soon()).ours == {}
    for one in (machine, foreign):
        one.start(soon())
    (before,) = host.load(soon()).ours.items()
    assert before[0].startswith(machine.id)

    def counted():
        found = host.load(soon())
        return found if found.ours[before[0]] > before[1] else Pending("no time was counted")

    after = wait_for("the machine to be seen at work", counted, soon(60))
    assert after.busy >= after.ours[before[0]]
    assert after.processors == host.facts(soon()).cpus
    machine.stop(soon())
    assert host.load(soon()).ours == {}
    machine.start(soon())
    (again,) = host.load(soon()).ours
    assert again != before[0], "counters of a machine that was started anew begin anew"
    for one in (machine, foreign):
        one.destroy(soon())
    theirs.close()
