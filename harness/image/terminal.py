"""Progress on a terminal: a bar a step, and one line a step that stays."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

from harness.image.progress import Advance


class Bars:
    """Steps as bars on stderr; where that is no terminal, a line when a step begins."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(file=sys.stderr)

    @contextmanager
    def step(self, what: str) -> Iterator[Advance]:
        """Show one piece of work while it lasts."""
        if not self._console.is_terminal:
            self._console.print(f"{what} ...", highlight=False)
            yield lambda _share: None
            return
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self._console) as bars:
            task = bars.add_task(what, total=None)
            yield lambda share: bars.update(task, total=1.0, completed=share)
            bars.update(task, total=1.0, completed=1.0)
