"""Runs and their journal: what is about to be made is on disk first, and who is dead is told from who lives."""

import json
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from harness.backends.protocol import LeaseLost, Ledger
from harness.backends.views import ResourceKind
from harness.core import LabError
from harness.lab import Lab, Run
from harness.lab.journal import entries, strike
from harness.lab.liveness import Liveness
from harness.lab.models import Limits
from harness.lab.server import ServerStore
from harness.lab.store import SqliteStore, Store, open_store

MACHINE, DISK = ResourceKind.MACHINE, ResourceKind.DISK
LAB = Lab("lab", Path("/nowhere/lab.yaml"), {}, {}, Limits())

PRELUDE = """
    import json, os, pathlib, signal, sys
    from harness.backends.views import ResourceKind
    from harness.lab import Lab, Run
    from harness.lab.liveness import Liveness
    from harness.lab.models import Limits
    from harness.lab.server import ServerStore
    from harness.lab.store import open_store
    folder = pathlib.Path(sys.argv[1])
    lab = Lab("lab", pathlib.Path("/nowhere/lab.yaml"), {}, {}, Limits())
    url = folder / "url"
    store = ServerStore(url.read_text(), folder) if url.exists() else open_store(folder)
    around = {"store": store, "liveness": Liveness(folder / "runs")}
    die = lambda: os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def opened(request, tmp_path):
    """Opens the store as another process would: a file, or a schema of a server."""
    url = tmp_path / "url"
    if request.param == "PostgreSQL":
        url.write_text(request.getfixturevalue("postgresql").database())
    stores = []

    def opened() -> Store:
        stores.append(ServerStore(url.read_text(), tmp_path) if url.exists() else open_store(tmp_path))
        return stores[-1]

    yield opened
    for store in stores:
        store.close()


@pytest.fixture
def around(opened, tmp_path):
    return {"store": opened(), "liveness": Liveness(tmp_path / "runs")}


@pytest.fixture
def run(around):
    with Run.begin(LAB, **around) as run:
        yield run


@pytest.fixture
def process(tmp_path):
    """Runs code in a real process until it ends, and gives what it printed and how it ended."""

    def start(code: str, *arguments: str) -> tuple[list, int]:
        argv = [sys.executable, "-c", textwrap.dedent(PRELUDE) + textwrap.dedent(code), str(tmp_path), *arguments]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        return [json.loads(line) for line in done.stdout.splitlines()], done.returncode

    return start


def test_the_journal_is_a_ledger(run):
    ledger: Ledger = run.ledger("kvm")
    with ledger.creating(MACHINE, "guest-1") as creation:
        creation.made("uuid-1")
    (entry,) = entries(run.store)
    assert (entry.run, entry.host, entry.kind, entry.name, entry.handle) == (
        run.id,
        "kvm",
        MACHINE,
        "guest-1",
        "uuid-1",
    )
    ledger.gone(MACHINE, "uuid-1")
    assert entries(run.store) == []


def test_an_intent_is_on_disk_before_the_block_runs(run, opened):
    with run.ledger("kvm").creating(DISK, "disk-1"):
        (entry,) = entries(opened())
        assert (entry.name, entry.handle) == ("disk-1", None)


def test_an_entry_stays_when_making_failed(run):
    with pytest.raises(ZeroDivisionError), run.ledger("kvm").creating(DISK, "disk-1"):
        raise ZeroDivisionError
    assert [entry.name for entry in entries(run.store)] == ["disk-1"]
    assert run.leftovers() == 1


def test_a_failed_intent_is_struck_by_its_name(run):
    ledger = run.ledger("kvm")
    with ledger.creating(DISK, "disk-1"):
        pass
    ledger.gone(DISK, "disk-1")
    assert entries(run.store) == []


def test_a_machine_takes_its_checkpoints_along(run):
    """And those of no other machine."""
    ledger = run.ledger("kvm")
    for machine in ("one", "two"):
        with ledger.creating(MACHINE, machine) as creation:
            creation.made(machine)
        with ledger.creating(ResourceKind.CHECKPOINT, f"{machine}/warm") as creation:
            creation.made(f"{machine}/warm")
    ledger.gone(MACHINE, "one")
    assert [entry.name for entry in entries(run.store)] == ["two", "two/warm"]


def test_the_same_name_on_another_host_is_another_thing(run):
    for host in ("a", "b"):
        with run.ledger(host).creating(DISK, "disk-1") as creation:
            creation.made("disk-1")
    run.ledger("a").gone(DISK, "disk-1")
    assert [entry.host for entry in entries(run.store)] == ["b"]


def test_the_journal_survives_a_kill_between_intent_and_handle(around, process):
    told, status = process("""
        run = Run.begin(lab, **around)
        print(json.dumps(run.id), flush=True)
        with run.ledger("kvm").creating(ResourceKind.MACHINE, "half-made") as creation:
            die()
    """)
    assert status == -signal.SIGKILL
    (entry,) = entries(around["store"])
    assert (entry.run, entry.name, entry.handle) == (told[0], "half-made", None)
    assert not around["liveness"].run(around["store"], entry.run)


def test_a_killed_run_is_dead_and_a_living_one_is_not(around, process, run):
    told, _ = process("print(json.dumps(Run.begin(lab, **around).id), flush=True); die()")
    assert not around["liveness"].run(around["store"], told[0])
    assert around["liveness"].run(around["store"], run.id)


def test_a_worker_joins_by_value_and_its_death_is_not_the_run_s(around, process, run):
    told, status = process(
        """
        part = Run.join(lab, **json.loads(sys.argv[2]), **around)
        with part.ledger("kvm").creating(ResourceKind.MACHINE, "of-worker") as creation:
            creation.made("uuid")
        print(json.dumps([part.id, part.member]), flush=True)
        die()
        """,
        json.dumps(run.share()),
    )
    assert status == -signal.SIGKILL
    joined, member = told[0]
    assert joined == run.id
    liveness, store = around["liveness"], around["store"]
    assert liveness.run(store, run.id)
    assert not liveness.member(store, run.id, member)
    assert [entry.member for entry in entries(store)] == [member]


def test_a_run_lives_on_in_its_workers(around, process):
    """The main process may die first; its workers' guests are not up for reaping yet."""
    main = Run.begin(LAB, **around)
    with Run.join(LAB, **main.share(), **around) as worker:
        main._lock.release()  # what its death would do
        assert around["liveness"].run(around["store"], worker.id)
    assert not around["liveness"].run(around["store"], main.id)
    main.close()


