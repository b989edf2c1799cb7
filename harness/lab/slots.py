"""Slots: a guest with an identity of its own and a warm checkpoint, so that a fresh guest is a revert, not a boot.

A slot is lent to one borrower at a time, so no two guests alive come from one checkpoint. While nobody has it, its
machine is off and costs nothing but disk. On embedded hosts slots are cache and survive their run; elsewhere they
belong to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta

from harness.backends.capabilities import Capability
from harness.backends.model import NicSpec, PowerState, Shape
from harness.backends.protocol import Checkpointed, Hypervisor, LeaseLost
from harness.core import Deadline, GiB, GuestError, InteropError, LabError, Pending, Size, wait_for
from harness.guest import Guest, NetworkDead
from harness.guest.ssh import known_hosts
from harness.image import Image
from harness.lab import keep
from harness.lab.connect import scratch
from harness.lab.keep import Kept, KeptGuest
from harness.lab.making import TIDY, Maker, Slot
from harness.lab.models import Host
from harness.lab.outfit import SeedExtra
from harness.lab.releases.installing import Installed, bring
from harness.lab.releases.preparing import Prepared
from harness.lab.run import Run
from harness.lab.warm import CHECKPOINT, SHELF, Record, Shelf, made_with, surplus, wanted

# What is kept on an embedded host between runs. A checkpoint takes as much disk as its guest used of its memory.
MOST_SLOTS = 10
MOST_MEMORY = Size(12 * GiB)


def _say_nothing(_: str) -> None:
    """For callers who watch nothing."""


@dataclass(slots=True)
class Slots:
    """The guests of one host in one process of a run.

    Args:
        run: whose they are.
        host: the host, as the lab names it.
        hypervisor: its driver.
        image: what the guests boot.
        tell: told, in a line each, what takes long and what went wrong and was got over.
        prepared: the release that is installed in every guest that is not asked for bare; None: nothing is.
    """

    run: Run
    host: Host
    hypervisor: Hypervisor
    image: Image
    tell: Callable[[str], object] = _say_nothing
    prepared: Prepared | None = None
    _slots: list[Slot] = field(default_factory=list, init=False)
    _shelf: Shelf = field(init=False)
    _maker: Maker = field(init=False)
    _adopted: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._shelf = Shelf(scratch(self.host) / SHELF)
        self._maker = Maker(self.run, self.host, self.hypervisor, self.image, self._shelf)

    @property
    def meanwhile(self) -> Callable[[], object] | None:
        """Called while waiting for capacity: a chance to give back what is idle."""
        return self._maker.meanwhile

    @meanwhile.setter
    def meanwhile(self, value: Callable[[], object] | None) -> None:
        self._maker.meanwhile = value

    # What the rest of the harness calls.

    def fresh(self, shape: Shape, deadline: Deadline, *, bare: bool = False) -> Guest:
        """A clean, running, idle guest: a slot reverted, or made where none is free.

        Args:
            shape: what it must be like.
            deadline: for everything, capacity included.
            bare: give one that is as the image, whatever release the run is of.

        Raises:
            LabError: no capacity, no address, or the host failed.
            Unchanged: the release is not what its file says.
            GuestError: it never became ready, twice; or the release did not install.
        """
        if Capability.CHECKPOINT_WITH_MEMORY not in self.hypervisor.capabilities(shape):
            guest = self.cold(shape, deadline, bare=bare)
            guest.settle(deadline)
            return guest
        self._adopt(deadline)
        release = None if bare else self.prepared
        purpose = wanted(self.image, shape, self.host, release.digest if release else "")
        for slot in [each for each in self._slots if each.warm and not each.lent and each.wanted == purpose]:
            if not self._maker.addressed(slot):
                continue
            slot.capacity = slot.capacity or self._maker.capacity(shape, deadline)
            try:
                return self._revert(slot, deadline)
            except LeaseLost:
                raise
            except (GuestError, LabError, NetworkDead) as error:
                # Whatever is wrong with it, a cold boot tells whether it is the checkpoint or the host.
                self.tell(f"{self.host.name}: {slot.guest.name} did not come back from its checkpoint: {error}")
                self._destroy(slot)
                if deadline.expired:
                    raise
        return self._warm_up(shape, purpose, release, deadline)

    def cold(
        self,
        shape: Shape,
        deadline: Deadline,
        *,
        boot: bool = True,
        bare: bool = False,
        files: Mapping[str, bytes] | None = None,
        commands: Sequence[Sequence[str]] = (),
    ) -> Guest:
        """A guest with an identity of its own that never was a checkpoint.

        Args:
            shape: what it must be like.
            deadline: for everything, capacity included.
            boot: whether to start it and wait until it answers; else its machine is off. With a release it was on
                before, to have that installed.
            bare: leave it as the image, whatever release the run is of.
            files: further files that its seed brings, by absolute path.
            commands: run once at its first boot, as root, before ssh answers.

        Raises:
            LabError: no capacity, no address, or the host failed.
            Unchanged: the release is not what its file says.
            GuestError: it never became ready, or the release did not install.
        """
        slot = self._create("guest", shape, deadline, SeedExtra(files or {}, commands))
        release = None if bare else self.prepared
        if boot or release:
            self.tell(f"{self.host.name}: booting a guest of {shape}")
            try:
                slot.machine.start(deadline)
                slot.guest.wait_ready(deadline)
                if release:
                    self._install(slot, release, deadline)
                if not boot:
                    self._put_off(slot, deadline)
            except BaseException:
                self._destroy(slot)
                raise
        slot.lent = True
        return slot.guest

    def installed(self, guest: Guest) -> Installed | None:
        """What was seen when the release was installed in a guest that is lent; None where it is as the image."""
        return self._of(guest).installed

    def spare_nic(self, guest: Guest, deadline: Deadline) -> NicSpec:
        """A NIC that is not there yet, for a test to attach to a guest that is lent; its addresses go back with it.

        It belongs into the network of peers, also in a guest that has no NIC for the controller.

        Raises:
            LabError: no address is free until the deadline.
        """
        slot = self._of(guest)
        # Two leases a spare NIC at most, so their number never names one that is out already.
        at = max(1, len(guest.identity.nics)) + len(slot.spare)
        nic, leases = self._maker.outfitter.spare(guest.name, at, guest.shape, deadline)
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
        slot.machine.stop(Deadline.after(TIDY))
        slot.lent = False
        self._maker.rest(slot)

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
        endpoint = slot.machine.endpoint(Deadline.after(TIDY))
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
        Kept(self.run.store).add(kept, slot.held)
        if slot.record:
            # It is somebody's now: no later run may revert it under their hands.
            self._maker.forget_warm(slot)
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
                    slot.machine.stop(Deadline.after(TIDY))
                    self._maker.give_back(slot)
                    self._slots.remove(slot)
                else:
                    self._destroy(slot)
            except InteropError as error:
                problems.append(error)
        if problems:
            raise problems[0]

    # How they come and go.

    def _revert(self, slot: Slot, deadline: Deadline) -> Guest:
        machine, guest = slot.machine, slot.guest
        assert isinstance(machine, Checkpointed)
        guest.disconnect()
        for name in machine.checkpoints(deadline):
            if name != CHECKPOINT:
                machine.drop_checkpoint(name, deadline)  # a borrower's
        machine.revert(CHECKPOINT, deadline)
        guest.wait_ready(deadline)
        # A restored clock is as old as its checkpoint. What looks at clocks gets a guest that was booted.
        guest.clock.set_from_host()
        if slot.record:
            slot.record = self._shelf.put(slot.record)
        slot.lent = True
        return guest

    def _install(self, slot: Slot, release: Prepared, deadline: Deadline) -> None:
        doing = "looking at what the guest has of" if release.image else "installing"
        self.tell(f"{self.host.name}: {doing} {release.release.word(release.which)}")
        slot.installed = bring(slot.guest, release, deadline)

    def _put_off(self, slot: Slot, deadline: Deadline) -> None:
        """Switch a guest off by its own shutdown, asked over ssh: its services may be what is tested."""
        slot.guest.run(["systemctl", "--no-block", "poweroff"])
        slot.guest.disconnect()

        def off() -> bool | Pending:
            state = slot.machine.view(deadline).state
            return True if state is PowerState.OFF else Pending(f"its machine is {state.value}")

        wait_for(f"{slot.guest.name} to be off", off, deadline, every=0.5, fault=GuestError)

    def _warm_up(self, shape: Shape, purpose: str, release: Prepared | None, deadline: Deadline) -> Guest:
        """Boot a new guest, wait until it is idle, and checkpoint it: later ones are reverts."""
        self.tell(f"{self.host.name}: booting the first guest of {shape}; later ones are its checkpoint")
        slot = self._create("slot", shape, deadline)
        machine, guest = slot.machine, slot.guest
        assert isinstance(machine, Checkpointed)
        try:
            machine.start(deadline)
            guest.wait_ready(deadline)
            if release:
                self._install(slot, release, deadline)
            guest.settle(deadline)
            # An open connection would be in the checkpoint, half dead.
            guest.disconnect()
            machine.checkpoint(CHECKPOINT, deadline, memory=True)
            slot.warm = True
            slot.wanted = purpose
            if self.host.embedded:
                self._keep_warm(slot, shape, deadline)
            if release:
                # What is measured of a release is compared in pairs: the first must be what later ones are, a revert.
                return self._revert(slot, deadline)
            guest.wait_ready(deadline)
            guest.clock.set_from_host()
        except BaseException:
            self._destroy(slot)
            raise
        slot.lent = True
        return guest

    def _keep_warm(self, slot: Slot, shape: Shape, deadline: Deadline) -> None:
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
                installed=asdict(slot.installed) if slot.installed else None,
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
                slot = self._maker.reopen(record, deadline)
                machine = slot.machine
                if not isinstance(machine, Checkpointed) or CHECKPOINT not in machine.checkpoints(deadline):
                    raise LabError("it has lost its checkpoint", host=self.host.name, operation="revert")
            except LabError:
                continue  # in the part of another process, or gone
            self._slots.append(slot)
            if record.made_with != current:
                self._destroy(slot)
            elif machine.view(deadline).state is not PowerState.OFF:
                machine.stop(deadline)  # its last run was killed

    def _create(self, kind: str, shape: Shape, deadline: Deadline, extra: SeedExtra | None = None) -> Slot:
        slot = self._maker.create(kind, shape, deadline, extra)
        self._slots.append(slot)
        return slot

    def _destroy(self, slot: Slot) -> None:
        self._slots.remove(slot)
        self._maker.destroy(slot)

    def _of(self, guest: Guest) -> Slot:
        for slot in self._slots:
            if slot.guest is guest:
                return slot
        raise LabError(f"{guest.name} was given back already", host=self.host.name, operation="release")
