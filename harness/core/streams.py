"""Streams before others: some take something out of what is written, some go on when nobody reads any more."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast


class Masked:
    """A text stream before another, for writers that take a file; what is asked of it otherwise, the other answers.

    Args:
        stream: the other.
        mask: takes out of a text what must not be seen; a text is what is written at once, so it misses what is not.
    """

    def __init__(self, stream: TextIO, mask: Callable[[str], str]) -> None:
        self._stream = stream
        self.mask = mask

    @property
    def bare(self) -> TextIO:
        """The other."""
        return self._stream

    def write(self, text: str) -> int:
        """Write it, masked; the length of the text as it was."""
        self._stream.write(self.mask(text))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Write each."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def bare(stream: TextIO) -> TextIO:
    """The stream itself, for what somebody asked to see: masked by none."""
    return stream.bare if isinstance(stream, Masked) else stream


@contextmanager
def masked_output(mask: Callable[[str], str]) -> Iterator[None]:
    """Everything that Python writes to standard output and error while the block runs is masked.

    Where the block ends by a defect of ours it stays so: the traceback is written after that.

    Args:
        mask: see :class:`Masked`.
    """
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (cast("TextIO", Masked(stream, mask)) for stream in before)
    try:
        yield
    except (SystemExit, KeyboardInterrupt):
        sys.stdout, sys.stderr = before
        raise
    sys.stdout, sys.stderr = before


class _Unread:
    """A text stream before another; once that one's reader is gone, what is written goes nowhere."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            self._let_go()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._let_go()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _let_go(self) -> None:
        # The descriptor itself: Python flushes once more when it ends, and would end with a status of its own.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)


@contextmanager
def going_on_unread() -> Iterator[None]:
    """A block, or a function that it decorates, goes on when nobody reads its output any more, as after ``| head``.

    For commands whose exit status is an answer, or that leave more than their output: a broken pipe would end them in
    the middle, with a status that means something else.
    """
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = unread = tuple(cast("TextIO", _Unread(stream)) for stream in before)
    try:
        yield
    finally:
        for stream in unread:
            stream.flush()
        sys.stdout, sys.stderr = before
