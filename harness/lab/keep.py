"""What outlives its run on purpose: failed guests that somebody wants to look at, and warm slots of embedded hosts.

The reaper leaves both alone: kept guests until their time is over, warm slots until they are dropped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from harness.backends.model import Endpoint
from harness.core import UsageError
from harness.core.config import nearest
from harness.lab.leases import Lease
from harness.lab.store import Row, Store


@dataclass(frozen=True, slots=True)
class KeptGuest:
    """A guest that was kept after its test failed.

    Args:
        id: the word for it in ``interop guest ...``.
        lab: the lab file's path.
        host: the lab's name of the host.
        machine: the host's identity of the machine (:attr:`Machine.id`).
        run: the run that made it.
        until: when the reaper may take it (UTC).
        endpoint: where its ssh port is, as long as it is reachable.
        identity: the private key file to log in with.
        known_hosts: the file that holds its host key.
        account: whom to log in as.
        why: the test that failed.
    """

    id: str
    lab: Path
    host: str
    machine: str
    run: str
    until: datetime
    endpoint: Endpoint
    identity: Path
    known_hosts: Path
    account: str
    why: str


class Kept:
    """The table of kept guests.

    Args:
        store: where it is.
        now: the wall clock, seconds since the epoch.
        shared: what their lab's controllers share, where leases of theirs may be as well.
    """

    def __init__(self, store: Store, now: Callable[[], float] = time.time, shared: Store | None = None) -> None:
        self._store = store
        self._now = now
        self._shared = shared

    def add(self, guest: KeptGuest, held: Iterable[Lease] = ()) -> None:
        """Keep ``guest`` with the leases ``held``: its capacity and addresses stay taken while it lives."""
        with self._store.write() as rows:
            rows.run(
                "INSERT INTO kept (id, lab, host, machine, run, until, address, port, identity, known_hosts, account,"
                " why, kept) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                *(guest.id, str(guest.lab), guest.host, guest.machine, guest.run, guest.until.timestamp()),
                *(guest.endpoint.address, guest.endpoint.port, str(guest.identity), str(guest.known_hosts)),
                *(guest.account, guest.why, self._now()),
            )
        for lease in held:
            lease.book.hand_over(lease, guest.id, guest.until.timestamp())

    def all(self) -> list[KeptGuest]:
        """Every kept guest, oldest first."""
        return [_guest(row) for row in self._store.rows("SELECT * FROM kept ORDER BY kept, id")]

    def find(self, word: str) -> KeptGuest:
        """The kept guest whose id is, or alone begins with, ``word``.

        Raises:
            UsageError: none, or several.
        """
        guests = {guest.id: guest for guest in self.all()}
        found = [guest for name, guest in guests.items() if name == word] or [
            guest for name, guest in guests.items() if name.startswith(word)
        ]
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError(f"{word!r} may be {', '.join(guest.id for guest in found)}")
        raise UsageError(f"no kept guest is called {word!r}{nearest(word, guests)}", hint="`interop guest list`")

    def extend(self, guest: KeptGuest, span: timedelta) -> datetime:
        """Keep it until ``span`` from now; the new moment."""
        until = datetime.fromtimestamp(self._now(), UTC) + span
        with self._store.write() as rows:
            rows.run("UPDATE kept SET until = ? WHERE id = ?", until.timestamp(), guest.id)
        for store in filter(None, (self._store, self._shared)):
            with store.write() as rows:
                rows.run("UPDATE leases SET until = ? WHERE guest = ?", until.timestamp(), guest.id)
        return until

    def release(self, guest: KeptGuest) -> None:
        """Forget it and free its leases. Its machine, if still there, is the reaper's from now on. Idempotent."""
        with self._store.write() as rows:
            rows.run("DELETE FROM kept WHERE id = ?", guest.id)
        for store in filter(None, (self._store, self._shared)):
            with store.write() as rows:
                rows.run("DELETE FROM leases WHERE guest = ?", guest.id)

    def expired(self) -> list[KeptGuest]:
        """Those whose time is over."""
        now = datetime.fromtimestamp(self._now(), UTC)
        return [guest for guest in self.all() if guest.until <= now]


def keep_warm(store: Store, lab: Path, host: str, machine: str) -> None:
    """This machine is a warm slot from now on: cache that survives its run. Say so once it is worth keeping."""
    with store.write() as rows:
        rows.run("DELETE FROM warm WHERE lab = ? AND host = ? AND machine = ?", str(lab), host, machine)
        rows.run(
            "INSERT INTO warm (lab, host, machine, since) VALUES (?, ?, ?, ?)", str(lab), host, machine, time.time()
        )


def drop_warm(store: Store, lab: Path, host: str, machine: str) -> None:
    """No warm slot any more: what is left of it is the reaper's. Idempotent."""
    with store.write() as rows:
        rows.run("DELETE FROM warm WHERE lab = ? AND host = ? AND machine = ?", str(lab), host, machine)


def warm(store: Store, lab: Path, host: str) -> set[str]:
    """The machines on ``host`` that are warm slots."""
    rows = store.rows("SELECT machine FROM warm WHERE lab = ? AND host = ?", str(lab), host)
    return {row["machine"] for row in rows}


def warm_anywhere(store: Store) -> set[str]:
    """The machines that are warm slots, of all labs and hosts."""
    return {row["machine"] for row in store.rows("SELECT machine FROM warm")}


def _guest(row: Row) -> KeptGuest:
    return KeptGuest(
        id=row["id"],
        lab=Path(row["lab"]),
        host=row["host"],
        machine=row["machine"],
        run=row["run"],
        until=datetime.fromtimestamp(row["until"], UTC),
        endpoint=Endpoint(row["address"], row["port"]),
        identity=Path(row["identity"]),
        known_hosts=Path(row["known_hosts"]),
        account=row["account"],
        why=row["why"],
    )
