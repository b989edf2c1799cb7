"""Places of embedded hosts: plain files below the root, a folder a machine."""

from __future__ import annotations

import os
import secrets
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.backends import codec
from harness.backends.kvm import foreign, qcow2, roots
from harness.backends.kvm.places import Parts, safe
from harness.backends.kvm.roots import Root
from harness.backends.kvm.scarce import Scarce
from harness.backends.model import Firmware, MachineSpec, Ownership, PublishedImage
from harness.backends.protocol import Refused
from harness.backends.views import Owned, ResourceKind
from harness.core import Deadline, LabError, Size
from harness.image.model import Image

MARK = "owner.json"


@dataclass(frozen=True, slots=True)
class Mark:
    """Whose a machine's folder is; written before anything else goes into it."""

    owner: Ownership
    name: str


class Files:
    """As :class:`~harness.backends.kvm.places.Places`.

    Args:
        root: the embed root of this process.
        base: where published images are, shared by all roots.
        host: the lab's name of the host, for messages.
        variables: the template of UEFI variables, if the host has UEFI.
        scarce: the file system that may run full, if the host has one.
    """

    def __init__(self, root: Root, base: Path, host: str, variables: Path | None, scarce: Scarce | None = None) -> None:
        self._root = root
        self._base = base
        self._host = host
        self._variables = variables
        self._scarce = scarce
        base.mkdir(parents=True, exist_ok=True)

    def folder(self, machine: str) -> Path:
        """The machine's folder."""
        return self._root.machines / machine

    def published(self, digest: str, deadline: Deadline) -> str | None:
        """A file by the image's name: no other name becomes that before it is whole."""
        target = self._base / f"{digest}.qcow2"
        return str(target) if target.exists() else None

    def partial(self, digest: str) -> str:
        """One a process."""
        return str(self._base / f"{digest}.{os.getpid()}.part")

    def publish(self, image: Image, deadline: Deadline) -> PublishedImage:
        """A hard link to the store's file: no time, no space, and it stays when the store is pruned."""
        target = self._base / f"{image.digest}.qcow2"
        if not target.exists():
            temporary = Path(self.partial(image.digest))
            temporary.unlink(missing_ok=True)
            try:
                temporary.hardlink_to(image.qcow2)
            except OSError:
                self._copy(image.qcow2, temporary)
            qcow2.check(temporary, self._host, deadline)
            temporary.replace(target)
        return PublishedImage(image.digest, str(target))

    def furnish(self, machine: str, spec: MachineSpec, deadline: Deadline) -> Parts:
        """Everything goes into the machine's folder; the owner's mark is there before anything else."""
        folder = self.folder(machine)
        folder.mkdir()
        _write_mark(folder, Mark(spec.owner, spec.name))
        base = Path(spec.image.handle)
        if not base.is_file():
            raise LabError(f"the image {spec.image.digest[:12]} is not published", host=self._host, operation="create")
        uefi = spec.shape.firmware is Firmware.UEFI
        system = folder / "system.qcow2"
        qcow2.clone(system, base, self._host, deadline)
        paths = tuple(self.add_disk(machine, disk.serial, disk.size, deadline) for disk in spec.disks)
        if spec.seed:
            self._copy(spec.seed, folder / "seed.iso")
        if uefi and self._variables:
            self._copy(self._variables, folder / "variables.fd")
        short = self._root.sockets / machine[:13]
        return Parts(
            system=str(system),
            seed=str(folder / "seed.iso") if spec.seed else None,
            disks=paths,
            console=f"{short}.con",
            agent=f"{short}.qga",
            console_log=str(folder / "console.log"),
            variables=str(folder / "variables.fd") if uefi else None,
        )

    def add_disk(self, machine: str, serial: str, size: Size, deadline: Deadline) -> str:
        """The name has a random part: a checkpoint may keep an earlier disk of the same serial."""
        path = self.folder(machine) / f"disk-{safe(serial)}-{secrets.token_hex(3)}.qcow2"
        qcow2.create(path, size, self._host, deadline)
        return str(path)

    def disks(self, machine: str, deadline: Deadline) -> tuple[str, ...]:
        """All of them."""
        return tuple(map(str, self._disks(machine)))

    def delete_disk(self, machine: str, path: str, deadline: Deadline) -> None:
        """Only what :meth:`disks` lists."""
        if Path(path) in self._disks(machine):
            Path(path).unlink(missing_ok=True)

    def states(self, machine: str) -> Path:
        """Beside its disks."""
        return self.folder(machine) / "checkpoints"

    def read(self, path: str, offset: int, limit: int, deadline: Deadline) -> bytes:
        """A piece of a local file."""
        try:
            with Path(path).open("rb") as file:
                file.seek(offset)
                return file.read(limit)
        except FileNotFoundError:
            return b""

    def clear(self, machine: str, deadline: Deadline) -> None:
        """The folder, QEMU's log, and the sockets it left; in another root, the domain as well."""
        if self._scarce:
            self._scarce.clear(machine)
        elsewhere = foreign.holding(self._root, machine)
        if elsewhere:
            foreign.remove(elsewhere, machine, self._host, deadline)
            return
        for suffix in ("con", "qga"):
            (self._root.sockets / f"{machine[:13]}.{suffix}").unlink(missing_ok=True)
        folder = self.folder(machine)
        if folder.exists():
            mark = _read_mark(folder)
            if mark:
                (self._root.path / "log" / "qemu" / f"{mark.name}.log").unlink(missing_ok=True)
            # The mark goes last: a removal that is killed half-way is found again.
            for entry in sorted(folder.iterdir(), key=lambda path: path.name == MARK):
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink(missing_ok=True)
            folder.rmdir()

    def owned(self, deadline: Deadline) -> Iterator[Owned]:
        """Machines' folders of all roots, and uploads that never ended."""
        for root in roots.all_of(self._root.path.parent):
            yield from marked(root)
        for part in self._base.glob("*.part"):
            if not _alive(part.name.split(".")[1]):
                yield Owned(ResourceKind.IMAGE, str(part), None, part.name)

    def withdraw(self, handle: str, deadline: Deadline, *, whole: bool = True) -> None:
        """Refused while a machine of any root stands on it; a digest is the name of a whole one."""
        if handle.endswith(".part"):
            if Path(handle).parent == self._base:
                Path(handle).unlink(missing_ok=True)
            return
        if not whole:
            return
        target = self._base / f"{handle}.qcow2"
        users = self._root.path.parent.glob("*/machines/*/system.qcow2")
        if any(qcow2.backing(system, self._host, deadline) == str(target) for system in users):
            raise Refused(f"machines stand on the image {handle[:12]}", host=self._host, operation="remove")
        target.unlink(missing_ok=True)

    def _disks(self, machine: str) -> list[Path]:
        scarce = self._scarce.disks(machine) if self._scarce else ()
        return [*sorted(self.folder(machine).glob("disk-*.qcow2")), *scarce]

    def _copy(self, source: Path, target: Path) -> None:
        try:
            shutil.copyfile(source, target)
        except OSError as error:
            raise LabError(f"{source} cannot be copied to {target}: {error}", host=self._host) from error


def marked(root: Root) -> Iterator[Owned]:
    """The machines of a root by their folders: needs no libvirt, so it works on roots of other processes too."""
    if root.machines.is_dir():
        for folder in sorted(root.machines.iterdir()):
            mark = _read_mark(folder)
            if mark or _begun(folder):
                yield Owned(ResourceKind.MACHINE, folder.name, mark.owner if mark else None, mark.name if mark else "")


def _write_mark(folder: Path, mark: Mark) -> None:
    with (folder / MARK).open("w") as file:
        file.write(codec.dumps(mark))
        file.flush()
        os.fsync(file.fileno())


def _read_mark(folder: Path) -> Mark | None:
    try:
        return codec.loads(Mark, (folder / MARK).read_text())
    except (OSError, ValueError):
        return None


def _begun(folder: Path) -> bool:
    """Whether an unmarked folder may be one that we were killed in while marking it: nothing else is in it then."""
    try:
        return uuid.UUID(folder.name).version == 4 and not {entry.name for entry in folder.iterdir()} - {MARK}
    except (OSError, ValueError):
        return False


def _alive(process: str) -> bool:
    return process.isdigit() and Path(f"/proc/{process}").exists()
