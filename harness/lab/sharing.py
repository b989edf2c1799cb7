"""Which of a run's leases this controller keeps to itself, and which it shares with the others of its lab.

What is on this machine is nobody else's business, and needs no server to be there; what runs on hosts of the lab is
leased where all its controllers see it. The journal always stays with the controller that made a thing: it must not
depend on a network, and what a dead controller left is found by the hosts' own tags.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from datetime import timedelta
from pathlib import Path

from harness.core import Deadline, Size
from harness.lab.leases import Lease, Leases
from harness.lab.liveness import Liveness
from harness.lab.membership import Membership, seen_from_afar
from harness.lab.models import THIS_MACHINE, Host, Lab
from harness.lab.server import ServerStore
from harness.lab.store import Store


class LabLeases:
    """The leases of one process of a run: this controller's, and the lab's from the first that is asked for.

    Args:
        lab: the run's lab; without a database this controller has it to itself.
        store: this controller's.
        liveness: tells which holders are dead, on this controller.
        run: the run's id.
        member: this process of it.
        began: whether it began the run.
        check: raises :class:`LeaseLost` when the run may not act any more.
    """

    def __init__(
        self,
        lab: Lab,
        store: Store,
        liveness: Liveness,
        *,
        run: str,
        member: str,
        began: bool,
        check: Callable[[], None],
    ) -> None:
        self._lab = lab
        self._liveness = liveness
        self._run, self._member, self._began = run, member, began
        self._check_run = check
        self._folder = store.folder
        self._own = self._leases(store, liveness, check)
        self._membership: Membership | None = None
        self._shared: Leases | None = None
        self._lock = threading.Lock()

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
        """See :meth:`Leases.capacity`."""
        leases = self._of(host.domain)
        return leases.capacity(host, deadline, vcpus=vcpus, memory=memory, guests=guests, meanwhile=meanwhile)

    def quiet(self, domain: str, deadline: Deadline, *, meanwhile: Callable[[], object] | None = None) -> Lease:
        """See :meth:`Leases.quiet`."""
        return self._of(domain).quiet(domain, deadline, meanwhile=meanwhile)

    def activity(self, domain: str, deadline: Deadline, *, meanwhile: Callable[[], object] | None = None) -> Lease:
        """See :meth:`Leases.activity`."""
        return self._of(domain).activity(domain, deadline, meanwhile=meanwhile)

    def one_of(
        self,
        kind: str,
        domain: str,
        candidates: Collection[str],
        deadline: Deadline,
        *,
        taken: Callable[[str], str | None] = lambda _: None,
        shared: bool = False,
    ) -> Lease:
        """See :meth:`Leases.one_of`; ``shared``: other controllers of the lab lend it as well."""
        leases = self._entered() if shared else self._own
        return leases.one_of(kind, domain, candidates, deadline, taken=taken)

    def waited_for(self, domain: str) -> bool:
        """See :meth:`Leases.waited_for`."""
        return self._of(domain).waited_for(domain)

    def is_quiet(self, domain: str) -> bool:
        """See :meth:`Leases.is_quiet`. Asks nobody: who never asked for quiet has none."""
        leases = self._own if domain == THIS_MACHINE else self._shared
        return leases is not None and leases.is_quiet(domain)

    def neighbours(self, domain: str) -> tuple[str, ...]:
        """See :meth:`Leases.neighbours`."""
        return self._of(domain).neighbours(domain)

    def check(self) -> None:
        """Verify that everything this process took is still held.

        Raises:
            LeaseLost: something is not; names it.
        """
        self._own.check()
        if self._shared is not None:
            self._shared.check()

    def beat(self) -> None:
        """Tell the other controllers that this process lives, where it holds something of theirs."""
        if self._membership is not None:
            self._membership.beat()

    def leave(self) -> None:
        """Give back what is shared with others. This controller's own is the run's to give back. Idempotent."""
        membership, self._membership = self._membership, None
        if membership is not None:
            try:
                membership.leave()
            finally:
                membership.store.close()

    def _of(self, domain: str) -> Leases:
        return self._own if domain == THIS_MACHINE else self._entered()

    def _entered(self) -> Leases:
        with self._lock:
            if self._shared is None:
                store = open_shared(self._lab, self._folder)
                if store is None:
                    self._shared = self._own
                else:
                    liveness = seen_from_afar(self._liveness, store)
                    member = {"run": self._run, "member": self._member}
                    self._membership = Membership(store, liveness, self._lab, **member, began=self._began)
                    self._shared = self._leases(store, liveness, self._check_run, self._membership.check)
            return self._shared

    def _leases(
        self, store: Store, liveness: Liveness, check: Callable[[], None], vouch: Callable[[], None] | None = None
    ) -> Leases:
        patience: timedelta = self._lab.limits.wait
        member = {"run": self._run, "member": self._member}
        return Leases(store, liveness, **member, check=check, vouch=vouch, patience=patience)


def open_shared(lab: Lab, folder: Path | None = None) -> Store | None:
    """What the lab's controllers share; None where one has the lab to itself.

    Args:
        lab: whose.
        folder: where this controller keeps its state; default: where it always does.

    Raises:
        LabError: the database cannot be had.
    """
    return ServerStore(lab.database.url(), folder) if lab.database is not None else None
