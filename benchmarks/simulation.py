"""Runs of pytest over simulated hosts, watched from inside: what the harness itself costs, test by test."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
RECORDED = ROOT / "docs/accepted/kvm-qemu-7.2.22-libvirt-9.0.0-tcg.json"
FACTS = 64
"""Facts that each reading test reads, in one command."""
_ALIKE = ("test_that_reads", "test_bare")
MIX = 10
"""Tests come in tens: seven that read, one each that changes its guest, asks for another shape, and measures."""

_CONFTEST = """
import json, os, pathlib, re, time, pytest
from harness.lab import expectations

expectations.shipped = lambda: pathlib.Path(__file__).parent
MOMENTS, FACTS, BEGAN = [], [], time.process_time()

@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_pyfunc_call(pyfuncitem):
    began = time.monotonic(), time.process_time()
    try:
        return (yield)
    finally:
        place = getattr(pyfuncitem, "callspec", None)
        what = [pyfuncitem.originalname, place.params.get("host") if place else None]
        MOMENTS.append((*began, time.monotonic(), time.process_time(), what))

@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session):  # later, a worker of xdist may be cut off at any moment
    yield
    # Not getrusage: what it calls the most that a program had counts the process that it was started by, too.
    most = re.search("VmHWM:[^0-9]*([0-9]+) kB", pathlib.Path("/proc/self/status").read_text())
    name = os.environ.get("PYTEST_XDIST_WORKER", "main")
    said = {"moments": MOMENTS, "facts": FACTS, "cpu": time.process_time(), "memory": int(most[1]) << 10}
    pathlib.Path(__file__).with_name(f"seen-{name}.json").write_text(json.dumps(said))
"""
_TESTS = """
import time
import pytest
from conftest import FACTS
from harness.core.waiting import pause
from harness.guest import Probe

ASKED = [Probe.file(f"/proc/sys/kernel/fact{{number}}", bytes.strip) for number in range({facts})]
TENS = range({tens})

@pytest.mark.parametrize("number", range({reads}))
def test_that_reads(guest, number):
    began = time.monotonic()
    assert len(guest.read_all(*ASKED)) == {facts}
    FACTS.append(time.monotonic() - began)

@pytest.mark.shape(vcpus=4)
@pytest.mark.parametrize("number", TENS)
def test_of_another_shape(guest, number):
    assert guest.name

@pytest.mark.quiet
@pytest.mark.parametrize("number", TENS)
def test_that_measures(guest, measure, number):
    measure("nothing", number, unit="s", samples=[1, 2, 3])

@pytest.mark.changes_guest
@pytest.mark.parametrize("number", TENS)
def test_that_changes_its_guest(guest, number):
    assert guest.name
"""
_BARE = """
import pytest

@pytest.mark.parametrize("number", range({tests}))
def test_bare(number):
    assert number >= 0
"""
_NIGHT = """
import json
from pathlib import Path
import pytest
from harness.core.waiting import pause

SECONDS = json.loads(Path(__file__).with_name("seconds.json").read_text())

@pytest.mark.parametrize("number", range(len(SECONDS["shared"])))
def test_shared(guest, number):
    pause(SECONDS["shared"][number])

@pytest.mark.parametrize("number", range(len(SECONDS["own"])))
def test_own(guests, number):
    guests.start()
    pause(SECONDS["own"][number])

@pytest.mark.shape(vcpus=4)
@pytest.mark.parametrize("number", range(len(SECONDS["shape"])))
def test_shape(guest, number):
    pause(SECONDS["shape"][number])

@pytest.mark.quiet
@pytest.mark.parametrize("number", range(len(SECONDS["quiet"])))
def test_quiet(guest, number):
    pause(SECONDS["quiet"][number])
