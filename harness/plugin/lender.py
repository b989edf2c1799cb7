"""Lending guests to tests: one warm guest is shared while tests only read, and replaced when one changed it."""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from harness.backends.model import NicSpec, Shape
from harness.core import Deadline, GuestError, InteropError, UsageError
from harness.guest import Guest, NetworkDead, ProbeFailed
from harness.guest.kernel import SELINUX
from harness.guest.services import SETS_UP_NETWORK
from harness.guest.system import OS_RELEASE
from harness.lab.keep import KeptGuest
from harness.lab.releases import Installed, Unchanged
from harness.lab.slots import Slots
from harness.plugin.demand import Demand
from harness.plugin.demand import shape as shape_of
from harness.plugin.evidence import Loan

# A first guest of a shape boots cold: about a minute under emulation, several on a busy machine.
PATIENCE = timedelta(minutes=12)

_LIVES = itertools.count(1)
"""A number for each guest as it came up or was reverted, in this process."""

SERVICES = ("qemu-guest-agent", "open-vm-tools", "hyperv-daemons", "hyper-v", "linux-cloud-tools-common")


@dataclass(slots=True)
class Lender:
    """The guests of one column, and which test holds which."""

    slots: Slots
    """Where guests come from; while it waits for capacity it asks for idle ones back."""
    seen: dict[str, str] = field(default_factory=dict)
    """What a guest here said it is: kernel, distribution, SELinux, what sets up its network; for the report."""
    services: dict[str, str] = field(default_factory=dict)
    """The versions of the integration services that it has, by package."""
    patience: timedelta = PATIENCE
    """For a guest that answers."""
    installed: Installed | None = None
    """What was seen in the guest that the run's release was first installed in."""
    _shared: dict[Shape, Guest] = field(default_factory=dict)
    _peer: dict[Shape, Guest] = field(default_factory=dict)
    _untouched: dict[Shape, Guest] = field(default_factory=dict)
    """Booted cold, their clocks never set: for tests that look at clocks."""
    _hopeless: dict[Shape, GuestError | NetworkDead | Unchanged] = field(default_factory=dict)
    _own: list[Guest] = field(default_factory=list)
    _booted: list[Guest] = field(default_factory=list)
    """Those of :attr:`_own` that never were a checkpoint."""
    _handed_on: list[Guest] = field(default_factory=list)
    _loans: list[Loan] = field(default_factory=list)
    _lives: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.slots.meanwhile = self.give_back_idle

    @property
    def _all(self) -> tuple[dict[Shape, Guest], ...]:
        """Whatever is up for more than one test."""
        return self._shared, self._peer, self._untouched

    @property
    def lives(self) -> list[str]:
        """The guests that the running test holds, each as it came up or was reverted: a revert makes another of it."""
        return [self._lives[loan.guest.name] for loan in self._loans]

    @property
    def loans(self) -> tuple[Loan, ...]:
        """What the running test holds: the sources of its evidence."""
        return tuple(self._loans)

    def shared(self, demand: Demand) -> Guest:
        """The guest of the demand's shape that is up, or a fresh one; tests that look at clocks share another."""
        if demand.untouched_clock:
            return self._lend(self._untouched, demand.shape)
        return self._lend(self._shared, demand.shape)

    def peer(self, demand: Demand) -> Guest:
        """A second guest of the same shape, never from the checkpoint of the first."""
        return self._lend(self._peer, demand.shape)

    def spare_nic(self, guest: Guest) -> NicSpec:
        """A NIC for the running test to attach to one of its guests."""
        return self.slots.spare_nic(guest, Deadline.after(self.patience))

    def fresh(self, shape: Shape) -> Guest:
        """A clean, running guest for this test alone."""
        self._make_room(for_shape=shape)
        return self._hold(self._get(shape))

    def bare(self, shape: Shape) -> Guest:
        """As :meth:`fresh`, with nothing installed in it: it is as its image, whatever release the run is of."""
        self._make_room(for_shape=shape)
        return self._hold(self._alive(self.slots.fresh(shape, self._patience(), bare=True)))

    def cold(self, shape: Shape, *, boot: bool = True, **seed: Any) -> Guest:
        """A guest for this test alone that never was a checkpoint; with ``boot=False`` its machine is still off."""
        self._make_room()
        guest = self._hold(self._boot(shape, boot=boot, **seed))
        self._booted.append(guest)
        return guest

    def hand_on(self, guest: Guest) -> None:
        """Once the running test is over, and did not fail, a guest that it booted is for tests that look at clocks.

        Raises:
            UsageError: this test did not boot it, so the harness may have set its clock.
        """
        if not any(guest is one for one in self._booted):
            raise UsageError(
                f"{guest.name} cannot be handed on: it may have been a checkpoint, and the harness set its clock",
                hint="hand on what guests.cold() or guests.create() made in this test",
            )
        self._handed_on.append(guest)

    def _patience(self) -> Deadline:
        prepared = self.slots.prepared
        return Deadline.after(self.patience + prepared.patience if prepared else self.patience)

    def _can_install(self, shape: Shape) -> None:
        prepared = self.slots.prepared
        if prepared is not None and not prepared.image and not shape.nics:
            pytest.skip(f"the release {prepared.release.name} is installed over ssh, and this guest has no NIC")

    def _note(self, guest: Guest) -> None:
        """Keep what was seen when the release was installed; of several guests, the first."""
        self.installed = self.installed or self.slots.installed(guest)

    def finish(
        self, demand: Demand | None, *, failed: bool, keep: timedelta | None = None, why: str = ""
    ) -> list[KeptGuest]:
        """The test is over: take back what was its own, and what nobody should share any more.

        Args:
            demand: what the test asked for.
            failed: whether it failed: then nobody knows what state its guests are in.
            keep: leave a failed test's guests as they are, for that long.
            why: the test, for whoever finds a kept guest.

        Raises:
            InteropError: a guest could not be given back; the others were.
        """
        spoilt = failed or (demand is not None and demand.changes_guest)
        leaving, self._own = self._own, []
        handed_on, self._handed_on = self._handed_on, []
        self._booted.clear()
        if spoilt:
            for guests in self._all:
                for shape, guest in list(guests.items()):
                    if self._is_lent(guest):
                        leaving.append(guests.pop(shape))
        else:
            for guest in handed_on:
                self._untouched.setdefault(guest.shape, guest)
            staying = {id(guest) for guest in self._untouched.values()}
            leaving = [guest for guest in leaving if id(guest) not in staying]
        self._loans.clear()
        kept: list[KeptGuest] = []
        problems: list[InteropError] = []
        for guest in leaving:
            try:
                if failed and keep is not None:
                    kept.append(self.slots.keep(guest, keep, why))
                else:
                    self.slots.release(guest)
            except InteropError as error:
                problems.append(error)
        if problems:
            raise problems[0]
        return kept

    def close(self) -> None:
        """Give everything back; what cannot be is left to the reaper, which knows it."""
        leaving = [*self._own, *(guest for guests in self._all for guest in guests.values())]
        self._own.clear()
        for guests in self._all:
            guests.clear()
        try:
            self._release(leaving)
        finally:
            self.slots.close()

    def give_back_idle(self) -> None:
        """Give back shared guests that the running test does not hold; for whoever waits for capacity."""
        self._make_room()

    def _lend(self, guests: dict[Shape, Guest], shape: Shape) -> Guest:
        if shape not in guests:
            self._make_room(for_shape=shape)
            guests[shape] = self._boot(shape) if guests is self._untouched else self._get(shape)
            self.look_at(guests[shape])
        guest = guests[shape]
        try:
            self._loans.append(Loan.of(guest))
        except InteropError:
            self._own.append(guests.pop(shape))  # the next to ask gets another one
            raise
        return guest

    def _boot(self, shape: Shape, *, boot: bool = True, **seed: Any) -> Guest:
        """One that never was a checkpoint."""
        self._can_install(shape)
        guest = self._alive(self.slots.cold(shape, self._patience(), boot=boot, **seed))
        self._note(guest)
        return guest

    def _get(self, shape: Shape) -> Guest:
        """A fresh guest; where none of this shape ever became ready, nobody waits for that a second time.

        Raises:
            GuestError: it did not boot; the same error at once for every later test.
            Unchanged: the run's release is not what its file says; the same error for every later test.
            NetworkDead: it lives, and its network does not; later tests are skipped as blocked by that.
        """
        known = self._hopeless.get(shape)
        if isinstance(known, NetworkDead):
            pytest.skip(f"blocked: the network of guests of {shape} is dead, as an earlier test found")
        if known is not None:
            raise known.with_traceback(None)
        self._can_install(shape)
        try:
            guest = self._alive(self.slots.fresh(shape, self._patience()))
        except (GuestError, NetworkDead, Unchanged) as error:
            self._hopeless[shape] = error
            raise
        self._note(guest)
        return guest

    def look_at(self, guest: Guest) -> None:
        """Ask the first guest, once, what the report should say about it."""
        if not self.seen:
            versions = {name: guest.services.version(name) for name in SERVICES}
            self.services = {name: version for name, version in versions.items() if version}
            self.seen = {"kernel": guest.kernel.version()} | _described(guest)

    def _alive(self, guest: Guest) -> Guest:
        self._lives[guest.name] = f"{guest.name}.{os.getpid()}.{next(_LIVES)}"
        return guest

    def _hold(self, guest: Guest) -> Guest:
        self._own.append(guest)
        self._loans.append(Loan.of(guest))
        return guest

    def _make_room(self, for_shape: Shape | None = None) -> None:
        """Shared guests that the running test does not hold go first: two cores carry few guests."""
        leaving = []
        for guests in self._all:
            for shape, guest in list(guests.items()):
                if not self._is_lent(guest) and (guests is not self._shared or shape != for_shape):
                    leaving.append(guests.pop(shape))
        self._release(leaving)

    def _is_lent(self, guest: Guest) -> bool:
        return any(loan.guest is guest for loan in self._loans)

    def _release(self, leaving: list[Guest]) -> None:
        problems: list[InteropError] = []
        for guest in leaving:
            try:
                self.slots.release(guest)
            except InteropError as error:
                problems.append(error)
        if problems:
            raise problems[0]


