"""``interop report`` for nights: one page with every cell, and below it a page for each image, firmware and release."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from rich.console import Console

from harness.core import LabError, UsageError
from harness.nights import page
from harness.nights.merge import merged, pages
from harness.nights.place import Place
from harness.report import beside
from harness.report.history import FILE
from harness.report.render import allure, render


def render_nights(nights: Sequence[str], out: Path | None, *, name: str = "", open_page: bool = False) -> None:
    """Render one night, or several, each into a folder of its own.

    Args:
        nights: folders or URLs of nights.
        out: where to; default: ``report`` in the folder of the night, or here, for one in an object store.
        name: the pages' title; empty: the night's name.
        open_page: show the first in a browser.

    Raises:
        UsageError: one is no night.
        LabError: a place cannot be read. Where pages cannot be rendered the table is written all the same.
    """
    for number, given in enumerate(nights):
        root, bar, night = given.rstrip("/").rpartition("/")
        place = Place(root if bar else ".")
        if out is None:
            folder = Path("reports/nights") / night / "report" if "://" in given else Path(given) / "report"
            history = folder.parent.parent  # shared by all nights beside this one
        else:
            folder = out / night if len(nights) > 1 else out
            history = out.parent
        first = _one(place, night, folder, history, name)
        if open_page and number == 0:
            click.launch(first.resolve().as_uri())


def _one(place: Place, night: str, out: Path, past: Path, name: str) -> Path:
    found = merged(place, night)
    console = Console(stderr=True)
    links: dict[str, str] = {}
    problem: LabError | UsageError | None = None
    with TemporaryDirectory(prefix="interop-night-") as scratch, console.status(f"reading {night}") as status:
        for label, folders in pages(place, night, found, Path(scratch)).items():
            status.update(f"rendering {night} {label}")
            try:
                for link in _written(folders, out / label, past, label.replace("/", "-"), f"{name or night} {label}"):
                    links.setdefault(label, f"{label}/{link}")
            except (LabError, UsageError) as error:
                problem = problem or error
        first = page.write(found, out, links)
    told = ", ".join(f"{count} {state}" for state, count in found.counts.items())
    click.echo(f"report: {first} ({len(found.cells)} cells: {told}; {len(links)} pages)")
    if problem is not None:
        raise problem
    return first


def _written(folders: Sequence[Path], out: Path, past: Path, called: str, title: str) -> Iterator[str]:
    """The pages of the cells that differ by host alone, the best to begin with first: side by side, then in full."""
    try:
        allure()
        missing = None
    except LabError as error:
        missing = error
    record = past / f"{called}-{FILE}"
    side = beside.write(folders, out, record=record, name=title, linked=missing is None)
    if side is not None:
        yield side.table.name
    if missing is not None:
        raise missing
    history = past / f"{called}-history.jsonl"
    yield render(folders, out, history=history, name=title, beside=side.links if side else ()).page.name
