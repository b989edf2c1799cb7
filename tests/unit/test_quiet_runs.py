"""Runs of the plugin on hosts that others use while a test measures: a process that burns a processor, no more.

``near`` and ``calm`` are this machine, and tell by its own counters. ``far`` is another: all the work there is that of
a process that the test names, so that whatever else this machine does changes nothing.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness.measure import records
from tests.unit.tiny_lab import OPTIONS, furnish

BACKEND = """
import time
from pathlib import Path
from typing import ClassVar
from harness.backends.views import HostFacts, ProcessorTimes
from harness.backends.registry import HostSettings
from harness.core import GiB

class Settings(HostSettings):
    here: bool = False
    @property
    def local(self):
        return self.here

def spent(pid):
    words = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / 100

class Here:
    def facts(self, deadline):
        return HostFacts("tiny", "1", "1", "kvm", 2, GiB, 8)
    def capabilities(self, shape):
        return frozenset()
    def owned(self, deadline, run=None):
        return []
    def close(self):
        pass

class Elsewhere(Here):
    def load(self, deadline):
        pids = Path("foreign.pid").read_text().split()
        return ProcessorTimes(time.monotonic(), 1, sum(map(spent, pids)), {})

def connect(settings, context):
    return Here() if settings.here else Elsewhere()
"""
LAB = """\
hosts:
  near: {backend: tiny, here: true, foreign_load: 3}
  calm: {backend: tiny, here: true, foreign_load: 100}
  far: {backend: tiny, foreign_load: 3}
networks:
  management: {kind: network, source: x, subnet: 10.78.0.0/16}
"""
CONFTEST = """
from pathlib import Path
from harness.lab import expectations
expectations.shipped = lambda: Path(__file__).parent
"""
SOURCE = """
import os, subprocess, sys, time
import pytest

@pytest.mark.quiet
@pytest.mark.check("ACME-001")
def test_a_figure(host, measure):
    measure("nothing", 1)

@pytest.mark.quiet
@pytest.mark.check("ACME-002")
def test_what_the_run_itself_does(host, measure):
    burn = "import time\\nend = time.process_time() + 1\\nwhile time.process_time() < end: pass"
    began, before = time.monotonic(), os.times()
    burners = [subprocess.Popen([sys.executable, "-c", burn]) for _ in range(os.cpu_count())]
    for burner in burners:
        burner.wait()
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    measure("own", used / (time.monotonic() - began) / os.cpu_count())

@pytest.mark.check("ACME-003")
def test_nobody_measures(host):
    pass
"""
BURN = "import time\nwhile True: time.time()"


class Ran:
    """A run that is over."""

    def __init__(self, place, output):
        self.output = output
        folder = (place / "out" / "latest" / "results").resolve()
        self.results = {}
        for path in folder.glob("*-result.json"):
            found = json.loads(path.read_text())
            self.results.setdefault((found["fullName"], value(found, "host")), []).append(found)
        self.records = records.read(folder)


def value(result, label):
    return next((one["value"] for one in result["labels"] if one["name"] == label), None)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Runs the tests above, with or without a process of somebody else that burns a processor."""
    place = tmp_path_factory.mktemp("quiet")
    env = furnish(place, BACKEND, {"lab.yaml": LAB, "conftest.py": CONFTEST, "test_inner.py": SOURCE})

    def run(*arguments, burn=False):
        burner = subprocess.Popen([sys.executable, "-c", BURN]) if burn else None
        Path(place / "foreign.pid").write_text(str(burner.pid) if burner else "")
        try:
            argv = [sys.executable, "-m", "pytest", *OPTIONS, *arguments]
            done = subprocess.run(argv, cwd=place, env=env, capture_output=True, text=True, timeout=240, check=False)
        finally:
            if burner:
                burner.kill()
                burner.wait()
        return Ran(place, done.stdout + done.stderr)

    return run


@pytest.fixture(scope="module")
def disturbed(run):
    return run("-k", "near or far", "--check", "ACME-001", "--check", "ACME-003", burn=True)


@pytest.fixture(scope="module")
def calm(run):
    return run("-k", "far or calm", "--check", "ACME-001", "--check", "ACME-002")


@pytest.mark.parametrize("host", ["near", "far"])
def test_a_test_that_measured_while_others_worked_is_neither_passed_nor_failed(disturbed, host):
    """By this machine's own counters, and by what a host tells; it says so, with the figures."""
    tries = disturbed.results["ACME-001", host]
    assert {one["status"] for one in tries} == {"unknown"}, disturbed.output
    for one in tries:
        assert value(one, "fault") == "not quiet"
        assert "unknown: not quiet: others used" in one["statusDetails"]["message"]
        assert "the lab allows 3 %" in one["statusDetails"]["message"]


def test_a_test_that_does_not_measure_may_be_disturbed(disturbed):
    for host in ("near", "far"):
        assert [one["status"] for one in disturbed.results["ACME-003", host]] == ["passed"]


def test_without_others_the_same_test_passes_under_the_same_limit(calm):
    assert [one["status"] for one in calm.results["ACME-001", "far"]] == ["passed"], calm.output
    found = next(one.circumstances for one in calm.records if (one.host, one.check) == ("far", "ACME-001"))
    assert (found.foreign_worst or 0, found.foreign_limit, found.disturbed) == (0, 0.03, False)


def test_what_a_run_itself_does_is_not_foreign(calm):
    """Its processes had a share of all processors; others cannot have had more than the rest."""
    found = next(one for one in calm.records if (one.host, one.check) == ("calm", "ACME-002"))
    own, foreign = found.measurement.value, found.circumstances.foreign
    assert own > 0
    assert foreign <= 1 - own + 0.15
    assert [one["status"] for one in calm.results["ACME-002", "calm"]] == ["passed"]
