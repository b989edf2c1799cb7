"""What a session of the contract saw, as plain values: outcomes by test, verbs by name, notes, the host's own words."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from harness.lab.acceptance import masked
from harness.report.redact import Redactor
from tests.contract.observing import Log

_LONGEST = 2000


@dataclass(slots=True)
class Seen:
    """Collected while the tests run.

    Args:
        redactor: knows the secrets that were fetched meanwhile, a twin's own included: the file is passed on.
    """

    redactor: Redactor = field(default_factory=Redactor)
    run: str | None = None
    host: dict[str, Any] = field(default_factory=dict)
    log: Log | None = None
    capabilities: list[str] = field(default_factory=list)
    tests: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: dict[str, dict[str, Any]] = field(default_factory=dict)

    def note(self, report: pytest.TestReport) -> None:
        """Keep the worst of a test's phases."""
        name = report.nodeid.rpartition("/")[2]
        entry = self.tests.setdefault(name, {"outcome": "passed", "seconds": 0.0})
        entry["seconds"] = round(entry["seconds"] + report.duration, 3)
        if report.skipped and entry["outcome"] == "passed":
            entry |= {"outcome": "skipped", "why": _reason(report)}
        elif report.failed:
            entry |= {"outcome": "failed", "why": _message(report)}

    def tell(self, subject: str, **notes: Any) -> None:
        """Keep what a test found out about the host and nobody could say before.

        Args:
            subject: what it is about, in a few words.
            notes: plain values by name; times in seconds.
        """
        self.notes.setdefault(subject, {}).update(notes)

    def write(self, path: Path) -> None:
        """As JSON, whole or not at all."""
        part = path.with_name(f".{path.name}.part")
        said = masked(self.plain(), self.redactor.text)
        part.write_text(json.dumps(said, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        part.replace(path)

    def plain(self) -> dict[str, Any]:
        """The whole, ready for JSON."""
        return {
            "run": self.run,
            "host": self.host,
            "capabilities": self.capabilities,
            "verbs": self.log.summary() if self.log else {},
            "tests": self.tests,
            "notes": self.notes,
        }


def _reason(report: pytest.TestReport) -> str:
    return str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr).removeprefix("Skipped: ")


def _message(report: pytest.TestReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(crash.message if crash else report.longrepr)[:_LONGEST]
