"""``interop validate`` as its users meet it: its own rounds, in processes of their own, of which no guest knows."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.core import Deadline
from harness.core.waiting import Pending, wait_for

ROOT = Path(__file__).resolve().parents[2]
RELEASE = """
hosts: [vsphere]
baseline: {suite: bookworm, packages: [{name: open-vm-tools, version: "12.2.0"}]}
candidate: {suite: bookworm-backports, packages: [{name: open-vm-tools, version: "12.3.5"}]}
must_change: {packages: [open-vm-tools]}
required: [{checks: ["I0*"]}]
"""
LAB = """
hosts:
  esxi8-a: {backend: vsphere, twin: true, pool: esxi8}
networks:
  management: {kind: user}
"""
GOOD = [{"check": "I01"}, {"check": "I02"}]
SCENARIO = {"baseline": GOOD, "candidate": GOOD, "versions": {"baseline": "12.2.0", "candidate": "12.3.5"}}


class Place:
    """A folder with a lab, a release and a scenario."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        self.out = path / "out"
        (path / "mylab.yaml").write_text(LAB)
        (path / "new.yaml").write_text(RELEASE)
        monkeypatch.setenv("PYTEST_ADDOPTS", f"-p tests.unit.validation_stub --rootdir {path} -c /dev/null")
        monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'fixtures'}")
        monkeypatch.setenv("VALIDATION_SCENARIO", str(path / "scenario.json"))
        monkeypatch.setenv("INTEROP_STATE", str(path / "state"))

    def words(self, *words: str, release: str | None = "new.yaml", **changes) -> list[str]:
        """The command line, its scenario written."""
        (self.path / "scenario.json").write_text(json.dumps(SCENARIO | changes))
        argv = [sys.executable, "-m", "harness.cli", "validate", *([release] if release else [])]
        return [*argv, "--lab", "mylab.yaml", "--out", str(self.out), *words]

    def validate(self, *words: str, **changes) -> subprocess.CompletedProcess:
        """The command's exit status and output."""
        argv = self.words(*words, **changes)
        done = subprocess.run(argv, cwd=self.path, capture_output=True, text=True, timeout=300, check=False)
        done.output = done.stdout + done.stderr
        return done

    @contextmanager
    def waiting(self) -> Iterator[tuple[subprocess.Popen, int]]:
        """The command in its second round, which does not end by itself, and that round's process id."""
        argv = self.words("--seed", "3", waits_at=2)
        with subprocess.Popen(
            argv, cwd=self.path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as begun:
            try:
                pid = self.path / "pid"
                wait_for("the second round", lambda: pid.exists() or Pending("the first"), Deadline.after(60))
                yield begun, int(pid.read_text())
            finally:
                begun.kill()

    def calls(self) -> list[dict]:
        """What rounds were called with."""
        return [json.loads(line) for line in (self.path / "calls.jsonl").read_text().splitlines()]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Somewhere to validate in."""
    return Place(tmp_path, monkeypatch)


def changed(check, **more):
    """The scenario's tests with one of them otherwise."""
    return [one | more if one["check"] == check else one for one in GOOD]


def test_a_bad_candidate_fails_with_the_check_the_host_and_what_it_said(place):
    bad = changed("I01", status="failed", reason="no heartbeat for 60 s")
    done = place.validate(candidate=bad)
    assert done.returncode == 1, done.output
    assert "FAIL: I01 services answer on esxi8 (esxi8-a): passes with the baseline and fails with the candidate" in (
        done.stdout
    )
    assert "no heartbeat for 60 s" in done.stdout
    repeated = [call for call in place.calls() if call["checks"] == ["I01"]]
    assert {call["side"] for call in repeated} == {"baseline", "candidate"}


def unread(words: list[str], cwd: Path, *, errors: bool) -> subprocess.CompletedProcess:
    """A command as left of ``| head`` whose reader is gone: its output, and what it says beside it where so told."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        end = writer if errors else subprocess.PIPE
        return subprocess.run(words, cwd=cwd, stdout=writer, stderr=end, text=True, timeout=300, check=False)
    finally:
        os.close(writer)


@pytest.mark.parametrize("errors", [False, True])
def test_a_verdict_stands_though_nobody_reads_it(place, errors):
    """Rounds go on, the evidence is written, and the exit status is the verdict's, not that of a broken pipe."""
    done = unread(place.words(), place.path, errors=errors)
    assert done.returncode == 0, done.stderr
    assert (place.out / "evidence.tar.zst").is_file()
    if not errors:
        assert "Traceback" not in done.stderr
        assert "BrokenPipe" not in done.stderr


def test_a_missing_release_is_bad_input_though_nobody_reads_it(place):
    """The message is lost with its reader, the status is not."""
    assert unread(place.words(release="nosuch.yaml"), place.path, errors=True).returncode == 2


def test_a_killed_validation_goes_on_where_it_was(place):
    """What ended is kept; the round that was killed runs again, and its remains are put aside."""
    killed = place.validate("--seed", "3", killed_at=2)
    assert killed.returncode == 4, killed.output
    assert "the same command goes on from here" in killed.stderr
    assert len(json.loads((place.out / "validation.json").read_text())["rounds"]) == 1
    done = place.validate("--seed", "3")
    assert done.returncode == 0, done.output
    assert done.stdout.startswith("PASS\n")
    first, second, third = [call["side"] for call in place.calls()]
    assert (first, second) != (second, third)
    assert second == third
    assert [path.name for path in (place.out / "rounds").glob("*.1")] == [f"002-{second}.1"]


def test_a_killed_validation_takes_its_round_along(place):
    """Nobody would wait for that pytest, and the hosts it is on would not be free for the next."""
    with place.waiting() as (command, pid):
        assert not ended(pid)
        command.kill()
        wait_for("the round's end", lambda: ended(pid) or Pending("it runs"), Deadline.after(30))
    assert not (place.path / "torn-down").exists(), "SIGKILL leaves nobody the time for that"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_who_asks_it_to_end_is_told_what_is_kept_and_how_to_go_on(place, number, status):
    """The round gives its guests back before the command ends."""
    with place.waiting() as (command, pid):
        command.send_signal(number)
        said, _ = command.communicate(timeout=60)
    assert command.returncode == status, said
    assert ended(pid)
    assert (place.path / "torn-down").exists(), said
    told = f"the rounds that ended, 1; the same command with --out {place.out} goes on with the one that was"
    assert told in " ".join(said.split())
    done = place.validate("--seed", "3")
    assert done.returncode == 0, done.output
    assert len(place.calls()) == 3


def ended(pid: int) -> bool:
    """Whether a process does nothing more."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
