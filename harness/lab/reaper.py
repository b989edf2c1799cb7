"""The reaper: removes what dead runs left on hosts, and nothing else.

Two sources, because each alone has a hole: the journal knows what was about to be made (a crash may have come before
any mark was on the host), the host's own marks know what is there (the journal may have been deleted).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from harness.backends.abandoned import AbandonedMachines
from harness.backends.model import Ownership, PowerState
from harness.backends.protocol import Hypervisor
from harness.backends.views import Owned, ResourceKind
from harness.core import Deadline, InteropError, UsageError
from harness.image.store import Store as Images
from harness.lab import keep, twins
from harness.lab.booking import leave
from harness.lab.connect import connect, scratch
from harness.lab.journal import Entry, entries, strike
from harness.lab.judge import Fate, Judge, Verdict, Wish
from harness.lab.liveness import Liveness
from harness.lab.load import load_lab, read_lab
from harness.lab.models import Host, Lab
from harness.lab.run import Run
from harness.lab.store import Store
from harness.lab.twin_process import sweep
from harness.lab.warm import SHELF, read_record

_HERE = ResourceKind.SEED  # made on this controller; a seed's copy on a host is a part of its machine
_ONE = timedelta(minutes=3)  # for removing one thing: one that hangs must not keep the others
_ORDER = (  # what stands on something goes before it
    ResourceKind.MACHINE,
    ResourceKind.CHECKPOINT,
    ResourceKind.DISK,
    ResourceKind.SEED,
    ResourceKind.NETWORK,
    ResourceKind.IMAGE,
    ResourceKind.FOLDER,
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the reaper's table. ``thing`` is None where a whole host or lab could not be looked at."""

    host: str
    thing: Owned | None
    fate: Fate
    detail: str = ""


