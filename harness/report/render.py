"""From results to a page: Allure 3, pinned and installed beside the project, run without a way to ask anybody anything.

Rendering is a step of its own: tests run without Node.js, and results that were not rendered are not lost.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from harness.core import Deadline, LabError
from harness.core.process import run
from harness.report import environment, layout, page
from harness.report.results import settle, write_whole

# The version whose page harness.report.page knows; package.json pins the same.
ALLURE = "3.18.0"

# Nights of history that a page carries: each costs about a kilobyte a test.
HISTORY_LIMIT = 60

_PATIENCE = timedelta(minutes=10)
_SETUP = "run `make setup`, or `npm ci` in the checkout, then `interop report` again; the results stay where they are"


@dataclass(frozen=True, slots=True)
class Rendered:
    """A rendered page: where it is, of how many results, how many tests never ended."""

    page: Path
    results: int
    unfinished: int


def render(
    runs: Sequence[Path],
    out: Path,
    *,
    history: Path | None = None,
    name: str = "",
    beside: Sequence[tuple[str, str]] = (),
    deadline: Deadline | None = None,
) -> Rendered:
    """Render one page from the results of one run, or of several that belong together.

    Args:
        runs: results folders, or folders of runs.
        out: the folder that gets ``index.html``.
        history: a file that collects what each run came to; rendering a run again replaces its line.
        name: the page's title; empty: made from lab and run.
        beside: pages that lie beside it, by file name and words: it links to them.
        deadline: when to give up; None: ten minutes from now.

    Raises:
        UsageError: there are no results.
        LabError: Node.js or Allure is missing, rendering failed, or the page would still ask somebody for something.
    """
    deadline = deadline or Deadline.after(_PATIENCE)
    folders = list(dict.fromkeys(layout.find(folder) for folder in runs))
    tool = allure()
    unfinished = sum(len(settle(folder)) for folder in folders)
    known = [_known(folder) for folder in folders]
    title = name or title_of((one["lab"], one["run"]) for one in known)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".rendering-", dir=out) as scratch:
        work = Path(scratch).resolve()
        for number, folder in enumerate(folders):
            _snapshot(folder, work / f"results-{number}")
        with _alone(history, deadline):
            draft = _history_without(history, title, work)
            _run_allure(tool, work, _settings(title, known, folders, draft), deadline)
            html = page.harden((work / "page" / "index.html").read_text(encoding="utf-8"), beside)
            if remaining := page.outside_requests(html):
                shown = "\n  ".join(remaining[:10])
                raise LabError(
                    f"the page would still make requests, so it was not written:\n  {shown}",
                    operation="report",
                    hint=f"harness.report.page knows the page of Allure {ALLURE}; what is new there must be looked at",
                )
            write_whole(out / "index.html", html.encode())
            if history is not None and draft is not None and draft.is_file():
                write_whole(history, draft.read_bytes())
    results = sum(1 for folder in folders for _ in folder.glob("*-result.json"))
    return Rendered(out / "index.html", results, unfinished)


def title_of(runs: Iterable[tuple[str, str]]) -> str:
    """What pages of these runs are called, by the name of each one's lab and its own."""
    return " + ".join(dict.fromkeys(" ".join(filter(None, run)) for run in runs))


def allure() -> list[str]:
    """The command that starts the pinned Allure: Node.js and the program below ``node_modules``.

    Raises:
        LabError: one of them is missing, or Allure is another version; says what to do.
    """
    node = shutil.which("node") or shutil.which("nodejs")
    if node is None:
        raise LabError("no report page: Node.js is not on PATH", operation="report", hint=_SETUP)
    for root in (layout.settings().parent, Path.cwd()):
        manifest = root / "node_modules" / "allure" / "package.json"
        if manifest.is_file():
            version = json.loads(manifest.read_text(encoding="utf-8")).get("version")
            if version != ALLURE:
                raise LabError(
                    f"no report page: {manifest.parent} is Allure {version}, needed is {ALLURE}",
                    operation="report",
                    hint=_SETUP,
                )
            return [node, str(manifest.parent / "cli.js")]
    raise LabError("no report page: Allure is not installed below node_modules", operation="report", hint=_SETUP)