def test_nobody_joins_a_run_that_is_over_or_another(around):
    with Run.begin(LAB, **around) as run, pytest.raises(LeaseLost, match="not in this controller's journal"):
        Run.join(LAB, run=run.id, token="guessed", **around)
    with pytest.raises(LeaseLost, match="it has ended"):
        Run.join(LAB, **run.share(), **around)


def test_a_run_that_was_reaped_may_not_act(run):
    with run.store.write() as rows:
        rows.run("UPDATE runs SET reaped = 1 WHERE id = ?", run.id)
    with pytest.raises(LeaseLost, match="taken for dead and reaped"):
        run.ledger("kvm").check()
    with pytest.raises(LeaseLost), run.ledger("kvm").creating(DISK, "disk-1"):
        pytest.fail("the block must not run")
    assert entries(run.store) == []


def test_a_run_that_stood_still_past_its_expiry_may_not_act(tmp_path, opened):
    clock = [1_800_000_000.0]
    liveness = Liveness(tmp_path / "runs", now=lambda: clock[0])
    with Run.begin(LAB, store=opened(), liveness=liveness) as run:
        run.check()
        clock[0] += LAB.limits.expiry.total_seconds() + 1
        with pytest.raises(LeaseLost, match="expired while this process stood still"):
            run.check()


