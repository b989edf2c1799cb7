"""Leases: capacity that is never overbooked, quiet, and things only one may have. Across processes and runs.

Every lease belongs to one process of a run and falls to the others when that process dies. Its number is a fencing
token: it only ever grows, so an old holder can be told from a new one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from datetime import timedelta
from types import TracebackType
from typing import Self

from harness.backends.protocol import LeaseLost
from harness.core import Deadline, LabError, Pending, Size, wait_for
from harness.lab.booking import Book, Claim, amount, who
from harness.lab.liveness import Liveness
from harness.lab.models import Host
from harness.lab.store import Store, Writer

_BUSY = {"quiet": "measures in quiet", "activity": "is active"}
_EVERY = 0.1  # seconds between two tries at first


class Lease:
    """Something held. Release it, or leave its ``with`` block."""

    def __init__(self, leases: Leases, fence: int, kind: str, domain: str, value: str) -> None:
        self.book = leases
        """Where it is written down."""
        self.fence = fence
        self.kind = kind
        self.domain = domain
        self.value = value

    def check(self) -> None:
        """Verify that it is still held.

        Raises:
            LeaseLost: it is not.
        """
        self.book.check([self])

    def release(self) -> None:
        """Give it back; idempotent."""
        self.book.release(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def __repr__(self) -> str:
        return f"<lease {self.fence}: {self.kind} {self.domain} {self.value}>"


class Leases:
    """The leases of one process of a run, in one store.

    Args:
        store: where all processes see them.
        liveness: tells which holders are dead.
        run: the run's id.
        member: this process of it.
        check: raises :class:`LeaseLost` when the run may not act any more.
        vouch: raises it when others may have taken this process for dead; None: nobody can.
        patience: the lab's limit for any wait; a deadline may end one sooner.
    """

    def __init__(
        self,
        store: Store,
        liveness: Liveness,
        *,
        run: str,
        member: str,
        check: Callable[[], None],
        patience: timedelta,
        vouch: Callable[[], None] | None = None,
    ) -> None:
        self._store = store
        self._patience = patience
        self._book = Book(liveness, run, member)
        self._check_run = check
        self._vouch = vouch
        self._held: dict[int, Lease] = {}

    def capacity(
        self,
        host: Host,
        deadline: Deadline,
        *,
        vcpus: int,
        memory: Size,
        guests: int = 1,
        meanwhile: Callable[[], object] | None = None,
    ) -> Lease:
        """Room for ``guests`` guests on the host's capacity domain; waits until it is there.

        Who waits longest is served first, except that who already holds capacity there goes before who holds none:
        its work ends sooner. While another process holds the domain in quiet, nobody gets capacity.

        Args:
            host: where; its domain and limits count.
            deadline: when to give up.
            vcpus: of all these guests together.
            memory: of all these guests together.
            guests: how many.
            meanwhile: called between two tries: a chance to give up what is idle, lest two processes wait for each
                other for ever.

        Raises:
            LabError: the host never has that much; or the deadline passed, with who holds what.
        """
        book, domain = self._book, host.domain
        claim = Claim("capacity", domain, vcpus=vcpus, memory=int(memory), guests=guests)
        wanted = (claim.vcpus, claim.memory, claim.guests)
        names = ("vCPUs", "memory", "guests")
        for name, want, limit in zip(names, wanted, host.limits, strict=True):
            if limit is not None and want > limit:
                raise LabError(
                    f"{amount(name, want)} asked, and the lab lends {amount(name, limit)} in all",
                    host=host.name,
                    operation="capacity",
                    hint=f"hosts.{host.name}.capacity in the lab file sets what may be used",
                )

        def refusal(rows: Writer, first: bool) -> str | None:
            quiet = book.others(rows, domain, "quiet")
            if quiet:
                return f"{who(quiet)} measures in quiet"
            for name, want, limit, now in zip(names, wanted, host.limits, book.booked(rows, domain), strict=True):
                if limit is not None and now + want > limit:
                    return f"{amount(name, now)} of {limit} leased by {who(book.holders(rows, domain, 'capacity'))}"
            return None if first or book.holds(rows, domain, "capacity") else "others have waited longer"

        text = f"{vcpus} vCPUs and {Size(memory)} on {domain}"
        return self._wait(text, claim, refusal, deadline, meanwhile)

    def quiet(self, domain: str, deadline: Deadline, *, meanwhile: Callable[[], object] | None = None) -> Lease:
        """A capacity domain for this process alone: waits until no other process is active in it, and none begins.

        Raises:
            LabError: the deadline passed, with who was active.
        """
        book = self._book

        def refusal(rows: Writer, first: bool) -> str | None:
            active = book.others(rows, domain, "activity") + book.holders(rows, domain, "quiet")
            if active:
                return f"{who(active)} is active"
            return None if first else "others have waited longer"

        return self._wait(f"quiet on {domain}", Claim("quiet", domain), refusal, deadline, meanwhile)

    def activity(self, domain: str, deadline: Deadline, *, meanwhile: Callable[[], object] | None = None) -> Lease:
        """Say that something runs in a capacity domain: many may at once, but not while another is in quiet.

        Raises:
            LabError: the deadline passed, with who was in quiet, or waited for it.
        """
        book = self._book

        def refusal(rows: Writer, _: bool) -> str | None:
            quiet = book.others(rows, domain, "quiet")
            if quiet:
                return f"{who(quiet)} measures in quiet"
            waiting = book.queue(rows, domain, "quiet")
            busy = book.holds(rows, domain, "activity") or book.holds(rows, domain, "quiet")
            return f"{who(waiting)} waits for quiet" if waiting and not busy else None

        return self._wait(f"leave to be active on {domain}", Claim("activity", domain), refusal, deadline, meanwhile)

    def one_of(
        self,
        kind: str,
        domain: str,
        candidates: Collection[str],
        deadline: Deadline,
        *,
        taken: Callable[[str], str | None] = lambda _: None,
    ) -> Lease:
        """The first of ``candidates`` that nobody has; the lease's ``value`` says which.

        Args:
            kind: what sort of thing it is (``address``, ``mac``, ``forward`` ...).
            domain: within what it is unique.
            candidates: in order of preference; of many, each may be made when it is looked at.
            deadline: when to give up.
            taken: asked about one that no lease holds; what it says (who uses it) makes the search go on.

        Raises:
            LabError: all are leased or in use until the deadline.
        """
        foreign: dict[str, str] = {}

        def attempt() -> Lease | Pending:
            with self._store.write() as rows:
                self._book.bury(rows, domain)
                leased = {row["value"] for row in self._book.holders(rows, domain, kind)}
                value = next((option for option in candidates if option not in leased and option not in foreign), None)
                fence = self._book.write_down(rows, Claim(kind, domain, value)) if value is not None else 0
            if value is not None:
                return self._granted(fence, Claim(kind, domain, value))
            use = f"; in use without a lease: {', '.join(list(foreign.values())[:3])}" if foreign else ""
            return Pending(f"{len(leased.intersection(candidates))} of {len(candidates)} leased{use}")

        self._permitted()
        slowest = self._store.slowest
        while True:
            lease = wait_for(
                f"a free {kind} ({domain})", attempt, deadline.sooner(self._patience), every=_EVERY, slowest=slowest
            )
            use = taken(lease.value)
            if use is None:
                return lease
            foreign[lease.value] = use
            lease.release()

    def waited_for(self, domain: str) -> bool:
        """Whether other processes wait for capacity in this domain: a good moment to give up idle guests."""
        with self._store.write() as rows:
            self._book.bury(rows, domain)
            return bool(self._book.queue(rows, domain, "capacity"))

    def is_quiet(self, domain: str) -> bool:
        """Whether this process holds the domain in quiet."""
        return any(lease.kind == "quiet" and lease.domain == domain for lease in self._held.values())

    def neighbours(self, domain: str) -> tuple[str, ...]:
        """What others of ours do in a domain now, one line each: runs that are active, guests that are lent or kept."""
        with self._store.write() as rows:
            self._book.bury(rows, domain)
            found = {kind: self._book.others(rows, domain, kind) for kind in ("quiet", "activity", "capacity")}
        lines = [f"{who([row])} {word}" for kind, word in _BUSY.items() for row in found[kind]]
        lent = [f"{who([row])} has {row['guests']} guests of {row['vcpus']} vCPUs" for row in found["capacity"]]
        return tuple(dict.fromkeys([*lines, *lent]))

    def check(self, leases: Iterable[Lease] | None = None) -> None:
        """Verify that these (without any: all of this process) are still held.

        Raises:
            LeaseLost: one is not; names it.
        """
        wanted = list(self._held.values()) if leases is None else list(leases)
        if not wanted:
            return
        if self._vouch is not None:
            self._vouch()
        rows = self._store.rows("SELECT fence FROM leases WHERE member = ?", self._book.member)
        held = {row["fence"] for row in rows}
        for lease in wanted:
            if lease.fence not in held:
                raise LeaseLost(f"{lease!r} is not held any more", operation="lease")

    def release(self, lease: Lease) -> None:
        """Give a lease back; idempotent."""
        if self._held.pop(lease.fence, None) is not None:
            with self._store.write() as rows:
                rows.run("DELETE FROM leases WHERE fence = ? AND guest IS NULL", lease.fence)

    def hand_over(self, lease: Lease, guest: str, until: float) -> None:
        """From now on a kept guest holds this lease: it outlives this process, until the guest is released.

        Args:
            lease: one of these.
            guest: the kept guest's id.
            until: when its time is over at the latest, seconds since the epoch.
        """
        with self._store.write() as rows:
            rows.run("UPDATE leases SET guest = ?, until = ? WHERE fence = ?", guest, until, lease.fence)
        self._held.pop(lease.fence, None)

    def _wait(
        self,
        what: str,
        claim: Claim,
        refusal: Callable[[Writer, bool], str | None],
        deadline: Deadline,
        meanwhile: Callable[[], object] | None,
    ) -> Lease:
        """Queue up until nothing is against the claim; each try is one transaction, so no two can win the same."""
        self._permitted()
        ticket: int | None = None

        def attempt() -> Lease | Pending:
            nonlocal ticket
            with self._store.write() as rows:
                self._book.bury(rows, claim.domain)
                ahead = self._book.queue(rows, claim.domain, claim.kind)
                first = not ahead or (ticket is not None and ticket < ahead[0]["ticket"])
                against = refusal(rows, first)
                fence = self._book.write_down(rows, claim) if against is None else 0
                if against is not None and ticket is None:
                    ticket = self._book.queue_up(rows, claim)
            if against is None:
                return self._granted(fence, claim)
            if meanwhile is not None:
                meanwhile()
            return Pending(against)

        try:
            return wait_for(what, attempt, deadline.sooner(self._patience), every=_EVERY, slowest=self._store.slowest)
        finally:
            if ticket is not None:
                with self._store.write() as rows:
                    rows.run("DELETE FROM waiting WHERE ticket = ?", ticket)

    def _permitted(self) -> None:
        self._check_run()
        if self._vouch is not None:
            self._vouch()

    def _granted(self, fence: int, claim: Claim) -> Lease:
        lease = self._held[fence] = Lease(self, fence, claim.kind, claim.domain, claim.value)
        return lease
