"""``interop validate`` as its users meet it: its own rounds, in processes of their own, of which no guest knows."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

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

    def validate(self, *words: str, release: str | None = "new.yaml", **changes) -> subprocess.CompletedProcess:
        """The command's exit status and output."""
        (self.path / "scenario.json").write_text(json.dumps(SCENARIO | changes))
        argv = [sys.executable, "-m", "harness.cli", "validate", *([release] if release else [])]
        argv += ["--lab", "mylab.yaml", "--out", str(self.out), *words]
        done = subprocess.run(argv, cwd=self.path, capture_output=True, text=True, timeout=300, check=False)
        done.output = done.stdout + done.stderr
        return done

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
