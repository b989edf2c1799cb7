"""Hosts that nothing may be started on for a while: their owner works on them, or does not trust them."""

from __future__ import annotations

import getpass
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from harness.core import LabError, UsageError
from harness.core.config import nearest
from harness.lab.models import Lab
from harness.lab.sharing import open_shared
from harness.lab.store import Store, open_store


class Cordoned(LabError):
    """Nothing may be started on this host now."""


@dataclass(frozen=True, slots=True)
class Cordon:
    """One host's.

    Args:
        host: the lab's name of it.
        reason: why, in words.
        who: whose decision it was.
        until: when it ends by itself (UTC); None: when somebody lifts it.
    """

    host: str
    reason: str
    who: str
    until: datetime | None

    def __str__(self) -> str:
        until = f" until {self.until:%Y-%m-%d %H:%M} UTC" if self.until else ""
        return f"cordoned{until} by {self.who}: {self.reason}"


class Cordons:
    """Those of a lab.

    Args:
        store: where they are written down: what the lab's controllers share, or this controller's own.
        lab: whose.
    """

    def __init__(self, store: Store, lab: Lab) -> None:
        self._store = store
        self._lab = lab

    def put(self, host: str, reason: str, until: datetime | None = None, who: str | None = None) -> Cordon:
        """Cordon a host off, in place of what was said of it before.

        Args:
            host: the lab's name of it.
            reason: why; it stands wherever a cell or a test is left out.
            until: when it ends by itself.
            who: whose decision; default: this account.

        Raises:
            UsageError: the lab has no such host, the reason is empty, or the time has passed.
        """
        self._known(host)
        if not reason.strip():
            raise UsageError("say why: whoever finds the host left out wants to know")
        now = self._store.now()
        if until is not None and until.timestamp() <= now:
            raise UsageError(f"{until:%Y-%m-%d %H:%M} UTC has passed")
        cordon = Cordon(host, " ".join(reason.split()), who or f"{getpass.getuser()}@{platform.node()}", until)
        with self._store.write() as rows:
            rows.run("DELETE FROM cordons WHERE lab = ? AND host = ?", self._lab.name, host)
            rows.run(
                "INSERT INTO cordons (lab, host, until, reason, who, since) VALUES (?, ?, ?, ?, ?, ?)",
                *(self._lab.name, host, until.timestamp() if until else None, cordon.reason, cordon.who, now),
            )
        return cordon

    def lift(self, host: str) -> bool:
        """Let a host be used again; whether it was cordoned.

        Raises:
            UsageError: the lab has no such host.
        """
        self._known(host)
        with self._store.write() as rows:
            return rows.run("DELETE FROM cordons WHERE lab = ? AND host = ?", self._lab.name, host) > 0

    def all(self) -> dict[str, Cordon]:
        """Those in force now, by host."""
        rows = self._store.rows(
            "SELECT * FROM cordons WHERE lab = ? AND (until IS NULL OR until > ?) ORDER BY host",
            *(self._lab.name, self._store.now()),
        )
        return {
            row["host"]: Cordon(
                row["host"],
                row["reason"],
                row["who"],
                datetime.fromtimestamp(row["until"], UTC) if row["until"] is not None else None,
            )
            for row in rows
        }

    def _known(self, host: str) -> None:
        if host not in self._lab.hosts:
            raise UsageError(f"the lab {self._lab.name} has no host {host!r}{nearest(host, self._lab.hosts)}")


@contextmanager
def cordons(lab: Lab) -> Iterator[Cordons]:
    """The cordons of a lab: on its database, where it has one.

    Raises:
        LabError: the database cannot be had.
    """
    shared = open_shared(lab)
    store: Store = shared if shared is not None else open_store()
    try:
        yield Cordons(store, lab)
    finally:
        store.close()
