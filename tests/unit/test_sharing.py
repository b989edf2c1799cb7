"""Controllers that share a lab: leases on a server, alive by heartbeat, lost by silence, fenced by number."""

import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.backends.model import Endpoint
from harness.backends.protocol import LeaseLost
from harness.backends.registry import HostSettings
from harness.backends.views import ResourceKind
from harness.cli import interop
from harness.core import Deadline, GiB, LabError, Pending, UsageError, wait_for
from harness.core.secrets import heard_by
from harness.lab import Host, Lab, Run
from harness.lab.database import Database
from harness.lab.keep import Kept, KeptGuest
from harness.lab.liveness import Liveness
from harness.lab.living import elsewhere as runs_of_others
from harness.lab.living import living
from harness.lab.load import read_lab
from harness.lab.models import Capacity, Limits
from harness.lab.server import ServerStore
from harness.lab.sharing import open_shared
from harness.lab.store import open_store

FAR, NEAR = "esxi-1", "this-machine"
LIMITS = Limits(heartbeat=timedelta(seconds=1), silence=timedelta(seconds=4))


def host(domain: str) -> Host:
    capacity = Capacity(vcpus=4, memory=8 * GiB, guests=4)
    return Host(domain, "kvm", domain, HostSettings(), capacity, domain, "management", None, {})


def lab(url: str, limits: Limits = LIMITS) -> Lab:
    hosts = {name: host(name) for name in (FAR, NEAR)}
    return Lab("lab", Path("/nowhere/lab.yaml"), hosts, {}, limits, database=Database(url))


@pytest.fixture
def url(postgresql):
    return postgresql.database()


@pytest.fixture
def controller(tmp_path, url):
    """Begins a run on a controller of that name: its own state, the same database."""
    runs = []

    def begin(name: str, limits: Limits = LIMITS) -> Run:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        runs.append(Run.begin(lab(url, limits), store=open_store(folder), liveness=Liveness(folder / "runs")))
        return runs[-1]

    yield begin
    for run in runs:
        run.close()


def now() -> Deadline:
    return Deadline.after(0)


def soon() -> Deadline:
    return Deadline.after(60)


def silent(run: Run, seconds: float) -> None:
    """What a controller looks like that was last heard of so long ago."""
    store = open_shared(run.lab)
    with store.write() as rows:
        rows.run("UPDATE members SET heard = heard - ? WHERE id = ?", seconds, run.member)
    store.close()


def test_two_controllers_never_overbook_a_host_of_the_lab(controller):
    one, other = controller("one"), controller("other")
    held = one.leases.capacity(one.lab.hosts[FAR], now(), vcpus=3, memory=GiB)
    with pytest.raises(LabError, match=f"3 vCPUs of 4 leased by run {one.id}"):
        other.leases.capacity(other.lab.hosts[FAR], now(), vcpus=2, memory=GiB)
    held.release()
    other.leases.capacity(other.lab.hosts[FAR], now(), vcpus=2, memory=GiB)


def test_quiet_on_a_host_of_the_lab_is_quiet_on_all_controllers(controller):
    one, other = controller("one"), controller("other")
    with one.leases.quiet(FAR, now()), pytest.raises(LabError, match="measures in quiet"):
        other.leases.activity(FAR, now())
    other.leases.activity(FAR, now())


def test_each_controller_has_its_own_machine_to_itself(controller):
    """Nobody else can run anything on it."""
    one, other = controller("one"), controller("other")
    with one.leases.quiet(NEAR, now()):
        other.leases.quiet(NEAR, now()).release()


def test_what_only_this_machine_needs_asks_no_server(tmp_path, postgresql):
    gone = lab(f"postgresql://nobody@/none?host={tmp_path}")
    with Run.begin(gone, store=open_store(tmp_path), liveness=Liveness(tmp_path / "runs")) as run:
        run.leases.capacity(run.lab.hosts[NEAR], now(), vcpus=1, memory=GiB)
        run.check()


def test_fences_grow_across_controllers(controller):
    one, other = controller("one"), controller("other")
    fences = []
    for run in (one, other, one):
        with run.leases.quiet(FAR, now()) as lease:
            fences.append(lease.fence)
    assert fences == sorted(set(fences))


def test_a_controller_that_goes_silent_loses_its_leases_and_is_told(controller):
    """As long as it is heard of within the lab's limit nobody takes anything from it."""
    one, other = controller("one", Limits()), controller("other")
    one.leases.quiet(FAR, now())
    silent(one, 299)
    with pytest.raises(LabError, match="is active"):
        other.leases.quiet(FAR, now())
    silent(one, 2)
    taken = other.leases.quiet(FAR, now())
    with pytest.raises(LeaseLost, match="was not heard of for too long"):
        one.check()
    with pytest.raises(LeaseLost):
        one.leases.activity(FAR, now())
    taken.check()


