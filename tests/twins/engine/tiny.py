"""A disk that boots in seconds: the image's own kernel and initramfs, which stops at its shell on the serial port."""

from __future__ import annotations

from pathlib import Path

from harness.core import Deadline, MiB
from harness.core.waiting import Pending, wait_for
from harness.image.disk import Layout, boot_files, make_disk
from harness.image.model import Image
from harness.image.overlay import Overlay
from harness.image.progress import SILENT, Job
from harness.image.rootfs import EPOCH
from harness.twins.engine.api import EngineMachine

# Udev has loaded the drivers of what is there by then; no root is looked for.
_ARGUMENTS = "console=ttyS0,115200 net.ifnames=0 quiet break=premount"
_PROMPT = b"(initramfs) "


def tiny_disk(work: Path, image: Image, arguments: str = _ARGUMENTS) -> Path:
    """A raw disk with the product's own boot loaders, and nothing but a kernel and its initramfs."""
    assert image.kernel is not None
    assert image.initrd is not None
    work.mkdir(parents=True, exist_ok=True)
    layout = Layout("feedfacefeedfacefeedfacefeedface")
    tree = work / "tree.tar"
    with Overlay(tree, EPOCH) as tar:
        tar.folder("/boot/grub")
        tar.file("/boot/vmlinuz-1", image.kernel.read_bytes())
        tar.file("/boot/initrd.img-1", image.initrd.read_bytes())
        for path, data in boot_files(layout, "boot/vmlinuz-1", "boot/initrd.img-1", arguments).items():
            tar.file(path, data)
    return make_disk([(tree, [])], layout, MiB * 256, Job(work, Deadline.after(120), SILENT))


class Shell:
    """The initramfs' shell on a machine's serial port."""

    def __init__(self, machine: EngineMachine) -> None:
        self._machine = machine
        self._from = 0

    def await_prompt(self, seconds: float = 120) -> bytes:
        """What was said until the next prompt."""

        def prompted() -> bytes | Pending:
            said = self._machine.serial_path.read_bytes()[self._from :]
            at = said.rfind(_PROMPT)
            return said[: at + len(_PROMPT)] if at >= 0 else Pending(repr(said[-200:]))

        said = wait_for("the guest's prompt", prompted, Deadline.after(seconds))
        self._from += len(said)
        return said

    def ask(self, command: str, seconds: float = 60) -> str:
        """What a command says. The shell echoes it first."""
        self._machine.serial_write(command.encode() + b"\n")
        said = self.await_prompt(seconds).decode("utf-8", "replace")
        return said.partition("\n")[2].removesuffix(_PROMPT.decode()).replace("\r", "").strip()

    def await_words(self, words: str, seconds: float = 60) -> None:
        """What the kernel itself says on its console. It may spoil a prompt that is written at the same time."""

        def heard() -> bool | Pending:
            said = self._machine.serial_path.read_bytes()[self._from :]
            return words.encode() in said or Pending(repr(said[-200:]))

        wait_for(words, heard, Deadline.after(seconds))

    def begin_anew(self) -> None:
        """The log was begun anew."""
        self._from = 0

    def skip(self) -> None:
        """Whatever was said so far is of no interest."""
        self._from = self._machine.serial_path.stat().st_size
