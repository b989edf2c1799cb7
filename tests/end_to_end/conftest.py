"""Whole runs of pytest with the plugin, on the local lab, with real guests; and what they left to read."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.core import paths
from harness.image import Image, resolve
from tests.end_to_end.browser import Browser
from tests.spreading import scheduler

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
        return next(iter(Run.labels(result, "check")), None)

    @staticmethod
    def labels(result: dict, name: str) -> list[str]:
        """The values of a result's labels of this name."""
        return [label["value"] for label in result["labels"] if label["name"] == name]

    def checks(self, *statuses: str) -> set[str]:
        """The numbers of checks with a result of one of these statuses."""
        return {self.number(found) or found["name"] for found in self.results if found["status"] in statuses}


BESIDE = (
    "test_report_page",
    "test_kills",  # its machines are in a world of its own, and none of them boots
    "test_suites_on_twins",
    "test_planted_defects_on_twins",
    "test_vsphere_moved",
)
"""What starts no guest under libvirt runs beside all that does; of single tests the longest begin first."""
_WHOLE_FILES = BESIDE[:2]
"""They set up something for all their tests."""


def _beside(nodeid: str) -> int | None:
    return next((at for at, name in enumerate(BESIDE) if name in nodeid), None)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What runs beside comes first, in the order above."""
    items.sort(key=lambda item: len(BESIDE) if (at := _beside(item.nodeid)) is None else at)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With ``-n``: runs that have a guest of libvirt's follow each other, for some look at what the others left."""

    def group(nodeid: str) -> str:
        if _beside(nodeid) is None:
            return "libvirt"
        return nodeid.partition("::")[0] if any(name in nodeid for name in _WHOLE_FILES) else nodeid

    return scheduler(config, log, group)


@pytest.fixture(scope="session")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Journal and leases of all inner runs: none of the user's, and later runs find the warm slots of earlier ones."""
    base = tmp_path_factory.getbasetemp()
    # Workers of one session share it, as processes of one user would: who measures is alone on the machine then.
    state = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "state"
    state.mkdir(exist_ok=True)
    return state


@pytest.fixture(autouse=True)
def places(monkeypatch: pytest.MonkeyPatch, state: Path) -> None:
    """Inner runs find the images of the outer one."""
    monkeypatch.setenv("INTEROP_CACHE", str(CACHE))
    monkeypatch.setenv("INTEROP_STATE", str(state))


@pytest.fixture(scope="session")
def image() -> Image:
    """The image that all runs boot; built here where no run did it before."""
    return resolve("debian12")


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Run]:
    """Runs pytest in a process of its own: on a source, or on suites of this checkout.

    One host of the lab is enough for most of what is tested here; ``host=None`` takes them all.
    """

    def run(*arguments: str, source: str | None = None, host: str | None = "kvm", timeout: float = 900) -> Run:
        monkeypatch.chdir(pytester.path)
        if source is not None:
            pytester.makepyfile(source)
        reports = pytester.path / "out"
        where = ["--host", host] if host is not None else []
        done = pytester.runpytest_subprocess(
            "-p", "no:cacheprovider", "--report-dir", str(reports), *where, *arguments, timeout=timeout
        )
        folder = max(reports.glob("*/results"), default=reports / "none" / "results")
        results = [json.loads(path.read_text()) for path in folder.glob("*-result.json")]
        return Run(int(done.ret), "\n".join([*done.outlines, *done.errlines]), results, folder.parent)

    return run


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One Chromium for all tests of a file."""
    made = Browser(tmp_path_factory.mktemp("chromium"))
    yield made
    made.close()
