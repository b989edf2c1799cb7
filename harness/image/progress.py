"""How long work on images says how far it is: a small protocol, so that no module here knows about terminals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from harness.core import Deadline

Advance = Callable[[float], None]
"""Told the share that is done, 0.0 to 1.0; may go unheard."""


class Progress(Protocol):
    """Where steps are announced."""

    def step(self, what: str) -> AbstractContextManager[Advance]:
        """One piece of work; the context's value takes the share that is done."""
        ...


class Silent:
    """Says nothing: for tests and for callers who show their own progress."""

    @contextmanager
    def step(self, what: str) -> Iterator[Advance]:
        """Do nothing with ``what``."""
        yield lambda _share: None


SILENT: Progress = Silent()


@dataclass(frozen=True, slots=True)
class Job:
    """Where a piece of image work happens, until when, and whom it tells.

    Args:
        work: a folder of its own; it is gone afterwards, but for what was moved out.
        deadline: when to give up.
        progress: told each step.
    """

    work: Path
    deadline: Deadline
    progress: Progress
