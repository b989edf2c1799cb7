"""What xdist's workers are doing, told on the terminal that only their controller has."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

_MOST = 1000  # bytes of a line: a pipe takes up to PIPE_BUF (4096, pipe(7)) in one piece, whoever else writes


class News:
    """The controller's end: reads lines from a named pipe for as long as the run lasts.

    Args:
        pipe: where it is made; a socket or pipe of that name must not be there.
        tell: given each line, on a thread of its own.
    """

    def __init__(self, pipe: Path, tell: Callable[[str], object]) -> None:
        os.mkfifo(pipe, 0o600)
        self._pipe = pipe
        # Open for writing, too: the pipe then never ends, whichever worker comes and goes.
        self._lines = os.fdopen(os.open(pipe, os.O_RDWR | os.O_CLOEXEC), "rb", buffering=_MOST)
        self._tell = tell
        self._reader = threading.Thread(target=self._read, name="news of workers", daemon=True)
        self._reader.start()

    def close(self) -> None:
        """Tell what has been said so far, and end."""
        send(self._pipe, "")
        self._reader.join(timeout=5)
        self._pipe.unlink(missing_ok=True)

    def _read(self) -> None:
        with self._lines:
            for line in self._lines:
                text = line.decode(errors="replace").strip()
                if not text:
                    return
                self._tell(text)


def send(pipe: Path, text: str) -> None:
    """A worker's line; lost where nobody reads, as of a worker on another machine."""
    try:
        end = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    try:
        os.write(end, " ".join(text.split()).encode()[: _MOST - 1] + b"\n")
    except BlockingIOError:
        return  # nobody has read for a long time
    finally:
        os.close(end)
