"""One ESXi of a vCenter, or one that stands alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import datetime

from harness.backends import belongings
from harness.backends.capabilities import Capability
from harness.backends.check import Remark
from harness.backends.model import MachineSpec, NetworkSpec, PublishedImage, Shape
from harness.backends.protocol import Machine
from harness.backends.registry import Context
from harness.backends.views import ClockReading, HostFacts, Owned, ProcessorUse
from harness.backends.vsphere import check, clock, collector, create, facts, inventory, load, marks, placement
from harness.backends.vsphere.abilities import abilities
from harness.backends.vsphere.access import HostAccess
from harness.backends.vsphere.datastore import Files
from harness.backends.vsphere.machine import VsphereMachine
from harness.backends.vsphere.networks import PortGroup
from harness.backends.vsphere.owned import Belongings
from harness.backends.vsphere.publish import Publisher, hardware_for
from harness.backends.vsphere.refs import Ref
from harness.backends.vsphere.session import Session
from harness.backends.vsphere.settings import Settings
from harness.backends.vsphere.wires import Wires
from harness.core import Deadline, InteropError, LabError
from harness.image.model import Image

_FRESH_SECONDS = 60.0  # how long a list of port groups is good for: somebody may be adding one


def open_host(settings: Settings, context: Context) -> VsphereHypervisor:
    """See :func:`harness.backends.vsphere.connect`."""
    deadline = Deadline.after(settings.connect_seconds)
    session = Session(settings, context.host, deadline)
    try:
        return VsphereHypervisor(session, settings, context, deadline)
    except InteropError:
        session.close()
        raise


class VsphereHypervisor:
    """As :class:`~harness.backends.protocol.Hypervisor`, with its clock, and an eye on its own fitness."""

    def __init__(self, session: Session, settings: Settings, context: Context, deadline: Deadline) -> None:
        self._context = context
        self._session = session
        self._found = inventory.resolve(session, settings, deadline)
        self._groups = Groups(session, self._found.place.host)
        self._groups(deadline)
        self._facts = facts.read(session, self._found, deadline)
        self._files = Files(session, self._found.place, self._found.datastore)
        self._clock_of: Ref | None = None
        self._clock = clock.TickedClock(self._ask_time)
        self._host = HostAccess(
            name=context.host,
            session=session,
            ledger=context.ledger,
            place=self._found.place,
            store=self._files,
            networks=self._groups,
            root=settings.folder,
            twin=settings.twin,
            ports=settings.ports(),
            wires=Wires(context.scratch / "consoles", settings.console_address(self._found.esxi))
            if settings.ports()
            else None,
        )
        warning = check.unruly(session, self._found.place, deadline)
        if warning:
            self._host.notes[placement.NOTE] = warning
        self._publisher = Publisher(
            session,
            self._found.place,
            context.owner,
            context.ledger,
            context.scratch,
            hardware_for(self._facts.version),
        )
        self._belongings = Belongings(self._host, self._files, self._publisher)

    @property
    def name(self) -> str:
        """The lab's name of the host."""
        return self._context.host

    @property
    def session(self) -> Session:
        """The login: its count of round trips is measured."""
        return self._session

    def facts(self, deadline: Deadline) -> HostFacts:
        """Read once per connection; with what came up since."""
        return replace(self._facts, details=self._facts.details | self._host.notes)

    def capabilities(self, shape: Shape) -> AbstractSet[Capability]:
        """What this host can do with a machine of this shape."""
        typed = bool(self._host.ports)
        return abilities(shape, networks=self._groups.known, twin=self._host.twin, typed=typed)

    def publish(self, image: Image, deadline: Deadline) -> PublishedImage:
        """Once by content."""
        return self._publisher.publish(image, deadline)

    def create(self, spec: MachineSpec, deadline: Deadline) -> Machine:
        """A linked clone, off and cold."""
        return create.create(self._host, spec, deadline)

    def open(self, machine_id: str, deadline: Deadline) -> Machine:
        """By its id; the spec comes from the machine's annotation."""
        ref = Ref("VirtualMachine", machine_id)
        values = collector.read_one(self._session, ref, "config.annotation", deadline=deadline, operation="open")
        mark = marks.read(values.get("config.annotation"))
        if mark is None:
            raise LabError(f"the machine {machine_id} is not ours", host=self.name, operation="open")
        return VsphereMachine(self._host, ref, mark)

    def owned(self, deadline: Deadline, run: str | None = None) -> Iterable[Owned]:
        """Machines with our mark, half imported images, files of machines that are not there, empty folders."""
        return belongings.of_run(self._belongings.all(deadline), run)

    def remove(self, thing: Owned, deadline: Deadline) -> None:
        """Only what carries our mark, looked up afresh."""
        self._host.ledger.check()

        def drop_checkpoint(machine: str, name: str) -> None:
            VsphereMachine.drop_checkpoint(self.open(machine, deadline), name, deadline)  # type: ignore[arg-type]

        belongings.remove(self._belongings, thing, deadline, host=self.name, drop_checkpoint=drop_checkpoint)

    def clock(self, deadline: Deadline) -> ClockReading:
        """The ESXi's own, read around the edge of its tick."""
        return self._clock.read(deadline)

    def load(self, deadline: Deadline) -> ProcessorUse:
        """As the ESXi averages it."""
        return load.read(self._session, self._found.place.host, self._context.ours, deadline)

    def _ask_time(self, deadline: Deadline) -> datetime:
        if self._clock_of is None:
            path, esxi = "configManager.dateTimeSystem", self._found.place.host
            values = collector.read_one(self._session, esxi, path, deadline=deadline, operation="clock")
            if path not in values:
                raise LabError("the ESXi shows no clock", host=self.name, operation="clock")
            self._clock_of = values[path]
        told: datetime = self._session.call("clock", self._clock_of, "QueryDateTime", deadline)
        return told

    def examine(self, networks: Iterable[NetworkSpec], deadline: Deadline) -> tuple[Remark, ...]:
        """Rights, space and networks, before a run needs them."""
        return tuple(check.examine(self._session, self._found, self._groups(deadline), networks, deadline))

    def close(self) -> None:
        """Log out."""
        if self._host.wires is not None:
            self._host.wires.close()
        self._files.close()
        self._session.close()


class Groups:
    """As :class:`~harness.backends.vsphere.access.Groups`."""

    def __init__(self, session: Session, esxi: Ref) -> None:
        self._session = session
        self._esxi = esxi
        self._lock = threading.Lock()
        self._read_at = 0.0
        self.known: Mapping[str, PortGroup] = {}

    def __call__(self, deadline: Deadline) -> Mapping[str, PortGroup]:
        """Read again when the list has grown old."""
        with self._lock:
            if not self.known or time.monotonic() - self._read_at > _FRESH_SECONDS:
                self.known = inventory.port_groups(self._session, self._esxi, deadline)
                self._read_at = time.monotonic()
            return self.known
