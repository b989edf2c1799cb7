"""``interop rerun``: a check of an earlier run once more, exactly as it ran."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from harness import __version__
from harness.core import LabError, UsageError
from harness.report import cells, ran
from harness.report.layout import RunFolder
from harness.report.ran import Ran

_RUNS = Path("reports") / "out"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("run")
@click.argument("check", metavar="CHECK[@HOST]")
@click.option("--with-before", is_flag=True, help="Run first what ran before it on the same guest, in that order.")
@click.option(
    "--report-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=_RUNS,
    show_default=True,
    help="Where runs are kept that are named by their ids.",
)
def command(*, run: str, check: str, with_before: bool, report_dir: Path) -> None:
    """Run CHECK of RUN once more: on the same host, with the same image, release, shape and seed.

    RUN is the folder of one, or its id below the report dir; `latest` is the newest. CHECK is a check's number or a
    test's name, HOST a host or a pool; of several that fit, each is run. What it comes to joins the run as another
    attempt: a test that passes now is flaky there. The exit status is pytest's.
    """
    below = report_dir / run
    folder = (below if Path(run).name == run and below.is_dir() else Path(run)).resolve()
    tests = ran.read(folder)
    asked = ran.chosen(tests, check)
    status = 0
    for words, one in _calls(folder, tests, asked, with_before=with_before):
        if one.harness != __version__:
            click.echo(f"note: it ran with version {one.harness} of the harness, and this is {__version__}", err=True)
        status = max(status, _call(words, one))
    _tell(folder, asked)
    sys.exit(status)


def _calls(
    folder: Path, tests: Sequence[Ran], asked: list[Ran], *, with_before: bool
) -> Iterator[tuple[list[str], Ran]]:
    """The command lines: one for all tests that share everything but their name; with those before it, one a test."""
    together: dict[tuple[object, ...], list[Ran]] = {}
    for one in asked:
        alike = (one.options, one.where, one.root, one.settings, one.seed, one if with_before else None)
        together.setdefault(alike, []).append(one)
    for group in together.values():
        first = group[0]
        names = [one.test for one in (*(ran.before(tests, first) if with_before else ()), *group)]
        words = [sys.executable, "-m", "pytest", "--rootdir", first.root]
        words += ["-c", first.settings] if first.settings else []
        words += [*first.options, "--join-run", str(folder)]
        yield [*words, *(str(Path(first.root) / name) for name in names)], first


def _call(words: list[str], one: Ran) -> int:
    env = os.environ | ({"INTEROP_SEED": one.seed} if one.seed else {})
    if not Path(one.where).is_dir():
        raise UsageError(f"{one.where}: the folder that the run was called in is gone", hint="its paths begin there")
    try:
        return subprocess.run(words, cwd=one.where, env=env, check=False).returncode
    except OSError as error:
        raise LabError(f"pytest could not start: {error}", operation="rerun") from error


def _tell(folder: Path, asked: list[Ran]) -> None:
    wanted = {(one.check, one.pool) for one in asked if one.check}
    for cell in cells.read(RunFolder(folder).path).cells:
        if (cell.check, cell.pool) in wanted:
            tries = f" (tries before: {', '.join(cell.earlier)})" if cell.earlier else ""
            click.echo(f"{cell.label} on {cell.pool}: {cell.status}{tries}")