class Reaper:
    """Reaps the hosts of one lab.

    Args:
        lab: whose hosts.
        store: this controller's journal.
        liveness: tells which runs are dead.
        wish: what to reap.
        open_host: opens a host for the reaper's own run.
    """

    def __init__(
        self,
        lab: Lab,
        store: Store,
        liveness: Liveness,
        wish: Wish,
        open_host: Callable[[Host, Run], Hypervisor] = connect,
    ) -> None:
        self._lab = lab
        self._store = store
        self._liveness = liveness
        self._wish = wish
        self._open = open_host

    def reap(self, deadline: Deadline) -> Iterator[Finding]:
        """Look at every host; each finding is told as it is made. What fails is told and does not stop the rest."""
        with Run.begin(self._lab, store=self._store, liveness=self._liveness) as run:
            if not self._wish.dry_run:
                # One reaper a lab: it goes with the run, which gives its leases back when it closes.
                run.leases.one_of("reaper", str(self._lab.path), ["the reaper"], deadline.sooner(_ONE))
                self._bury(run.id)
                if any(host.twin for host in self._lab.hosts.values()):
                    sweep(self._store, self._liveness)
            judge = Judge(self._lab, self._store, self._liveness, self._wish, run.id, run.genuine)
            known = entries(self._store, lab=str(self._lab.path))
            for host in self._lab.hosts.values():
                about = [entry for entry in known if entry.host == host.name]
                yield from self._host(host, run, judge, [one for one in about if one.kind is not _HERE], deadline)
                yield from self._here(host, judge, [one for one in about if one.kind is _HERE])
            yield from self._half_made()
            for entry in known:
                if entry.host not in self._lab.hosts and judge.dead(entry):
                    detail = f"the lab has no host {entry.host!r} any more; put it back to have this removed"
                    yield Finding(entry.host, self._thing(entry), Fate.FAILED, detail)

    def expected(self) -> list[Finding]:
        """What dead runs left, as far as the journal alone can tell: no host is asked, and nothing is touched."""
        judge = Judge(
            self._lab, self._store, self._liveness, self._wish, "", lambda _: False
        )  # the journal names no run it does not know
        left, killed = [], list(self._killed())
        for entry in entries(self._store, lab=str(self._lab.path)):
            host = self._lab.hosts.get(entry.host)
            if host is not None and judge.dead(entry):
                thing = self._thing(entry)
                spared = judge.spared(host, thing)
                if entry.kind is _HERE:
                    if self._unneeded(host, entry):
                        left.append(Finding(host.name, thing, Fate.DOOMED, f"run {entry.run}"))
                elif spared is None:
                    left.append(Finding(host.name, thing, Fate.DOOMED, f"run {entry.run}"))
                elif spared[0] is Fate.WARM and thing.kind is ResourceKind.MACHINE and killed:
                    left.append(Finding(host.name, thing, Fate.WARM, f"run {killed[0]} was killed: it may still run"))
        return left

    def _killed(self) -> Iterator[str]:
        """Runs of the lab that died and that no reaper has looked after since."""
        asked = "SELECT id FROM runs WHERE ended IS NULL AND reaped IS NULL AND lab = ?"
        for row in self._store.rows(asked, str(self._lab.path)):
            if not self._liveness.run(self._store, row["id"]):
                yield row["id"]

    def _bury(self, own: str) -> None:
        """Declare the dead dead, so that they cannot act should they only have stood still; free what they held."""
        with self._store.write() as rows:
            for row in rows.rows("SELECT id FROM runs WHERE ended IS NULL AND reaped IS NULL AND id <> ?", own):
                if not self._liveness.run(rows, row["id"]):
                    rows.run("UPDATE runs SET reaped = ? WHERE id = ?", self._liveness.now(), row["id"])
                    for member in rows.rows("SELECT id FROM members WHERE run = ?", row["id"]):
                        leave(rows, member["id"])
                        self._liveness.lock(row["id"], member["id"]).unlink(missing_ok=True)
        kept = keep.Kept(self._store, self._liveness.now)
        for guest in kept.expired():
            kept.release(guest)

    def _host(self, host: Host, run: Run, judge: Judge, known: list[Entry], deadline: Deadline) -> Iterator[Finding]:
        if host.twin is not None and twins.find(self._lab.path, host.twin, run.id) is None:
            yield from self._gone(host, run, judge, known)
            return
        try:
            hypervisor = self._open(host, run)
        except InteropError as error:
            yield Finding(host.name, None, Fate.FAILED, str(error))
            return
        try:
            there: list[Owned] = []
            try:
                there += hypervisor.owned(deadline.sooner(_ONE))
            except InteropError as error:
                yield Finding(host.name, None, Fate.FAILED, str(error))
            # What the host does not show was never made, was made without its mark, or is gone already.
            unseen = [
                self._thing(entry)
                for entry in known
                if judge.dead(entry) and not any(_same(entry, thing) for thing in there)
            ]
            for thing in sorted([*there, *unseen], key=lambda one: _ORDER.index(one.kind)):
                mine = [entry for entry in known if _same(entry, thing)]
                verdict = judge.verdict(host, thing, mine)
                if verdict is None:
                    continue
                coming = judge.may_come(host, thing, mine) if thing in unseen and verdict[0] is Fate.DOOMED else None
                if coming:
                    verdict = coming
                elif verdict[0] is Fate.DOOMED and not self._wish.dry_run:
                    verdict = self._removed(hypervisor, thing, deadline, verdict[1])
                    if verdict[0] is Fate.REMOVED:
                        self._forget(host, run, thing, mine)
                elif verdict[0] is Fate.WARM and thing.kind is ResourceKind.MACHINE and not self._wish.dry_run:
                    verdict = self._at_rest(hypervisor, thing, deadline, verdict)
                yield Finding(host.name, thing, *verdict)
        finally:
            hypervisor.close()

    def _half_made(self) -> Iterator[Finding]:
        """Images that killed processes were building or converting on this controller."""
        if self._wish.run is None:
            for path in Images().sweep(touch=not self._wish.dry_run):
                thing = Owned(ResourceKind.IMAGE, str(path), None, path.name)
                yield Finding("", thing, Fate.DOOMED if self._wish.dry_run else Fate.REMOVED, "half made here")

    def _here(self, host: Host, judge: Judge, known: list[Entry]) -> Iterator[Finding]:
        """Keys and seeds that dead runs left on this controller, but for those of guests that are warm or kept."""
        for entry in known:
            if not judge.dead(entry) or not self._unneeded(host, entry):
                continue
            if not self._wish.dry_run:
                shutil.rmtree(self._folder(host, entry), ignore_errors=True)
                strike(self._store, entry)
            fate = Fate.DOOMED if self._wish.dry_run else Fate.REMOVED
            yield Finding(host.name, self._thing(entry), fate, f"key and seed of a guest of run {entry.run}")

    def _unneeded(self, host: Host, entry: Entry) -> bool:
        kept = {guest.id for guest in keep.Kept(self._store, self._liveness.now).all()}
        record = read_record(self._folder(host, entry))
        warm = record is not None and record.machine in keep.warm_anywhere(self._store)
        return not warm and entry.name not in kept

    @staticmethod
    def _folder(host: Host, entry: Entry) -> Path:
        return scratch(host) / SHELF / Path(entry.name).name

    def _gone(self, host: Host, run: Run, judge: Judge, known: list[Entry]) -> Iterator[Finding]:
        """What dead runs had on a twin that is not there any more: it went with its twin."""
        for entry in known:
            if judge.dead(entry) and twins.find(self._lab.path, host.twin or "", entry.run) is None:
                thing = self._thing(entry)
                if not self._wish.dry_run:
                    self._forget(host, run, thing, [entry])
                yield Finding(host.name, thing, Fate.DOOMED if self._wish.dry_run else Fate.REMOVED, "with its twin")

    @staticmethod
    def _removed(hypervisor: Hypervisor, thing: Owned, deadline: Deadline, why: str) -> tuple[Fate, str]:
        try:
            hypervisor.remove(thing, deadline.sooner(_ONE))
        except InteropError as error:
            return Fate.FAILED, str(error)
        return Fate.REMOVED, why

    @staticmethod
    def _at_rest(hypervisor: Hypervisor, thing: Owned, deadline: Deadline, spared: Verdict) -> Verdict:
        """A warm slot is a machine that is off; that of a killed run may still run, and hold memory for nobody."""
        try:
            halted = _halt(hypervisor, thing, deadline.sooner(_ONE))
        except InteropError as error:
            return Fate.FAILED, f"it runs for nobody, and could not be switched off: {error}"
        return (spared[0], f"its run was killed: switched off; {spared[1]}") if halted else spared

    def _forget(self, host: Host, run: Run, thing: Owned, mine: list[Entry]) -> None:
        run.ledger(host).gone(thing.kind, thing.handle)
        for entry in mine:
            strike(self._store, entry)
        keep.drop_warm(self._store, self._lab.path, host.name, thing.handle)

    def _thing(self, entry: Entry) -> Owned:
        row = self._store.rows("SELECT * FROM runs WHERE id = ?", entry.run)[0]
        owner = Ownership(entry.run, row["token"], datetime.fromtimestamp(row["expiry"], UTC))
        return Owned(entry.kind, entry.handle or entry.name, owner, entry.name)


