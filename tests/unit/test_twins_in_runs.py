"""Runs of pytest in a lab with a twin: the main process starts it, workers find it, and nobody starts one in vain."""

import os
import subprocess
from pathlib import Path

import pytest

from harness.lab import twins
from tests.unit.announcing import announce

pytest_plugins = ["pytester"]
BACKEND = """\
from typing import ClassVar
from harness.backends.registry import HostSettings
from harness.core import LabError
class Settings(HostSettings):
    twin_module: ClassVar = "tiny_twin"
    twin: bool = False
    endpoint: str = "no twin"
    def at_twin(self, record):
        return self.model_copy(update={"endpoint": record["endpoint"]})
def connect(settings, context):
    raise LabError(f"reached {settings.endpoint}")
"""
LAB = """\
hosts: {far: {backend: tiny, twin: true}}
networks: {management: {kind: network, source: x, subnet: 10.78.0.0/16, nat: 127.78.0.0/16}}
"""
TESTS = """
    def test_a_stranger(): ...
    def test_one(host): ...
    def test_two(host): ...
"""


@pytest.fixture
def run(pytester, monkeypatch):
    """Runs an inner pytest; what its host says of the twin stands in its output."""
    place = pytester.path
    (place / "interop_tiny.py").write_text(BACKEND)
    (place / "tiny_twin.py").write_text((Path(__file__).parent / "tiny_twin.py").read_text())
    announce(place, "interop-tiny", "[interop.backends]\ntiny = interop_tiny\n")
    (place / "lab.yaml").write_text(LAB)
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "tiny.qcow2", "1M"], cwd=place, check=True)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(place), *filter(None, [os.environ.get("PYTHONPATH")])]))
    monkeypatch.setenv("INTEROP_STATE", str(place / "state"))
    monkeypatch.setenv("INTEROP_CACHE", str(place / "cache"))
    monkeypatch.delenv(twins.OF_RUN, raising=False)
    pytester.makepyfile(TESTS)
    monkeypatch.chdir(place)

    def run(*arguments: str) -> str:
        options = ["-p", "no:cacheprovider", "--report-dir=out", "--lab=lab.yaml", "--image=tiny.qcow2"]
        done = pytester.runpytest_subprocess(*options, *arguments, timeout=120)
        assert list(twins.known()) == [], "a twin was left behind"
        return "\n".join([*done.outlines, *done.errlines])

    return run


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one process", "workers"])
def test_every_process_of_a_run_reaches_its_one_twin(run, workers):
    """Started once, by the main process, with a line that says so."""
    output = run(*workers)
    assert output.count("starting the twin of far") == 1
    assert "  opening far" in output
    assert "reached 127.0.0.1:4" in output
    assert "no twin" not in output
    assert "1 passed" in output


def test_nobody_starts_a_twin_for_tests_that_need_none(run):
    """A stranger's tests in a lab with a twin cost what they always cost."""
    output = run("-k", "stranger", "-n", "2")
    assert "starting" not in output
    assert "1 passed" in output


def test_why_a_twin_did_not_come_up_stands_in_every_result(run, monkeypatch):
    """And it is tried once: the first test fails by it, the others are not available since."""
    monkeypatch.setenv("TINY_TWIN", "dies")
    output = run("-n", "2")
    assert output.count("starting the twin of far") == 1
    assert "there is no compiler" in output
    assert "1 error" in output
    assert "1 away" in output
    assert "far: not available since" in output


def test_where_a_twin_cannot_be_had_its_tests_are_skipped_and_say_so(run, monkeypatch):
    """A machine without a compiler runs what it can; the reason stands in every result."""
    monkeypatch.setenv("TINY_TWIN", "cannot")
    output = run("-n", "2", "-rs")
    assert "far: there is no compiler" in output
    assert "1 passed, 2 skipped" in output
