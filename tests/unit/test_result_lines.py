"""What runs tell programs: results.jsonl by its schema, JUnit's properties, and exporters that are installed."""

import csv
import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator

from harness import __version__
from harness.cli import interop
from harness.report import cells, layout, lines
from harness.report.summary import Verdict
from tests.unit.memory_host import furnish

ROOT = Path(__file__).resolve().parents[2]
CSV = ROOT / "docs" / "exporter"
TESTS = """
import os, signal
import pytest
from harness.core import LabError
from harness.measure import Better

@pytest.mark.check("ACME-001")
@pytest.mark.parametrize("n", [1, 2])
def test_it_holds(host, n, measure):
    measure("latency", 0.25, unit="s", better=Better.LOWER, samples=[0.2, 0.3])
    assert n == 1, "two is <not> one: \\x1b[31m"

@pytest.mark.check("ACME-002", part="cold")
def test_it_waits(host):
    pytest.skip("nothing to wait for")

@pytest.mark.check("ACME-003")
def test_it_lives(host):
    if "PYTEST_XDIST_WORKER" in os.environ:
        os.kill(os.getpid(), signal.SIGKILL)

@pytest.mark.check("ACME-004")
def test_it_says_too_much(host):
    print("the password is hunter22")
    raise LabError("wrong password: hunter22")

def test_a_stranger(record_property):
    record_property("own", "kept")
"""
CONFTEST = """
import pytest
from harness.plugin.state import KEY

@pytest.fixture(autouse=True)
def secret(request):
    state = request.config.stash[KEY]
    if state.session is not None:
        state.redactor.register("hunter22")
"""


