"""What a command in a guest left behind."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from harness.core import GuestError


class CommandFailed(GuestError):
    """A command in the guest ended with a status that its caller did not allow."""


@dataclass(frozen=True, slots=True)
class Result:
    """A command's end.

    Args:
        argv: what was run.
        status: exit status; minus the signal's number when a signal ended it.
        stdout: what it printed, as bytes.
        stderr: what it complained of.
        cut: True when it printed more than the harness keeps; the rest was read and thrown away.
    """

    argv: tuple[str, ...]
    status: int
    stdout: bytes
    stderr: bytes
    cut: bool = False

    @property
    def ok(self) -> bool:
        """Whether the status is 0."""
        return self.status == 0

    @property
    def text(self) -> str:
        """Stdout as text without the final newline; bytes that are no UTF-8 are shown as hexadecimal escapes."""
        shown = self.stdout.decode("utf-8", "backslashreplace").removesuffix("\n")
        return f"{shown}\n[... cut: the command printed more than is kept]" if self.cut else shown

    @property
    def lines(self) -> list[str]:
        """The lines of :attr:`text`."""
        return self.text.splitlines()

    def checked(self, guest: str) -> Result:
        """This result, if its status is 0.

        Raises:
            CommandFailed: it is not; with the end of what the command said.
        """
        if self.status != 0:
            said = (self.stderr.strip() or self.stdout.strip())[-2000:].decode("utf-8", "backslashreplace")
            raise CommandFailed(f"{guest}: `{shlex.join(self.argv)}` ended with {self.status}: {said}")
        return self
