"""Showing long work to whoever watches the terminal: a bar where there is one, a line a step where there is none."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from harness.image import progress


class Steps:
    """Progress of building images, as :class:`harness.image.progress.Progress`.

    Args:
        say: prints one line; used where stderr is no terminal.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    @contextmanager
    def step(self, what: str) -> Iterator[progress.Advance]:
        """Show one piece of work while it lasts."""
        if not sys.__stderr__ or not sys.__stderr__.isatty():
            self._say(what)
            yield lambda _share: None
            return
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        with Progress(*columns, console=Console(file=sys.__stderr__)) as shown:
            task = shown.add_task(what, total=None)
            yield lambda share: shown.update(task, total=1.0, completed=share)
