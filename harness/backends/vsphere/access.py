"""What a machine needs of its hypervisor: one value that every concern of a machine gets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from harness.backends.protocol import Ledger
from harness.backends.vsphere.folders import Folders
from harness.backends.vsphere.networks import PortGroup
from harness.backends.vsphere.refs import Ref
from harness.backends.vsphere.session import Session
from harness.backends.vsphere.wires import Wires
from harness.core import Deadline


class Store(Protocol):
    """The files of the host's datastore, by path within it (``interop/...``)."""

    @property
    def name(self) -> str:
        """The datastore's name."""

    def read(self, path: str, offset: int, limit: int, deadline: Deadline) -> bytes:
        """At most ``limit`` bytes from ``offset``; empty beyond the end, and where there is no such file."""

    def put(self, source: Path, path: str, deadline: Deadline) -> None:
        """Upload a file; missing folders are made."""

    def delete(self, path: str, deadline: Deadline) -> None:
        """Delete a file or a folder with all that is in it; no-op when it is not there."""

    def delete_empty(self, path: str, deadline: Deadline) -> None:
        """Delete a folder if nothing is in it."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the inventory machines go.

    Args:
        datacenter: it.
        datacenter_path: its inventory path, as ``dcPath`` of a datastore's URL wants it.
        host: the ESXi.
        cluster: the cluster the ESXi belongs to; None for one that stands alone.
        pool: the resource pool.
        datastore: where disks and files go.
        folder: our own folder of virtual machines, in which each run has one.
    """

    datacenter: Ref
    datacenter_path: str
    host: Ref
    cluster: Ref | None
    pool: Ref
    datastore: Ref
    folder: Ref


class Groups(Protocol):
    """Tells the port groups of the ESXi."""

    def __call__(self, deadline: Deadline) -> Mapping[str, PortGroup]:
        """By name; read once, or again when something was missing."""


@dataclass(frozen=True, slots=True)
class HostAccess:
    """An ESXi, open.

    Args:
        name: the lab's name of it.
        session: the login.
        ledger: told of everything before it is made.
        place: where machines go.
        store: the datastore's files.
        networks: the port groups.
        root: our folder on the datastore and of virtual machines, by name.
        twin: whether a twin stands in for it.
        notes: what came up and the report should know, by a few words.
        folders: those of runs that this process makes machines in.
        ports: those that the ESXi may listen on for serial consoles; none where they are files.
        wires: hears those ports.
    """

    name: str
    session: Session
    ledger: Ledger
    place: Place
    store: Store
    networks: Groups
    root: str = "interop"
    twin: bool = False
    notes: dict[str, str] = field(default_factory=dict)
    folders: Folders = field(default_factory=Folders)
    ports: range = range(0)
    wires: Wires | None = None

    @property
    def alone(self) -> bool:
        """Whether it is an ESXi without a vCenter: it has neither clones nor folders of machines."""
        return alone(self.session)


def alone(session: Session) -> bool:
    """Whether the login is to an ESXi itself (``AboutInfo.apiType``)."""
    return str(session.about.apiType) == "HostAgent"
