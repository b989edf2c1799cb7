"""A ledger that passes everything on to the real journal, remembers what it was told, and can be made to fail."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from harness.backends.protocol import Creation, LeaseLost, Ledger
from harness.backends.views import ResourceKind
from harness.core import LabError


@dataclass(frozen=True, slots=True)
class Note:
    """One thing the ledger was told: ``step`` is ``intent``, ``made`` or ``gone``; ``word`` a name or a handle."""

    step: str
    kind: ResourceKind
    word: str


class PlantedFault(LabError):
    """The journal could not be written, because a test wants it so."""


class Witness:
    """Stands between a backend and the journal.

    Args:
        journal: the real one.
    """

    def __init__(self, journal: Ledger) -> None:
        self._journal = journal
        self._lock = threading.Lock()
        self._intents_left: int | None = None
        self._handles_left: int | None = None
        self._lost = False
        self.notes: list[Note] = []

    @contextlib.contextmanager
    def creating(self, kind: ResourceKind, name: str) -> Iterator[Creation]:
        """As the journal's; fails instead when a fault is planted."""
        with self._lock:
            if self._intents_left is not None:
                if not self._intents_left:
                    raise PlantedFault("planted: the intent cannot be written")
                self._intents_left -= 1
        with self._journal.creating(kind, name) as creation:
            self._note("intent", kind, name)
            yield _WitnessedCreation(self, creation, kind)

    def gone(self, kind: ResourceKind, handle: str) -> None:
        """As the journal's."""
        self._journal.gone(kind, handle)
        self._note("gone", kind, handle)

    def check(self) -> None:
        """As the journal's; fails instead when the lease is to look lost."""
        if self._lost:
            raise LeaseLost("planted: the lease is lost", operation="lease")
        self._journal.check()

    @contextlib.contextmanager
    def refusing_intents(self, after: int = 0) -> Iterator[None]:
        """Within the block, no intent can be written once ``after`` were."""
        self._intents_left = after
        try:
            yield
        finally:
            self._intents_left = None

    @contextlib.contextmanager
    def refusing_handles(self, after: int = 0) -> Iterator[None]:
        """Within the block, no handle can be noted once ``after`` were: as if the process died before."""
        self._handles_left = after
        try:
            yield
        finally:
            self._handles_left = None

    @contextlib.contextmanager
    def without_lease(self) -> Iterator[None]:
        """Within the block, the run has lost its lease."""
        self._lost = True
        try:
            yield
        finally:
            self._lost = False

    def since(self, count: int) -> list[Note]:
        """What was noted after the first ``count`` notes."""
        with self._lock:
            return self.notes[count:]

    def made(self, creation: Creation, kind: ResourceKind, handle: str) -> None:
        """Pass a handle on."""
        with self._lock:
            if self._handles_left is not None:
                if not self._handles_left:
                    raise PlantedFault("planted: the handle cannot be written")
                self._handles_left -= 1
        creation.made(handle)
        self._note("made", kind, handle)

    def _note(self, step: str, kind: ResourceKind, word: str) -> None:
        with self._lock:
            self.notes.append(Note(step, kind, word))


class _WitnessedCreation:
    def __init__(self, witness: Witness, creation: Creation, kind: ResourceKind) -> None:
        self._witness = witness
        self._creation = creation
        self._kind = kind

    def made(self, handle: str) -> None:
        self._witness.made(self._creation, self._kind, handle)
