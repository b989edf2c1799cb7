"""Saved states: a checkpoint as files, for machines whose memory cannot go into their qcow2.

A folder a checkpoint: the domain as it was defined, its UEFI variables, and its memory. The disks' content is an
internal snapshot of each qcow2, taken and applied while no QEMU has them open: that costs no copy.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.backends.kvm import qcow2
from harness.backends.kvm.xml import Element, attribute, parse, text
from harness.core import Deadline

_NOWHERE = Path("/nonexistent")
_DOMAIN, _MEMORY, _VARIABLES = "domain.xml", "memory", "variables.fd"


class SavedStates:
    """The saved states of one machine.

    Args:
        folder: where they are; need not exist. None: there are none.
        host: the lab's name of the host, for messages.
    """

    def __init__(self, folder: Path | None, host: str) -> None:
        self._folder = folder or _NOWHERE
        self._host = host

    def names(self) -> dict[str, float]:
        """The complete ones, with the times they were taken."""
        if not self._folder.is_dir():
            return {}
        found = self._folder.glob(f"[!.]*/{_DOMAIN}")
        return {path.parent.name: path.stat().st_mtime for path in found}

    def folders(self) -> list[Path]:
        """All, those that were never completed as well."""
        return sorted(self._folder.iterdir()) if self._folder.is_dir() else []

    def sources(self) -> set[str]:
        """The disks that some state has."""
        folders = (self._folder / name for name in self.names())
        return {path for folder in folders for path in sources(parse((folder / _DOMAIN).read_text(encoding="utf-8")))}

    def memory(self, name: str) -> Path:
        """Where the memory image is."""
        return self._folder / name / _MEMORY

    def has_memory(self, name: str) -> bool:
        """Whether memory was saved, or the disks alone."""
        return self.memory(name).exists()

    @contextmanager
    def taking(self, name: str, domain: Element, deadline: Deadline, *, disks: bool = True) -> Iterator[Path]:
        """Around the save of memory to the given path, which leaves the machine off; then disks are snapshotted.

        The state exists once the block and the snapshots are done, or not at all. ``disks=False`` where QEMU has them
        open and takes its snapshots itself, within the block.
        """
        final, partial = self._folder / name, self._folder / f".{name}"
        if partial.exists():
            shutil.rmtree(partial)
        partial.mkdir(parents=True)
        yield partial / _MEMORY
        for disk in _disks(domain) if disks else ():
            qcow2.snapshot(disk, name, self._host, deadline)
        variables = domain.findtext("os/nvram")
        if variables:
            shutil.copyfile(variables, partial / _VARIABLES)
        (partial / _DOMAIN).write_text(text(domain), encoding="utf-8")
        partial.replace(final)

    def apply(self, name: str, deadline: Deadline) -> Element:
        """Make disks and UEFI variables what they were; the machine must be off. Returns the domain as it was."""
        folder = self._folder / name
        domain = parse((folder / _DOMAIN).read_text(encoding="utf-8"))
        for disk in _disks(domain):
            qcow2.apply(disk, name, self._host, deadline)
        variables = domain.findtext("os/nvram")
        if variables and (folder / _VARIABLES).exists():
            shutil.copyfile(folder / _VARIABLES, variables)
        return domain

    def drop(self, name: str, deadline: Deadline, *, disks: bool) -> None:
        """Forget one. ``disks=False`` where QEMU has them open and deleted its snapshots itself."""
        folder = self._folder / name
        if disks:
            for disk in _disks(parse((folder / _DOMAIN).read_text(encoding="utf-8"))):
                if disk.exists():
                    qcow2.forget(disk, name, self._host, deadline)
        shutil.rmtree(folder)


def sources(description: Element) -> list[str]:
    """The disk files that a domain's or a snapshot's description names."""
    return [str(source.get("file")) for source in description.iterfind(".//disk/source") if source.get("file")]


def qcow2_snapshots(domain: Element, host: str, deadline: Deadline) -> list[str]:
    """The snapshots inside a domain's disks, while no QEMU has them open."""
    return [f"{disk}: {name}" for disk in _disks(domain) for name in qcow2.snapshots(disk, host, deadline)]


def _disks(domain: Element) -> list[Path]:
    found = [disk for disk in domain.iterfind("devices/disk") if attribute(disk, "driver", "type") == "qcow2"]
    return [Path(attribute(disk, "source", "file")) for disk in found]
