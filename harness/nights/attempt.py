"""One attempt at a cell: an ordinary pytest run as a process of its own, that ends with its worker."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from harness.nights.models import CARRIED, Cell
from harness.qemu.process import leashed
from harness.report.summary import FLAKY_STATUS

_GRACE = timedelta(minutes=15)
"""For the teardown of running tests and the report, after Ctrl-C; then it is killed, and the reaper does the rest."""
_RAN = (0, 1, FLAKY_STATUS)
"""pytest's exit status where it ran to its end: all passed, some did not, some passed only when tried again."""
_NOTHING = 5
JUNIT = "junit.xml"
_STATUS = {
    2: "pytest was interrupted",
    3: "pytest met an error of its own, or could not write results",
    4: "pytest was called wrongly",
    _NOTHING: "no test was selected",
}


@dataclass(frozen=True, slots=True)
class Ended:
    """How an attempt ended.

    Args:
        status: ``done`` (all its tests ran), ``broken`` (they did not, and trying again may help), ``wrong`` (they
            cannot), ``cut`` (the night was over), ``lost`` (another worker may have it).
        exit: pytest's exit status; negative: the signal that killed it.
        why: in words; empty where it is done.
    """

    status: str
    exit: int
    why: str = ""


def command(
    cell: Cell, lab: str, *, suites: Sequence[str], markers: str = "", options: Sequence[str] = (), report_dir: Path
) -> list[str]:
    """The command line of a cell's run, without the interpreter."""
    words = ["-m", "pytest", "--lab", lab, "--host", cell.host, "--image", cell.image, "--firmware", cell.firmware]
    words += [] if cell.release == CARRIED else ["--release", cell.release]
    words += ["-m", markers] if markers else []
    return [*words, "--report-dir", str(report_dir), f"--junitxml={report_dir / JUNIT}", *options, *suites]


def counts(run: Path) -> dict[str, int]:
    """How many tests, failures, errors and skipped ones a run's JUnit file tells of; nothing where there is none."""
    try:
        with (run / JUNIT).open("rb") as file:
            head = file.read(4096).decode("utf-8", "replace")
    except OSError:
        return {}
    suite = re.search(r"<testsuite\b[^>]*>", head)
    found = re.findall(r'\b(tests|failures|errors|skipped)="(\d+)"', suite[0]) if suite else []
    return {name: int(number) for name, number in found}


async def perform(
    words: Sequence[str],
    log: Path,
    *,
    until: float,
    ours: Callable[[], Awaitable[str]],
    now: Callable[[], float],
    every: float,
) -> Ended:
    """Run it to its end, or until it must not go on.

    Args:
        words: what the interpreter is given.
        log: gets what it prints.
        until: when the night is over, seconds since the epoch.
        ours: asked now and then: why this worker may not go on with it; empty while it may.
        now: the clock of ``until``.
        every: seconds between two questions.

    Raises:
        asyncio.CancelledError: somebody cancelled the job, or the worker is stopping; the run has ended.
    """
    # The kernel kills it when this process dies: nobody else may begin on the host while it still runs there.
    argv = leashed([sys.executable, *words])
    with log.open("ab") as out:
        process = await asyncio.create_subprocess_exec(
            *argv, stdin=asyncio.subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
    try:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(process.wait()), every)
                return _ended(process.returncode or 0)
            why = await ours()
            if why:
                _kill(process)  # somebody else may be on the host already: no teardown of ours there
                await process.wait()
                return Ended("lost", process.returncode or 0, why)
            if now() >= until:
                await _stop(process)
                return Ended("cut", process.returncode or 0, "the night was over")
    except asyncio.CancelledError:
        await _stop(process)
        raise
    finally:
        if process.returncode is None:
            _kill(process)


def _ended(status: int) -> Ended:
    if status in _RAN:
        return Ended("done", status)
    why = _STATUS.get(status) or (
        f"pytest was killed by signal {-status}" if status < 0 else f"pytest ended by {status}"
    )
    return Ended("wrong" if status in (4, _NOTHING) else "broken", status, why)


async def _stop(process: asyncio.subprocess.Process) -> None:
    """As Ctrl-C: running tests tear down, results are written."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGINT)
    try:
        await asyncio.wait_for(asyncio.shield(process.wait()), _GRACE.total_seconds())
    except TimeoutError:
        _kill(process)
        await process.wait()


def _kill(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
