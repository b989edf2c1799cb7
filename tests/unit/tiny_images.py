"""Real disk images that are small enough for unit tests."""

from __future__ import annotations

from pathlib import Path

from harness.core import Deadline, MiB
from harness.image.content import digest_of_file
from harness.image.disk import Layout, boot_files, make_disk
from harness.image.model import Image
from harness.image.overlay import Overlay
from harness.image.progress import SILENT, Job
from harness.image.recipe import NamedRecipe, Recipe, SourceFile
from harness.image.rootfs import EPOCH
from harness.image.store import Store


def soon() -> Deadline:
    """Long enough for anything a unit test does."""
    return Deadline.after(120)


def raw_disk(path: Path, fill: bytes = b"payload") -> Path:
    """A raw disk of 8 MiB that claims to boot, with some data in its middle and a hole around it."""
    with path.open("wb") as disk:
        disk.truncate(8 * MiB)
        disk.seek(510)
        disk.write(b"\x55\xaa")
        disk.seek(3 * MiB)
        disk.write(fill * 1000)
    return path


def recipe_for(disk: Path, name: str = "tiny", sha256: str | None = None) -> NamedRecipe:
    """A recipe that imports ``disk``."""
    source = SourceFile(path=disk, sha256=sha256 or digest_of_file(disk))
    return NamedRecipe(name=name, recipe=Recipe(summary="for a test", source=source), folder=disk.parent)


def linux_disk(work: Path, files: dict[str, str] | None = None) -> Path:
    """A raw disk with the product's own layout and boot loaders, and a handful of files instead of Debian."""
    work.mkdir(parents=True, exist_ok=True)
    layout = Layout("feedfacefeedfacefeedfacefeedface")
    tree = work / "tree.tar"
    with Overlay(tree, EPOCH) as tar:
        tar.folder("/boot/grub")
        tar.folder("/etc/systemd/system")
        for path, content in {"/etc/hostname": "tiny\n", "/boot/vmlinuz-1": "kernel", **(files or {})}.items():
            tar.file(path, content.encode())
        for path, data in boot_files(layout, "boot/vmlinuz-1", "boot/initrd.img-1", "quiet").items():
            tar.file(path, data)
    return make_disk([(tree, [])], layout, MiB * 96, Job(work, soon(), SILENT))


def linux_image(store: Store, folder: Path) -> Image:
    """:func:`linux_disk`, in the store."""
    disk = linux_disk(folder)
    return store.build(recipe_for(disk, "linux")).image
