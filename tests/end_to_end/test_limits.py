"""Limits in whole runs: what only warns passes and is seen, what a lab made of its nights holds, bad files stop all."""

import json
import subprocess
import sys

import pytest

# Opens the host and starts no guest.
SLOW = """
import pytest

@pytest.mark.check("L02")
def test_it_boots(host, expect):
    assert expect.count("L03.rounds") > 0
    took = {took}
    assert expect.limit("L02.boot").allows(took), f"took {{took}} s, not {{expect.limit('L02.boot')}}"
"""
FOREVER = 5000.0


def attached(done) -> dict:
    """What the one result of a run says of limits and sizes."""
    (result,) = done.results
    (one,) = [each for each in result["attachments"] if each["name"] == "limits and sizes"]
    return json.loads((done.folder / "results" / one["source"]).read_text())


def test_a_limit_that_nobody_calibrated_warns_and_keeps_the_value(run):
    done = run(source=SLOW.format(took=FOREVER))
    assert done.of("L02") == ["passed"], done.output
    (result,) = done.results
    assert "beyond a limit" in done.labels(result, "tag")
    assert result["description"].startswith("**Warning**: L02.boot is 5000 s, not at most")
    assert "warn  L02.boot is 5000 s, not at most" in done.output
    told = attached(done)
    assert [(one["key"], one["value"], one["calibrated"]) for one in told["limits"]] == [("L02.boot", FOREVER, False)]
    assert list(told["sizes"]) == ["L03.rounds"]
    facts = json.loads((done.folder / "results" / "pools.json").read_text())["pools"]["kvm"]
    assert "only warn" in facts["Limits"]
    assert facts["Sizes"]


@pytest.fixture
def calibrate(pytester):
    def calibrate(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "harness.cli", "calibrate", str(pytester.path / "out"), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

    return calibrate


def test_a_lab_makes_its_limit_of_its_nights_and_then_it_holds(run, calibrate, pytester):
    """Three nights of some 20 s; then 25 s is well, and a minute is not."""
    for took in (19.0, 20.0, 21.0):
        assert run(source=SLOW.format(took=took)).of("L02") == ["passed"]
    few = calibrate("-o", "own.yaml")
    assert few.returncode == 1
    assert "L02.boot on kvm: 3 samples of 1 night; 17 samples and 2 nights missing" in few.stdout
    own = str(pytester.path / "own.yaml")
    made = calibrate("--samples", "3", "--nights", "1", "-o", own)
    assert made.returncode == 0, made.stderr
    for took, status in ((25.0, "passed"), (60.0, "failed")):
        done = run("--calibration", own, source=SLOW.format(took=took))
        assert done.of("L02") == [status], done.output
    assert "--calibration" in done.output, "the command that repeats it leaves the lab's limits out"
    assert "seen in this lab" in attached(done)["limits"][0]["source"]


def test_a_file_with_a_mistake_stops_the_run_before_anything_is_started(run, pytester):
    own = pytester.path / "own.yaml"
    own.write_text("hosts:\n  kvm:\n    limits:\n      L02.bot: {at_most: 5, unit: s, reason: we say so}\n")
    done = run("--calibration", str(own), source=SLOW.format(took=1.0))
    assert done.status == pytest.ExitCode.USAGE_ERROR
    assert f"{own}:4:7 hosts.kvm.limits.L02.bot: no limit is called so; did you mean 'L02.boot'?" in done.output
