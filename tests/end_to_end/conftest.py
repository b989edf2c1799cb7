"""Whole runs of pytest with the plugin, on the local lab, with real guests; and what they left to read."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.core import paths
from harness.image import Image, resolve

pytest_plugins = ["pytester"]
CHECKOUT = Path(__file__).resolve().parents[2]
CACHE = paths.cache()  # before pytester gives every test a home of its own


@dataclass(frozen=True)
class Run:
    """What an inner run of pytest came to."""

    status: int
    output: str
    results: list[dict]
    folder: Path

    def of(self, check: str) -> list[str]:
        """The statuses of a check's results."""
        return sorted(found["status"] for found in self.results if self.number(found) == check)

    @staticmethod
    def number(result: dict) -> str | None:
        return next((label["value"] for label in result["labels"] if label["name"] == "check"), None)

    def checks(self, *statuses: str) -> set[str]:
        """The numbers of checks with a result of one of these statuses."""
        return {self.number(found) or found["name"] for found in self.results if found["status"] in statuses}


@pytest.fixture(autouse=True)
def images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inner runs find the images of the outer one; their journal and leases stay in a home of their own."""
    monkeypatch.setenv("INTEROP_CACHE", str(CACHE))


@pytest.fixture(scope="session")
def image() -> Image:
    """The image that all runs boot; built here where no run did it before."""
    return resolve("debian12")


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Run]:
    """Runs pytest in a process of its own: on a source, or on suites of this checkout."""

    def run(*arguments: str, source: str | None = None, timeout: float = 900) -> Run:
        monkeypatch.chdir(pytester.path)
        if source is not None:
            pytester.makepyfile(source)
        reports = pytester.path / "out"
        done = pytester.runpytest_subprocess(
            "-p", "no:cacheprovider", "--report-dir", str(reports), *arguments, timeout=timeout
        )
        folder = max(reports.glob("*/results"), default=reports / "none" / "results")
        results = [json.loads(path.read_text()) for path in folder.glob("*-result.json")]
        return Run(int(done.ret), "\n".join([*done.outlines, *done.errlines]), results, folder.parent)

    return run