_NAME = 200
"""Characters of a distribution's name that reports show."""


def _described(guest: Guest) -> dict[str, str]:
    """What the report says of a guest's making; nothing of one that cannot tell, which no check is to fail by."""
    try:
        release, selinux, network = guest.read_all(OS_RELEASE, SELINUX, SETS_UP_NETWORK)
    except ProbeFailed:
        return {}
    return {
        "distribution": release.pretty_name[:_NAME],
        "SELinux": selinux.value,
        "network by": network or "something else",
    }


class Guests:
    """The ``guests`` fixture: makes guests for one test alone; they are given back when it ends."""

    def __init__(self, lender: Lender, demand: Demand, where: str) -> None:
        self._lender = lender
        self._demand = demand
        self._where = where

    def start(self, **shape: Any) -> Guest:
        """A clean, running guest. ``shape`` overrides the test's own shape: ``vcpus=4, memory="2 GiB"``."""
        return self._lender.fresh(self._shape(shape))

    def bare(self, **shape: Any) -> Guest:
        """As :meth:`start`, but as its image: without the release that the run is of. For tests of installing it."""
        return self._lender.bare(self._shape(shape))

    def cold(self, **shape: Any) -> Guest:
        """A guest booted from power-off: for tests of booting, of first-boot identity, of an untouched clock."""
        return self._lender.cold(self._shape(shape))

    def create(self, **shape: Any) -> Guest:
        """A guest whose machine exists and is off."""
        return self._lender.cold(self._shape(shape), boot=False)

    def hand_on(self, guest: Guest) -> None:
        """Say that a guest of :meth:`cold` or :meth:`create` is up, and as it booted: nothing was changed in it.

        The next test that looks at the clock of such a guest may have it, which spares a boot.

        Raises:
            UsageError: it is another guest, whose clock the harness may have set.
        """
        self._lender.hand_on(guest)

    def spare_nic(self, guest: Guest) -> NicSpec:
        """A NIC that this guest does not have yet, as the fixture ``spare_nic`` gives one: another with each call."""
        return self._lender.spare_nic(guest)

    def _shape(self, asked: dict[str, Any]) -> Shape:
        if not asked:
            return self._demand.shape
        base = {name: getattr(self._demand.shape, name) for name in Shape.__dataclass_fields__}
        return shape_of(self._where, **(base | asked))
