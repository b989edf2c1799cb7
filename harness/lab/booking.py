"""The rows behind leases: who holds what, who waits for what, and taking from the dead. Inside one transaction each."""

from __future__ import annotations

import os
from dataclasses import dataclass

from harness.core import Size
from harness.lab.liveness import Liveness
from harness.lab.store import Row, Writer


@dataclass(frozen=True, slots=True)
class Claim:
    """What is to be written down when it is granted."""

    kind: str
    domain: str
    value: str = ""
    vcpus: int = 0
    memory: int = 0
    guests: int = 0


@dataclass(frozen=True, slots=True)
class Book:
    """One process's hand in the book of leases.

    Args:
        liveness: tells which holders are dead.
        run: the run's id.
        member: this process of it.
    """

    liveness: Liveness
    run: str
    member: str

    def write_down(self, rows: Writer, claim: Claim) -> int:
        """Note a lease of this process; its fencing token."""
        return rows.insert(
            "INSERT INTO leases (kind, domain, value, vcpus, memory, guests, run, member, pid, since)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            *(claim.kind, claim.domain, claim.value, claim.vcpus, claim.memory, claim.guests),
            *(self.run, self.member, os.getpid(), self.liveness.now()),
        )

    def holds(self, rows: Writer, domain: str, kind: str) -> bool:
        """Whether this process has a lease of this kind in the domain."""
        found = rows.rows(
            "SELECT 1 FROM leases WHERE kind = ? AND domain = ? AND member = ? AND guest IS NULL LIMIT 1",
            *(kind, domain, self.member),
        )
        return bool(found)

    def holders(self, rows: Writer, domain: str, kind: str) -> list[Row]:
        """All leases of this kind in the domain."""
        return rows.rows("SELECT * FROM leases WHERE domain = ? AND kind = ?", domain, kind)

    def others(self, rows: Writer, domain: str, kind: str) -> list[Row]:
        """Those of other processes, and of kept guests."""
        return [row for row in self.holders(rows, domain, kind) if row["member"] != self.member or row["guest"]]

    def booked(self, rows: Writer, domain: str) -> tuple[int, int, int]:
        """vCPUs, bytes of memory and guests that are leased in the domain."""
        found = rows.rows(
            "SELECT SUM(vcpus) AS vcpus, SUM(memory) AS memory, SUM(guests) AS guests FROM leases"
            " WHERE kind = 'capacity' AND domain = ?",
            domain,
        )[0]
        return int(found[0] or 0), int(found[1] or 0), int(found[2] or 0)

    def queue_up(self, rows: Writer, claim: Claim) -> int:
        """Begin to wait; the ticket."""
        return rows.insert(
            "INSERT INTO waiting (domain, what, run, member, pid) VALUES (?, ?, ?, ?, ?)",
            *(claim.domain, claim.kind, self.run, self.member, os.getpid()),
        )

    def queue(self, rows: Writer, domain: str, kind: str) -> list[Row]:
        """Who else waits for this, in their order."""
        return rows.rows(
            "SELECT * FROM waiting WHERE domain = ? AND what = ? AND member <> ? ORDER BY ticket",
            *(domain, kind, self.member),
        )

    def bury(self, rows: Writer, domain: str) -> None:
        """Take from the dead of this domain what they hold anywhere, and their places in queues."""
        rows.run(
            "DELETE FROM leases WHERE domain = ? AND guest IS NOT NULL AND (until IS NULL OR until <= ?)",
            *(domain, self.liveness.now()),
        )
        members = rows.rows(
            "SELECT run, member FROM leases WHERE domain = ? AND guest IS NULL"
            " UNION SELECT run, member FROM waiting WHERE domain = ?",
            *(domain, domain),
        )
        for row in members:
            if row["member"] != self.member and not self.liveness.member(rows, row["run"], row["member"]):
                leave(rows, row["member"])
                rows.run("UPDATE members SET ended = ? WHERE id = ?", self.liveness.now(), row["member"])


def leave(rows: Writer, member: str) -> None:
    """Free everything a process holds or waits for, except what it handed over to kept guests."""
    rows.run("DELETE FROM leases WHERE member = ? AND guest IS NULL", member)
    rows.run("DELETE FROM waiting WHERE member = ?", member)


def who(holders: list[Row]) -> str:
    """Holders or waiters in words, each once, at most three."""
    names = list(dict.fromkeys(_name(row) for row in holders))
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def amount(name: str, number: int) -> str:
    """``4 vCPUs``, ``2 GiB of memory``, ``3 guests``."""
    return f"{Size(number)} of memory" if name == "memory" else f"{number} {name}"


def _name(row: Row) -> str:
    guest = row["guest"] if "guest" in list(row.keys()) else None  # those who wait have no guest yet
    return f"kept guest {guest}" if guest else f"run {row['run']} (process {row['pid']})"
