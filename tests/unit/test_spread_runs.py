"""Runs of the plugin with several workers, in a lab whose hosts have no guests: what is kept of them, and said."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness.plugin.scheduling import lower_bound, record
from tests.unit.tiny_lab import OPTIONS, furnish

LAB = """\
hosts:
  near: {backend: tiny, domain: here}
  far: {backend: tiny, domain: here}
networks:
  management: {kind: network, source: x, subnet: 10.78.0.0/16}
"""
CONFTEST = """
from pathlib import Path
from harness.lab import expectations
expectations.shipped = lambda: Path(__file__).parent
"""
SOURCE = """
import json, os, signal
import pytest
from harness.core.waiting import pause

@pytest.fixture(autouse=True)
def witness(request, host):
    yield
    with open("witness", "a") as file:
        line = {"test": request.node.originalname, "host": host.name, "worker": os.environ.get("PYTEST_XDIST_WORKER")}
        file.write(json.dumps(line) + "\\n")

@pytest.mark.shape(vcpus=1)
@pytest.mark.check("ACME-001")
def test_before(host): pause(0.1)

@pytest.mark.shape(vcpus=1)
@pytest.mark.check("ACME-002")
@pytest.mark.parametrize("much", [1, 2])
def test_deadly(host, much):
    if host.name == "near" and much == 1 and "PYTEST_XDIST_WORKER" in os.environ:
        os.kill(os.getpid(), signal.SIGKILL)

@pytest.mark.shape(vcpus=1)
@pytest.mark.check("ACME-003")
@pytest.mark.quiet
def test_after(host): ...

@pytest.mark.shape(vcpus=2)
@pytest.mark.check("ACME-004")
def test_longest(host): pause(0.5)
"""


class Ran:
    """A run that is over."""

    def __init__(self, place: Path, output: str) -> None:
        self.output = output
        self.folder = (place / "out" / "latest").resolve()
        self.known = json.loads((place / "out" / "durations.json").read_text())["tests"]
        self.witness = [json.loads(line) for line in (place / "witness").read_text().splitlines()]
        (place / "witness").unlink()


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of one process, and then a spread one in which a test kills its worker."""
    place = tmp_path_factory.mktemp("runs")
    backend = (Path(__file__).parent / "tiny_backend.py").read_text()
    env = furnish(place, backend, {"lab.yaml": LAB, "conftest.py": CONFTEST, "test_inner.py": SOURCE})

    def run(*arguments: str) -> Ran:
        argv = [sys.executable, "-m", "pytest", *OPTIONS, *arguments]
        done = subprocess.run(argv, cwd=place, env=env, capture_output=True, text=True, timeout=120, check=False)
        return Ran(place, done.stdout + done.stderr)

    return run("--host", "near"), run("-n", "2")


def test_what_tests_took_is_kept_by_number_title_parameters_and_pool(runs):
    alone, _ = runs
    deadly = {f"ACME-002: deadly (much={much})" for much in (1, 2)}
    assert set(alone.known) == {"ACME-001: before", *deadly, "ACME-003: after", "ACME-004: longest"}
    assert alone.known["ACME-004: longest"]["near"][0] > alone.known["ACME-003: after"]["near"][0]


def test_the_next_run_begins_with_what_took_longest(runs):
    _, spread = runs
    first = {line["worker"]: line["test"] for line in reversed(spread.witness)}
    assert first["gw0"] == first["gw1"] == "test_longest"


def test_the_death_is_in_the_results_of_the_test_that_ran(runs):
    _, spread = runs
    found = [json.loads(path.read_text()) for path in (spread.folder / "results").glob("*-result.json")]
    assert [result["name"] for result in found if result["status"] == "broken"] == ["ACME-002 deadly (much=1)"]
    assert sum(result["status"] == "passed" for result in found) == 9


def test_a_dead_workers_tests_teach_nothing(runs):
    alone, spread = runs
    deadly = "ACME-002: deadly (much=1)"
    assert spread.known[deadly]["near"] == alone.known[deadly]["near"]
    assert len(spread.known["ACME-003: after"]["near"]) == 2


def test_the_summary_holds_the_time_against_the_least_possible(runs):
    alone, spread = runs
    [line] = [line for line in spread.output.splitlines() if line.startswith("spread ")]
    assert "on 2 workers" in line
    assert "x the least possible" in line
    assert "spread " not in alone.output


def test_a_spread_run_can_be_played_through_again(runs):
    _, spread = runs
    night = record.read(spread.folder / record.FILE)
    assert {member.host for group in night for member in group.members} == {"near", "far"}
    tests = [task for group in night for task in group.tasks]
    assert len(tests) == 9
    assert {task.name.partition("[")[0] for task in tests if task.quiet} == {"test_inner.py::test_after"}
    assert lower_bound(night, 2) > 0
