"""What is to become of a thing on a host: told from its mark, the journal, and who is alive. Changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from harness.backends.model import Ownership
from harness.backends.views import Owned, ResourceKind
from harness.lab import keep
from harness.lab.journal import Entry
from harness.lab.liveness import Liveness
from harness.lab.models import THIS_MACHINE, Host, Lab
from harness.lab.store import Row, Store


class Fate(StrEnum):
    """What became of a thing, or why it was left alone."""

    REMOVED = "removed"
    DOOMED = "would be removed"
    FAILED = "not removed"
    LIVE = "left: its run lives"
    KEPT = "left: kept guest"
    WARM = "left: warm slot"
    FOREIGN = "left: not ours"
    UNKNOWN = "left: its run is unknown here"
    MAKING = "left: maybe being made"


@dataclass(frozen=True, slots=True)
class Wish:
    """What to reap.

    Args:
        run: of this run only; None: of all dead runs.
        dry_run: look and tell, touch nothing.
        force_expired: also what another controller's runs left, once the expiry marked on the host has passed: this
            controller cannot see their heartbeat.
        warm: also the warm slots of embedded hosts.
    """

    run: str | None = None
    dry_run: bool = False
    force_expired: bool = False
    warm: bool = False


Verdict = tuple[Fate, str]

_WORKS_ON = 300.0
"""Seconds that a host may go on making what was asked by a process that has died: clones and imports take minutes."""


@dataclass(frozen=True, slots=True)
class Judge:
    """Judges things on the hosts of one lab.

    Args:
        lab: whose hosts.
        store: this controller's journal.
        liveness: tells who is alive.
        wish: what to reap.
        own: the reaper's own run.
        genuine: whether a mark is one that a run of the lab made, of whichever controller.
    """

    lab: Lab
    store: Store
    liveness: Liveness
    wish: Wish
    own: str
    genuine: Callable[[Ownership], bool]

    def verdict(self, host: Host, thing: Owned, mine: list[Entry]) -> Verdict | None:
        """``DOOMED``, or why it is left alone; None: not even worth telling.

        Args:
            host: where it is.
            thing: what the host showed, or the journal knows.
            mine: the journal's entries about it.
        """
        spared = self.spared(host, thing)
        if spared:
            return spared
        if thing.owner is None:
            return self._unmarked(host, mine)
        if self.wish.run is not None and thing.owner.run != self.wish.run:
            return None
        rows = self.store.rows("SELECT * FROM runs WHERE id = ?", thing.owner.run)
        if not rows:
            return self._unknown(thing.owner)
        return self._known(rows[0], thing.owner, mine)

    def dead(self, entry: Entry) -> bool:
        """Whether the process that noted this entry is gone, and its run is one we were asked for."""
        if self.wish.run is not None and entry.run != self.wish.run:
            return False
        return not self.liveness.member(self.store, entry.run, entry.member)

    def may_come(self, host: Host, thing: Owned, mine: list[Entry]) -> Verdict | None:
        """``MAKING``, for what a host does not show and may yet: it works on for whoever asked and died.

        Args:
            host: where it was asked for; an embedded one dies with its process.
            thing: what the journal knows.
            mine: the journal's entries about it.
        """
        asked = max((entry.intended for entry in mine if entry.handle is None), default=0.0)
        if thing.kind is ResourceKind.CHECKPOINT:  # it shares its machine's fate
            return None
        if host.embedded or self.liveness.now() > asked + _WORKS_ON:
            return None
        until = datetime.fromtimestamp(asked + _WORKS_ON, UTC)
        return Fate.MAKING, f"{thing.name} is not there; looked for again until {until:%H:%M} UTC"

    def spared(self, host: Host, thing: Owned) -> Verdict | None:
        """Why a thing stays, whoever made it: a guest that somebody keeps, or a warm slot; None where it is neither."""
        # A checkpoint shares its machine's fate.
        names = {thing.handle, thing.name, thing.handle.partition("/")[0]}
        now = datetime.fromtimestamp(self.liveness.now(), UTC)
        for guest in keep.Kept(self.store, self.liveness.now).all():
            if guest.machine in names and (guest.lab, guest.host) == (self.lab.path, host.name) and guest.until > now:
                return Fate.KEPT, f"{guest.id}, until {guest.until:%Y-%m-%d %H:%M} UTC"
        if names & keep.warm(self.store, self.lab.path, host.name):
            if not self.wish.warm:
                return Fate.WARM, "`interop reap --warm` removes it"
            living = self._another_run()
            if living:
                return Fate.LIVE, f"run {living} may be using it"
        return None

    def _known(self, run: Row, owner: Ownership, mine: list[Entry]) -> Verdict:
        if run["token"] != owner.token:
            return Fate.FOREIGN, f"another controller's run {owner.run}"
        abandoned = bool(mine) and all(self.dead(entry) for entry in mine)  # its process died, the run goes on
        if not abandoned and self.liveness.run(self.store, owner.run):
            return Fate.LIVE, f"run {owner.run}"
        began = datetime.fromtimestamp(run["started"], UTC)
        return Fate.DOOMED, f"run {owner.run} of {began:%Y-%m-%d %H:%M} UTC"

    def _unknown(self, owner: Ownership) -> Verdict:
        if not self.genuine(owner):
            return Fate.FOREIGN, f"run {owner.run}, whose mark was not made with this lab's key"
        expiry = f"{owner.expiry:%Y-%m-%d %H:%M} UTC"
        if owner.expiry > datetime.fromtimestamp(self.liveness.now(), UTC):
            return Fate.UNKNOWN, f"run {owner.run}, expires {expiry}"
        if self.wish.force_expired:
            return Fate.DOOMED, f"run {owner.run}, expired {expiry}"
        return Fate.UNKNOWN, f"run {owner.run}, expired {expiry}; `interop reap --force-expired` removes it"

    def _unmarked(self, host: Host, mine: list[Entry]) -> Verdict | None:
        if mine:
            dead = all(self.dead(entry) for entry in mine)
            return (Fate.DOOMED, f"half made by run {mine[0].run}") if dead else (Fate.LIVE, f"run {mine[0].run}")
        if self.wish.run is not None:
            return None
        living = self._another_run()
        if living:
            return Fate.LIVE, f"unmarked; run {living} may be making it"
        if host.domain == THIS_MACHINE or self.wish.force_expired:
            return Fate.DOOMED, "unmarked, below a folder of ours"
        return Fate.UNKNOWN, "unmarked, maybe another controller's; `interop reap --force-expired` removes it"

    def _another_run(self) -> str | None:
        """A living run that is not the reaper's own."""
        rows = self.store.rows("SELECT id FROM runs WHERE ended IS NULL AND reaped IS NULL AND id <> ?", self.own)
        return next((row["id"] for row in rows if self.liveness.run(self.store, row["id"])), None)
