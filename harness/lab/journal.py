"""The journal: what is about to be made on a host is on disk before the host is asked, so that nothing can leak."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from harness.backends.protocol import Creation
from harness.backends.views import ResourceKind
from harness.lab.store import Row, Store


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that was to be made on a host and is not known to be gone.

    Args:
        number: the entry's own.
        run: the run that made it.
        member: the process of that run.
        host: the lab's name of the host.
        kind: what it is.
        name: what it was to be called.
        handle: the host's name for it; None when the process died between asking and noting the answer.
        intended: when it was written, in seconds since the epoch: right before the host was asked.
    """

    number: int
    run: str
    member: str
    host: str
    kind: ResourceKind
    name: str
    handle: str | None
    intended: float = 0.0


class Journal:
    """The :class:`~harness.backends.protocol.Ledger` of one host in one process of a run.

    Args:
        store: where it is written.
        run: the run's id.
        member: this process of the run.
        lab: the lab file's path: a host's name means something only there.
        host: the lab's name of the host.
        check: raises :class:`~harness.backends.protocol.LeaseLost` when the run may not act any more.
    """

    def __init__(self, store: Store, *, run: str, member: str, lab: str, host: str, check: Callable[[], None]) -> None:
        self._store = store
        self._run = run
        self._member = member
        self._lab = lab
        self._host = host
        self._check = check

    @contextlib.contextmanager
    def creating(self, kind: ResourceKind, name: str) -> Iterator[Creation]:
        """See :meth:`harness.backends.protocol.Ledger.creating`."""
        self._check()
        with self._store.write() as rows:
            number = rows.insert(
                "INSERT INTO journal (run, member, host, kind, name, intended) VALUES (?, ?, ?, ?, ?, ?)",
                *(self._run, self._member, self._host, kind.value, name, time.time()),
            )
        yield _Intent(self._store, number)

    def gone(self, kind: ResourceKind, handle: str) -> None:
        """See :meth:`harness.backends.protocol.Ledger.gone`. Holds for whichever run of this lab made the thing.

        A machine takes its checkpoints along.
        """
        gone = "UPDATE journal SET gone = ? WHERE gone IS NULL AND host = ? AND kind = ?"
        ours = "run IN (SELECT id FROM runs WHERE lab = ?)"
        now = time.time()
        with self._store.write() as rows:
            rows.run(
                f"{gone} AND (handle = ? OR (handle IS NULL AND name = ?)) AND {ours}",
                *(now, self._host, kind.value, handle, handle, self._lab),
            )
            if kind is ResourceKind.MACHINE:
                prefix = f"{handle}/"
                rows.run(
                    f"{gone} AND substr(name, 1, ?) = ? AND {ours}",
                    *(now, self._host, ResourceKind.CHECKPOINT.value, len(prefix), prefix, self._lab),
                )

    def check(self) -> None:
        """See :meth:`harness.backends.protocol.Ledger.check`."""
        self._check()


class _Intent:
    def __init__(self, store: Store, number: int) -> None:
        self._store = store
        self._number = number

    def made(self, handle: str) -> None:
        with self._store.write() as rows:
            rows.run("UPDATE journal SET handle = ?, made = ? WHERE id = ?", handle, time.time(), self._number)


def entries(store: Store, *, run: str | None = None, lab: str | None = None) -> list[Entry]:
    """Everything not known to be gone, oldest first; of one run, or of all runs of a lab file, or of all."""
    rows = store.rows(
        "SELECT journal.* FROM journal JOIN runs ON runs.id = journal.run WHERE gone IS NULL"
        " AND run = COALESCE(?, run) AND lab = COALESCE(?, lab) ORDER BY journal.id",
        *(run, lab),
    )
    return [_entry(row) for row in rows]


def strike(store: Store, entry: Entry) -> None:
    """The thing of this entry is gone, or never came to be."""
    with store.write() as rows:
        rows.run("UPDATE journal SET gone = ? WHERE id = ? AND gone IS NULL", time.time(), entry.number)


def _entry(row: Row) -> Entry:
    return Entry(
        number=row["id"],
        run=row["run"],
        member=row["member"],
        host=row["host"],
        kind=ResourceKind(row["kind"]),
        name=row["name"],
        handle=row["handle"],
        intended=row["intended"],
    )
