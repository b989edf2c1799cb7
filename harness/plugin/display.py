"""Progress on the terminal: a block below pytest's own lines that says what runs where, or a plain line at times."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.segment import Segment, Segments
from rich.table import Table
from rich.text import Text

from harness.report.standing import Standing, running, span

if TYPE_CHECKING:
    from harness.plugin.state import State

MODES = ("auto", "live", "lines", "none")
_EVERY = 60.0
"""Seconds between two plain lines, at least."""
_ROWS = 8
_LONGEST = 300
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u2028-\u202e\u2066-\u2069\ud800-\udfff]+")
_PER_SECOND = 2


class Display(Protocol):
    """What is told of each test that ends."""

    def done(self, trouble: str) -> None:
        """A test has ended.

        Args:
            trouble: what is to be said of it; empty: nothing.
        """

    def close(self) -> None:
        """The terminal is pytest's again. Idempotent."""


def chosen(state: State, standing: Standing, clock: Callable[[], float]) -> Display | None:
    """What the user asked for, or the terminal is fit for; None: nothing is shown.

    Args:
        state: the run.
        standing: how it stands; read anew each time.
        clock: the wall clock.
    """
    from harness.plugin.progress import is_ci  # noqa: PLC0415

    config, mode = state.config, state.options.progress
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if mode == "none" or reporter is None or (mode == "auto" and config.option.verbose < 0):
        return None
    file: TextIO = reporter._tw._file  # noqa: SLF001  pytest has no other way to its writer
    # Tests that print past pytest, and people in a debugger, need the terminal for themselves.
    bare = config.option.capture == "no" or config.option.usepdb or os.environ.get("TERM") in (None, "", "dumb")
    fit = not bare and _is_terminal(file) and (mode == "live" or not is_ci())
    if mode == "lines" or not fit:
        return Lines(standing, state.say, clock)
    return Below(standing, reporter._tw, clock)  # noqa: SLF001


def _is_terminal(file: TextIO) -> bool:
    try:
        return file.isatty() and os.isatty(file.fileno())
    except (OSError, ValueError):
        return False


class Lines:
    """A line when something failed, and one about all of it each minute, at the next test that ends.

    Args:
        standing: how the run stands.
        say: writes a line.
        clock: the wall clock.
    """

    def __init__(self, standing: Standing, say: Callable[[str], None], clock: Callable[[], float]) -> None:
        self._standing = standing
        self._say = say
        self._clock = clock
        self._last = clock()

    def done(self, trouble: str) -> None:
        """See :meth:`Display.done`."""
        if trouble:
            self._say(clean(trouble))
        if self._clock() - self._last >= _EVERY and self._standing.done < self._standing.total:
            self._last = self._clock()
            self._say(words(self._standing, self._last))

    def close(self) -> None:
        """See :meth:`Display.close`."""


class Below:
    """A block that stays below pytest's lines, by rich, until the run is over.

    Whatever pytest writes meanwhile goes above it, whole lines as they are; a line that is not whole yet is the first
    one of the block.

    Args:
        standing: how the run stands.
        writer: pytest's; its file is replaced while this lasts.
        clock: the wall clock.
    """

    def __init__(self, standing: Standing, writer: object, clock: Callable[[], float]) -> None:
        self._standing = standing
        self._writer = writer
        self._clock = clock
        self._file: TextIO = writer._file  # type: ignore[attr-defined]  # noqa: SLF001
        self._mask: Callable[[str], str] = getattr(self._file, "mask", str)
        # Of its own: while a test runs pytest catches what goes to the descriptor that everybody writes to.
        self._own = os.fdopen(os.dup(self._file.fileno()), "w", encoding="utf-8", errors="backslashreplace")
        self._partial = ""
        self._lock = threading.RLock()
        self._console = Console(file=self._own, force_terminal=True)
        self._live = Live(
            console=self._console,
            get_renderable=self._block,
            refresh_per_second=_PER_SECOND,
            redirect_stdout=False,
            redirect_stderr=False,
            transient=True,
            vertical_overflow="crop",
        )
        self._closed = False
        writer._file = self  # type: ignore[attr-defined]  # noqa: SLF001
        self._live.start()

    def done(self, trouble: str) -> None:
        """See :meth:`Display.done`."""
        if trouble:
            self._console.print(Text(clean(trouble), style="bold red"), highlight=False)
        self._live.refresh()

    def close(self) -> None:
        """See :meth:`Display.close`."""
        if self._closed:
            return
        self._closed = True
        self._live.stop()
        self._writer._file = self._file  # type: ignore[attr-defined]  # noqa: SLF001
        self._own.close()
        self._file.write(self._partial)
        self._file.flush()

    # What pytest's writer asks of a file.

    def write(self, text: str) -> int:
        """Whole lines go above the block."""
        with self._lock:
            whole, line, self._partial = (self._partial + text).rpartition("\n")
        if line:  # without our lock: the thread that draws holds rich's when it asks for ours
            self._console.print(Segments([Segment(self._mask(whole + line))]), end="", soft_wrap=True)
        return len(text)

    def flush(self) -> None:
        """The block is drawn anew twice a second."""

    def isatty(self) -> bool:
        """It is one."""
        return True

    def fileno(self) -> int:
        """Of pytest's own file."""
        return self._file.fileno()

    @property
    def encoding(self) -> str:
        """Of pytest's own file."""
        return self._file.encoding or sys.getdefaultencoding()

    def _block(self) -> RenderableType:
        now = self._clock()
        # rich would ask the descriptors that pytest has put something else behind.
        self._console.size = os.get_terminal_size(self._own.fileno())
        table = Table.grid(padding=(0, 2), expand=False)
        for column in range(4):
            table.add_column(no_wrap=True, overflow="ellipsis", ratio=1 if column == 1 else None)
        tests = running(Path(self._standing.folder) / "results")
        for one in tests[:_ROWS]:
            host = Text(f"  {one.host or one.pool}", style="bold")
            table.add_row(
                host, clean(one.label), Text(span(now - one.since), style="cyan"), Text(one.worker, style="dim")
            )
        if len(tests) > _ROWS:
            table.add_row("", f"and {len(tests) - _ROWS} more")
        head = Text(words(self._standing, now), no_wrap=True, overflow="ellipsis", style="bold")
        with self._lock:
            partial = self._partial.rpartition("\r")[2]
        return Group(*([Text.from_ansi(partial)] if partial else []), head, table)


def words(standing: Standing, now: float) -> str:
    """``12 of 340 done (10 passed, 2 failed), 1:04:10, about 2:10:00 to go``."""
    counts = ", ".join(f"{count} {status}" for status, count in standing.counts.items())
    said = f"{standing.done} of {standing.total} done" + (f" ({counts})" if counts else "")
    left = f", about {span(standing.left)} to go" if standing.left else ""
    return f"{said}, {span(now - standing.began)}{left}"


def clean(text: str) -> str:
    """In one line, bounded, without control characters: titles are ours, reasons may quote a guest."""
    plain = " ".join(_CONTROL.sub(" ", text).split())
    return plain if len(plain) <= _LONGEST else f"{plain[:_LONGEST]} ..."