def test_who_was_silent_but_lost_nothing_goes_on(controller):
    """A suspended machine that wakes up before anybody asked for what it holds."""
    one = controller("one", Limits())
    lease = one.leases.quiet(FAR, now())
    silent(one, 1000)
    one.check()
    lease.check()
    with pytest.raises(LabError, match="is active"):
        controller("other").leases.quiet(FAR, now())


def test_the_heartbeat_keeps_leases_beyond_their_time(controller):
    one, other = controller("one"), controller("other")
    one.leases.quiet(FAR, now())
    shared = open_shared(one.lab)
    began = shared.now()

    def outlived() -> bool | Pending:
        return shared.now() > began + LIMITS.silence.total_seconds() + 0.5 or Pending("not yet")

    wait_for("the time of a silent one to pass", outlived, soon())
    shared.close()
    with pytest.raises(LabError, match="is active"):
        other.leases.quiet(FAR, now())


PRELUDE = """
    import pathlib, sys
    from datetime import timedelta
    sys.path.insert(0, sys.argv[1])
    from tests.unit import test_sharing as t
    folder = pathlib.Path(sys.argv[2])
    folder.mkdir()
    run = t.Run.begin(t.lab(sys.argv[3]), store=t.open_store(folder), liveness=t.Liveness(folder / "runs"))
"""


@pytest.fixture
def elsewhere(tmp_path, url):
    """Starts code on a controller of its own, as a process; goes on once it printed a line."""
    started = []

    def start(code: str) -> subprocess.Popen[str]:
        text = textwrap.dedent(PRELUDE) + textwrap.dedent(code)
        argv = [sys.executable, "-c", text, str(Path(__file__).parents[2]), str(tmp_path / f"c{len(started)}"), url]
        started.append(subprocess.Popen(argv, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True))
        assert started[-1].stdout.readline(), f"it ended with {started[-1].wait()}"
        return started[-1]

    yield start
    for child in started:
        child.kill()
        child.communicate()


def test_a_killed_controller_s_leases_fall_to_who_waits(controller, elsewhere):
    child = elsewhere("run.leases.quiet(t.FAR, t.now()); print('held', flush=True); sys.stdin.read()")
    one = controller("one")
    with pytest.raises(LabError, match="is active"):
        one.leases.quiet(FAR, now())
    child.kill()
    child.wait()
    one.leases.quiet(FAR, soon())


def test_a_controller_stopped_within_a_transaction_stops_nobody_for_long(controller, elsewhere):
    """The server ends the transaction of who stands still in the middle of one."""
    child = elsewhere(
        "with t.open_shared(run.lab).write() as rows:\n    print('alone', flush=True); sys.stdin.read()",
    )
    os.kill(child.pid, signal.SIGSTOP)
    controller("one").leases.quiet(FAR, soon())


def test_a_server_that_restarts_costs_no_lease(controller, postgresql):
    one = controller("one", Limits())
    lease = one.leases.quiet(FAR, now())
    postgresql.stop()
    postgresql.start()
    lease.check()
    with pytest.raises(LabError, match="is active"):
        controller("other").leases.quiet(FAR, now())


def test_the_clock_is_the_server_s(url, postgresql, tmp_path):
    """So that controllers need not agree on the time to agree on who is alive."""
    store = ServerStore(url, tmp_path)
    said = float(postgresql.sql("SELECT extract(epoch FROM clock_timestamp())"))
    assert said <= store.now() <= said + 60
    store.close()


@pytest.mark.parametrize("use", ["write", "rows"])
def test_who_is_in_the_middle_of_something_while_a_store_is_closed_leaves_no_connection(use, url, postgresql, tmp_path):
    """A heartbeat, on a thread of its own; and one that only begins then."""
    store = ServerStore(url, tmp_path)
    if use == "write":
        with store.write() as rows:
            store.close()
            rows.run("UPDATE members SET heard = 0")
    else:
        store.close()
        store.rows("SELECT 1")
    name = url.partition("@/")[2].partition("?")[0]
    there = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}'"

    def left() -> bool | Pending:
        return postgresql.sql(there) == "0" or Pending(postgresql.sql(there))

    wait_for("the server to see the connection's end", left, soon())


def test_two_accounts_of_one_machine_are_two_controllers(controller):
    """One sees no lock of the other's: it must not take that for death."""
    one, other = controller("one"), controller("other")
    assert one._liveness.here == other._liveness.here
    one.leases.quiet(FAR, now())
    with pytest.raises(LabError, match="is active"):
        other.leases.quiet(FAR, now())


