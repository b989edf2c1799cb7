"""Accepting a host: the contract of backends is run on it.

The contract itself (``tests/contract``) is part of the source and not of an installed wheel.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from harness.backends.views import Owned
from harness.core import Deadline, LabError, UsageError
from harness.lab.acceptance import Acceptance
from harness.lab.attend import attended
from harness.lab.connect import connect
from harness.lab.judge import Fate, Wish
from harness.lab.liveness import Liveness
from harness.lab.models import Host, Lab
from harness.lab.reaper import Reaper
from harness.lab.run import Run
from harness.lab.store import Store, open_store

_LONGEST = timedelta(hours=3)
_LOOK = timedelta(minutes=5)
_EXPECTED = {"WrongState", "Refused", "LeaseLost", "GuestIgnored", "LabError", "PlantedFault", "interrupted"}
"""What verbs raise when the contract asks for what cannot be done."""


def contract() -> Path:
    """The folder of the contract tests in this checkout.

    Raises:
        UsageError: this is an installed wheel, which holds no tests.
    """
    folder = Path(__file__).resolve().parents[2] / "tests" / "contract"
    if not (folder / "conftest.py").is_file():
        raise UsageError(
            "this installation holds no contract tests: they are part of the source, not of the wheel",
            hint="clone the repository, `make setup`, and run `.venv/bin/interop lab accept` there",
        )
    return folder


def accept(
    lab: Lab, host: Host, image: str, arguments: Iterable[str] = (), *, tell: Callable[[str], object] = lambda _: None
) -> Acceptance:
    """Run the contract on a host; pytest's own output goes to the terminal. Nothing is left behind on the host.

    Args:
        lab: the lab.
        host: one of its hosts.
        image: which guest image, as ``--image`` of a run.
        arguments: further arguments for pytest.
        tell: told, in a line each, what takes long.

    Raises:
        UsageError: there is no contract here, or pytest did not understand the arguments.
        LabError: the contract could not be run to its end.
    """
    folder = contract()
    store = open_store()
    began = time.time()
    with (
        attended(lab, [host], tell=tell),
        tempfile.TemporaryDirectory(prefix="interop-accept-") as scratch,
    ):
        seen = Path(scratch) / "seen.json"
        argv = [sys.executable, "-m", "pytest", str(folder), "--lab", str(lab.path), "--host", host.name]
        argv += ["--image", image, "--seen", str(seen), "-p", "no:cacheprovider", *arguments]
        _run(argv, folder.parents[1])
        if not seen.is_file():
            raise LabError("the contract wrote nothing of what it saw", host=host.name, operation="accept")
        raw = json.loads(seen.read_text(encoding="utf-8"))
        left = left_behind(lab, host, store, since=began)
    return told(raw, left, datetime.now(UTC).date().isoformat())


def told(raw: dict[str, Any], left: Iterable[str], date: str) -> Acceptance:
    """From what the tests wrote (``tests/contract/seen.py``) to an acceptance."""
    tests = raw["tests"]
    outcomes = [test["outcome"] for test in tests.values()]
    surprises = [f"{_title(name)}: {test['why']}" for name, test in tests.items() if test["outcome"] == "failed"]
    for verb, calls in raw["verbs"].items():
        odd = {name: count for name, count in calls["raised"].items() if name not in _EXPECTED}
        surprises += [f"{verb} raised {name} ({count} of {calls['calls']} calls)" for name, count in odd.items()]
    surprises += [f"left behind and reaped: {thing}" for thing in left]
    return Acceptance(
        host=raw["host"],
        capabilities=sorted(raw["capabilities"]),
        verbs=raw["verbs"],
        tests={outcome: outcomes.count(outcome) for outcome in ("passed", "failed", "skipped")},
        skipped={_title(name): test["why"] for name, test in tests.items() if test["outcome"] == "skipped"},
        surprises=surprises,
        notes=raw.get("notes", {}),
        date=date,
    )


def left_behind(lab: Lab, host: Host, store: Store, *, since: float) -> list[str]:
    """What dead runs begun after ``since`` still have on the host, in words; it is reaped."""
    liveness = Liveness()
    rows = store.rows("SELECT id FROM runs WHERE lab = ? AND started >= ?", str(lab.path), since)
    runs = {row["id"] for row in rows if not liveness.run(store, row["id"])}
    left: list[str] = []
    with Run.begin(lab) as run:
        hypervisor = connect(host, run)
        try:
            things = [thing for thing in hypervisor.owned(Deadline.after(_LOOK)) if _of(thing, runs)]
        finally:
            hypervisor.close()
    for dead in sorted(runs):
        findings = list(Reaper(lab, store, liveness, Wish(run=dead)).reap(Deadline.after(_LOOK)))
        failed = [f"{finding.host}: {finding.detail}" for finding in findings if finding.fate is Fate.FAILED]
        left += [f"not even the reaper could remove it: {text}" for text in failed]
    return [f"{thing.kind.value} {thing.name or thing.handle}" for thing in things] + left


def _of(thing: Owned, runs: set[str]) -> bool:
    return thing.owner is not None and thing.owner.run in runs


def _title(name: str) -> str:
    """A test's id as a sentence."""
    return name.rpartition("::")[2].removeprefix("test_").replace("_", " ")


def _run(argv: list[str], checkout: Path) -> None:
    # Where it was called, for a lab may name files from there; with the settings and the helpers of the contract's own.
    argv = [*argv, "--rootdir", str(checkout), "-c", str(checkout / "pyproject.toml")]
    found = os.pathsep.join(filter(None, (str(checkout), os.environ.get("PYTHONPATH"))))
    try:
        # Its progress is shown as it comes, so nothing is captured.
        done = subprocess.run(
            argv, env={**os.environ, "PYTHONPATH": found}, timeout=_LONGEST.total_seconds(), check=False
        )
    except subprocess.TimeoutExpired as error:
        raise LabError(f"the contract did not end within {_LONGEST}", operation="accept") from error
    if done.returncode not in (0, 1):  # pytest: all passed, some failed
        kind = UsageError if done.returncode == 4 else LabError
        raise kind(f"pytest ended with {done.returncode} before the contract was through", operation="accept")
