"""A small file system of the host that may run full: the disks on it, and what fills it, by their machine's name."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from harness.backends.kvm.places import safe
from harness.core import GiB, LabError, MiB, Size

MOST = GiB
"""A larger file system is somebody's own, and not meant to run full."""


class Scarce:
    """The folder that a lab file names as ``scarce``.

    Args:
        folder: on a file system of its own.
        host: the lab's name of the host, for messages.
    """

    def __init__(self, folder: Path, host: str) -> None:
        self._folder = folder
        self._host = host

    def check(self) -> None:
        """See that nobody else is hurt when it runs full.

        Raises:
            LabError: there is no such folder, or it is a part of a larger file system.
        """
        try:
            found = os.statvfs(self._folder)
            alone = os.path.ismount(self._folder)
        except OSError as error:
            raise LabError(f"scarce: {error}", host=self._host, hint="mount a tmpfs of 64 MiB there") from error
        size = Size(found.f_blocks * found.f_frsize)
        if not alone or size > MOST:
            raise LabError(
                f"scarce: {self._folder} is to be a file system of its own, of at most {MOST}, before it may run full; "
                f"it {f'has {size}' if alone else 'is no mount point'}",
                host=self._host,
                hint="mount a tmpfs of 64 MiB there",
            )

    def new_disk(self, machine: str, serial: str) -> Path:
        """Where one goes; the name has a random part, as those of other disks."""
        return self._folder / f"{machine}.disk-{safe(serial)}-{secrets.token_hex(3)}.qcow2"

    def disks(self, machine: str) -> Iterator[Path]:
        """Those of a machine, whether they are plugged in or not."""
        yield from sorted(self._folder.glob(f"{machine}.disk-*.qcow2"))

    def fill(self, machine: str) -> None:
        """Take all the room that is left, to the last block.

        Raises:
            LabError: it cannot be taken.
        """
        self.check()
        try:
            with self._ballast(machine).open("ab", buffering=0) as file:
                for block in (bytes(MiB), bytes(4096)):
                    with suppress(_NoSpace):
                        while True:
                            _write(file.fileno(), block)
        except OSError as error:
            raise LabError(f"scarce: {error}", host=self._host, operation="fill") from error

    def free(self, machine: str) -> None:
        """Give back what :meth:`fill` took. Idempotent."""
        self._ballast(machine).unlink(missing_ok=True)

    def clear(self, machine: str) -> None:
        """Delete everything of a machine. Idempotent."""
        self.free(machine)
        for disk in self.disks(machine):
            disk.unlink(missing_ok=True)

    def _ballast(self, machine: str) -> Path:
        return self._folder / f"{machine}.ballast"


class _NoSpace(Exception):
    """The file system is full."""


def _write(file: int, block: bytes) -> None:
    try:
        os.write(file, block)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise _NoSpace from error