def test_a_kept_guest_holds_what_it_had_until_its_time_is_over(controller):
    one, other = controller("one"), controller("other")
    held = one.leases.capacity(one.lab.hosts[FAR], now(), vcpus=4, memory=GiB)
    shared = open_shared(one.lab)
    until = timedelta(hours=1)
    guest = KeptGuest(
        *("g1", one.lab.path, FAR, "vm-1", one.id),
        _at(shared.now()) + until,
        Endpoint("192.0.2.1", 22),
        *(Path("key"), Path("known"), "root", "test_it"),
    )
    kept = Kept(one.store, shared.now, shared)
    kept.add(guest, [held])
    one.close()
    with pytest.raises(LabError, match="kept guest g1"):
        other.leases.capacity(other.lab.hosts[FAR], now(), vcpus=1, memory=GiB)
    kept.extend(guest, timedelta(seconds=-1))
    other.leases.capacity(other.lab.hosts[FAR], now(), vcpus=1, memory=GiB)
    shared.close()


def _at(moment: float):
    from datetime import UTC, datetime

    return datetime.fromtimestamp(moment, UTC)


def test_a_server_of_a_newer_version_is_refused(url, tmp_path):
    store = ServerStore(url, tmp_path)
    with store.write() as rows:
        rows.run("UPDATE version SET steps = 99")
    store.close()
    with pytest.raises(LabError, match="newer version"):
        ServerStore(url, tmp_path)


def test_a_database_that_refuses_says_so_without_the_password(postgresql, tmp_path):
    url = f"postgresql://nobody:hunter2@/none?host={postgresql.folder}"
    with pytest.raises(LabError, match="does not exist") as caught:
        ServerStore(url, tmp_path)
    assert "hunter2" not in str(caught.value)


LAB = "hosts: {a: {backend: vsphere, twin: true}}\nnetworks: {management: {kind: user}}\ndatabase: "


@pytest.mark.parametrize("text", ["postgresql://lab:hunter2@db/lab", "postgresql://db/lab?password=hunter2", "hunter2"])
def test_a_password_never_stands_in_a_lab_file(text, tmp_path):
    with pytest.raises(UsageError, match=r"lab.yaml:3:11 database: ") as caught:
        read_lab(LAB + text, tmp_path / "lab.yaml")
    assert "hunter2" not in str(caught.value)


def test_a_lab_file_names_its_database_or_a_secret_that_does(tmp_path, monkeypatch):
    monkeypatch.setenv("INTEROP_DB", "postgresql://lab:hunter2@db/lab")
    plain = read_lab(LAB + "postgresql://lab@db/lab", tmp_path / "lab.yaml")
    secret = read_lab(LAB + "env:INTEROP_DB", tmp_path / "lab.yaml")
    assert plain.database.url() == "postgresql://lab@db/lab"
    assert secret.database.url() == "postgresql://lab:hunter2@db/lab"
    told = []
    with heard_by(told.append):
        secret.database.url()
    assert told == ["postgresql://lab:hunter2@db/lab", "hunter2", "hunter2"]
    assert replace(secret).database.text == "env:INTEROP_DB"


def test_looking_at_a_lab_tells_whether_its_database_answers(tmp_path, postgresql):
    """Before any host is opened: without it nothing could be leased there."""
    path = tmp_path / "lab.yaml"
    path.write_text(f"{LAB}postgresql://nobody@/none?host={postgresql.folder}")
    done = CliRunner().invoke(interop, ["lab", "check", "--connect", str(path)], env={"INTEROP_STATE": str(tmp_path)})
    assert done.exit_code == 1
    assert "its controllers share postgresql://nobody@/none" in done.stdout
    assert 'role "nobody" does not exist' in done.stdout


def test_a_controller_sees_the_others_runs_that_live_and_where_they_are(controller, tmp_path):
    """Of its own it knows more, and of one that is silent nothing can be said."""
    one, other, gone = controller("one"), controller("other"), controller("gone")
    for run in (one, gone):
        run.leases.capacity(run.lab.hosts[FAR], now(), vcpus=1, memory=GiB)
    held = other.leases.activity(FAR, now())
    silent(gone, 3600)
    seen = {each.run: each for each in runs_of_others(other.lab, Liveness(tmp_path / "other" / "runs"))}
    assert list(seen) == [one.id]
    assert (seen[one.id].domains, seen[one.id].quiet) == ((FAR,), ())
    assert seen[one.id].controller
    held.release()
    one.leases.leave()
    assert list(runs_of_others(other.lab, Liveness(tmp_path / "other" / "runs"))) == []
    with other.ledger(FAR).creating(ResourceKind.MACHINE, "vm"):
        pass
    (own,) = living(other.store, Liveness(tmp_path / "other" / "runs"))
    assert (own.run, own.controller, own.things) == (other.id, "", {FAR: 1})
