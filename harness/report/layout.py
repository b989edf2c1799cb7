"""Where a run's results and page lie: a new folder each, so that nothing is ever wiped.

::

    reports/out/
      history.jsonl            what each rendered run came to, for the page's history
      durations.json           what tests took, so that the next run can be spread well
      latest -> 20260301-...   the newest run
      20260301-.../
        results/               Allure results, as tests write them
        ran.jsonl              which test had which guest, in order: what `interop rerun` goes by
        spread.json            of a run of several workers: its groups of tests, and what each took
        report/index.html      the page
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path

from harness.core import UsageError

LATEST = "latest"


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The folder of one run. Nothing is made before :meth:`make` is called."""

    path: Path

    @property
    def results(self) -> Path:
        """Allure results."""
        return self.path / "results"

    @property
    def report(self) -> Path:
        """The rendered page."""
        return self.path / "report"

    @property
    def page(self) -> Path:
        """The page itself: one file that can be copied anywhere."""
        return self.report / "index.html"

    @property
    def history(self) -> Path:
        """History shared by all runs beside this one."""
        return self.path.parent / "history.jsonl"

    def make(self) -> RunFolder:
        """Make the folder, and let ``latest`` point to it."""
        self.results.mkdir(parents=True, exist_ok=True)
        point_latest(self.path)
        return self


def point_latest(run: Path) -> None:
    """Let ``latest`` beside ``run`` point to it, in one step: a reader finds the old run or the new one."""
    link = run.parent / LATEST
    if link.exists() and not link.is_symlink():
        return  # somebody's own folder of that name is not ours to replace
    temporary = link.with_name(f".{LATEST}.{uuid.uuid4().hex[:8]}")
    temporary.symlink_to(run.name, target_is_directory=True)
    temporary.replace(link)


def find(path: Path) -> Path:
    """The results folder that ``path`` means: itself, or the ``results`` of a run.

    Raises:
        UsageError: there are no results; says what to do.
    """
    folder = path.resolve()
    for candidate in (folder / "results", folder):
        if candidate.is_dir() and next(candidate.glob("*-result.json"), None):
            return candidate
    if not folder.exists():
        raise UsageError(f"{path}: no such run", hint="run `pytest` first, or name a folder below reports/out")
    hint = "a run that stops before its first test has none; is this the folder of a run?"
    raise UsageError(f"{path}: no test results in it", hint=hint)


def settings() -> Path:
    """The renderer's settings that ship with the product: ``reports/`` of a checkout, package data of the wheel."""
    packaged = Path(__file__).resolve().parents[1] / "reports"
    return packaged if packaged.is_dir() else Path(__file__).resolve().parents[2] / "reports"
