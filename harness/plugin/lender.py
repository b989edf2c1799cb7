"""Lending guests to tests: one warm guest is shared while tests only read, and replaced when one changed it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from harness.backends.model import Shape
from harness.core import Deadline, InteropError
from harness.guest import Guest
from harness.lab.slots import Slots
from harness.plugin.demand import Demand
from harness.plugin.demand import shape as shape_of
from harness.plugin.evidence import Loan

# A first guest of a shape boots cold: about a minute under emulation, several on a busy machine.
PATIENCE = timedelta(minutes=12)


@dataclass(slots=True)
class Lender:
    """The guests of one column, and which test holds which."""

    slots: Slots
    _shared: dict[Shape, Guest] = field(default_factory=dict)
    _peer: dict[Shape, Guest] = field(default_factory=dict)
    _own: list[Guest] = field(default_factory=list)
    _loans: list[Loan] = field(default_factory=list)

    @property
    def loans(self) -> tuple[Loan, ...]:
        """What the running test holds: the sources of its evidence."""
        return tuple(self._loans)

    def shared(self, demand: Demand) -> Guest:
        """The guest of the demand's shape that is up, or a fresh one; a test that looks at the clock gets its own."""
        if demand.untouched_clock:
            return self.cold(demand.shape)
        return self._lend(self._shared, demand.shape)

    def peer(self, demand: Demand) -> Guest:
        """A second guest of the same shape, never from the checkpoint of the first."""
        return self._lend(self._peer, demand.shape)

    def fresh(self, shape: Shape) -> Guest:
        """A clean, running guest for this test alone."""
        self._make_room(for_shape=shape)
        return self._hold(self.slots.fresh(shape, Deadline.after(PATIENCE)))

    def cold(self, shape: Shape, *, boot: bool = True, **seed: Any) -> Guest:
        """A guest for this test alone that never was a checkpoint; with ``boot=False`` its machine is still off."""
        self._make_room()
        return self._hold(self.slots.cold(shape, Deadline.after(PATIENCE), boot=boot, **seed))

    def finish(self, demand: Demand | None, *, failed: bool, keep: timedelta | None) -> list[Guest]:
        """The test is over: take back what was its own, and what nobody should share any more.

        Returns:
            The guests that were kept for a closer look.
        """
        kept = [loan.guest for loan in self._loans] if failed and keep else []  # TODO keep span
        spoilt = failed or (demand is not None and demand.changes_guest)
        problems: list[InteropError] = []
        for guest in list(self._own):
            self._own.remove(guest)
            self._release(guest, problems, keep=guest in kept)
        if spoilt:
            for guests in (self._shared, self._peer):
                for shape, guest in list(guests.items()):
                    if any(loan.guest is guest for loan in self._loans):
                        del guests[shape]
                        self._release(guest, problems, keep=guest in kept)
        self._loans.clear()
        if problems:
            raise problems[0]
        return kept

    def close(self) -> None:
        """Give everything back; what cannot be is left to the reaper, which knows it."""
        problems: list[InteropError] = []
        for guest in [*self._own, *self._shared.values(), *self._peer.values()]:
            self._release(guest, problems)
        self._own.clear()
        self._shared.clear()
        self._peer.clear()
        self.slots.close()
        if problems:
            raise problems[0]

    def _lend(self, guests: dict[Shape, Guest], shape: Shape) -> Guest:
        if shape not in guests:
            self._make_room(for_shape=shape)
            guests[shape] = self.slots.fresh(shape, Deadline.after(PATIENCE))
        guest = guests[shape]
        self._loans.append(Loan.of(guest))
        return guest

    def _hold(self, guest: Guest) -> Guest:
        self._own.append(guest)
        self._loans.append(Loan.of(guest))
        return guest

    def _make_room(self, for_shape: Shape | None = None) -> None:
        """Shared guests that the running test does not hold go first: two cores carry few guests."""
        problems: list[InteropError] = []
        for guests in (self._shared, self._peer):
            for shape, guest in list(guests.items()):
                if not any(loan.guest is guest for loan in self._loans) and (
                    guests is self._peer or shape != for_shape
                ):
                    del guests[shape]
                    self._release(guest, problems)
        if problems:
            raise problems[0]

    def _release(self, guest: Guest, problems: list[InteropError], *, keep: bool = False) -> None:
        try:
            self.slots.release(guest, keep=keep)
        except InteropError as error:
            problems.append(error)


class Guests:
    """The ``guests`` fixture: makes guests for one test alone; they are given back when it ends."""

    def __init__(self, lender: Lender, demand: Demand, where: str) -> None:
        self._lender = lender
        self._demand = demand
        self._where = where

    def start(self, **shape: Any) -> Guest:
        """A clean, running guest. ``shape`` overrides the test's own shape: ``vcpus=4, memory="2 GiB"``."""
        return self._lender.fresh(self._shape(shape))

    def cold(self, **shape: Any) -> Guest:
        """A guest booted from power-off: for tests of booting, of first-boot identity, of an untouched clock."""
        return self._lender.cold(self._shape(shape))

    def create(self, **shape: Any) -> Guest:
        """A guest whose machine exists and is off."""
        return self._lender.cold(self._shape(shape), boot=False)

    def _shape(self, asked: dict[str, Any]) -> Shape:
        if not asked:
            return self._demand.shape
        base = {name: getattr(self._demand.shape, name) for name in Shape.__dataclass_fields__}
        return shape_of(self._where, **(base | asked))
