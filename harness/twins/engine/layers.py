"""What disks hold: qcow2 layers in the engine's folder, so that snapshots and clones cost what they change.

A disk is a *base* (a file that never changes again, or nothing) and, once it was written to, a *top* over it. A disk
snapshot makes the top a base. A snapshot with memory is kept *within* the top, by QEMU's own means, so that disks and
memory are of one moment.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from harness.core import Deadline, LabError
from harness.core.process import need, run
from harness.twins.engine.values import Disk, EngineError

# By what a file begins with; anything else is raw.
_MAGIC = {
    b"QFI\xfb": "qcow2",
    b"KDMV": "vmdk",
    b"# Disk DescriptorFile": "vmdk",
    b"vhdxfile": "vhdx",
    b"conectix": "vpc",
}
_KEEP_MEMORY = ("qcow2", "raw")
"""The formats that QEMU saves a machine's memory over; of the others it says "does not support live migration"."""
_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Layer:
    """What a disk held at a moment: a file that never changes, or what ``tag`` keeps within a file.

    ``file`` None is an empty disk.
    """

    file: Path | None
    size: int
    tag: str = ""


@dataclass(slots=True)
class _Content:
    base: Path | None
    size: int
    top: Path | None = None


class Layers:
    """All disks of an engine. Thread-safe; that nobody writes to a disk meanwhile is its caller's promise.

    Args:
        folder: where the layers are kept; ours alone.
        kept: tells which layers snapshots still need.
    """

    def __init__(self, folder: Path, kept: Callable[[], Iterable[Layer]]) -> None:
        self._folder = folder
        self._kept = kept
        self._lock = threading.RLock()
        self._disks: dict[Path, _Content] = {}
        self._below: dict[Path, Path | None] = {}
        self._contents: dict[Layer, Path] = {}
        self._taken: dict[Path, Path] = {}  # images that somebody brought, and our copies of them
        self._made = 0
        folder.mkdir(parents=True, exist_ok=True)

    def know(self, disk: Disk) -> None:
        """There is such a disk: what it starts from is needed, written to or not."""
        with self._lock:
            self._known(disk)

    def top(self, disk: Disk) -> Path:
        """The file to give to QEMU, made if need be, and as large as the disk is meant to be."""
        with self._lock:
            content = self._known(disk)
            if content.top is None:
                content.top = self._overlay(content.base, max(disk.size, content.size))
            elif disk.size > content.size:
                _img(["resize", "-q", "-f", "qcow2", content.top, str(int(disk.size))])
            content.size = max(disk.size, content.size)
            return content.top

    def current(self, path: Path) -> Path | None:
        """The file that QEMU writes to, if there is one."""
        with self._lock:
            return self._disks[path].top if path in self._disks else None

    def grown(self, path: Path, size: int) -> None:
        """QEMU made it larger."""
        with self._lock:
            self._disks[path].size = max(self._disks[path].size, size)

    def freeze(self, disk: Disk) -> Layer:
        """What it holds now, for ever; what is written from now on goes elsewhere."""
        with self._lock:
            content = self._known(disk)
            if content.top is not None:
                content.base, content.top = content.top, None
            return Layer(content.base, content.size)

    def prepare(self, disk: Disk) -> Path:
        """An overlay to switch a running QEMU to: :meth:`switch` says that it was done."""
        with self._lock:
            return self._overlay(self.top(disk), self._disks[disk.path].size)

    def switch(self, disk: Disk, overlay: Path) -> Layer:
        """QEMU writes to ``overlay`` now; what the disk held before is the answer."""
        with self._lock:
            content = self._known(disk)
            content.base, content.top = content.top, overlay
            return Layer(content.base, content.size)

    def mark(self, disk: Disk, tag: str) -> Layer:
        """What it holds now, within the top, where QEMU has kept it under ``tag``."""
        with self._lock:
            content = self._known(disk)
            return Layer(content.top, content.size, tag)

    def revert(self, disk: Disk, layer: Layer) -> Layer:
        """Go back; returns the layer as it is to be remembered from now on.

        What ``tag`` keeps is not applied yet: whoever starts QEMU loads it.
        """
        with self._lock:
            content = self._known(disk)
            content.size = layer.size
            if not layer.tag:
                content.base, content.top = layer.file, None
            elif layer.file != content.top and layer.file is not None:
                if self._needed(layer.file, content):
                    layer = Layer(self._copy(layer.file), layer.size, layer.tag)
                content.top = layer.file
                content.base = self._below.get(content.top) if content.top else None
            return layer

    def drop(self, layer: Layer) -> None:
        """Forget what ``tag`` keeps, as far as the file may be written to; nobody may have it open."""
        with self._lock:
            writable = {content.top for content in self._disks.values()}
        if layer.tag and layer.file in writable and layer.file is not None:
            drop_tag(layer.file, layer.tag)

    def content(self, layer: Layer) -> Path:
        """A file that holds what ``layer`` held; kept for as long as the layer is, or a clone that starts from it."""
        with self._lock:
            if layer.file is not None and not layer.tag:
                return layer.file
            if layer not in self._contents:
                self._contents[layer] = (
                    self._overlay(None, layer.size) if layer.file is None else self._extracted(layer)
                )
            return self._contents[layer]

    def forget(self, path: Path) -> None:
        """There is no such disk any more."""
        with self._lock:
            self._disks.pop(path, None)

    def sweep(self) -> None:
        """Delete the layers that no disk, snapshot or clone stands on."""
        with self._lock:
            kept = set(self._kept())
            wanted = [layer.file for layer in kept]
            wanted += [file for layer, file in self._contents.items() if layer in kept]
            wanted += [file for content in self._disks.values() for file in (content.top, content.base)]
            alive: set[Path] = set()
            for file in wanted:
                while file is not None and file not in alive:
                    alive.add(file)
                    file = self._below.get(file)  # noqa: PLW2901 - down the chain
            self._contents = {layer: file for layer, file in self._contents.items() if file in alive}
            for file in set(self._below) - alive:
                file.unlink(missing_ok=True)
                del self._below[file]
            self._taken = {image: copy for image, copy in self._taken.items() if copy in self._below}

    def _known(self, disk: Disk) -> _Content:
        content = self._disks.get(disk.path)
        if content is None:
            content = self._disks[disk.path] = _Content(self._taken_over(disk.backing), disk.size)
        return content

    def _taken_over(self, image: Path | None) -> Path | None:
        """An image in a form that a machine with saved memory can stand on: itself, or a copy made once."""
        if image is None or image in self._below or image_format(image) in _KEEP_MEMORY:
            return image
        if image not in self._taken:
            copy = self._name()
            _img(["convert", "-f", image_format(image), "-O", "qcow2", image, copy])
            self._below[copy] = None
            self._taken[image] = copy
        return self._taken[image]

    def _needed(self, file: Path, content: _Content) -> bool:
        """Whether anything but ``content`` stands on ``file``, so that it must stay as it is."""
        if any(below == file and above != content.top for above, below in self._below.items()):
            return True
        return any(file in {other.top, other.base} for other in self._disks.values() if other is not content) or any(
            layer.file == file and not layer.tag for layer in self._kept()
        )

    def _overlay(self, base: Path | None, size: int) -> Path:
        file = self._name()
        if base is None:
            make_empty(file, size)
        else:
            known = "qcow2" if base in self._below else image_format(base)
            _img(["create", "-q", "-f", "qcow2", "-F", known, "-b", base.resolve(), file, str(int(size))])
        self._below[file] = base
        return file

    def _extracted(self, layer: Layer) -> Path:
        """What a tag keeps within a file, as a file."""
        copy = self._name()
        # Unlocked, for QEMU may have it open: what a tag keeps does not change under it.
        options = ["-U", "-l", f"snapshot.name={layer.tag}", "-f", "qcow2", "-O", "qcow2"]
        _img(["convert", *options, str(layer.file), copy])
        self._below[copy] = None
        return copy

    def _copy(self, file: Path) -> Path:
        copy = self._name()
        run([need("cp", "coreutils"), "--reflink=auto", "--sparse=always", file, copy], Deadline.after(_SECONDS))
        self._below[copy] = self._below.get(file)
        return copy

    def _name(self) -> Path:
        self._made += 1
        return self._folder / f"{self._made:06}.qcow2"


def image_format(path: Path) -> str:
    """QEMU's word for the format of an image that somebody brought.

    Raises:
        EngineError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            start = file.read(32)
    except OSError as error:
        raise EngineError(f"the disk image {path} cannot be read: {error.strerror}", operation="disk") from error
    return next((name for magic, name in _MAGIC.items() if start.startswith(magic)), "raw")


def make_empty(file: Path, size: int) -> None:
    """An empty qcow2."""
    _img(["create", "-q", "-f", "qcow2", file, str(int(size))])


def drop_tag(file: Path, tag: str) -> None:
    """Forget what ``tag`` keeps within a file that nobody has open."""
    _img(["snapshot", "-q", "-d", tag, file])


def _img(arguments: list[str | Path]) -> None:
    try:
        run([need("qemu-img", "qemu-utils"), *arguments], Deadline.after(_SECONDS))
    except LabError as error:
        raise EngineError(error.message, operation=f"qemu-img {arguments[0]}", hint=error.hint) from error
