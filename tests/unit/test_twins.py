"""Twins as processes: who starts them, who finds them, who ends them. The twin itself is a tiny program."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.backends.model import Endpoint
from harness.backends.views import ResourceKind
from harness.cli import interop
from harness.core import Deadline, LabError, Pending, UsageError, wait_for
from harness.lab import Lab, Run, load_lab, twins
from harness.lab.attend import Attendant, attended
from harness.lab.connect import connect
from harness.lab.judge import Fate, Wish
from harness.lab.keep import Kept, KeptGuest
from harness.lab.liveness import Liveness
from harness.lab.reaper import Reaper
from harness.lab.store import open_store
from harness.lab.twin_process import asked, let_go, start, stop, sweep
from harness.lab.twins import find, settings_of
from tests.unit.announcing import announce

LAB = """\
hosts:
  far: {backend: tiny, twin: true, esxi: [a, b]}
  real: {backend: tiny}
networks:
  management: {kind: network, source: VM Network, subnet: 10.78.0.0/16, nat: 127.78.0.0/16, ssh_port: 2222}
  peers: {kind: network, source: peers, subnet: 10.79.0.0/24, vlan: 7, mtu: 9000}
"""
BACKEND = """\
from typing import ClassVar
from harness.backends.registry import HostSettings
class Settings(HostSettings):
    twin_module: ClassVar = "tiny_twin"
    twin: bool = False
    esxi: list[str] = []
    endpoint: str = ""
    @property
    def local(self): return self.twin
    def expand(self, name):
        return {f"{name}-{one}": self.model_copy(update={"esxi": [one]}) for one in self.esxi} or {name: self}
    def at_twin(self, record):
        return self.model_copy(update={"endpoint": record["endpoint"]})
def connect(settings, context):
    return settings
