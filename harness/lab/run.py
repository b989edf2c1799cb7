"""A run: who everything made in the meantime belongs to, and the proof that it still lives."""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from harness.backends.model import Ownership
from harness.backends.protocol import LeaseLost
from harness.core import LabError
from harness.lab import keys
from harness.lab.addresses import Addresses
from harness.lab.booking import leave
from harness.lab.journal import Journal, entries
from harness.lab.liveness import Liveness
from harness.lab.locks import Held
from harness.lab.models import Host, Lab
from harness.lab.sharing import LabLeases
from harness.lab.store import Store, open_store

_LETTERS = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no letter that looks like another


class Run:
    """One process's part in a run. :meth:`begin` starts a run, :meth:`join` lets a worker process take part in it.

    Alive means: the lock of one of its processes is held (on this controller), or it was heard of lately (on others).
    Use it as a context manager, or call :meth:`close`.
    """

    def __init__(
        self,
        lab: Lab,
        store: Store,
        liveness: Liveness,
        run: str,
        token: str,
        *,
        key: bytes,
        began: bool,
    ) -> None:
        self.lab = lab
        self.id = run
        """Sorts by time of birth; ten letters and digits, so that it fits into names of machines."""
        self.token = token
        """Made with the lab's key: a thing with the right id and another token is somebody else's."""
        self.store = store
        self.member = _word(secrets.randbits(30), 6)
        self._key = key
        self._liveness = liveness
        self._began = began
        self._lock = Held.take(liveness.lock(run, self.member))
        self._stop = threading.Event()
        self._closed = False
        self.leases = LabLeases(lab, store, liveness, run=run, member=self.member, began=began, check=self._check_run)
        """Capacity and quiet."""
        self.addresses = Addresses(self.leases)
        """IPv4 and MAC addresses, and where the controller finds guests."""
        self._pulse = threading.Thread(target=self._beat, name=f"heartbeat of run {run}", daemon=True)

    @classmethod
    def begin(cls, lab: Lab, *, store: Store | None = None, liveness: Liveness | None = None) -> Self:
        """Start a new run of ``lab`` in this process.

        Raises:
            LabError: the state folder cannot be written, or the lab's key is not where the lab file says.
        """
        store, liveness = store or open_store(), liveness or Liveness()
        now = liveness.now()
        name, key = _new_id(now), keys.key_of(lab, store.folder)
        run = cls(lab, store, liveness, name, keys.token(key, name), key=key, began=True)
        with store.write() as rows:
            rows.run(
                "INSERT INTO runs (id, token, lab, lab_name, lab_text, controller, started, heartbeat, expiry)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                *(run.id, run.token, str(lab.path), lab.name, lab.text),
                *(liveness.here, now, now, now + run._span),
            )
        return run._enter()

    @classmethod
    def join(
        cls, lab: Lab, *, run: str, token: str, store: Store | None = None, liveness: Liveness | None = None
    ) -> Self:
        """Take part in a run that another process of this controller began; ``**run.share()`` are its arguments.

        Raises:
            LeaseLost: that run is over, or was another one.
            LabError: the lab's key is not where the lab file says.
        """
        store, liveness = store or open_store(), liveness or Liveness()
        part = cls(lab, store, liveness, run, token, key=keys.key_of(lab, store.folder), began=False)
        try:
            part._check_run()
        except LeaseLost:
            part._lock.release()
            raise
        return part._enter()

    def share(self) -> dict[str, str]:
        """What :meth:`join` needs in another process."""
        return {"run": self.id, "token": self.token}

    @property
    def owner(self) -> Ownership:
        """The mark for what is made now."""
        expiry = datetime.fromtimestamp(self._liveness.now() + self._span, UTC)
        return Ownership(self.id, self.token, expiry)

    def genuine(self, owner: Ownership) -> bool:
        """Whether a mark was made by a run of this lab, of whichever controller.

        Its token was made with the lab's key; or it stands in the journal, which this controller alone can write: runs
        from before there was a key, or another one.
        """
        if keys.genuine(self._key, owner.run, owner.token):
            return True
        return bool(self.store.rows("SELECT id FROM runs WHERE id = ? AND token = ?", owner.run, owner.token))

    def ledger(self, host: Host | str) -> Journal:
        """The journal for what a backend makes on ``host``."""
        name = host if isinstance(host, str) else host.name
        return Journal(self.store, run=self.id, member=self.member, lab=str(self.lab.path), host=name, check=self.check)

    def check(self) -> None:
        """Verify that this run may still act: it is alive in the store, and holds every lease it took.

        Raises:
            LeaseLost: it was reaped, ended, expired while this process stood still, or a lease is gone.
        """
        self._check_run()
        self.leases.check()

    def leftovers(self) -> int:
        """How many things of this run's journal are not known to be gone."""
        return len(entries(self.store, run=self.id))

    def close(self) -> None:
        """Give all leases back and end this process's part; where the run began, the run. Idempotent.

        What still stands in the journal is the reaper's.
        """
        if self._closed:
            return
        self._closed = True
        self._stop.set()
        now = self._liveness.now()
        try:
            with contextlib.suppress(LabError):  # others take this process for dead soon enough
                self.leases.leave()
            with self.store.write() as rows:
                leave(rows, self.member)
                rows.run("UPDATE members SET ended = ? WHERE id = ?", now, self.member)
                if self._began:
                    rows.run("UPDATE runs SET ended = ? WHERE id = ? AND ended IS NULL", now, self.id)
        finally:
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _span(self) -> float:
        return self.lab.limits.expiry.total_seconds()

    def _enter(self) -> Self:
        with self.store.write() as rows:
            rows.run(
                "INSERT INTO members (id, run, pid, started) VALUES (?, ?, ?, ?)",
                *(self.member, self.id, os.getpid(), self._liveness.now()),
            )
        self._pulse.start()
        return self

    def _check_run(self) -> None:
        rows = self.store.rows("SELECT token, ended, reaped, expiry FROM runs WHERE id = ?", self.id)
        if self._closed:
            reason = "this process has left it"
        elif not rows or rows[0]["token"] != self.token:
            reason = "it is not in this controller's journal"
        elif rows[0]["reaped"] is not None:
            reason = "it was taken for dead and reaped"
        elif rows[0]["ended"] is not None:
            reason = "it has ended"
        elif rows[0]["expiry"] < self._liveness.now():
            reason = "it expired while this process stood still"
        else:
            return
        raise LeaseLost(f"run {self.id} may not act any more: {reason}", operation="lease")

    def _beat(self) -> None:
        while not self._stop.wait(self.lab.limits.heartbeat.total_seconds()):
            now = self._liveness.now()
            try:
                with self.store.write() as rows:
                    # An expired run stays expired: others may have acted on it.
                    rows.run(
                        "UPDATE runs SET heartbeat = ?, expiry = ? WHERE id = ? AND expiry >= ?",
                        *(now, now + self._span, self.id, now),
                    )
                self.leases.beat()
            except LabError:
                continue  # a full disk may have room by the next beat; check() tells when it was too late


def _new_id(now: float) -> str:
    return _word(int(now), 7) + _word(secrets.randbits(15), 3)


def _word(number: int, length: int) -> str:
    letters = ""
    for _ in range(length):
        number, digit = divmod(number, 32)
        letters = _LETTERS[digit] + letters
    return letters


def run_rows(store: Store) -> list[dict[str, Any]]:
    """All runs in the store, oldest first."""
    return [dict(row) for row in store.rows("SELECT * FROM runs ORDER BY id")]
