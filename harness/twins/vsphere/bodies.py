"""What disks start from: uploaded images, files that somebody put on the datastore, and what clones stand on."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

from harness.core import LabError

_DESCRIPTOR = b"# Disk DescriptorFile"
_SPARSE = b"KDMV"


class UnsupportedDisk(LabError):
    """A file on the datastore that a host cannot run a machine from."""


class Bodies:
    """By a disk's descriptor on the datastore, the file that it starts from.

    Args:
        datastore: the datastore's folder.
        folder: where the bodies of uploads are, in folders by the same relative names; out of clients' sight.
    """

    def __init__(self, datastore: Path, folder: Path) -> None:
        self._datastore = datastore
        self._folder = folder
        self._lock = threading.Lock()
        self._clones: dict[Path, Path] = {}
        self._stands: dict[Path, Path] = {}  # a disk, and the upload that it stands on, however far down

    def of(self, disk: Path) -> Path | None:
        """The image that a disk starts from; None: it was empty.

        Raises:
            UnsupportedDisk: somebody attached a file that is no disk of a host's.
        """
        with self._lock:
            if disk in self._clones:
                return self._clones[disk]
        body = self._uploaded(disk)
        if body is not None:
            with self._lock:
                self._stands[disk] = body
            return body
        return _attached(disk)

    def _uploaded(self, disk: Path) -> Path | None:
        folder = self._folder / disk.relative_to(self._datastore)
        return max(folder.iterdir(), default=None) if folder.is_dir() else None

    def cloned(self, disk: Path, source: Path, content: Path) -> None:
        """From now on ``disk`` starts from the ``content`` of ``source``."""
        with self._lock:
            self._clones[disk] = content
            if source in self._stands:
                self._stands[disk] = self._stands[source]

    def forget(self, disk: Path) -> None:
        """The disk is gone; an upload that no other disk stands on goes too."""
        with self._lock:
            self._clones.pop(disk, None)
            stood = self._stands.pop(disk, None) or self._uploaded(disk)
            if stood is not None and stood not in self._stands.values():
                stood.unlink(missing_ok=True)
                with contextlib.suppress(OSError):  # another upload is there already
                    stood.parent.rmdir()


def _attached(disk: Path) -> Path | None:
    """A file that came by the datastore's own door: a descriptor with its extent, which a host can run from."""
    try:
        with disk.open("rb") as file:
            begins = file.read(len(_DESCRIPTOR))
    except OSError as error:
        raise UnsupportedDisk(f"{disk.name} is not there: {error.strerror}") from error
    if begins.startswith(_SPARSE):
        # What ESXi says of an uploaded streamOptimized or sparse disk.
        raise UnsupportedDisk(f"{disk.name}: unsupported or invalid disk type; import it by a lease instead")
    if begins != _DESCRIPTOR:
        raise UnsupportedDisk(f"{disk.name}: not a virtual disk")
    extent = disk.with_name(disk.name.replace(".vmdk", "-flat.vmdk"))
    return extent if extent.is_file() and extent.stat().st_size else None
