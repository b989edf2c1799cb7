"""A serial console that is really a shell of this machine on a pseudo-terminal."""

from __future__ import annotations

import os
import pty
import signal
import threading


class PtyConsole:
    """Keeps all output, as a host does, and takes what is typed.

    Args:
        argv: what sits on the line.
        before: printed before anything else.
    """

    def __init__(self, argv: list[str], before: bytes = b"") -> None:
        self.output = bytearray(before)
        self.pid, self.line = pty.fork()
        if self.pid == 0:
            os.environ["PS1"] = "# "
            # Whoever runs tests in the background has them ignore ^C, and that would be inherited.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.execvp(argv[0], argv)
        self.thread = threading.Thread(target=self._collect, daemon=True)
        self.thread.start()

    def _collect(self) -> None:
        try:
            while data := os.read(self.line, 4096):
                self.output += data
        except OSError:
            pass  # the shell has gone

    def read(self, offset: int, limit: int) -> bytes:
        return bytes(self.output[offset : offset + limit])

    def write(self, data: bytes) -> None:
        os.write(self.line, data)

    def say(self, data: bytes) -> None:
        """What the kernel prints in between."""
        self.output += data

    def close(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.line)
        self.thread.join(5)
