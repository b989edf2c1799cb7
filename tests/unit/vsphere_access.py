"""An ESXi of the real vcsim, opened as the driver opens one, with an image to clone: for tests of machines.

What vcsim has not got is proven at the twin. A module of tests takes the fixtures it needs by assignment, with those
that they need: ``machine`` needs ``host``.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pyVmomi import vim

from harness.backends.model import (
    DiskSpec,
    Endpoint,
    MachineSpec,
    NetworkKind,
    NetworkSpec,
    NicSpec,
    Ownership,
    PublishedImage,
    Shape,
)
from harness.backends.protocol import LeaseLost
from harness.backends.views import MachineView, ResourceKind
from harness.backends.vsphere import collector, inventory, tasks
from harness.backends.vsphere.access import HostAccess
from harness.backends.vsphere.create import create
from harness.backends.vsphere.datastore import Files
from harness.backends.vsphere.machine import VsphereMachine
from harness.backends.vsphere.refs import Ref
from harness.backends.vsphere.session import Session
from harness.backends.vsphere.settings import Settings
from harness.core import GiB, MiB, Size
from tests.unit import vsphere_host
from tests.unit.vsphere_host import within

OWNER = Ownership("run1", "token1", datetime(2030, 1, 1, tzinfo=UTC))
GROUP = "VM Network"
SHAPE = Shape(vcpus=2, memory=Size(512 * MiB), max_vcpus=4, max_memory=GiB, data_disks=(Size(32 * MiB),))


@dataclass
class Noting:
    """A ledger that remembers, and can lose its lease."""

    notes: list[tuple[str, ResourceKind, str]] = field(default_factory=list)
    lost: bool = False

    @contextlib.contextmanager
    def creating(self, kind: ResourceKind, name: str) -> Iterator[Any]:
        self.notes.append(("intent", kind, name))

        class Creation:
            def made(_, handle: str) -> None:  # noqa: N805
                self.notes.append(("made", kind, handle))

        yield Creation()

    def gone(self, kind: ResourceKind, handle: str) -> None:
        self.notes.append(("gone", kind, handle))

    def check(self) -> None:
        if self.lost:
            raise LeaseLost("somebody else has it")


@dataclass
class Esxi:
    """What tests of machines use."""

    access: HostAccess
    front: vsphere_host.Front
    ledger: Noting
    image: PublishedImage
    folder: Path
    _numbers: Any = field(default_factory=lambda: itertools.count(1))

    @property
    def session(self) -> Session:
        return self.access.session

    def nic(self, last: int, **changes: Any) -> NicSpec:
        network = NetworkSpec("management", NetworkKind.NETWORK, GROUP)
        return replace(NicSpec(f"00:50:56:00:00:{last:02x}", network, address=f"10.78.0.{last}/16"), **changes)

    def spec(self, shape: Shape = SHAPE, **changes: Any) -> MachineSpec:
        name = f"machine{next(self._numbers)}"
        seed = self.folder / f"{name}.iso"
        seed.write_bytes(b"seed of " + name.encode())
        spec = MachineSpec(
            name=name,
            image=self.image,
            shape=shape,
            nics=(self.nic(1, forward=Endpoint("127.78.0.1", 2222)),),
            seed=seed,
            owner=OWNER,
            disks=tuple(DiskSpec(f"data{index}", size) for index, size in enumerate(shape.data_disks)),
            annotations={"slot": "a \"b\" 'c' ä"},
        )
        return replace(spec, **changes)

    def create(self, shape: Shape = SHAPE, **changes: Any) -> VsphereMachine:
        return create(self.access, self.spec(shape, **changes), within())

    def below(self, kind: str) -> dict[str, Ref]:
        """By name, everything of one kind in our folder."""
        found = collector.children(self.session, self.access.place.folder, kind, ["name"], within())
        return {values["name"]: ref for ref, values in found.items()}

    def raw(self, machine: VsphereMachine, *paths: str) -> dict[str, Any]:
        return collector.read_one(self.session, Ref("VirtualMachine", machine.id), *paths, deadline=within())


@contextlib.contextmanager
def esxi(folder: Path, monkey: Any, *, name: str = "DC0_C0_H0", twin: bool = False) -> Iterator[Esxi]:
    """One ESXi of a vcsim of its own.

    Args:
        folder: for certificates and seeds.
        monkey: sets the environment variable that holds the password.
        name: the ESXi; the default is one of three in a cluster.
        twin: what the driver is told.
    """
    monkey.setenv("VCSIM_PASSWORD", vsphere_host.PASSWORD)
    with contextlib.ExitStack() as stack:
        upstream = stack.enter_context(vsphere_host.vcsim())
        shown = vsphere_host.certificate(folder / "tls", "127.0.0.1")
        front = stack.enter_context(vsphere_host.front(upstream, shown))
        settings = Settings(
            endpoint=front.endpoint,
            user=vsphere_host.USER,
            password="env:VCSIM_PASSWORD",  # type: ignore[arg-type]
            ca=shown.ca,
            esxi=name,
        )
        session = Session(settings, "esx1", within())
        stack.callback(session.close)
        found = inventory.resolve(session, settings, within())
        files = Files(session, found.place, found.datastore)
        stack.callback(files.close)
        groups = inventory.port_groups(session, found.place.host, within())
        ledger = Noting()
        access = HostAccess("esx1", session, ledger, found.place, files, lambda _: groups, twin=twin)
        base = _image(access)
        yield Esxi(access, front, ledger, PublishedImage("a" * 64, base.id), folder)


def _image(access: HostAccess) -> Ref:
    """A machine such as a published image is: a disk on a paravirtual controller, and a snapshot."""
    device, session, place = vim.vm.device, access.session, access.place
    disk = device.VirtualDisk(
        key=-2,
        controllerKey=-1,
        unitNumber=0,
        capacityInKB=1 << 20,
        backing=device.VirtualDisk.FlatVer2BackingInfo(fileName="", diskMode="persistent", thinProvisioned=True),
    )
    controller = device.ParaVirtualSCSIController(key=-1, busNumber=0, sharedBus="noSharing")
    spec = vim.vm.ConfigSpec(
        name="image",
        memoryMB=256,
        numCPUs=1,
        guestId="debian12_64Guest",
        files=vim.vm.FileInfo(vmPathName=f"[{access.store.name}]"),
        deviceChange=[
            device.VirtualDeviceSpec(operation="add", device=controller),
            device.VirtualDeviceSpec(operation="add", fileOperation="create", device=disk),
        ],
    )
    made: Ref = tasks.run(session, "make", place.folder, "CreateVM_Task", within(), spec, place.pool, place.host)
    tasks.run(session, "snapshot", made, "CreateSnapshot_Task", within(), "base", "", False, False)
    return made


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Esxi]:
    """An ESXi in a cluster of a vcsim of this module."""
    with pytest.MonkeyPatch.context() as monkey, esxi(tmp_path_factory.mktemp("vsphere"), monkey) as made:
        yield made


@pytest.fixture
def machine(host: Esxi) -> Iterator[VsphereMachine]:
    """One that is off, with a data disk and room for more of everything."""
    made = host.create()
    yield made
    made.destroy(within())


@pytest.fixture
def running(machine: VsphereMachine) -> VsphereMachine:
    """One that runs."""
    machine.start(within())
    return machine


def view(machine: VsphereMachine) -> MachineView:
    return machine.view(within())
