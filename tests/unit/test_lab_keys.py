"""The lab's key: whose a thing on a host is can be told from its name, and by nobody else be made up."""

import contextlib
import json
import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from harness.backends.model import Ownership
from harness.cli import interop
from harness.core import LabError
from harness.core.secrets import Secret
from harness.lab import Lab, Run
from harness.lab.keys import genuine, key_of, token
from harness.lab.liveness import Liveness
from harness.lab.load import read_lab
from harness.lab.models import Limits
from harness.lab.store import open_store

NAMED = "hosts: {a: {backend: kvm}}\nnetworks: {management: {kind: user}}\nkey: env:OUR_KEY\n"


def lab(name="lab", key=None):
    return Lab(name, Path(f"/nowhere/{name}.yaml"), {}, {}, Limits(), key=key)


def run_of(lab, folder):
    return Run.begin(lab, store=open_store(folder), liveness=Liveness(folder / "runs"))


def test_a_token_is_of_one_run_and_one_key():
    """And of no letters that names on hosts cannot have."""
    made = token(b"k" * 32, "run1")
    assert genuine(b"k" * 32, "run1", made)
    assert not genuine(b"k" * 32, "run2", made)
    assert not genuine(b"q" * 32, "run1", made)
    assert not genuine(b"k" * 32, "run1", "")
    assert not genuine(b"k" * 32, "run1", "ä")
    assert len(made) == 32
    assert set(made) <= set("0123456789abcdef")


def test_a_lab_without_a_key_gets_one_of_its_own_once(tmp_path):
    """For the account alone that made it; another lab has another one."""
    key = key_of(lab(), tmp_path)
    assert key_of(lab(), tmp_path) == key
    assert key_of(lab("other"), tmp_path) != key
    files = list((tmp_path / "keys").iterdir())
    assert len(files) == 2
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_processes_that_make_it_at_once_get_the_same(tmp_path):
    """The first to come makes it."""
    code = (
        "import sys, pathlib\nfrom harness.lab import Lab\nfrom harness.lab.models import Limits\n"
        "from harness.lab.keys import key_of\nprint('ready', flush=True)\nsys.stdin.read()\n"
        "print(key_of(Lab('lab', pathlib.Path('/x'), {}, {}, Limits()), pathlib.Path(sys.argv[1])).decode())"
    )
    argv = [sys.executable, "-c", code, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with contextlib.ExitStack() as ends:
        processes = [ends.enter_context(subprocess.Popen(argv, **pipes)) for _ in range(4)]
        assert [process.stdout.readline() for process in processes] == ["ready\n"] * len(processes)
        for process in processes:
            process.stdin.close()
        said = {process.stdout.read().strip() for process in processes}
    assert len(said) == 1
    assert len(said.pop()) == 64
    assert len(list((tmp_path / "keys").iterdir())) == 1, "no half key is left"


def test_a_key_that_the_lab_names_is_shared_by_its_controllers(tmp_path):
    """What one made, the other knows; a third with a key of its own does not."""
    (tmp_path / "key").write_text("0123456789abcdef0123456789abcdef\n")
    shared = lab(key=Secret(f"file:{tmp_path / 'key'}"))
    with run_of(shared, tmp_path / "one") as one, run_of(shared, tmp_path / "two") as two:
        assert two.genuine(one.owner)
        assert not two.genuine(Ownership(one.id, two.token, one.owner.expiry))
    with run_of(lab(), tmp_path / "three") as three:
        assert not three.genuine(one.owner)
    assert not (tmp_path / "one" / "keys").exists()


def test_a_worker_knows_what_the_others_of_its_run_made(tmp_path):
    """And what earlier runs left."""
    around = {"store": open_store(tmp_path), "liveness": Liveness(tmp_path / "runs")}
    with Run.begin(lab(), **around) as before:
        pass
    with Run.begin(lab(), **around) as run, Run.join(lab(), **run.share(), **around) as worker:
        assert worker.genuine(run.owner)
        assert worker.genuine(before.owner)


def test_runs_of_a_journal_from_before_there_was_a_key_are_still_ours(tmp_path):
    """Their tokens were random; the journal knows them, and nobody else can write it."""
    with run_of(lab(), tmp_path) as run:
        with run.store.write() as rows:
            rows.run(
                "INSERT INTO runs (id, token, lab, lab_name, lab_text, controller, started, heartbeat, expiry)"
                " VALUES ('old1', 'random', '/nowhere/lab.yaml', 'lab', '', 'here', 0, 0, 0)"
            )
        assert run.genuine(Ownership("old1", "random", datetime.fromtimestamp(0, UTC)))
        assert not run.genuine(Ownership("old1", "guessed", datetime.fromtimestamp(0, UTC)))


def test_a_key_is_named_in_the_lab_file_and_never_written_there(monkeypatch, tmp_path):
    """It is fetched when a run begins; without it there is no run."""
    found = read_lab(NAMED, tmp_path / "lab.yaml")
    assert found.key == Secret("env:OUR_KEY")
    monkeypatch.delenv("OUR_KEY", raising=False)
    with pytest.raises(LabError, match="OUR_KEY is not set"):
        run_of(found, tmp_path)
    monkeypatch.setenv("OUR_KEY", "short")
    with pytest.raises(LabError, match="fewer than 16 letters"):
        run_of(found, tmp_path)
    monkeypatch.setenv("OUR_KEY", "long enough for a key")
    with run_of(found, tmp_path) as run:
        assert run.token == token(b"long enough for a key", run.id)
        assert "long enough" not in json.dumps(str(run.lab)) + run.lab.text


def test_a_check_of_the_lab_file_says_whether_the_key_is_there(monkeypatch, tmp_path):
    """Like any other secret."""
    from click.testing import CliRunner

    (tmp_path / "lab.yaml").write_text(NAMED)
    monkeypatch.delenv("OUR_KEY", raising=False)
    done = CliRunner().invoke(interop, ["lab", "check", str(tmp_path / "lab.yaml")])
    assert "the lab needs its key, the secret env:OUR_KEY (missing" in done.output


def test_a_key_that_cannot_be_kept_is_said(tmp_path):
    """A file where the folder should be."""
    (tmp_path / "keys").write_text("")
    with pytest.raises(LabError, match="cannot be kept"):
        key_of(lab(), tmp_path)
