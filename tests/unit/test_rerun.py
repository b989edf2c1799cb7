"""``interop rerun``: which tests it means, what ran before them on their guests, and the run that results join."""

import json
import os
import subprocess
import sys

import pytest

from harness.core import UsageError
from harness.report import cells, ran
from harness.report.ran import Ran
from tests.unit.memory_host import furnish

TESTS = """
import os
from pathlib import Path
import pytest
from harness.core import LabError

def witness(name, host, request):
    image, seed = request.config.getoption("--image"), os.environ.get("INTEROP_SEED")
    with open("witness", "a") as file:
        file.write(f"{name} on {host.name} {image[:8]} {seed}\\n")

@pytest.mark.check("ACME-001")
@pytest.mark.parametrize("n", [1, 2])
def test_first(host, n, request):
    witness(f"first {n}", host, request)

@pytest.mark.check("ACME-002")
def test_second(host, request):
    witness("second", host, request)
    if Path(f"broken-{host.name}").exists():
        raise LabError("no route")

def test_without_number(host, request):
    witness("none", host, request)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a lab, and a run in it whose test ACME-002 failed by the lab on host ``first``, three times."""
    place = tmp_path_factory.mktemp("rerun")
    options = furnish(place)
    (place / "tests").mkdir()
    (place / "tests/test_inner.py").write_text(TESTS)
    (place / "broken-first").touch()
    call(place, "-m", "pytest", *options, "-n1", INTEROP_SEED="7")
    return place


def call(place, *words, **more):
    """Runs Python in that folder."""
    paths = os.pathsep.join([str(place), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    env |= {"PYTHONPATH": paths, "INTEROP_STATE": str(place / "state"), "INTEROP_CACHE": str(place / "cache")} | more
    (place / "witness").unlink(missing_ok=True)
    argv = [sys.executable, *words]
    return subprocess.run(argv, cwd=place, env=env, capture_output=True, text=True, timeout=120, check=False)


def rerun(place, *words):
    """Runs the command: its exit status, what it printed, which tests ran how, and the cells of the run."""
    done = call(place, "-m", "harness.cli", "rerun", *words, "--report-dir", "out")
    seen = (place / "witness").read_text().splitlines() if (place / "witness").exists() else []
    found = {(cell.check[-1], cell.pool): cell for cell in cells.read(place / "out" / "latest").cells}
    return done.returncode, done.stdout + done.stderr, seen, found


def test_what_ran_is_kept_in_order_with_all_that_chooses_it_again(place):
    kept = ran.read(place / "out" / "latest")
    assert len(kept) == 8
    assert [one.status for one in kept if one.check == "ACME-002"] == ["lab", "passed"]
    one = next(one for one in kept if (one.check, one.host) == ("ACME-002", "first"))
    image = json.loads((place / "out/latest/results/pools.json").read_text())["digest"]
    assert one.options == ("--lab", "lab.yaml", "--host", "first", "--image", image)
    assert one.seed == "7"
    assert (one.root, one.where) == (str(place), str(place))


def test_a_check_runs_again_on_its_host_with_its_image_and_joins_the_run(place):
    """Both hosts' results stay, and a pass after the lab's failures is flaky."""
    run = (place / "out" / "latest").resolve()
    image = json.loads((run / "results/pools.json").read_text())["digest"]
    (place / "broken-first").unlink()
    status, output, seen, found = rerun(place, run.name, "ACME-002@first")
    assert status == 0, output
    assert seen == [f"second on first {image[:8]} 7"]
    assert (place / "out" / "latest").resolve() == run
    assert len([path for path in (place / "out").iterdir() if path.is_dir()]) == 2, "the run, and the link to it"
    assert (found["2", "first"].status, found["2", "first"].earlier) == ("flaky", ("lab",) * 3)
    assert "ACME-002 second on first: flaky (tries before: lab, lab, lab)" in output
    assert {(found["2", "second"].status, found["1", "second"].status)} == {("passed", "passed")}
    told = json.loads((run / "results/pools.json").read_text())
    assert told["run"] == run.name
    assert {host["name"] for host in told["hosts"]} >= {"first"}


def test_without_a_host_it_runs_on_all_that_had_it(place):
    _, _, seen, _ = rerun(place, "latest", "ACME-001")
    assert sorted(line.partition(" on ")[0] for line in seen) == ["first 1", "first 1", "first 2", "first 2"]
    assert len({line.split()[3] for line in seen}) == 2


def test_with_before_runs_what_shared_its_guest_in_that_order_first(place):
    (place / "broken-first").unlink(missing_ok=True)  # no other test of this file need have run
    path = (place / "out" / "latest").resolve() / ran.FILE
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        shared = line["host"] == "first" and not line["test"].endswith("first-1]")
        line["guests"] = ["slot.1"] if shared else ["slot.2"]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    _, output, seen, _ = rerun(place, "latest", "test_without_number@first", "--with-before")
    assert [line.partition(" on ")[0] for line in seen] == ["first 2", "second", "none"], output


def test_a_check_that_did_not_run_is_told_with_those_that_did(place):
    status, output, _, _ = rerun(place, "latest", "ACME-009")
    assert status == 1
    assert "interop: no ACME-009 ran on a host in this run" in output
    assert "ACME-001@first, " in output


def test_a_run_of_an_older_version_is_told(tmp_path):
    with pytest.raises(UsageError, match="runs of older versions cannot be repeated so"):
        ran.read(tmp_path)


def test_what_ran_before_is_what_shared_a_guest_as_it_was(tmp_path):
    """Not what had another guest, or the same one before it was reverted; half a line of a killed run is no test."""
    for name, guests in (("a", ["g.1"]), ("b", ["g.2"]), ("c", ["h.1", "g.2"]), ("b", ["g.2"]), ("d", ["g.2"])):
        ran.note(tmp_path, Ran(name, "", "pool", "host", "passed", (), tuple(guests)))
    with (tmp_path / ran.FILE).open("a") as file:
        file.write('{"test": "half')
    tests = ran.read(tmp_path)
    (last,) = ran.chosen(tests, "d@pool")
    assert [one.test for one in ran.before(tests, last)] == ["b", "c"]
