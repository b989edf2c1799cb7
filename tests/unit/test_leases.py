"""Leases between real processes: never overbooked, freed by death."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from harness.backends.protocol import LeaseLost
from harness.backends.registry import HostSettings
from harness.core import Deadline, GiB, LabError, Pending, wait_for
from harness.lab import Host, Lab, Run
from harness.lab.liveness import Liveness
from harness.lab.models import Capacity, Limits
from harness.lab.server import ServerStore
from harness.lab.store import open_store

PRELUDE = """
    import sys, json, pathlib
    sys.path.insert(0, sys.argv[1])
    import test_leases_lab as lab
    from harness.core import Deadline, GiB
    run = lab.begin(pathlib.Path(sys.argv[2]))
    def tell(**facts):
        print(json.dumps(facts), flush=True)
    def take(vcpus):
        return run.leases.capacity(run.lab.hosts["kvm"], Deadline.after(60), vcpus=vcpus, memory=GiB)
"""
OPENED = []


def make_lab(vcpus: int = 4) -> Lab:
    capacity = Capacity(vcpus=vcpus, memory=8 * GiB, guests=4)
    host = Host("kvm", "kvm", "kvm", HostSettings(), capacity, "this-machine", "management", None, {})
    return Lab("lab", Path("/nowhere/lab.yaml"), {"kvm": host}, {}, Limits())


def begin(folder: Path, lab: Lab | None = None) -> Run:
    """A run whose leases are in a file, or on the server that is named in the folder."""
    url = folder / "url"
    store = ServerStore(url.read_text(), folder) if url.exists() else open_store(folder)
    OPENED.append(store)
    return Run.begin(lab or make_lab(), store=store, liveness=Liveness(folder / "runs"))


@pytest.fixture(params=["SQLite", "PostgreSQL"], autouse=True)
def place(request, tmp_path):
    """Where leases are written down: every test here is a fact of both."""
    if request.param == "PostgreSQL":
        (tmp_path / "url").write_text(request.getfixturevalue("postgresql").database())
    yield
    while OPENED:
        OPENED.pop().close()


@pytest.fixture
def run(tmp_path):
    with begin(tmp_path) as run:
        yield run


@pytest.fixture
def other(tmp_path):
    """Another run on the same machine (its own lock, as another process would have)."""
    with begin(tmp_path) as other:
        yield other


@pytest.fixture
def process(tmp_path):
    """Starts a real process with a run of its own; it tells facts as JSON lines."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code/test_leases_lab.py").write_bytes(Path(__file__).read_bytes())
    started = []

    def start(code: str) -> subprocess.Popen[str]:
        text = textwrap.dedent(PRELUDE) + textwrap.dedent(code)
        argv = [sys.executable, "-c", text, str(tmp_path / "code"), str(tmp_path)]
        started.append(subprocess.Popen(argv, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for child in started:
        child.kill()
        child.communicate()


def heard(child: subprocess.Popen[str]) -> dict:
    line = child.stdout.readline()
    assert line, f"the process ended with {child.wait()}"
    return json.loads(line)


def wait_until_others_wait(run: Run) -> None:
    wait_for("others", lambda: run.leases.waited_for("this-machine") or Pending("nobody"), soon(), every=0.02)


def now() -> Deadline:
    return Deadline.after(0)


def soon() -> Deadline:
    return Deadline.after(60)


def test_capacity_that_is_there_is_lent_at_once(run):
    with run.leases.capacity(run.lab.hosts["kvm"], now(), vcpus=4, memory=GiB):
        run.check()


def test_capacity_is_not_overbooked_by_another_run(run, other):
    host = run.lab.hosts["kvm"]
    first = run.leases.capacity(host, now(), vcpus=3, memory=GiB)
    with pytest.raises(LabError, match=rf"3 vCPUs of 4 leased by run {run.id} \(process {os.getpid()}\)"):
        other.leases.capacity(host, now(), vcpus=2, memory=GiB)
    first.release()
    other.leases.capacity(host, now(), vcpus=2, memory=GiB)


def test_memory_and_guests_count_as_well(run):
    host = run.lab.hosts["kvm"]
    run.leases.capacity(host, now(), vcpus=1, memory=7 * GiB)
    with pytest.raises(LabError, match="7 GiB of memory"):
        run.leases.capacity(host, now(), vcpus=1, memory=2 * GiB)
    with pytest.raises(LabError, match="1 guests of 4 leased"):
        run.leases.capacity(host, now(), vcpus=1, memory=GiB // 4, guests=4)


def test_what_a_host_never_has_is_refused_without_waiting(run):
    with pytest.raises(LabError, match="8 vCPUs asked, and the lab lends 4 vCPUs in all"):
        run.leases.capacity(run.lab.hosts["kvm"], soon(), vcpus=8, memory=GiB)


def test_two_processes_that_contend_never_hold_more_than_there_is(process):
    worker = """
        import collections
        host = run.lab.hosts["kvm"]
        tell(ready=True)
        sys.stdin.readline()
        most = 0
        for turn in range(40):
            with run.leases.capacity(host, Deadline.after(60), vcpus=1 + turn % 3, memory=GiB):
                booked = run.store.rows("SELECT SUM(vcpus) AS n FROM leases WHERE kind = 'capacity'")[0]["n"]
                most = max(most, booked)
        tell(most=most, turns=turn + 1)
    """
    children = [process(worker) for _ in range(3)]
    for child in children:
        assert heard(child)["ready"]
    for child in children:
        child.stdin.write("\n")
        child.stdin.flush()
    results = [heard(child) for child in children]
    assert [result["turns"] for result in results] == [40, 40, 40]
    assert max(result["most"] for result in results) <= 4


def test_a_killed_process_gives_its_capacity_back(run, process):
    host = run.lab.hosts["kvm"]
    child = process("take(4); tell(run=run.id); sys.stdin.read()")
    holder = heard(child)["run"]
    with pytest.raises(LabError, match=f"leased by run {holder}"):
        run.leases.capacity(host, now(), vcpus=1, memory=GiB)
    child.send_signal(signal.SIGKILL)
    child.wait()
    run.leases.capacity(host, now(), vcpus=4, memory=GiB)


def test_a_stopped_process_keeps_its_capacity(run, process):
    """Only death frees: a process that stands still may go on at any moment."""
    child = process("take(4); tell(ok=1); sys.stdin.read()")
    heard(child)
    child.send_signal(signal.SIGSTOP)
    with pytest.raises(LabError, match="4 vCPUs of 4 leased"):
        run.leases.capacity(run.lab.hosts["kvm"], now(), vcpus=1, memory=GiB)


def test_who_waits_longest_is_served_first(run, process):
    """A large request is not starved by small ones that come later."""
    host = run.lab.hosts["kvm"]
    held = run.leases.capacity(host, now(), vcpus=2, memory=GiB)
    child = process("tell(ok=1); take(4); tell(got=4); sys.stdin.read()")
    heard(child)
    wait_until_others_wait(run)
    held.release()
    assert heard(child) == {"got": 4}


def test_who_holds_capacity_goes_before_who_waits(run, other, process):
    """Else a test that needs a second guest and a large request would wait for each other for ever."""
    host = run.lab.hosts["kvm"]
    run.leases.capacity(host, now(), vcpus=2, memory=GiB)
    child = process("tell(ok=1); take(4)")
    heard(child)
    wait_until_others_wait(run)
    with pytest.raises(LabError, match="others have waited longer"):
        other.leases.capacity(host, now(), vcpus=1, memory=GiB)
    run.leases.capacity(host, now(), vcpus=1, memory=GiB)


def test_idle_things_can_be_given_up_while_waiting(run, other):
    host = run.lab.hosts["kvm"]
    idle = run.leases.capacity(host, now(), vcpus=4, memory=GiB)
    other.leases.capacity(host, soon(), vcpus=4, memory=GiB, meanwhile=idle.release)


def test_quiet_is_for_one_process_alone(run, other):
    with run.leases.quiet("this-machine", now()):
        with pytest.raises(LabError, match=f"run {run.id} .* is active"):
            other.leases.quiet("this-machine", now())
        with pytest.raises(LabError, match="measures in quiet"):
            other.leases.activity("this-machine", now())
        with pytest.raises(LabError, match="measures in quiet"):
            other.leases.capacity(run.lab.hosts["kvm"], now(), vcpus=1, memory=GiB)
        run.leases.capacity(run.lab.hosts["kvm"], now(), vcpus=1, memory=GiB)
    other.leases.quiet("this-machine", now())


def test_quiet_waits_for_who_is_active(run, other):
    busy = other.leases.activity("this-machine", now())
    with pytest.raises(LabError, match="is active"):
        run.leases.quiet("this-machine", now())
    busy.release()
    with run.leases.activity("this-machine", now()), run.leases.quiet("this-machine", now()):
        run.check()


def test_another_domain_is_not_disturbed_by_quiet(run, other):
    with run.leases.quiet("this-machine", now()):
        other.leases.quiet("esxi-1", now()).release()


def test_a_killed_process_ends_its_quiet(run, process):
    child = process("run.leases.quiet('this-machine', Deadline.after(9)); tell(ok=1); sys.stdin.read()")
    heard(child)
    child.kill()
    child.wait()
    run.leases.quiet("this-machine", now())


def test_a_lost_lease_stops_the_next_verb(run):
    lease = run.leases.capacity(run.lab.hosts["kvm"], now(), vcpus=1, memory=GiB)
    with run.store.write() as rows:
        rows.run("DELETE FROM leases")
    with pytest.raises(LeaseLost, match="capacity this-machine"):
        lease.check()
    with pytest.raises(LeaseLost):
        run.ledger("kvm").check()


def test_fencing_tokens_only_grow(run, other):
    fences = []
    for holder in (run, other, run):
        with holder.leases.quiet("this-machine", now()) as lease:
            fences.append(lease.fence)
    assert fences == sorted(set(fences))


def test_one_thing_is_lent_to_one_holder(run, other):
    first = run.leases.one_of("root", "this-machine", ["a", "b"], now())
    second = other.leases.one_of("root", "this-machine", ["a", "b"], now())
    assert {first.value, second.value} == {"a", "b"}
    with pytest.raises(LabError, match="2 of 2 leased"):
        other.leases.one_of("root", "this-machine", ["a", "b"], now())


def test_what_is_in_use_without_a_lease_is_passed_over(run):
    lease = run.leases.one_of("root", "x", ["a", "b"], now(), taken=lambda name: "a stranger" if name == "a" else None)
    assert lease.value == "b"
    with pytest.raises(LabError, match="in use without a lease: a stranger"):
        run.leases.one_of("root", "x", ["a"], now(), taken=lambda _: "a stranger")


def test_the_lab_limits_every_wait(tmp_path, other):
    """However patient the caller is."""
    other.leases.quiet("this-machine", now())
    lab = replace(make_lab(), limits=Limits(wait=timedelta(0)))
    with begin(tmp_path, lab) as run, pytest.raises(LabError, match="for quiet on this-machine"):
        run.leases.quiet("this-machine", Deadline.after(timedelta(days=1)))


def test_neighbours_are_told_and_oneself_is_not(run, other):
    """What else is there while one measures: activity, guests that are lent, another's quiet."""
    host = run.lab.hosts["kvm"]
    run.leases.activity(host.domain, Deadline.after(5))
    assert run.leases.neighbours(host.domain) == ()
    other.leases.activity(host.domain, Deadline.after(5))
    other.leases.capacity(host, Deadline.after(5), vcpus=2, memory=GiB)
    name = f"run {other.id} (process {os.getpid()})"
    assert run.leases.neighbours(host.domain) == (f"{name} is active", f"{name} has 1 guests of 2 vCPUs")
    assert run.leases.neighbours("elsewhere") == ()


def test_quiet_is_known_while_it_is_held(run):
    """By the lease itself, of this domain and no other."""
    assert not run.leases.is_quiet("this-machine")
    with run.leases.quiet("this-machine", Deadline.after(5)):
        assert run.leases.is_quiet("this-machine")
        assert not run.leases.is_quiet("elsewhere")
    assert not run.leases.is_quiet("this-machine")
