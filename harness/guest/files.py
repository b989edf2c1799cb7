"""A guest's files: read, written and compared as bytes."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING

from harness.core import GuestError

if TYPE_CHECKING:
    from harness.guest.guest import Guest

MINUTE = timedelta(minutes=1)

# `ssh` ends stdin alike when all was sent and when the connection broke: only the length tells, so nothing half written
# ever takes the file's place.
_WRITE = """set -e
mkdir -p -- "${1%/*}/"
cat >"$1.interop-part"
[ "$(stat -c %s -- "$1.interop-part")" = "$2" ]
chmod "$3" -- "$1.interop-part"
mv -f -- "$1.interop-part" "$1"
"""


class Files:
    """Files of a guest, by absolute path."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest

    def read(self, path: str, *, timeout: timedelta = MINUTE) -> bytes:
        """A file's whole content.

        Raises:
            CommandFailed: there is no such file, or it cannot be read.
            GuestError: it is larger than the harness reads at once (16 MiB).
        """
        done = self._guest.run(["cat", "--", path], timeout=timeout)
        if done.cut:
            raise GuestError(f"{self._guest.name}: {path} is too large to read whole", operation="read")
        return done.stdout

    def write(self, path: str, data: bytes, *, mode: int = 0o644, timeout: timedelta = MINUTE) -> None:
        """Put ``data`` at ``path``, whole or not at all; makes the folders above it.

        Raises:
            CommandFailed: the guest could not.
        """
        argv = ["sh", "-c", _WRITE, "-", path, str(len(data)), f"{mode:o}"]
        self._guest.run(argv, stdin=data, timeout=timeout)

    def exists(self, path: str) -> bool:
        """Whether anything is at ``path``; a link counts even when its target is missing."""
        return self._guest.run(["sh", "-c", '[ -e "$1" ] || [ -L "$1" ]', "-", path], check=False).ok

    def sha256(self, path: str, *, timeout: timedelta = timedelta(minutes=5)) -> str:
        """The hexadecimal sha256 of a file's content, computed in the guest."""
        said = self._guest.run(["sha256sum", "-b", "--", path], timeout=timeout).text
        # A leading backslash says that the *name* behind the sum is escaped (coreutils).
        found = re.match(r"\\?([0-9a-f]{64}) ", said)
        if not found:
            raise GuestError(f"{self._guest.name}: sha256sum answered {said!r}", operation="sha256")
        return found[1]

    def remove(self, path: str) -> None:
        """Remove a file or a whole folder; no error when there is none."""
        self._guest.run(["rm", "-rf", "--", path])