def test_a_run_of_another_controller_is_dead_by_heartbeat_and_expiry_only(tmp_path, opened):
    clock = [1_800_000_000.0]
    store = opened()
    there = Liveness(tmp_path / "there", here="there", now=lambda: clock[0])
    here = Liveness(tmp_path / "here", here="here", now=lambda: clock[0])
    run = Run.begin(LAB, store=store, liveness=there)
    assert here.run(store, run.id)
    with store.write() as rows:
        rows.run("UPDATE runs SET expiry = ?", clock[0] - 1)
    assert here.run(store, run.id)
    clock[0] += 301
    assert not here.run(store, run.id)
    run.close()


def test_run_ids_sort_by_time_and_fit_into_names(around):
    ids = []
    for moment in (1_700_000_000.0, 1_800_000_000.0, 2_500_000_000.0):
        around["liveness"] = Liveness(around["liveness"].folder, now=lambda moment=moment: moment)
        with Run.begin(LAB, **around) as run:
            ids.append(run.id)
    assert ids == sorted(ids)
    assert all(len(run) == 10 and run.isalnum() and run == run.lower() for run in ids)


def test_a_closed_run_leaves_no_lock_and_no_lease(run, tmp_path):
    run.close()
    run.close()
    assert list((tmp_path / "runs").iterdir()) == []
    with pytest.raises(LeaseLost, match="this process has left it"):
        run.check()


def test_an_entry_is_struck_once(run):
    with run.ledger("kvm").creating(DISK, "disk-1"):
        pass
    (entry,) = entries(run.store, run=run.id)
    strike(run.store, entry)
    assert entries(run.store, lab="/nowhere/lab.yaml") == []


def test_a_transaction_that_fails_changes_nothing(run):
    def fail() -> None:
        with run.store.write() as rows:
            rows.run("UPDATE runs SET ended = 1")
            rows.run("DELETE FROM nowhere")

    with pytest.raises(LabError, match=r"no such table|does not exist"):
        fail()
    run.check()


def test_a_store_that_is_no_database_is_a_lab_error_with_its_path(tmp_path):
    (tmp_path / "interop.sqlite3").write_text("this is not a database, and long enough to look at" * 30)
    with pytest.raises(LabError, match=r"interop\.sqlite3: file is not a database"):
        open_store(tmp_path)


def test_a_damaged_store_says_what_to_move_away(tmp_path):
    store = open_store(tmp_path)
    store.close()
    path = tmp_path / "interop.sqlite3"
    path.write_bytes(path.read_bytes()[:100] + b"\xff" * 8000)
    with pytest.raises(LabError, match="malformed") as caught:
        open_store(tmp_path)
    assert f"move interop.sqlite3* of {tmp_path} away" in (caught.value.hint or "")


def test_opening_a_store_again_costs_no_other_opening_its_locks(tmp_path):
    """A lock lost here let whoever closed the store next delete its log, and with it what was written since."""
    first, second = open_store(tmp_path), open_store(tmp_path)
    come_and_go = (
        "import pathlib, sys; from harness.lab.store import open_store; "
        "store = open_store(pathlib.Path(sys.argv[1])); print(len(store.rows('SELECT * FROM warm'))); store.close()"
    )

    def seen_elsewhere() -> int:
        done = subprocess.run([sys.executable, "-c", come_and_go, tmp_path], capture_output=True, check=True, text=True)
        return int(done.stdout)

    for number, store in enumerate([first, second, first]):
        with store.write() as rows:
            rows.insert("INSERT INTO warm VALUES ('lab', 'host', ?, 0)", str(number))
        assert seen_elsewhere() == number + 1
    assert first.rows("PRAGMA integrity_check")[0][0] == "ok"


def test_a_store_of_a_newer_version_is_refused(tmp_path):
    store = open_store(tmp_path)
    store._db.execute("PRAGMA user_version = 99")
    store.close()
    with pytest.raises(LabError, match="newer version"):
        open_store(tmp_path)


def test_the_journal_is_synced_and_for_its_owner_alone(tmp_path):
    store: SqliteStore = open_store(tmp_path)
    assert store.rows("PRAGMA synchronous")[0][0] == 2
    assert store.rows("PRAGMA journal_mode")[0][0] == "wal"
    assert (tmp_path / "interop.sqlite3").stat().st_mode & 0o077 == 0
