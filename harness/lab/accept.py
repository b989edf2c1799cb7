"""Accepting a host: the contract of backends is run on it, and what was seen becomes a file and a page.

The contract itself (``tests/contract``) is part of the source and not of an installed wheel.
"""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from harness import __version__
from harness.backends import protocol
from harness.backends.model import Owned
from harness.core import Deadline, LabError, UsageError
from harness.lab.attend import attended
from harness.lab.connect import connect
from harness.lab.judge import Fate, Wish
from harness.lab.liveness import Liveness
from harness.lab.models import Host, Lab, slug
from harness.lab.reaper import Reaper
from harness.lab.run import Run
from harness.lab.store import Store, open_store

FORMAT = 1
"""The file's format; a reader of another one says so."""

_LONGEST = timedelta(hours=3)
_LOOK = timedelta(minutes=5)
_EXPECTED = {"WrongState", "Refused", "LeaseLost", "GuestIgnored", "LabError", "PlantedFault", "interrupted"}
"""What verbs raise when the contract asks for what cannot be done."""


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What the contract saw of one host.

    Args:
        host: product, version, build, acceleration, whether it is a twin, details.
        capabilities: names of what the host declared.
        verbs: by verb: calls, how many worked, median and longest seconds, what was raised.
        tests: how many passed, failed, were skipped.
        skipped: by test, why it was.
        surprises: in words, what was not as the contract wants it.
        notes: by subject, what was found out that documents leave open: times, faults, events.
        date: the day, as ISO 8601.
        harness: the version of this harness.
    """

    host: dict[str, Any]
    capabilities: list[str]
    verbs: dict[str, dict[str, Any]]
    tests: dict[str, int]
    skipped: dict[str, str] = field(default_factory=dict)
    surprises: list[str] = field(default_factory=list)
    notes: dict[str, dict[str, Any]] = field(default_factory=dict)
    date: str = ""
    harness: str = __version__
    format: int = FORMAT

    @property
    def build(self) -> str:
        """The host's kind in one line: what a column of the page is called."""
        build = self.host.get("build") or self.host.get("version") or "?"
        if not any(letter.isalpha() for letter in build):  # a bare number tells nobody what it is a build of
            product = " ".join(filter(None, (self.host.get("product"), self.host.get("version"))))
            build = f"{product} build {build}" if build != self.host.get("version") else product
        words = [build, self.host.get("accelerated", "")]
        return ", ".join(word for word in words if word) + (" (twin)" if self.host.get("twin") else "")

    @property
    def file_name(self) -> str:
        """A name that follows from backend, build and acceleration: a later acceptance of the same replaces it."""
        return slug(f"{self.host.get('backend', 'host')}-{self.build}") + ".json"

    def text(self) -> str:
        """The file's content."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return json.dumps(values, indent=1, sort_keys=True) + "\n"


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


def masked(value: Any, mask: Callable[[str], str]) -> Any:
    """A tree of plain values with every text passed through ``mask``."""
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, dict):
        return {mask(str(key)): masked(item, mask) for key, item in value.items()}
    if isinstance(value, list):
        return [masked(item, mask) for item in value]
    return value


def kept(folder: Path) -> list[Acceptance]:
    """Every acceptance kept in a folder (``docs/accepted``), by file name.

    Raises:
        UsageError: one of the files is none.
    """
    return [read(path) for path in sorted(folder.glob("*.json"))]


def read(path: Path) -> Acceptance:
    """An acceptance that was kept as a file.

    Raises:
        UsageError: it is none, or of another format.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["format"] != FORMAT:
            raise UsageError(f"{path} has format {values['format']}; this harness reads {FORMAT}")
        return Acceptance(**values)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is no acceptance of a host: {error}") from error


_HEAD = """\
# Seen on

<!-- generated by `make docs` from docs/accepted/ -->

On which real builds each verb of the protocol was seen to work, by the contract tests. `interop lab accept LAB HOST`
writes a file of what it saw, without secrets, names or addresses; such files are kept in the folder `accepted` beside
this page, which `make docs` makes of them. A cell holds the median time of a call that worked. *Twin only* was seen on
a stand-in host and on no real one.
"""


def page(accepted: Iterable[Acceptance]) -> str:
    """``docs/seen-on.md``."""
    real = sorted(accepted, key=lambda one: (bool(one.host.get("twin")), one.build))
    parts = [_HEAD, "## Builds\n"]
    if real:
        parts += ["| build | product | kernel and firmware | date | passed | failed | skipped |", f"|{'---|' * 7}"]
    else:
        parts.append("No build has been accepted yet.")
    for one in real:
        counts = " | ".join(str(one.tests[outcome]) for outcome in ("passed", "failed", "skipped"))
        details = one.host.get("details", {})
        where = ", ".join(f"{name} {details[name]}" for name in ("kernel", "firmware") if name in details)
        parts.append(f"| {one.build} | {one.host['product']} {one.host['version']} | {where} | {one.date} | {counts} |")
    for title, names in verbs():
        parts += ["", f"## {title}\n", _row("verb", *(one.build for one in real), ""), f"|{'---|' * (len(real) + 2)}"]
        for shown, logged in names:
            parts.append(_row(f"`{shown}`", *(_cell(one, logged) for one in real), _remark(real, logged)))
    parts += ["", "## Surprises\n"]
    surprises = [f"- {one.build}: {text}" for one in real for text in one.surprises]
    parts += surprises or ["None."]
    if any(one.notes for one in real):
        parts += ["", "## Found out", *_found_out(real)]
    return "\n".join(parts) + "\n"


def _found_out(accepted: Iterable[Acceptance]) -> Iterator[str]:
    """What documents leave open, as each build showed it."""
    for one in accepted:
        for subject, notes in one.notes.items():
            yield from ("", f"{one.build}, {subject}:", "")
            yield from (f"- {name.replace('_', ' ')}: {_told(value)}" for name, value in notes.items())


def _told(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_told(item)}" for name, item in value.items()) or "none"
    return (", ".join(map(str, value)) or "none") if isinstance(value, list) else str(value)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def verbs() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Every verb of the protocol: the two that all backends have, then the optional ones; (shown, logged) names."""
    yield "Hypervisor", [(name, f"host.{name}") for name in _methods(protocol.Hypervisor)]
    yield "Machine", [(name, name) for name in _methods(protocol.Machine)]
    optional = []
    for name, kind in inspect.getmembers(protocol, inspect.isclass):
        own = kind.__module__ == protocol.__name__ and getattr(kind, "_is_protocol", False)
        if own and kind not in {protocol.Hypervisor, protocol.Machine, protocol.Console, *_LEDGER}:
            prefix = "host." if kind in (protocol.HostClock, protocol.HostLoad) else ""
            optional += [(f"{name}.{verb}", f"{prefix}{verb}") for verb in _methods(kind)]
    yield "Optional", optional


_LEDGER = (protocol.Ledger, protocol.Creation)


def _methods(kind: type) -> list[str]:
    return [name for name, value in vars(kind).items() if inspect.isfunction(value) and not name.startswith("_")]


def _cell(one: Acceptance, verb: str) -> str:
    calls = one.verbs.get(verb)
    if not calls or not calls["worked"]:
        return "-"
    return f"{calls['median_seconds']:.2f} s"


def _remark(accepted: Iterable[Acceptance], verb: str) -> str:
    worked = [one for one in accepted if one.verbs.get(verb, {}).get("worked")]
    if not worked:
        return "not seen yet"
    return "twin only" if all(one.host.get("twin") for one in worked) else ""


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
