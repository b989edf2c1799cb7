"""A Windows host with Hyper-V."""

from __future__ import annotations

import time
from collections.abc import Iterable
from collections.abc import Set as AbstractSet

from harness.backends import belongings
from harness.backends.capabilities import Capability
from harness.backends.check import Remark
from harness.backends.hyperv import check, create, facts, marks
from harness.backends.hyperv.abilities import abilities
from harness.backends.hyperv.access import HostAccess
from harness.backends.hyperv.door import Door
from harness.backends.hyperv.load import Meter
from harness.backends.hyperv.machine import HypervMachine, machine
from harness.backends.hyperv.owned import Belongings
from harness.backends.hyperv.publish import Publisher
from harness.backends.hyperv.session import Agents
from harness.backends.hyperv.settings import Settings
from harness.backends.hyperv.shell import Shell, end
from harness.backends.hyperv.shells import Shells
from harness.backends.hyperv.steps import Step, seconds
from harness.backends.model import MachineSpec, NetworkSpec, PublishedImage, Shape
from harness.backends.protocol import Machine
from harness.backends.registry import Context
from harness.backends.views import ClockReading, HostFacts, Owned, ProcessorUse
from harness.core import Deadline, InteropError, LabError
from harness.image.model import Image


def open_host(settings: Settings, context: Context) -> HypervHypervisor:
    """See :func:`harness.backends.hyperv.connect`."""
    door = Door(settings, context.host)
    shells = Shells(context.scratch / "shells")
    agents = Agents(lambda deadline: Shell(door, deadline, shells), context.host)
    context.scratch.mkdir(parents=True, exist_ok=True)
    shells.end_orphans(lambda shell: end(door, shell))
    access = HostAccess(context.host, settings, agents, context.ledger, context.owner, context.scratch, context.ours)
    try:
        return HypervHypervisor(access)
    except InteropError as error:
        error.hint = check.cure(error, settings) or error.hint
        agents.close()
        raise


class HypervHypervisor:
    """As :class:`~harness.backends.protocol.Hypervisor`.

    Args:
        host: the host, reachable.
    """

    def __init__(self, host: HostAccess) -> None:
        self._host = host
        self._facts = facts.read(host, Deadline.after(host.settings.connect_seconds))
        self._publisher = Publisher(host)
        self._belongings = Belongings(host, self._publisher)
        self._meter = Meter(host)

    @property
    def name(self) -> str:
        """The lab's name of the host."""
        return self._host.name

    @property
    def access(self) -> HostAccess:
        """What its concerns go by."""
        return self._host

    @property
    def agents(self) -> Agents:
        """Those who call cmdlets: their count of round trips is measured."""
        return self._host.agents

    def facts(self, deadline: Deadline) -> HostFacts:
        """Read once per connection."""
        return self._facts

    def capabilities(self, shape: Shape) -> AbstractSet[Capability]:
        """What this host can do with a machine of this shape."""
        return abilities(shape, twin=self._host.twin, memory=self._host.settings.checkpoints == "standard")

    def publish(self, image: Image, deadline: Deadline) -> PublishedImage:
        """Once by content."""
        return self._publisher.publish(image, deadline)

    def create(self, spec: MachineSpec, deadline: Deadline) -> Machine:
        """A differencing disk on the image, off and cold."""
        return create.create(self._host, spec, deadline)

    def open(self, machine_id: str, deadline: Deadline) -> Machine:
        """By its id; the spec comes from the machine's notes."""
        find = self._host.found(machine_id, get=("Notes",))
        rows = self._host.agents.run("open", [find], deadline, repeatable=True)[0]
        if not rows:
            raise LabError(f"there is no machine {machine_id}", host=self.name, operation="open")
        mark = marks.read(str(rows[0]["Notes"] or ""), self._host.ours)
        if mark is None:
            raise LabError(f"the machine {machine_id} is not ours", host=self.name, operation="open")
        return machine(self._host, machine_id, mark)

    def owned(self, deadline: Deadline, run: str | None = None) -> Iterable[Owned]:
        """Machines with our mark, folders of machines that are not there, half uploads."""
        return belongings.of_run(self._belongings.all(deadline), run)

    def remove(self, thing: Owned, deadline: Deadline) -> None:
        """Only what carries our mark, looked up afresh."""
        self._host.ledger.check()

        def drop_checkpoint(identity: str, name: str) -> None:
            HypervMachine.drop_checkpoint(self.open(identity, deadline), name, deadline)  # type: ignore[arg-type]

        belongings.remove(self._belongings, thing, deadline, host=self.name, drop_checkpoint=drop_checkpoint)

    def clock(self, deadline: Deadline) -> ClockReading:
        """The host's own, to 100 ns; the round trip around it bounds how old the answer is."""
        step = Step("Get-Date", name="now", get=(".",))
        before = time.monotonic()
        rows = self._host.agents.run("clock", [step], deadline, repeatable=True)[0]
        spent = time.monotonic() - before
        return ClockReading(seconds(str(rows[0]["."])) + spent / 2, spent / 2)

    def load(self, deadline: Deadline) -> ProcessorUse:
        """By the hypervisor's performance counters."""
        return self._meter.read(deadline)

    def examine(self, networks: Iterable[NetworkSpec], deadline: Deadline) -> tuple[Remark, ...]:
        """Rights, switches, the folder, space, and whether it reaches us, before a run needs them."""
        return tuple(check.examine(self._host, networks, deadline))

    def close(self) -> None:
        """Delete our shells on the host."""
        self._host.agents.close()