class Ran:
    """A run that is over."""

    def __init__(self, place, done):
        self.place, self.output, self.status = place, done.stdout + done.stderr, done.returncode
        self.folder = (place / "out" / "latest").resolve()
        self.read = lines.read(self.folder / lines.FILE)
        junit = ET.parse(place / "junit.xml").getroot()
        self.properties = {
            case.get("name"): {one.get("name"): one.get("value") for one in case.iter("property")}
            for case in junit.iter("testcase")
        }
        self.junit = (place / "junit.xml").read_text()

    def of(self, check, pool="first", **params):
        said = {name: str(value) for name, value in params.items()}
        found = [one for one in self.read.results if (one["check"], one["pool"]) == (check, pool)]
        (one,) = [one for one in found if said.items() <= one["params"].items()]
        return one


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of one process that exports, and one of workers, in which a test kills its own."""
    place = tmp_path_factory.mktemp("runs")
    options = furnish(place, first=", down: false", second=", down: true")
    # As a lab would install it, though not into this Python.
    argv = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run([*argv, "--target", str(place / "installed"), str(CSV)], check=True, capture_output=True)
    (place / "conftest.py").write_text(CONFTEST)
    (place / "test_inner.py").write_text(TESTS)
    paths = [str(place), str(place / "installed"), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    env |= {"PYTHONPATH": os.pathsep.join(paths)}
    env |= {"INTEROP_STATE": str(place / "state"), "INTEROP_CACHE": str(place / "cache")}

    def run(*arguments):
        argv = [sys.executable, "-m", "pytest", *options, "--junitxml=junit.xml", *arguments]
        done = subprocess.run(argv, cwd=place, env=env, capture_output=True, text=True, timeout=120, check=False)
        return Ran(place, done)

    return run("--export", "csv=nights.csv", "--export", "csv=/nowhere/nights.csv"), run("-n", "2")


def schema():
    return json.loads((layout.settings() / "result.schema.json").read_text())


def test_every_line_is_what_the_schema_says(runs):
    """Of both runs, whatever became of the test; and the schema names every key."""
    for ran in runs:
        assert ran.read.damaged == []
        assert len(ran.read.results) == 10, ran.output
        for one in ran.read.results:
            Draft202012Validator(schema()).validate(one)
            assert set(one) == set(schema()["properties"]) == set(schema()["required"])


def test_the_schema_knows_every_verdict():
    assert {verdict.value for verdict in Verdict} <= set(schema()["properties"]["status"]["enum"])


@pytest.mark.parametrize("change", [{"status": "fine"}, {"at": 7}, {"params": {"n": 1}}, {"attempt": 0}, {"pool": ""}])
def test_the_schema_refuses_what_is_none(runs, change):
    assert list(Draft202012Validator(schema()).iter_errors(runs[0].read.results[0] | change))


def test_a_line_tells_of_test_host_image_and_harness(runs):
    """In both kinds of run the same, but for worker and times."""
    for ran, worker in zip(runs, ("", "gw"), strict=True):
        one = ran.of("ACME-001", n=2)
        assert (one["status"], one["title"], one["test"]) == (
            "failed",
            "it holds",
            "test_inner.py::test_it_holds[first-2]",
        )
        assert (one["product"], one["version"], one["build"]) == ("Memory Host", "8.0", "17763.1")
        assert one["image"]["name"] == "tiny"
        assert len(one["image"]["digest"]) == 64
        assert (one["harness"], one["source"][:2], one["run"]) == (__version__, "1:", ran.folder.name)
        assert one["worker"].startswith(worker)
        assert one["measurements"] == [{"name": "latency", "value": 0.25, "unit": "s", "better": "lower"}]
        assert one["repeat"].startswith("pytest ")
        assert ran.of("ACME-002")["part"] == "cold"
        assert ran.of("ACME-001", n=1)["measurements"]


def test_lines_and_allures_results_tell_the_same(runs):
    for ran in runs:
        found = cells.read(ran.folder).cells
        told = {(one["check"], one["pool"], tuple(one["params"].items())): one["source"] for one in ran.read.results}
        assert {(cell.check, cell.pool, cell.params): cell.source for cell in found} == told


def test_a_host_that_is_down_and_a_worker_that_died_have_their_lines(runs):
    alone, spread = runs
    assert (alone.of("ACME-003", "second")["status"], alone.of("ACME-003", "second")["host"]) == ("away", "second")
    died = spread.of("ACME-003")
    assert (died["status"], died["test"]) == ("failed", "test_inner.py::test_it_lives[first]")
    assert "crashed" in died["reason"]
    assert died["source"] == alone.of("ACME-003")["source"]


def test_junit_says_what_a_test_ran_on_and_nothing_of_our_own_bookkeeping(runs):
    for ran in runs:
        said = ran.properties["test_it_holds[first-1]"]
        assert said["check"] == "ACME-001"
        assert (said["pool"], said["host"], said["host_build"], said["harness"]) == (
            "first",
            "first",
            "17763.1",
            __version__,
        )
        assert said["image"].startswith("tiny ")
        assert "interop" not in said
        assert ran.properties["test_a_stranger"] == {"own": "kept"}


def test_a_secret_is_in_none_of_what_a_run_tells(runs):
    """Neither in the lines nor in JUnit nor on the terminal, and of what was around it nothing is missing."""
    for ran in runs:
        assert ran.of("ACME-004")["reason"] == "wrong password: ********"
        assert "the password is ********" in ran.output
        for text in (ran.junit, ran.output, (ran.folder / lines.FILE).read_text()):
            assert "hunter22" not in text


def test_an_installed_exporter_gets_the_results_and_one_that_fails_harms_nothing(runs):
    """The package of the documentation, installed by pip; its other target cannot be written."""
    alone, _ = runs
    rows = list(csv.DictReader((alone.place / "nights.csv").read_text().splitlines()))
    assert [(row["check"], row["status"]) for row in rows] == [
        (one["check"], one["status"]) for one in alone.read.results
    ]
    assert "csv: 10 rows in nights.csv" in alone.output
    assert "export csv failed" in alone.output
    assert "cannot be written: No such file or directory" in alone.output
    assert alone.status == 1


def test_an_exporter_that_is_not_there_is_told_before_anything_runs(tmp_path):
    """And the command that does it afterwards says the same."""
    options = furnish(tmp_path)
    (tmp_path / "test_inner.py").write_text("def test_it(host): pass")
    env = {**os.environ, "INTEROP_STATE": str(tmp_path / "s"), "INTEROP_CACHE": str(tmp_path / "c")}
    env["PYTHONPATH"] = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    argv = [sys.executable, "-m", "pytest", *options, "--export", "influx=x"]
    done = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 4
    assert "no exporter is called 'influx'; none is installed" in done.stdout + done.stderr
    (tmp_path / "results.jsonl").write_text("")
    again = CliRunner().invoke(interop, ["export", str(tmp_path), "--to", "influx"])
    assert "no exporter is called 'influx'" in str(again.exception)


def test_half_a_line_and_one_of_a_newer_harness_are_told_and_spoil_no_other(tmp_path):
    """A full disk leaves the one, a colleague's update the other."""
    path = tmp_path / "results.jsonl"
    one = {"format": 1, "pool": "kvm", "status": "passed", "title": "it is"}
    lines.append(path, one)
    with path.open("a") as file:
        file.write('{"format": 1, "pool"')
    lines.append(path, one)
    lines.append(path, one | {"format": 2})
    read = lines.read(path)
    assert read.results == [one, one]
    assert [words.split(": ")[0] for words in read.damaged] == [f"{path}:2", f"{path}:4"]
    assert "a newer one wrote it" in read.damaged[1]
