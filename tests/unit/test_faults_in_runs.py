"""Faults around a whole run: its twin is killed, its clock is set, its cache is removed. No result is lost by them."""

import json
import os
import subprocess
import sys

import pytest

from harness.lab import twins
from harness.report import cells
from tests.unit.memory_host import furnish

TWIN = """\
import json, socket, sys, threading
json.loads(sys.stdin.readline())
line = socket.create_server(("127.0.0.1", 0))
def serve():
    while True:
        line.accept()[0].close()
threading.Thread(target=serve, daemon=True).start()
print(json.dumps({"kind": "tiny", "endpoint": line.getsockname()[1]}), flush=True)
sys.stdin.read()
"""
BACKEND = """\
import socket
from typing import ClassVar
from harness.backends.views import HostFacts
from harness.backends.registry import HostSettings
from harness.core import GiB, LabError
class Settings(HostSettings):
    twin_module: ClassVar = "doomed_twin"
    twin: bool = False
    port: int = 0
    def at_twin(self, record):
        return self.model_copy(update={"port": record["endpoint"]})
class Host:
    def __init__(self, port):
        self.port = port
    def ask(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
        except OSError as error:
            raise LabError(f"cannot be reached: {error.strerror}", hint="is it up?") from error
    def facts(self, deadline):
        self.ask()
        return HostFacts("tiny", "1", "1", "none", 2, GiB, 8, twin=True)
    def capabilities(self, shape):
        return frozenset()
    def owned(self, deadline, run=None):
        self.ask()
        return []
    def close(self):
        pass
def connect(settings, context):
    return Host(settings.port)
"""
KILLED = """\
import os, signal
import pytest
from harness.lab import twins

@pytest.mark.check("ACME-001")
def test_before(host): host.hypervisor.ask()

@pytest.mark.check("ACME-002")
def test_kills(host):
    (twin,) = twins.known()
    os.kill(twin.pid, signal.SIGKILL)
    while True:
        host.hypervisor.ask()

@pytest.mark.check("ACME-003")
@pytest.mark.parametrize("n", range(5))
def test_after(host, n): host.hypervisor.ask()
"""
CLOCK = """\
import time
ahead, real = 0, time.time
time.time = lambda: real() + ahead  # whatever the process asks for the time of day from now on; monotonic clocks go on
"""
STEPPED = """\
import stepping, time
from pathlib import Path
import pytest
from harness.core import LabError

def step(by):
    before = time.time()
    stepping.ahead = by
    assert abs(time.time() - before) > 3000, "the clock was not set"

@pytest.mark.check("ACME-001")
def test_before(host): pass

@pytest.mark.check("ACME-002")
def test_an_hour_ahead(host): step(3600)

@pytest.mark.check("ACME-003")
def test_back_between_two_tries(host):
    if not Path("tried").exists():
        Path("tried").touch()
        step(0)
        raise LabError("once")

@pytest.mark.check("ACME-004")
def test_an_hour_back(host): step(-3600)

@pytest.mark.check("ACME-005")
@pytest.mark.quiet
def test_after(host): pass
"""
REMOVED = """\
import os, shutil
import pytest

@pytest.mark.check("ACME-001")
def test_before(host): pass

@pytest.mark.check("ACME-002")
def test_removes(host): shutil.rmtree(os.environ["INTEROP_CACHE"])

@pytest.mark.check("ACME-003")
def test_after(host): pass
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs an inner pytest over this source: its exit status, its output, and cells by check's last digit."""
    monkeypatch.setenv("INTEROP_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("INTEROP_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(twins.OF_RUN, raising=False)

    def run(source, *options):
        (tmp_path / "test_inner.py").write_text(source)
        paths = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
        env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        env |= {"PYTHONPATH": paths}
        argv = [sys.executable, "-m", "pytest", *options]
        done = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120, check=False)
        found = {}
        for cell in cells.read(tmp_path / "out" / "latest").cells:
            found.setdefault(cell.check[-1], []).append(cell)
        return done.returncode, done.stdout + done.stderr, found

    return run


def test_a_twin_that_is_killed_costs_one_test(run, tmp_path):
    """Its host is not available from then on; that is the lab's fault, and what was done before stays."""
    options = furnish(tmp_path)
    (tmp_path / "memory_backend.py").write_text(BACKEND)
    (tmp_path / "doomed_twin.py").write_text(TWIN)
    networks = "networks: {management: {kind: network, source: x, subnet: 10.78.0.0/16, nat: 127.78.0.0/16}}\n"
    (tmp_path / "lab.yaml").write_text("hosts: {far: {backend: kvm, twin: true}}\n" + networks)
    status, output, found = run(KILLED, *options)
    assert status == pytest.ExitCode.TESTS_FAILED, output
    assert [cell.status for cell in found["1"]] == ["passed"]
    assert [(cell.status, cell.earlier) for cell in found["2"]] == [("lab", ())]
    assert "cannot be reached" in found["2"][0].reason
    assert [cell.status for cell in found["3"]] == ["away"] * 5
    assert "not available since" in found["3"][0].reason


def test_a_controllers_clock_that_is_set_by_an_hour_ends_nothing(run, tmp_path):
    """Ahead and back, also between two tries of a test: the last one counts, whatever the clock says."""
    (tmp_path / "stepping.py").write_text(CLOCK)
    status, output, found = run(STEPPED, "-p", "stepping", *furnish(tmp_path), "--host", "first")
    assert status == 10, output
    assert {check: cell.status for check, (cell,) in found.items()} == {
        "1": "passed",
        "2": "passed",
        "3": "flaky",
        "4": "passed",
        "5": "passed",
    }
    assert all(0 <= cell.duration < 60 for (cell,) in found.values())


def test_a_cache_that_is_removed_under_a_run_costs_no_result(run, tmp_path):
    status, output, found = run(REMOVED, *furnish(tmp_path), "--host", "first")
    assert status == 0, output
    assert {check: cell.status for check, (cell,) in found.items()} == dict.fromkeys("123", "passed")
    assert json.loads((tmp_path / "out/latest/results/pools.json").read_text())["digest"]