def _halt(hypervisor: Hypervisor, thing: Owned, deadline: Deadline) -> bool:
    """Whether it had to be switched off; one that a living process has in its hands is not reached, and goes on."""
    if isinstance(hypervisor, AbandonedMachines) and not hypervisor.reaches(thing.handle):
        return hypervisor.halt(thing.handle, deadline)
    machine = hypervisor.open(thing.handle, deadline)
    if machine.view(deadline).state is PowerState.OFF:
        return False
    machine.stop(deadline)
    return True


def journalled_labs(store: Store) -> dict[str, Lab | UsageError]:
    """The labs that have something open in the journal, by path, with every host that something was left on.

    A file that is gone, wrong, or without a host by now is completed by what it said when the runs began.
    """
    labs: dict[str, Lab | UsageError] = {}
    for row in store.rows(
        "SELECT DISTINCT runs.id AS run, runs.lab AS lab, lab_text, host FROM journal JOIN runs ON runs.id = run"
        " WHERE gone IS NULL ORDER BY runs.id DESC"
    ):
        path = Path(row["lab"])
        if row["lab"] not in labs:
            labs[row["lab"]] = _read(partial(load_lab, path))
        known = labs[row["lab"]]
        if isinstance(known, Lab) and row["host"] in known.hosts:
            continue
        then = _read(partial(read_lab, row["lab_text"], path))
        if isinstance(then, Lab):
            labs[row["lab"]] = then if isinstance(known, UsageError) else replace(known, hosts=then.hosts | known.hosts)
    return labs


def _read(read: Callable[[], Lab]) -> Lab | UsageError:
    try:
        return read()
    except UsageError as error:
        return error


def _same(entry: Entry, thing: Owned) -> bool:
    if entry.kind is not thing.kind:
        return False
    return entry.handle == thing.handle if entry.handle else entry.name in (thing.handle, thing.name)
