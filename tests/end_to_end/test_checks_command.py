"""``interop checks``: what would run, told by the hosts themselves, and no guest is started for it."""

import json
import subprocess
import sys
from pathlib import Path

from harness.lab.journal import entries
from harness.lab.store import open_store
from tests.end_to_end.defects import ALL, IN_GUESTS_OF_TWINS

ROOT = Path(__file__).resolve().parents[2]


def checks(*words: str, host: str = "kvm") -> subprocess.CompletedProcess[str]:
    of_one = ["--host", host] if host else []
    command = [sys.executable, "-m", "harness.cli", "checks", *of_one, *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)


def test_every_check_is_listed_with_what_keeps_it_from_running(image, monkeypatch, tmp_path):
    monkeypatch.setenv("INTEROP_STATE", str(tmp_path / "state"))  # others write into the session's journal meanwhile
    done = checks("--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    rows = {(row["check"], row["title"]): row for row in told["checks"]}
    sources = "".join(path.read_text(encoding="utf-8") for path in ROOT.glob("suites/*/test_*.py"))
    assert len(rows) == sources.count("@pytest.mark.check(")
    assert {row["column"] for row in rows.values()} == {"kvm"}
    assert rows["I01", "the hypervisor is recognised"]["why_not"] == ""
    assert (
        "never reports that an emulated CPU is unplugged" in rows["C10", "vcpus are removed while running"]["why_not"]
    )
    (clock,) = told["clocks"]
    assert clock["column"] == "kvm"
    assert 0 < clock["uncertainty"] < 1
    assert clock["too_coarse_for"] == []
    in_force = {row["key"]: row for row in told["limits"]}
    assert (in_force["T17.late"]["warns"], in_force["L05.ticks"]["warns"]) == (True, False)
    assert in_force["N02.transfer"]["value"].endswith("iB")
    assert not {key for key in in_force if key.startswith(("host.", "guest."))}
    assert list(entries(open_store())) == [], "something was made on the host"


def test_no_defect_is_planted_where_its_check_is_skipped(image):
    """It would be in the table of those that are caught, and nothing would have caught it.

    The list is of guests that start by BIOS, as a run is by itself.
    """
    told = json.loads(checks("--json", host="").stdout)["checks"]
    runs = {(row["column"], row["title"]) for row in told if not row["why_not"]}
    by_bios = (one for one in (*ALL, *IN_GUESTS_OF_TWINS) if one.firmware == "bios")
    planted = {(one.host, one.test.removeprefix("test_").replace("_", " ")) for one in by_bios}
    assert {column for column, _ in planted} == {"kvm", "vsphere", "hyperv"}
    assert not planted - runs


def test_limits_in_force_are_shown_with_the_labs_own(image, tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text("hosts: {kvm: {limits: {L02.boot: {at_most: 7, unit: s, reason: our disks are fast}}}}\n")
    done = checks("--limits", "--calibration", str(own), "-k", "test_it_boots")
    assert done.returncode == 0, done.stderr
    (row,) = [line for line in done.stdout.splitlines() if line.startswith("L02.boot")]
    assert row.split() == ["L02.boot", "kvm", "at", "most", "7", "s", "fails", "our", "disks", "are", "fast"]


def test_words_that_select_nothing_are_said_so():
    done = checks("-k", "nosuchcheck")
    assert done.returncode == 1
    assert "nothing was selected" in done.stderr
