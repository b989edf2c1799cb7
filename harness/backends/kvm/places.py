"""Where a machine's parts are on the host, and how they get there: the waist between machines and storage."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from harness.backends.model import MachineSpec, PublishedImage
from harness.backends.protocol import Refused
from harness.backends.views import Owned
from harness.core import Deadline, Size
from harness.image.model import Image


@dataclass(frozen=True, slots=True)
class Parts:
    """The paths, on the host, of what a new machine consists of."""

    system: str
    seed: str | None
    disks: tuple[str, ...]
    console: str | None
    agent: str | None
    console_log: str
    variables: str | None


def safe(serial: str) -> str:
    """A disk's serial as a part of a file's name.

    Raises:
        Refused: it cannot be one.
    """
    if not serial or not all(letter.isalnum() or letter in "-_." for letter in serial) or serial.startswith("."):
        raise Refused(f"{serial!r} cannot be a disk's serial: letters, digits, dash, dot, underscore")
    return serial


class Places(Protocol):
    """Disks and files of machines on one host."""

    def published(self, digest: str, deadline: Deadline) -> str | None:
        """The complete image of this digest; None where there is none."""

    def partial(self, digest: str) -> str:
        """What :meth:`publish` of this process calls the image until it is complete."""

    def publish(self, image: Image, deadline: Deadline) -> PublishedImage:
        """As :meth:`Hypervisor.publish`, under the name of :meth:`partial` first."""

    def furnish(self, machine: str, spec: MachineSpec, deadline: Deadline) -> Parts:
        """Make everything a machine needs before it is defined; the owner's mark comes first.

        Args:
            machine: the UUID it will have.
            spec: image, data disks, seed, firmware and owner are taken from it.
            deadline: for all of it.
        """

    def add_disk(self, machine: str, serial: str, size: Size, deadline: Deadline) -> str:
        """An empty qcow2 disk; returns its path on the host."""

    def disks(self, machine: str, deadline: Deadline) -> tuple[str, ...]:
        """The paths of all its data disks, whether they are plugged in or not."""

    def delete_disk(self, machine: str, path: str, deadline: Deadline) -> None:
        """Delete a disk of this machine."""

    def states(self, machine: str) -> Path | None:
        """The folder of the machine's saved states; None where this process cannot reach the host's files."""

    def read(self, path: str, offset: int, limit: int, deadline: Deadline) -> bytes:
        """A piece of a machine's file; empty where there is none."""

    def clear(self, machine: str, deadline: Deadline) -> None:
        """Delete everything of a machine; idempotent."""

    def owned(self, deadline: Deadline) -> Iterable[Owned]:
        """What carries our mark here, whether its machine is defined or not."""

    def withdraw(self, handle: str, deadline: Deadline, *, whole: bool = True) -> None:
        """Delete a published image that no machine stands on, or what publishing one left half done.

        Args:
            handle: what it is called here.
            deadline: when to give up.
            whole: also if it is complete: such a one belongs to no run.
        """
