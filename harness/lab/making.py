"""Making guests' machines and taking them apart: capacity first, then addresses, then the machine; and back again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from harness.backends.model import PublishedImage, Shape
from harness.backends.protocol import Hypervisor, Machine
from harness.core import Deadline, LabError, Size
from harness.guest import Guest, Identity
from harness.image import Image
from harness.lab import keep
from harness.lab.leases import Lease
from harness.lab.models import Host
from harness.lab.outfit import Outfitter, SeedExtra
from harness.lab.releases.installing import Installed
from harness.lab.run import Run
from harness.lab.warm import Record, Shelf

# For stopping and destroying one machine.
TIDY = timedelta(minutes=2)
# A slot's addresses may be another process's at the moment: then another slot serves, without waiting.
_ADDRESSES = timedelta(seconds=1)


@dataclass(slots=True)
class Slot:
    """A guest that the harness made, whether lent or not."""

    guest: Guest
    folder: Path
    wanted: str = ""
    leases: tuple[Lease, ...] = ()
    capacity: Lease | None = None
    record: Record | None = None  # on the shelf: it survives this run
    warm: bool = False  # it has the checkpoint
    lent: bool = False
    spare: tuple[Lease, ...] = ()  # of NICs that the borrower may attach
    installed: Installed | None = None  # None: it is as its image

    @property
    def machine(self) -> Machine:
        """The machine of its guest."""
        return self.guest.machine

    @property
    def held(self) -> list[Lease]:
        """Everything leased for it."""
        return [*self.leases, *self.spare, *([self.capacity] if self.capacity else [])]


class Maker:
    """Makes the guests of one host in one process of a run.

    Args:
        run: whose they are.
        host: the host, as the lab names it.
        hypervisor: its driver.
        image: what the guests boot.
        shelf: where keys and records are kept.
    """

    def __init__(self, run: Run, host: Host, hypervisor: Hypervisor, image: Image, shelf: Shelf) -> None:
        self._run = run
        self._host = host
        self._hypervisor = hypervisor
        self._image = image
        self._shelf = shelf
        self._published: PublishedImage | None = None
        self.outfitter = Outfitter(run, host, image, shelf.folder)
        self.meanwhile: Callable[[], object] | None = None

    def create(self, kind: str, shape: Shape, deadline: Deadline, extra: SeedExtra | None = None) -> Slot:
        """A guest whose machine is off.

        Args:
            kind: what its name begins with.
            shape: what it must be like.
            deadline: for everything, capacity included.
            extra: what its seed carries besides its identity.

        Raises:
            LabError: no capacity, no address, or the host failed; nothing is left of it but what the journal knows.
        """
        capacity = self.capacity(shape, deadline)
        try:
            self._published = self._published or self._hypervisor.publish(self._image, deadline)
            outfit = self.outfitter.make(kind, shape, self._published, deadline, extra)
        except BaseException:
            capacity.release()
            raise
        try:
            machine = self._hypervisor.create(outfit.spec, deadline)
        except BaseException:
            for lease in (capacity, *outfit.leases):
                lease.release()
            self.outfitter.drop(outfit.identity.name)
            raise
        guest = Guest(machine, self._hypervisor, self._image, outfit.identity)
        return Slot(guest, outfit.folder, leases=outfit.leases, capacity=capacity)

    def reopen(self, record: Record, deadline: Deadline) -> Slot:
        """A warm slot that an earlier run left.

        Raises:
            LabError: the host does not have it, or not in this process's part.
        """
        machine = self._hypervisor.open(record.machine, deadline)
        folder = self._shelf.folder / record.name
        login = self.outfitter.login(folder, record.host_key)
        identity = Identity(record.name, record.machine_id, machine.spec.nics, login)
        guest = Guest(machine, self._hypervisor, self._image, identity)
        seen = Installed(**record.installed) if record.installed else None
        return Slot(guest, folder, record.wanted, record=record, warm=True, installed=seen)

    def destroy(self, slot: Slot) -> None:
        """Remove a machine and all that was its own. What the host refuses to remove stays in the journal."""
        slot.guest.disconnect()
        try:
            if slot.record:
                self.forget_warm(slot)
            slot.machine.destroy(Deadline.after(TIDY))
        finally:
            self.give_back(slot)
            self.outfitter.drop(slot.guest.name)

    def forget_warm(self, slot: Slot) -> None:
        """It is no warm slot any more."""
        (slot.folder / "slot.json").unlink(missing_ok=True)
        keep.drop_warm(self._run.store, self._run.lab.path, self._host.name, slot.machine.id)

    def addressed(self, slot: Slot) -> bool:
        """Whether the slot's addresses are ours, or could be leased."""
        if not slot.leases:
            try:
                slot.leases = self.outfitter.again(slot.guest.identity, Deadline.after(_ADDRESSES))
            except LabError:
                return False
        return True

    def capacity(self, shape: Shape, deadline: Deadline) -> Lease:
        """Room for a guest of this shape, with all that may be hot added to it.

        Raises:
            LabError: there is none until the deadline, or the lab's limit for waiting.
        """
        return self._run.leases.capacity(
            self._host,
            deadline.sooner(self._run.lab.limits.wait),
            vcpus=max(shape.vcpus, shape.max_vcpus or 0),
            memory=Size(max(shape.memory, shape.max_memory or 0)),
            meanwhile=self.meanwhile,
        )

    def rest(self, slot: Slot) -> None:
        """Free what an idle slot has no use for. Its addresses stay leased: it comes back with them."""
        for lease in (*slot.spare, *([slot.capacity] if slot.capacity else [])):
            lease.release()
        slot.spare, slot.capacity = (), None

    def give_back(self, slot: Slot) -> None:
        """Free everything that was leased for it."""
        self.rest(slot)
        for lease in slot.leases:
            lease.release()
        slot.leases = ()
