"""A lab whose hosts are lists of things in memory, and runs of it that live or are dead: for the reaper's tests."""

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

from harness.backends.model import PowerState
from harness.backends.protocol import Refused
from harness.backends.registry import HostSettings
from harness.backends.views import Owned, ResourceKind
from harness.core import Deadline, LabError
from harness.lab import Host, Lab, Run
from harness.lab.judge import Fate, Wish
from harness.lab.keys import key_of, token
from harness.lab.liveness import Liveness
from harness.lab.models import Capacity, Limits
from harness.lab.reaper import Reaper
from harness.lab.store import open_store

MACHINE, DISK = ResourceKind.MACHINE, ResourceKind.DISK
SOON = timedelta(hours=1)


@dataclass
class Shelf:
    """A host that holds things and does what the protocol says of ``owned`` and ``remove``; it has no machines."""

    name: str
    things: list[Owned] = field(default_factory=list)
    strangers: set[str] = field(default_factory=lambda: {"somebody-s-vm"})
    stuck: set[str] = field(default_factory=set)
    closed: bool = False
    running: set[str] = field(default_factory=set)
    elsewhere: set[str] = field(default_factory=set)
    living: set[str] = field(default_factory=set)
    mute: set[str] = field(default_factory=set)

    def open(self, handle, deadline):
        assert handle not in self.elsewhere
        if handle in self.mute:
            raise LabError("connection lost", host=self.name, operation="open")
        state = PowerState.RUNNING if handle in self.running else PowerState.OFF
        return SimpleNamespace(view=lambda _: SimpleNamespace(state=state), stop=lambda _: self._stop(handle))

    def _stop(self, handle):
        if handle in self.stuck:
            raise LabError("it does not stop", host=self.name, operation="stop")
        self.running.discard(handle)

    def reaches(self, handle):
        return handle not in self.elsewhere

    def halt(self, handle, deadline):
        assert handle in self.elsewhere
        if handle in self.living or handle not in self.running:
            return False
        self._stop(handle)
        return True

    def owned(self, deadline, run=None):
        return list(self.things)

    def remove(self, thing, deadline):
        if thing.handle in self.strangers:
            raise Refused("it does not carry our mark", host=self.name, operation="remove")
        if thing.handle in self.stuck:
            raise LabError("the disk is in use", host=self.name, operation="remove")
        self.things = [other for other in self.things if other.handle != thing.handle]

    def close(self):
        self.closed = True

    def has(self) -> set[str]:
        return {thing.handle for thing in self.things}


class Scene:
    """One controller, one lab with a near and a far host, and ways to make runs that live or are dead."""

    def __init__(self, folder: Path) -> None:
        self.clock = 1_800_000_000.0
        self.store = open_store(folder)
        self.liveness = Liveness(folder / "runs", now=lambda: self.clock)
        hosts = {
            name: Host(name, "shelf", name, HostSettings(), Capacity(), domain, "management", None, {})
            for name, domain in (("near", "this-machine"), ("far", "far"))
        }
        self.lab = Lab("lab", Path("/nowhere/lab.yaml"), hosts, {}, Limits())
        self.shelves = {"near": Shelf("near"), "far": Shelf("far")}
        self.runs = []

    def begin(self) -> Run:
        self.runs.append(Run.begin(self.lab, store=self.store, liveness=self.liveness))
        return self.runs[-1]

    def token(self, run: str) -> str:
        """The token of a run that another controller with the same key made."""
        return token(key_of(self.lab, self.store.folder), run)

    def dead(self) -> Run:
        """A run that died: its lock is free, nothing else was done."""
        run = self.begin()
        die(run)
        return run

    def make(self, run: Run, handle: str, kind=MACHINE, host="near", *, marked: bool = True) -> Owned:
        with run.ledger(host).creating(kind, f"name-{handle}") as creation:
            thing = Owned(kind, handle, run.owner if marked else None, f"name-{handle}")
            self.shelves[host].things.append(thing)
            creation.made(handle)
        return thing

    def open(self, host: Host, run: Run) -> Shelf:
        shelf = self.shelves[host.name]
        if isinstance(shelf, LabError):
            raise shelf
        return shelf

    def reap(self, **wish) -> dict[str, Fate]:
        """What became of each thing, by handle."""
        reaper = Reaper(self.lab, self.store, self.liveness, Wish(**wish), self.open)
        self.findings = list(reaper.reap(Deadline.after(60)))
        return {finding.thing.handle if finding.thing else finding.host: finding.fate for finding in self.findings}


def die(run: Run) -> None:
    run._stop.set()
    run._lock.release()
