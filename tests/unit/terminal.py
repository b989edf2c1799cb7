"""A program on a terminal of its own, and the screen that a person would see of it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

_TOKEN = re.compile(r"\x1b\[[?]?[\d;]*[A-Za-z]|\r|\n|[^\x1b\r\n]+")


class OnTerminal:
    """A process whose three streams are a terminal."""

    def __init__(self, argv: Sequence[str], cwd: Path, env: Mapping[str, str], *, width: int = 100) -> None:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
        self._process = subprocess.Popen(
            argv, cwd=cwd, env={**env, "TERM": "xterm"}, stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True
        )
        os.close(theirs)
        self._ours = ours
        self._data = b""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._ours, 65536)
            except OSError:  # the last of its processes is gone
                return
            if not data:
                return
            self._data += data

    @property
    def written(self) -> str:
        """Everything it wrote so far."""
        return self._data.decode()

    def wait(self) -> int:
        """Its exit status, once all was read."""
        status = self._process.wait(120)
        self._reader.join(30)
        os.close(self._ours)
        return status


def screen(written: str) -> list[str]:
    """The lines that stand on a terminal without end after this was written to it."""
    lines, row, column = [""], 0, 0
    for token in _TOKEN.findall(written):
        if token == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif token == "\r":
            column = 0
        elif not token.startswith("\x1b"):
            lines[row] = lines[row][:column].ljust(column) + token + lines[row][column + len(token) :]
            column += len(token)
        elif token.endswith("A"):
            row = max(row - int(token[2:-1] or 1), 0)
        elif token == "\x1b[2K":
            lines[row] = ""
        else:
            assert token[-1] in "mhl", f"the screen does not know {token!r}"
    return [line.rstrip() for line in lines]
