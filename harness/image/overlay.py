"""What a recipe adds to the packages, as a tar whose entries all belong to root: no privilege is needed to write it."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Self

from harness.image.recipe import Debian, GuestFile

BUILD_ID_PATH = "/etc/interop-build-id"
UNITS = PurePosixPath("/etc/systemd/system")


class Overlay:
    """A tar of files and links, with their parent directories, all at one time stamp."""

    def __init__(self, path: Path, epoch: int) -> None:
        self._tar = tarfile.open(path, "w", format=tarfile.PAX_FORMAT)  # noqa: SIM115 (closed by __exit__)
        self._epoch = epoch
        self._folders: set[PurePosixPath] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._tar.close()

    def file(self, path: str, content: bytes, mode: int = 0o644) -> None:
        """Add a file."""
        entry = self._entry(path)
        entry.mode, entry.size = mode, len(content)
        self._tar.addfile(entry, io.BytesIO(content))

    def link(self, path: str, target: str) -> None:
        """Add a symbolic link."""
        entry = self._entry(path)
        entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, target, 0o777
        self._tar.addfile(entry)

    def folder(self, path: str, mode: int = 0o755) -> None:
        """Add a directory, with its parents."""
        self._parents(PurePosixPath(path))
        entry = self._entry(path)
        entry.type, entry.mode = tarfile.DIRTYPE, mode
        self._tar.addfile(entry)
        self._folders.add(PurePosixPath(path))

    def _entry(self, path: str) -> tarfile.TarInfo:
        self._parents(PurePosixPath(path))
        entry = tarfile.TarInfo("." + path)
        entry.mtime, entry.uname, entry.gname = self._epoch, "root", "root"
        return entry

    def _parents(self, path: PurePosixPath) -> None:
        # Only directories that packages do not bring: tar would reset the mode of one that exists.
        for parent in reversed(path.parents):
            if parent.name.endswith((".d", ".wants", ".requires")) and parent not in self._folders:
                self._folders.add(parent)
                self.folder(str(parent))


def write_early(debian: Debian, path: Path, epoch: int) -> None:
    """The tar that is unpacked before packages are configured."""
    with Overlay(path, epoch) as overlay:
        _files(overlay, (item for item in debian.files if item.early))


def write_late(debian: Debian, path: Path, epoch: int, build_id: str, extra: dict[str, bytes]) -> None:
    """The tar that is unpacked over the installed tree.

    Args:
        debian: the recipe's part.
        path: where the tar goes.
        epoch: time stamp of every entry, seconds since 1970.
        build_id: goes to :data:`BUILD_ID_PATH`.
        extra: further files (fstab, boot loader configuration), by path.
    """
    with Overlay(path, epoch) as overlay:
        for folder in ("/boot/grub",):
            overlay.folder(folder)
        _files(overlay, (item for item in debian.files if not item.early))
        own = {path for item in debian.files for path in item.paths()}
        for target, units in debian.enable.items():
            for unit in units:
                place = UNITS / unit if str(UNITS / unit) in own else PurePosixPath("/lib/systemd/system") / unit
                overlay.link(str(UNITS / f"{target}.wants" / unit), str(place))
        if debian.default_target:
            overlay.link(str(UNITS / "default.target"), f"/lib/systemd/system/{debian.default_target}")
        for unit in debian.mask:
            overlay.link(str(UNITS / unit), "/dev/null")
        for name, content in extra.items():
            overlay.file(name, content)
        overlay.file(BUILD_ID_PATH, build_id.encode() + b"\n")


def removed(debian: Debian) -> list[str]:
    """Patterns of what is left out when the installed tree is unpacked, as ``tar --exclude`` reads them."""
    disabled = [f"./etc/systemd/system/*.wants/{unit}" for unit in [*debian.disable, *debian.mask]]
    return [*("." + pattern for pattern in debian.remove), *disabled]


def _files(overlay: Overlay, files: Iterable[GuestFile]) -> None:
    for item in files:
        for path in item.paths():
            overlay.file(path, item.content.encode(), int(item.mode, 8))
