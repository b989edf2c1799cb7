"""Places of daemons, local or remote: volumes of a directory pool, moved by libvirt's own streams.

Volumes have no metadata, so a name carries the mark: ``interop.RUN.TOKEN.EXPIRY.MACHINE.PART``. A published image is
complete once a second, empty volume says so: volumes cannot be renamed.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self, TypeVar

import libvirt

from harness.backends.kvm.connection import Connection, send
from harness.backends.kvm.places import Parts
from harness.backends.kvm.xml import node, parse, text
from harness.backends.model import MachineSpec, Ownership, PublishedImage
from harness.backends.protocol import Refused
from harness.backends.views import Owned, ResourceKind
from harness.core import Deadline, LabError, Size
from harness.image.model import Image

T = TypeVar("T")

_IMAGE, _DONE = "image", "done"
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Name:
    """A volume's name: whose it is, which machine's (or ``image``), and what."""

    owner: Ownership
    machine: str
    part: str

    def __str__(self) -> str:
        expiry = int(self.owner.expiry.timestamp())
        return f"interop.{self.owner.run}.{self.owner.token}.{expiry}.{self.machine}.{self.part}"

    @classmethod
    def parse(cls, name: str) -> Self | None:
        """None for volumes that are not ours."""
        words = name.split(".", 5)
        if len(words) != 6 or words[0] != "interop" or not words[3].isdigit():
            return None
        owner = Ownership(words[1], words[2], datetime.fromtimestamp(int(words[3]), UTC))
        return cls(owner, words[4], words[5])


class Volumes:
    """As :class:`~harness.backends.kvm.places.Places`.

    Args:
        connection: the host.
        pool: name of the directory pool.
        owner: marks what is published.
        host: the lab's name of the host, for messages.
    """

    def __init__(self, connection: Connection, pool: str, owner: Ownership, host: str) -> None:
        self._connection = connection
        self._pool = pool
        self._owner = owner
        self._host = host

    def partial(self, digest: str) -> str:
        """One a run; it keeps that name."""
        return str(Name(self._owner, _IMAGE, digest))

    def publish(self, image: Image, deadline: Deadline) -> PublishedImage:
        """Uploaded under a name of its own by each controller; the first complete copy serves all."""
        found = self.published(image.digest, deadline)
        if found is None:
            found = self.partial(image.digest)
            self._upload(found, image.qcow2, "qcow2", deadline)
            self._create(f"{found}.{_DONE}", "raw", Size(0), None, deadline)
        return PublishedImage(image.digest, found)

    def furnish(self, machine: str, spec: MachineSpec, deadline: Deadline) -> Parts:
        """Every volume carries the mark in its name, from its first moment on."""

        def name(part: str) -> str:
            return str(Name(spec.owner, machine, part))

        base = self._look_up(spec.image.handle, deadline)
        if base is None:
            raise LabError(f"the image {spec.image.digest[:12]} is not published", host=self._host, operation="create")
        system = self._create(name("system.qcow2"), "qcow2", base[1], base[0], deadline)
        disks = tuple(self._create(name(_disk(disk.serial)), "qcow2", disk.size, None, deadline) for disk in spec.disks)
        seed = self._upload(name("seed.iso"), spec.seed, "raw", deadline) if spec.seed else None
        log = str(Path(system).with_name(name("console.log")))
        return Parts(system=system, seed=seed, disks=disks, console=None, agent=None, console_log=log, variables=None)

    def add_disk(self, machine: str, serial: str, size: Size, deadline: Deadline) -> str:
        """An empty volume; replaces none."""
        name = Name(self._owner_of(machine, deadline), machine, _disk(serial))
        return self._create(str(name), "qcow2", size, None, deadline)

    def disks(self, machine: str, deadline: Deadline) -> tuple[str, ...]:
        """All of them."""
        names = [name for name in self._names(deadline) if name.machine == machine and name.part.startswith("disk-")]
        found = [self._look_up(str(name), deadline) for name in names]
        return tuple(one[0] for one in found if one)

    def delete_disk(self, machine: str, path: str, deadline: Deadline) -> None:
        """Only a volume of this machine's."""
        name = Name.parse(Path(path).name)
        if name and name.machine == machine:
            self._delete(str(name), deadline)

    def states(self, machine: str) -> Path | None:
        """None: files on such a host are out of reach."""
        return None

    def clear(self, machine: str, deadline: Deadline) -> None:
        """Every volume of the machine, its console's log included."""
        for name in self._names(deadline, refresh=True):
            if name.machine == machine:
                self._delete(str(name), deadline)

    def owned(self, deadline: Deadline) -> Iterable[Owned]:
        """Machines by their volumes, and uploads that are not complete."""
        names = self._names(deadline)
        done = {name.part for name in names if name.machine == _IMAGE and name.part.endswith(f".{_DONE}")}
        for name in names:
            if name.machine != _IMAGE:
                yield Owned(ResourceKind.MACHINE, name.machine, name.owner)
            elif name.part not in done and f"{name.part}.{_DONE}" not in done:
                yield Owned(ResourceKind.IMAGE, str(name), name.owner)

    def withdraw(self, handle: str, deadline: Deadline, *, whole: bool = True) -> None:
        """Refused while a volume stands on it."""
        name = Name.parse(handle)
        if name is None or name.machine != _IMAGE:
            raise Refused(f"{handle} is no image of ours", host=self._host, operation="remove")

        def stands_on(pool: Any) -> bool:
            path = pool.storageVolLookupByName(handle).path()
            found = (parse(volume.XMLDesc(0)) for volume in pool.listAllVolumes())
            return any(volume.findtext("backingStore/path") == path for volume in found)

        if not whole and self._look_up(f"{handle}.{_DONE}", deadline) is not None:
            return
        if self._look_up(handle, deadline) is not None:
            if self._ask("remove", stands_on, deadline):
                raise Refused(f"machines stand on the image {name.part[:12]}", host=self._host, operation="remove")
            self._delete(f"{handle}.{_DONE}", deadline)
            self._delete(handle, deadline)

    def read(self, path: str, offset: int, limit: int, deadline: Deadline) -> bytes:
        """A piece of a volume, e.g. of a console's log."""

        def work(connection: Any) -> bytes:
            pool = connection.storagePoolLookupByName(self._pool)
            pool.refresh(0)  # the log was not made, and is not grown, by libvirt's storage driver
            try:
                volume = pool.storageVolLookupByName(Path(path).name)
            except libvirt.libvirtError as error:
                if error.get_error_code() == libvirt.VIR_ERR_NO_STORAGE_VOL:
                    return b""
                raise
            length = min(limit, max(0, volume.info()[1] - offset))
            if not length:
                return b""
            stream = connection.newStream()
            volume.download(stream, offset, length, 0)
            data = b""
            while chunk := stream.recv(_BLOCK):
                data += chunk
            stream.finish()
            return data

        return self._connection.call("read", work, deadline)

    def published(self, digest: str, deadline: Deadline) -> str | None:
        """Of several that came at once, the same for all who ask."""
        names = {str(name) for name in self._names(deadline) if name.machine == _IMAGE and name.part.startswith(digest)}
        return min((name for name in names if f"{name}.{_DONE}" in names), default=None)

    def _owner_of(self, machine: str, deadline: Deadline) -> Ownership:
        return next((name.owner for name in self._names(deadline) if name.machine == machine), self._owner)

    def _names(self, deadline: Deadline, *, refresh: bool = False) -> list[Name]:
        def work(pool: Any) -> list[str]:
            if refresh:
                pool.refresh(0)
            return [volume.name() for volume in pool.listAllVolumes()]

        return [name for found in self._ask("volumes", work, deadline) if (name := Name.parse(found))]

    def _look_up(self, name: str, deadline: Deadline) -> tuple[str, Size] | None:
        def work(pool: Any) -> tuple[str, Size] | None:
            try:
                volume = pool.storageVolLookupByName(name)
            except libvirt.libvirtError as error:
                if error.get_error_code() == libvirt.VIR_ERR_NO_STORAGE_VOL:
                    return None
                raise
            return volume.path(), Size(volume.info()[1])

        return self._ask("volume", work, deadline)

    def _create(self, name: str, kind: str, size: Size, base: str | None, deadline: Deadline) -> str:
        backing = node("backingStore", None, node("path", base), node("format", type="qcow2")) if base else None
        # libvirt's default is the qcow2 of 2006, which cannot grow once it has snapshots.
        compat = node("compat", "1.1") if kind == "qcow2" else None
        target = node("target", None, node("format", type=kind), compat)
        description = text(node("volume", None, node("name", name), node("capacity", int(size)), target, backing))

        def work(pool: Any) -> str:
            path: str = pool.createXML(description, 0).path()
            return path

        return self._ask("create volume", work, deadline)

    def _upload(self, name: str, source: Path, kind: str, deadline: Deadline) -> str:
        path = self._create(name, kind, Size(source.stat().st_size), None, deadline)

        def work(connection: Any) -> None:
            volume = connection.storagePoolLookupByName(self._pool).storageVolLookupByName(name)
            stream = connection.newStream()
            volume.upload(stream, 0, source.stat().st_size, 0)
            with source.open("rb") as file:
                try:
                    while block := file.read(_BLOCK):
                        send(stream, block)
                except BaseException:
                    stream.abort()
                    raise
            stream.finish()
            connection.storagePoolLookupByName(self._pool).refresh(0)  # a qcow2's size is known only now

        self._connection.call("upload", work, deadline)
        return path

    def _delete(self, name: str, deadline: Deadline) -> None:
        def work(pool: Any) -> None:
            try:
                pool.storageVolLookupByName(name).delete(0)
            except libvirt.libvirtError as error:
                if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_VOL:
                    raise

        self._ask("delete volume", work, deadline)

    def _ask(self, operation: str, work: Callable[[Any], T], deadline: Deadline) -> T:
        def in_pool(connection: Any) -> T:
            pool = connection.storagePoolLookupByName(self._pool)
            if not pool.isActive():
                pool.create(0)
            return work(pool)

        return self._connection.call(operation, in_pool, deadline)


def _disk(serial: str) -> str:
    """The name has a random part: a checkpoint may keep an earlier disk of the same serial."""
    return f"disk-{serial}-{secrets.token_hex(3)}.qcow2"