"""


@dataclass(frozen=True, slots=True)
class Seen:
    """What one run came to.

    Args:
        tests: how many there were, on all hosts.
        between: processor seconds between the end of a test's body and the beginning of the next, where both are alike
            and on one host: lending, hooks, results.
        opening: the same where the next is on another host: its opening and its first guest are in it.
        cpu: processor seconds of all of the run, in its main process and in workers.
        memory: the most memory of its main process, in bytes.
        facts: seconds of each reading of :data:`FACTS` facts.
        boots: guests that were booted from power-off.
        fewest: boots that no order of these tests can go below: one of each host and shape.
        spread: the makespan over the least possible, as the run's summary says; None without workers.
    """

    tests: int
    between: tuple[float, ...]
    opening: tuple[float, ...]
    cpu: float
    memory: int
    facts: tuple[float, ...]
    boots: int
    fewest: int
    spread: float | None


@contextmanager
def place(hosts: int, scale: float) -> Iterator[Simulation]:
    """A folder with a lab of so many simulated hosts.

    Args:
        hosts: how many, each a pool and a capacity domain of its own.
        scale: what recorded times are multiplied by.
    """
    with TemporaryDirectory(prefix="interop-night-") as name:
        folder = Path(name)
        info = folder / "interop_simulated-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: interop-simulated\nVersion: 1\n")
        (info / "entry_points.txt").write_text("[interop.backends]\nsimulated = benchmarks.simulated\n")
        keys = f"backend: simulated, recorded: {RECORDED}, scale: {scale}, log: {folder / 'log'}"
        lines = [f"  host{number:02}: {{{keys}}}" for number in range(hosts)]
        network = "networks:\n  management: {kind: switch, subnet: 10.78.0.0/16}\n"
        (folder / "lab.yaml").write_text("\n".join(["hosts:", *lines, network]))
        (folder / "simulated.yaml").write_text("rules: [{}]\n")
        (folder / "conftest.py").write_text(_CONFTEST)
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "tiny.qcow2", "1M"], cwd=folder, check=True)
        yield Simulation(folder)


@dataclass(frozen=True, slots=True)
class Simulation:
    """Runs tests over the lab in a folder."""

    folder: Path

    def mixed(self, tests: int, *options: str) -> Seen:
        """So many tests a host, in tens of :data:`MIX`."""
        tens = tests // MIX
        self._remember(tests)
        return self._run("test_night.py", _TESTS.format(facts=FACTS, tens=tens, reads=tests - 3 * tens), *options)

    def _remember(self, tests: int) -> None:
        """So many other tests ran here before: what they took is known, and says nothing of those that come."""
        (self.folder / "out").mkdir(exist_ok=True)
        known = {f"OLD-{number:03}: a test of yesterday": {"host00": [1.0, 2.0, 3.0]} for number in range(tests)}
        (self.folder / "out/durations.json").write_text(json.dumps({"version": 1, "tests": known}))

    def bare(self, tests: int) -> Seen:
        """Tests that ask for nothing: what pytest itself costs."""
        return self._run("test_bare.py", _BARE.format(tests=tests))

    def night(self, seconds: dict[str, list[float]], workers: int) -> Seen:
        """Tests that take so long, by how they use guests; twice: the first run teaches how long they take."""
        (self.folder / "seconds.json").write_text(json.dumps(seconds))
        self._run("test_night.py", _NIGHT, "-n", str(workers))
        return self._run("test_night.py", _NIGHT, "-n", str(workers))

    def _run(self, name: str, source: str, *options: str) -> Seen:
        """Run one module.

        Raises:
            RuntimeError: not all of its tests passed; with the end of what pytest said.
        """
        folder = self.folder
        (folder / name).write_text(source)
        (folder / "log").write_text("")
        for old in folder.glob("seen-*.json"):
            old.unlink()
        paths = [str(folder), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        own = {"INTEROP_STATE": str(folder / "state"), "INTEROP_CACHE": str(folder / "cache")}
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        environment = kept | own | {"PYTHONPATH": os.pathsep.join(paths)}
        argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, f"--rootdir={folder}"]
        argv += ["--report-dir=out", "--lab=lab.yaml", "--image=tiny.qcow2", *options, name]
        done = subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(
                f"the inner pytest ended with {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-999:]}"
            )
        seen = {path.stem.removeprefix("seen-"): json.loads(path.read_text()) for path in folder.glob("seen-*.json")}
        log = [json.loads(line) for line in (folder / "log").read_text().splitlines()]
        moments = [moment for one in seen.values() for moment in one["moments"]]
        pairs = [pair for one in seen.values() for pair in pairwise(one["moments"])]
        spread = re.search(r"([\d.]+) x the least possible", done.stdout)
        return Seen(
            tests=len(moments),
            between=tuple(next_[1] - last[3] for last, next_ in pairs if next_[4] == last[4] and next_[4][0] in _ALIKE),
            opening=tuple(next_[1] - last[3] for last, next_ in pairs if next_[4][1] != last[4][1]),
            cpu=sum(one["cpu"] for one in seen.values()),
            memory=max(one["memory"] for one in seen.values()),
            facts=tuple(second for one in seen.values() for second in one["facts"]),
            boots=sum(line["how"] == "boot" for line in log),
            fewest=len({(line["host"], line["shape"]) for line in log}),
            spread=float(spread[1]) if spread else None,
        )
