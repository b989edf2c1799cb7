"""What each test came to, carried from workers to the terminal in its reports, and the summary made of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import pytest

from harness.core import GuestError, LabError
from harness.plugin.demand import Demand

KEY = "interop"
FLAKY = "flaky"
"""What became of a test that passed only when it was tried again; and the mark of its reports."""
AWAY = "away"
"""What became of a test whose host was not available any more."""
KNOWN = "known issue: "
"""How the reason of a known failure begins in pytest's reports."""


@dataclass(slots=True)
class Record:
    """One test's story so far; goes into ``report.user_properties`` as plain data, so that xdist can carry it."""

    check: str | None
    suite: str
    title: str
    pool: str
    host: str = ""
    status: str = ""
    duration: float = 0.0
    reason: str = ""
    repeat: str = ""
    attempt: int = 1
    tries: list[str] = field(default_factory=list)
    """What the tries before this one came to, and why."""
    away: bool = False
    """Its host is not available: nothing is known of the product."""
    options: list[str] = field(default_factory=list)
    """pytest's options that choose the same host, image and release again."""
    guests: list[str] = field(default_factory=list)
    """The guests that it had: tests that name the same one shared it, in the state it was left in."""
    warnings: list[str] = field(default_factory=list)
    """Limits that were exceeded and only warn."""
    issues: list[int] = field(default_factory=list)
    """The known issues that fit the test, by their places in the file."""
    misfits: list[tuple[int, str]] = field(default_factory=list)
    """Those that are about it and do not fit, and why."""
    issue: int = -1
    """The one of :attr:`issues` that has something to say; -1: none has."""
    tracker: str = ""
    """Where that one is followed."""
    news: str = ""
    """What it has to tell, if the test did not fail as it says: it expired, the test passes, the failure is another."""
    began: float = field(default_factory=time.time)
    """Seconds since the epoch."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What else ``results.jsonl`` tells of it: who it is in full, and what it ran on."""
    figures: list[dict[str, Any]] = field(default_factory=list)
    """What it measured, without samples."""
    mask: Callable[[str], str] = str
    """Takes secrets out of texts; stays in the process that knows them."""

    @classmethod
    def of(cls, item: pytest.Item, demand: Demand, pool: str, attempt: int) -> Record:
        """The record of a test about to run."""
        return cls(demand.check, suite_of(item), title_of(item), pool, attempt=attempt)

    @property
    def failed(self) -> bool:
        """True when any phase failed, whoever's fault it was."""
        return self.status in ("failed", "lab", "guest")

    def note(self, report: pytest.TestReport, call: pytest.CallInfo[Any]) -> None:
        """Take in one phase: the worst one gives the status, all of them the duration."""
        self.duration += report.duration
        if report.skipped and not self.failed:
            self.status, self.reason = AWAY if self.away else "skipped", _skip_reason(report)
            report.__dict__[AWAY] = self.away
        elif report.failed and not self.failed:
            error = call.excinfo.value if call.excinfo else None
            self.status = (
                "lab" if isinstance(error, LabError) else "guest" if isinstance(error, GuestError) else "failed"
            )
            self.reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        elif report.passed and report.when == "call" and not self.status:
            self.status = "passed"

    def plain(self) -> dict[str, Any]:
        """As JSON-able data, without secrets; what a guest may have said is a line, and bounded."""
        from harness.report.visible import line  # noqa: PLC0415  strangers' tests don't pay for it

        values = asdict(replace(self, mask=str))  # which copies, also what a bound method belongs to
        del values["mask"]
        told = {name: self._masked(value) for name, value in values.items()}
        return told | {"reason": line(told["reason"]), "tries": [line(one) for one in told["tries"]]}

    def _masked(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._masked(one) for one in value]
        if isinstance(value, dict):
            return {name: self._masked(one) for name, one in value.items()}
        return self.mask(value) if isinstance(value, str) else value


def title_of(item: pytest.Item) -> str:
    """What the test asserts: its own name is a sentence."""
    name: str = getattr(item, "originalname", item.name)
    return name.removeprefix("test_").replace("_", " ")


def suite_of(item: pytest.Item) -> str:
    """The suite a test belongs to: the folder it lies in."""
    return item.path.parent.name


def read(report: pytest.TestReport) -> Record | None:
    """The record a report carries, if it is one of ours.

    The main process takes it from the report's properties, which JUnit shows, and keeps it beside them.
    """
    for key, value in (*report.user_properties, (KEY, report.__dict__.get(KEY))):
        if key == KEY and isinstance(value, dict):
            return Record(**value)
    return None


def _skip_reason(report: pytest.TestReport) -> str:
    longrepr = report.longrepr
    text = longrepr[2] if isinstance(longrepr, tuple) else str(longrepr)
    return text.removeprefix("Skipped: ")