def _run_allure(tool: list[str], work: Path, settings: Mapping[str, Any], deadline: Deadline) -> None:
    (work / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    # An environment of its own: no proxies, no tokens of a CI service, nobody's Node.js options.
    env = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(work),
        "LANG": "C.UTF-8",
        "NO_COLOR": "1",
        "ALLURE_NO_ANALYTICS": "true",
        "INTEROP_REPORT_SETTINGS": str(work / "settings.json"),
    }
    folders = sorted(path.name for path in work.glob("results-*"))
    config = layout.settings() / "allurerc.mjs"
    run([*tool, "generate", "--config", config, *folders], deadline, cwd=work, env=env)
    if not (work / "page" / "index.html").is_file():
        raise LabError("Allure ended without an error and without a page", operation="report", hint=_SETUP)


def _snapshot(folder: Path, target: Path) -> None:
    """The results under a plain name: Allure takes patterns for paths, and ``[kvm]`` in a folder's name is one."""
    target.mkdir()
    for path in folder.iterdir():
        if path.is_file() and path.suffix != ".tmp":
            try:
                os.link(path, target / path.name)
            except OSError:  # another file system
                shutil.copyfile(path, target / path.name)


def _known(folder: Path) -> dict[str, Any]:
    """What the run said about itself; results that other tools wrote say nothing."""
    path = folder / environment.POOLS_FILE
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    # A run that was killed may not have got that far: the results themselves know their pools.
    pools = found.get("pools") or {pool: {} for pool in _pools_of_results(folder)}
    return {"run": found.get("run", folder.parent.name), "lab": found.get("lab", ""), "pools": pools}


def _pools_of_results(folder: Path) -> list[str]:
    pools: dict[str, None] = {}
    for path in sorted(folder.glob("*-result.json")):
        for label in json.loads(path.read_text(encoding="utf-8")).get("labels", []):
            if label.get("name") == "pool":
                pools[str(label.get("value"))] = None
    return list(pools)


def _settings(
    title: str, known: Sequence[Mapping[str, Any]], folders: Sequence[Path], history: Path | None
) -> dict[str, Any]:
    pools: dict[str, dict[str, str]] = {}
    for one in known:
        for pool, variables in one["pools"].items():
            pools.setdefault(pool, {}).update(variables)
    ids: set[str] = set()
    rows = []
    for pool, variables in sorted(pools.items()):
        identifier = environment.environment_id(pool)
        while identifier in ids:
            identifier = f"{identifier[:60]}-{len(ids)}"
        ids.add(identifier)
        name = environment.environment_name(pool, twin=environment.TWIN in variables)
        rows.append({"id": identifier, "name": name, "label": pool, "variables": variables})
    return {
        "name": title,
        "output": "page",
        "history": str(history) if history else None,
        "historyLimit": HISTORY_LIMIT,
        "pools": rows,
        "variables": {},
    }


def _history_without(history: Path | None, title: str, work: Path) -> Path | None:
    """A copy of the history without the line of this very run, for Allure to read and add to."""
    if history is None:
        return None
    draft = work / "history.jsonl"
    lines = history.read_text(encoding="utf-8").splitlines(keepends=True) if history.is_file() else []
    draft.write_text("".join(line for line in lines if line.strip() and _title(line) != title), encoding="utf-8")
    return draft


def _title(line: str) -> str | None:
    try:
        return str(json.loads(line).get("name"))
    except (ValueError, AttributeError):
        return None


@contextmanager
def _alone(history: Path | None, deadline: Deadline) -> Iterator[None]:
    """One renderer at a time per history; without a history nothing is shared, and nothing is waited for."""
    if history is None:
        yield
        return
    history.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(history.with_suffix(".lock"), timeout=deadline.seconds)
    try:
        lock.acquire()
    except Timeout as error:
        raise LabError(f"another `interop report` holds {lock.lock_file}", operation="report") from error
    try:
        yield
    finally:
        lock.release()
