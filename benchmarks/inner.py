"""Whole runs of pytest, watched from inside: when each test began and ended."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

# CLOCK_MONOTONIC is one clock for all processes of a machine, so parent and child can be compared.
_CONFTEST = """
import json, pathlib, time, pytest

MOMENTS = []

@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_pyfunc_call(pyfuncitem):
    began = time.monotonic()
    try:
        return (yield)
    finally:
        MOMENTS.append((began, time.monotonic()))

def pytest_unconfigure(config):
    pathlib.Path(__file__).with_name("moments.json").write_text(json.dumps(MOMENTS))
"""
_TESTS = """
import pytest

@pytest.mark.parametrize("number", range({count}))
def test_trivial(guest, number):
    assert guest.name
"""


@dataclass(frozen=True, slots=True)
class InnerRun:
    """One run of pytest: when the command started, and each test's beginning and end (monotonic seconds)."""

    started: float
    moments: tuple[tuple[float, float], ...]

    @property
    def first_test(self) -> float:
        """From the command to the first test's first line."""
        return self.moments[0][0] - self.started

    @property
    def gaps(self) -> tuple[float, ...]:
        """From each test's end to the next one's beginning."""
        return tuple(following[0] - previous[1] for previous, following in pairwise(self.moments))


def run(count: int, *options: str) -> InnerRun:
    """Run ``count`` trivial tests that read a guest nobody changes.

    Raises:
        RuntimeError: not all of them ran and passed; with the end of what pytest said.
    """
    with tempfile.TemporaryDirectory(prefix="interop-bench-") as name:
        folder = Path(name)
        (folder / "conftest.py").write_text(_CONFTEST)
        (folder / "test_trivial.py").write_text(_TESTS.format(count=count))
        argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", name]
        argv += ["--report-dir", str(folder / "out"), *options, name]
        started = time.monotonic()
        done = subprocess.run(argv, cwd=name, capture_output=True, text=True, timeout=1800, check=False)
        if done.returncode != 0:
            raise RuntimeError(
                f"the inner pytest ended with {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-1000:]}"
            )
        moments = json.loads((folder / "moments.json").read_text())
    return InnerRun(started, tuple((begin, end) for begin, end in moments))
