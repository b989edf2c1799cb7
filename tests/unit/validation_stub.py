"""A plugin for pytest that takes the place of a run: it writes the results that a scenario says, and starts nothing.

``PYTEST_ADDOPTS=-p tests.unit.validation_stub`` and ``VALIDATION_SCENARIO=FILE`` turn `interop validate`'s own rounds
into these; command line, subprocess and folders stay what they are.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from harness.validation.cells import SideName
from tests.unit.validation_sample import Test, host, record

NOISE = 0.01


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int:
    """The round: what the scenario says of this side, and every call is noted."""
    scenario = Path(os.environ["VALIDATION_SCENARIO"])
    told = json.loads(scenario.read_text())
    release, checks = config.getoption("--release") or "", config.getoption("interop_checks")
    side = SideName(release.rpartition("@")[2]) if release else SideName.BASELINE
    calls = scenario.with_name("calls.jsonl")
    number = len(calls.read_text().splitlines()) + 1 if calls.exists() else 1
    with calls.open("a") as file:
        file.write(
            json.dumps({"side": side, "release": release, "checks": checks, "host": config.getoption("interop_host")})
        )
        file.write("\n")
    sys.stdout.write(f"round {number} on the controller of {told.get('owner', 'nobody')}\n")
    if number == told.get("killed_at"):
        os.abort()
    if number == told.get("waits_at"):
        _wait(scenario.parent)
    noise = random.Random(number)
    tests = []
    for one in told[side]:
        if any(fnmatchcase(one["check"], pattern) for pattern in checks):
            figures = {name: value * (1 + noise.gauss(0, NOISE)) for name, value in one.get("figures", {}).items()}
            status = one.get("statuses", {}).get(str(number), one.get("status", "passed"))
            fields = {key: value for key, value in one.items() if key not in ("statuses", "figures", "status")}
            tests.append(Test(**fields, status=status, figures=figures))
    if not tests:
        return pytest.ExitCode.NO_TESTS_COLLECTED
    facts = {"services": {"open-vm-tools": told["versions"][side]}, **told.get("host", {})}
    results = Path(config.getoption("--report-dir")) / f"run{number}" / "results"
    record(results, tests, [host(**facts)], side, number)
    return pytest.ExitCode.TESTS_FAILED if any(test.status != "passed" for test in tests) else pytest.ExitCode.OK


def _wait(folder: Path) -> None:
    """As a round that takes hours; its teardown leaves a file."""
    try:
        (folder / "pid.new").write_text(str(os.getpid()))
        (folder / "pid.new").rename(folder / "pid")
        while True:
            signal.pause()
    finally:
        (folder / "torn-down").touch()
