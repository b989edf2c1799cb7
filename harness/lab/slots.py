"""Slots: a guest with an identity of its own and a warm checkpoint, so that a fresh guest is a revert, not a boot.

A slot is lent to one borrower at a time, so no two guests alive come from one checkpoint. While nobody has it, its
machine is off and costs nothing but disk. On embedded hosts slots are cache and survive their run; elsewhere they
belong to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from harness.backends.capabilities import Capability
from harness.backends.model import NicSpec, PowerState, PublishedImage, Shape
from harness.backends.protocol import Checkpointed, Hypervisor, Machine
from harness.core import Deadline, GiB, GuestError, InteropError, LabError, Size
from harness.guest import Guest, Identity
from harness.guest.ssh import known_hosts
from harness.image import Image
from harness.lab import keep
from harness.lab.connect import scratch
from harness.lab.keep import Kept, KeptGuest
from harness.lab.leases import Lease
from harness.lab.models import Host
from harness.lab.outfit import Outfit, Outfitter, SeedExtra
from harness.lab.run import Run
from harness.lab.warm import CHECKPOINT, Record, Shelf, made_with, surplus, wanted

# For stopping and destroying one machine.
_TIDY = timedelta(minutes=2)
# A slot's addresses may be another process's at the moment: then another slot serves, without waiting.
_ADDRESSES = timedelta(seconds=1)

# What is kept on an embedded host between runs. A checkpoint takes as much disk as its guest used of its memory.
MOST_SLOTS = 10
MOST_MEMORY = Size(12 * GiB)


@dataclass(slots=True)
class _Slot:
    """A guest that the harness made, whether lent or not."""

    guest: Guest
    folder: Path
    wanted: str
    leases: tuple[Lease, ...] = ()
    capacity: Lease | None = None
    record: Record | None = None  # on the shelf: it survives this run
    warm: bool = False  # it has the checkpoint
    lent: bool = False
    spare: tuple[Lease, ...] = ()  # of NICs that the borrower may attach

    @property
    def machine(self) -> Machine:
        return self.guest.machine


@dataclass(slots=True)
class Slots:
    """The guests of one host in one process of a run.

    Args:
        run: whose they are.
        host: the host, as the lab names it.
        hypervisor: its driver.
        image: what the guests boot.
        meanwhile: called while waiting for capacity: a chance to give back what is idle.
    """

    run: Run
    host: Host
    hypervisor: Hypervisor
    image: Image
    meanwhile: Callable[[], object] | None = None
    _slots: list[_Slot] = field(default_factory=list, init=False)
    _published: PublishedImage | None = field(default=None, init=False)
    _shelf: Shelf = field(init=False)
    _outfitter: Outfitter = field(init=False)
    _adopted: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._shelf = Shelf(scratch(self.host) / "slots")
        self._outfitter = Outfitter(self.run, self.host, self.image, self._shelf.folder)

    # What the rest of the harness calls.

    def fresh(self, shape: Shape, deadline: Deadline, *, untouched_clock: bool = False) -> Guest:
        """A clean, running, idle guest: a slot reverted, or made where none is free.

        Args:
            shape: what it must be like.
            deadline: for everything, capacity included.
            untouched_clock: give one whose clock the harness never set: it is booted cold.

        Raises:
            LabError: no capacity, no address, or the host failed.
            GuestError: it never became ready, twice.
        """
        if untouched_clock or Capability.CHECKPOINT_WITH_MEMORY not in self.hypervisor.capabilities(shape):
            guest = self.cold(shape, deadline)
            guest.settle(deadline)
            return guest
        self._adopt(deadline)
        purpose = wanted(self.image, shape, self.host)
        for slot in [each for each in self._slots if each.warm and not each.lent and each.wanted == purpose]:
            if not self._addressed(slot):
                continue
            try:
                return self._revert(slot, shape, deadline)
            except (GuestError, LabError):
                # Whatever is wrong with it, a cold boot tells whether it is the checkpoint or the host.
                self._destroy(slot)
                if deadline.expired:
                    raise
        return self._warm_up(shape, purpose, deadline)

    def cold(
        self,
        shape: Shape,
        deadline: Deadline,
        *,
        boot: bool = True,
        files: Mapping[str, bytes] | None = None,
        commands: Sequence[Sequence[str]] = (),
    ) -> Guest:
        """A guest with an identity of its own that never was a checkpoint.

        Args:
            shape: what it must be like.
            deadline: for everything, capacity included.
            boot: whether to start it and wait until it answers; else its machine is off.
            files: further files that its seed brings, by absolute path.
            commands: run once at its first boot, as root, before ssh answers.

        Raises:
            LabError: no capacity, no address, or the host failed.
            GuestError: it never became ready.
        """
        slot = self._create("guest", shape, deadline, SeedExtra(files or {}, commands))
        if boot:
            try:
                slot.machine.start(deadline)
                slot.guest.wait_ready(deadline)
            except BaseException:
                self._destroy(slot)
                raise
        slot.lent = True
        return slot.guest

    def spare_nic(self, guest: Guest, deadline: Deadline) -> NicSpec:
        """A NIC that is not there yet, for a test to attach to a guest that is lent; its addresses go back with it.

        Raises:
            LabError: no address is free until the deadline.
        """
        slot = self._of(guest)
        # Two leases a spare NIC at most, so their number never names one that is out already.
        at = len(guest.identity.nics) + len(slot.spare)
        nic, leases = self._outfitter.spare(guest.name, at, guest.shape, deadline)
        slot.spare += leases
        return nic

    def release(self, guest: Guest, *, keep: bool = False) -> None:
        """Take a guest back. A slot's machine is stopped, any other is destroyed.

        Args:
            guest: one of :meth:`fresh` or :meth:`cold`.
            keep: leave it as it is for a day, see :meth:`keep`.

        Raises:
            LabError: the host failed; the reaper knows what is left.
        """
        if keep:
            self.keep(guest, timedelta(days=1), "")
            return
        slot = self._of(guest)
        if not slot.warm:
            self._destroy(slot)
            return
        guest.disconnect()
        slot.machine.stop(Deadline.after(_TIDY))
        slot.lent = False
        # Its addresses stay leased: they are of no use to others while the slot may come back with them.
        self._free_spare(slot)
        self._free_capacity(slot)

    def keep(self, guest: Guest, span: timedelta, why: str) -> KeptGuest:
        """Leave a guest running with its addresses and capacity after this run, for a closer look.

        Args:
            guest: one of :meth:`fresh` or :meth:`cold`.
            span: for how long; then the reaper takes it.
            why: the test that failed.

        Raises:
            LabError: the host no longer knows where its ssh is.
        """
        slot = self._of(guest)
        endpoint = slot.machine.endpoint(Deadline.after(_TIDY))
        pinned = slot.folder / "known_hosts"
        pinned.write_text(known_hosts(endpoint, guest.ssh.host_key) if guest.ssh.host_key else "")
        kept = KeptGuest(
            id=guest.name,
            lab=self.run.lab.path,
            host=self.host.name,
            machine=slot.machine.id,
            run=self.run.id,
            until=datetime.now(UTC) + span,
            endpoint=endpoint,
            identity=guest.identity.login.private_key,
            known_hosts=pinned,
            account=guest.identity.login.user,
            why=why,
        )
        Kept(self.run.store).add(
            kept, self.run.leases, [*slot.leases, *slot.spare, *([slot.capacity] if slot.capacity else [])]
        )
        if slot.record:
            # It is somebody's now: no later run may revert it under their hands.
            (slot.folder / "slot.json").unlink(missing_ok=True)
            self._forget_warm(slot)
        self._slots.remove(slot)
        guest.disconnect()
        return kept

    def close(self) -> None:
        """The run is over: slots of embedded hosts are put to rest, everything else is destroyed.

        Raises:
            LabError: the host failed, for the first machine it failed on; the others were tried all the same.
        """
        problems: list[InteropError] = []
        for slot in list(self._slots):
            try:
                if slot.record:
                    slot.guest.disconnect()
                    slot.machine.stop(Deadline.after(_TIDY))
                    self._give_back(slot)
                    self._slots.remove(slot)
                else:
                    self._destroy(slot)
            except InteropError as error:
                problems.append(error)
        if problems:
            raise problems[0]

    # Slots.

    def _revert(self, slot: _Slot, shape: Shape, deadline: Deadline) -> Guest:
        slot.capacity = slot.capacity or self._capacity(shape, deadline)
        machine, guest = slot.machine, slot.guest
        assert isinstance(machine, Checkpointed)
        guest.disconnect()
        machine.revert(CHECKPOINT, deadline)
        guest.wait_ready(deadline)
        # A restored clock is as old as its checkpoint. What looks at clocks gets a guest that was booted.
        guest.clock.set_from_host()
        if slot.record:
            slot.record = self._shelf.put(slot.record)
        slot.lent = True
        return guest

    def _warm_up(self, shape: Shape, purpose: str, deadline: Deadline) -> Guest:
        """Boot a new guest, wait until it is idle, and checkpoint it: later ones are reverts."""
        slot = self._create("slot", shape, deadline)
        machine, guest = slot.machine, slot.guest
        assert isinstance(machine, Checkpointed)
        try:
            machine.start(deadline)
            guest.wait_ready(deadline)
            guest.settle(deadline)
            # An open connection would be in the checkpoint, half dead.
            guest.disconnect()
            machine.checkpoint(CHECKPOINT, deadline, memory=True)
            slot.warm = True
            slot.wanted = purpose
            if self.host.embedded:
                self._keep_warm(slot, shape, deadline)
            guest.wait_ready(deadline)
            guest.clock.set_from_host()
        except BaseException:
            self._destroy(slot)
            raise
        slot.lent = True
        return guest

    def _keep_warm(self, slot: _Slot, shape: Shape, deadline: Deadline) -> None:
        identity = slot.guest.identity
        slot.record = self._shelf.put(
            Record(
                name=identity.name,
                machine=slot.machine.id,
                machine_id=identity.machine_id,
                host_key=identity.login.host_key,
                wanted=slot.wanted,
                made_with=made_with(self.hypervisor.facts(deadline)),
                memory=int(shape.memory),
                used=0.0,
            )
        )
        keep.keep_warm(self.run.store, self.run.lab.path, self.host.name, slot.machine.id)
        self._prune()

    def _prune(self) -> None:
        mine = {slot.record.name: slot for slot in self._slots if slot.record}
        for record in surplus(
            [slot.record for slot in mine.values() if slot.record], most=MOST_SLOTS, memory=MOST_MEMORY
        ):
            if not mine[record.name].lent:
                self._destroy(mine[record.name])

    def _adopt(self, deadline: Deadline) -> None:
        """Take over what earlier runs left warm in this process's part of an embedded host, once."""
        if self._adopted or not self.host.embedded:
            return
        self._adopted = True
        current = made_with(self.hypervisor.facts(deadline))
        store = self.run.store
        kept = {guest.id for guest in Kept(store).all()}
        self._shelf.sweep(keep.warm_anywhere(store), kept, self.run.lab.limits.expiry)
        known = keep.warm(store, self.run.lab.path, self.host.name)
        for record in self._shelf.records():
            if record.machine not in known:
                continue  # of another lab file on this host, or being kept for somebody
            try:
                machine = self.hypervisor.open(record.machine, deadline)
                slot = self._adoptee(record, machine)
                if not isinstance(machine, Checkpointed) or CHECKPOINT not in machine.checkpoints(deadline):
                    raise LabError("it has lost its checkpoint", host=self.host.name, operation="revert")
            except LabError:
                continue  # in the part of another process, or gone
            self._slots.append(slot)
            if record.made_with != current:
                self._destroy(slot)
            elif machine.view(deadline).state is not PowerState.OFF:
                machine.stop(deadline)  # its last run was killed

    def _adoptee(self, record: Record, machine: Machine) -> _Slot:
        folder = self._shelf.folder / record.name
        login = self._outfitter.login(folder, record.host_key)
        identity = Identity(record.name, record.machine_id, machine.spec.nics, login)
        guest = Guest(machine, self.hypervisor, self.image, identity)
        return _Slot(guest, folder, record.wanted, record=record, warm=True)

    def _addressed(self, slot: _Slot) -> bool:
        """Whether the slot's addresses are ours, or could be leased."""
        if not slot.leases:
            try:
                slot.leases = self._outfitter.again(slot.guest.identity, Deadline.after(_ADDRESSES))
            except LabError:
                return False
        return True

    # Machines.

    def _create(self, kind: str, shape: Shape, deadline: Deadline, extra: SeedExtra | None = None) -> _Slot:
        capacity = self._capacity(shape, deadline)
        try:
            self._published = self._published or self.hypervisor.publish(self.image, deadline)
            outfit = self._outfitter.make(kind, shape, self._published, deadline, extra)
        except BaseException:
            capacity.release()
            raise
        try:
            machine = self.hypervisor.create(outfit.spec, deadline)
        except BaseException:
            capacity.release()
            self._undress(outfit)
            raise
        guest = Guest(machine, self.hypervisor, self.image, outfit.identity)
        slot = _Slot(guest, outfit.folder, "", outfit.leases, capacity)
        self._slots.append(slot)
        return slot

    def _undress(self, outfit: Outfit) -> None:
        for lease in outfit.leases:
            lease.release()
        self._shelf.drop(outfit.identity.name)

    def _destroy(self, slot: _Slot) -> None:
        """Remove a machine and all that was its own. What the host refuses to remove stays in the journal."""
        if slot in self._slots:
            self._slots.remove(slot)
        slot.guest.disconnect()
        try:
            if slot.record:
                self._forget_warm(slot)
            slot.machine.destroy(Deadline.after(_TIDY))
        finally:
            self._give_back(slot)
            self._shelf.drop(slot.guest.name)

    def _forget_warm(self, slot: _Slot) -> None:
        keep.drop_warm(self.run.store, self.run.lab.path, self.host.name, slot.machine.id)

    def _free_capacity(self, slot: _Slot) -> None:
        if slot.capacity:
            slot.capacity.release()
            slot.capacity = None

    def _free_spare(self, slot: _Slot) -> None:
        for lease in slot.spare:
            lease.release()
        slot.spare = ()

    def _give_back(self, slot: _Slot) -> None:
        self._free_spare(slot)
        self._free_capacity(slot)
        for lease in slot.leases:
            lease.release()
        slot.leases = ()

    def _capacity(self, shape: Shape, deadline: Deadline) -> Lease:
        return self.run.leases.capacity(
            self.host,
            deadline.sooner(self.run.lab.limits.wait),
            vcpus=max(shape.vcpus, shape.max_vcpus or 0),
            memory=Size(max(shape.memory, shape.max_memory or 0)),
            meanwhile=self.meanwhile,
        )

    def _of(self, guest: Guest) -> _Slot:
        for slot in self._slots:
            if slot.guest is guest:
                return slot
        raise LabError(f"{guest.name} was given back already", host=self.host.name, operation="release")