"""


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A backend with a tiny twin, state and cache of this test's own; nothing is left running."""
    (tmp_path / "interop_tiny.py").write_text(BACKEND)
    (tmp_path / "tiny_twin.py").write_text((Path(__file__).parent / "tiny_twin.py").read_text())
    announce(tmp_path, "interop-tiny", "[interop.backends]\ntiny = interop_tiny\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "interop_tiny", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("INTEROP_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("INTEROP_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(twins.OF_RUN, raising=False)
    yield tmp_path
    for twin in twins.known():
        if twin.said:
            stop(twin)


@pytest.fixture
def lab(place) -> Lab:
    (place / "lab.yaml").write_text(LAB)
    return load_lab(place / "lab.yaml")


@pytest.fixture
def run(lab):
    with Run.begin(lab) as run:
        yield run


def gone(twin) -> None:
    """Wait until its process is not there any more."""
    wait_for("a twin to end", lambda: Pending("it lives") if twin.alive else True, Deadline.after(30))


def folders(place) -> list[str]:
    return [folder.name for folder in (place / "cache/twins").iterdir()]


def test_the_twin_of_several_hosts_is_one(lab, run):
    """A vCenter that stands for two ESXi hosts is started once, and both are found behind it."""
    with Attendant(lab, run.id) as attendant:
        for name in ("far-a", "far-b"):
            attendant.attend(lab.hosts[name])
            assert connect(lab.hosts[name], run).endpoint == "127.0.0.1:4"
        assert len(list(twins.known())) == 1


def test_a_host_without_a_twin_costs_nothing(lab, run, place):
    """No process, no folder, no file."""
    with Attendant(lab, run.id) as attendant, attended(lab, [lab.hosts["real"]]):
        attendant.attend(lab.hosts["real"])
        assert connect(lab.hosts["real"], run).endpoint == ""
    assert not (place / "cache/twins").exists()
    assert not (place / "state/twins").exists()


def test_a_twin_is_asked_for_what_the_lab_says(lab):
    """Its networks by the names the hypervisor has for them, and the hosts behind its endpoint."""
    wanted = asked(lab, "far")
    assert wanted["esxi"] == ["a", "b"]
    assert wanted["networks"] == {
        "VM Network": {"kind": "nat", "subnet": "10.78.0.0/16", "outside": "127.78.0.0/16", "port": 2222},
        "peers": {"kind": "switch", "vlan": 7, "mtu": 9000},
    }
    assert wanted["cpus"] >= 8


def test_a_twin_ends_with_its_run_and_leaves_nothing(lab, run, place):
    """Process, record and folder."""
    with Attendant(lab, run.id) as attendant:
        attendant.attend(lab.hosts["far-a"])
        twin = find(lab.path, "far", run.id)
        assert twin.alive
        assert os.environ[twins.OF_RUN] == run.id
    assert not twin.alive
    assert list(twins.known()) == []
    assert folders(place) == []
    assert twins.OF_RUN not in os.environ


def test_a_twin_ends_when_its_run_is_killed(lab, place):
    """However the process that started it ends; and the next one to look removes what it left."""
    script = (
        "import os, signal, sys\n"
        "from harness.lab import Run, load_lab\n"
        "from harness.lab.attend import Attendant\n"
        "lab = load_lab(sys.argv[1])\n"
        "run = Run.begin(lab)\n"
        "Attendant(lab, run.id).attend(lab.hosts['far-a'])\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(lab.path)], timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    (twin,) = twins.known()
    gone(twin)
    assert [each.section for each in sweep(open_store(), Liveness())] == ["far"]
    assert list(twins.known()) == []
    assert folders(place) == []


def test_two_runs_have_a_twin_each(lab, run):
    """One that ends does not take the other's along."""
    with Run.begin(lab) as other, Attendant(lab, run.id) as first:
        first.attend(lab.hosts["far-a"])
        del os.environ[twins.OF_RUN]  # the second run is not part of the first
        with Attendant(lab, other.id) as second:
            second.attend(lab.hosts["far-a"])
            assert find(lab.path, "far", run.id).pid != find(lab.path, "far", other.id).pid
        assert find(lab.path, "far", run.id).alive
        assert find(lab.path, "far", other.id) is None


def test_a_run_uses_a_twin_that_is_up_and_leaves_it(lab, run):
    """The one of `interop twin up`."""
    up, process = start(lab, "far", stay=True)
    let_go(process)
    with Attendant(lab, run.id) as attendant:
        attendant.attend(lab.hosts["far-a"])
        assert find(lab.path, "far", run.id).pid == up.pid
    assert up.alive
    stop(up)
    gone(up)


def test_a_twin_of_another_content_of_the_lab_file_is_not_used(lab, run):
    """Its networks may be others; the remedy is named."""
    up, process = start(lab, "far", stay=True)
    let_go(process)
    replace(up, asked={**up.asked, "cpus": 1}).save()
    with (
        Attendant(lab, run.id) as attendant,
        pytest.raises(LabError, match=r"another content[^`]*`interop twin down far"),
    ):
        attendant.attend(lab.hosts["far-a"])


def test_a_twin_that_dies_at_its_start_says_why_to_every_process(lab, run, monkeypatch):
    """And is not started again for each test."""
    monkeypatch.setenv("TINY_TWIN", "dies")
    with Attendant(lab, run.id) as attendant:
        for _ in range(2):
            with pytest.raises(LabError, match="ended with 1 before it was up: there is no compiler"):
                attendant.attend(lab.hosts["far-a"])
        with pytest.raises(LabError, match="there is no compiler"):  # a worker's view
            connect(lab.hosts["far-b"], run)
    assert list(twins.known()) == []


def test_a_twin_that_answers_rubbish_is_ended(lab, place, monkeypatch):
    """And what it said is told."""
    monkeypatch.setenv("TINY_TWIN", "rubbish")
    with pytest.raises(LabError, match="the twin answered b'hello'"):
        start(lab, "far")
    assert list(twins.known()) == []
    assert folders(place) == []


def test_a_twin_that_does_not_end_is_killed(lab, monkeypatch):
    """Whatever it does about SIGTERM."""
    monkeypatch.setenv("TINY_TWIN", "stubborn")
    monkeypatch.setattr("harness.lab.twin_process._GRACE", 0.5)
    twin, process = start(lab, "far")
    stop(twin, process)
    assert not twin.alive


def test_what_it_says_while_it_comes_up_is_told(lab):
    """Building takes minutes: nobody stares at nothing."""
    told = []
    twin, process = start(lab, "far", tell=told.append)
    assert told[0] == "starting the twin of far"
    assert told[-1] == "the twin of far is up at 127.0.0.1:4"
    stop(twin, process)


def test_a_record_is_its_owners_alone(lab):
    """It holds a password."""
    twin, process = start(lab, "far")
    assert twin.file.stat().st_mode & 0o777 == 0o600
    assert twin.said["password"] == "hunter2"
    assert "hunter2" not in repr(twin)
    stop(twin, process)


def test_a_number_that_came_back_is_another_process(lab):
    """The kernel gives process numbers again."""
    twin, process = start(lab, "far")
    assert not replace(twin, born=twin.born - 1).alive
    stop(twin, process)


def test_nobody_starts_a_twin_of_that_name_twice(lab):
    """Two who type `interop twin up` at once."""
    first, process = start(lab, "far")
    with pytest.raises(LabError, match="a twin of this name is up already"):
        start(lab, "far")
    stop(first, process)


def test_a_twin_that_is_not_up_is_one_clear_error(lab, run):
    """With what to do about it."""
    with pytest.raises(LabError, match=r"far-a: connect: its twin is not up\n  hint: `interop twin up far`"):
        settings_of(lab.hosts["far-a"], lab.path, run.id)


def test_a_user_network_cannot_be_a_twins(place):
    """Its guests could not be reached."""
    text = LAB.replace(
        "kind: network, source: VM Network, subnet: 10.78.0.0/16, nat: 127.78.0.0/16, ssh_port: 2222", "kind: user"
    )
    (place / "lab.yaml").write_text(text)
    with pytest.raises(UsageError, match="'management' is a user network"):
        asked(load_lab(place / "lab.yaml"), "far")


def test_a_twin_with_kept_guests_outlives_its_run(lab, run, tmp_path):
    """Whoever asked to keep failed guests finds them."""
    with Attendant(lab, run.id, keep=True) as attendant:
        attendant.attend(lab.hosts["far-a"])
        until = datetime.now(UTC) + timedelta(hours=1)
        guest = KeptGuest(
            "g", lab.path, "far-b", "vm-1", run.id, until, Endpoint("127.78.0.2"), tmp_path, tmp_path, "root", "why"
        )
        Kept(run.store).add(guest)
    twin = find(lab.path, "far")
    assert twin.run is None
    assert twin.alive
    stop(twin)


def test_a_twin_without_kept_guests_ends_with_its_run(lab, run):
    """Even where guests might have been kept."""
    with Attendant(lab, run.id, keep=True) as attendant:
        attendant.attend(lab.hosts["far-a"])
        twin = find(lab.path, "far", run.id)
    assert not twin.alive


def test_what_a_dead_run_had_on_a_twin_went_with_it(lab):
    """The reaper has nothing to open, and the journal is empty afterwards."""
    with Run.begin(lab) as run:
        with run.ledger("far-a").creating(ResourceKind.MACHINE, "guest-1") as creation:
            creation.made("vm-1")
        with run.ledger("real").creating(ResourceKind.MACHINE, "guest-2"):
            pass
    opened = []

    def open_host(host, _):
        opened.append(host.name)
        raise LabError("not here")

    def reap(**wish):
        return list(Reaper(lab, open_store(), Liveness(), Wish(**wish), open_host).reap(Deadline.after(60)))

    (planned, _) = reap(dry_run=True)
    assert (planned.host, planned.fate, planned.detail) == ("far-a", Fate.DOOMED, "with its twin")
    (found, _) = reap()
    assert (found.host, found.fate, found.thing.handle) == ("far-a", Fate.REMOVED, "vm-1")
    assert [each.host for each in reap()] == ["real"]
    assert set(opened) == {"real"}


def test_reaping_ends_the_twin_of_a_run_that_was_killed(lab):
    """One that was to stay for kept guests has nobody any more."""
    script = (
        "import os, signal, sys\n"
        "from harness.lab import Run, load_lab\n"
        "from harness.lab.attend import Attendant\n"
        "lab = load_lab(sys.argv[1])\n"
        "run = Run.begin(lab)\n"
        "Attendant(lab, run.id, keep=True).attend(lab.hosts['far-a'])\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(lab.path)], timeout=60, check=False)
    (twin,) = twins.known()
    assert twin.alive

    def unreachable(*_):
        raise LabError("not here")

    list(Reaper(lab, open_store(), Liveness(), Wish(), unreachable).reap(Deadline.after(60)))
    gone(twin)


def typed(*words: str, status: int = 0) -> str:
    done = CliRunner().invoke(interop, ["twin", *words])
    assert done.exit_code == status, done.output
    return done.output


def test_the_command_starts_lists_tells_and_ends(lab):
    """From a shell, for any other client."""
    path = str(lab.path)
    assert "no twin is up" in typed("list")
    shown = typed("up", "far", "--lab", path)
    assert "endpoint  127.0.0.1:4" in shown
    assert "hunter2" not in shown
    assert typed("up", "--lab", path).splitlines()[0] == "endpoint  127.0.0.1:4", "it is up already"
    assert "`interop twin down`" in typed("list")
    assert "export INTEROP_TWIN_PASSWORD=hunter2" in typed("env", "far", "--lab", path)
    assert "is gone" in typed("down", "far", "--lab", path)
    assert "no twin of far is up" in typed("down", "far", "--lab", path)


def test_the_command_names_what_there_is(lab):
    """A wrong name gets the nearest, a lab without twins says how one comes about."""
    done = CliRunner().invoke(interop, ["twin", "up", "fat", "--lab", str(lab.path)])
    assert "has no twin called 'fat'; did you mean 'far'?" in str(done.exception)


def test_a_lab_is_checked_with_its_twins(lab):
    """`interop lab check` says which hosts are twins, and that they need nothing."""
    shown = CliRunner().invoke(interop, ["lab", "check", str(lab.path)]).output
    assert "tiny (twin)" in shown
    assert "far-a needs" not in shown
    assert "real needs the network VM Network" in shown


def test_the_probe_s_kernel_is_passed_on(lab, tmp_path):
    """Acceleration is proved by booting it."""
    twin, process = start(lab, "far", probe=(tmp_path / "kernel", tmp_path / "initrd"))
    config = json.loads((Path(twin.folder) / "config.json").read_text())
    assert config["probe"] == [str(tmp_path / "kernel"), str(tmp_path / "initrd")]
    stop(twin, process)
