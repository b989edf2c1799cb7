"""A hypervisor in memory, and guests that are ready at once: for tests of lending."""

from __future__ import annotations

import itertools

from harness.backends.capabilities import Capability
from harness.backends.model import PowerState, PublishedImage
from harness.backends.protocol import LeaseLost
from harness.backends.views import HostFacts, Owned, ResourceKind
from harness.core import GiB, LabError


class MemoryMachine:
    """Remembers its verbs; a checkpoint holds nothing."""

    def __init__(self, number: int, spec) -> None:
        self.id = f"machine-{number}"
        self.spec = spec
        self.verbs: list[str] = []
        self.state = PowerState.OFF
        self.names: list[str] = []
        self.gone = False
        self.broken: set[str] = set()
        self.lease_lost = False

    def _did(self, verb: str) -> None:
        if self.gone:
            raise LabError(f"{self.id} is gone")
        if self.lease_lost:
            raise LeaseLost("not yours any more")
        if verb in self.broken:
            raise LabError(f"{verb} failed")
        self.verbs.append(verb)

    def start(self, deadline):
        self._did("start")
        self.state = PowerState.RUNNING

    def stop(self, deadline):
        self._did("stop")
        self.state = PowerState.OFF

    def destroy(self, deadline):
        self._did("destroy")
        self.gone = True

    def checkpoint(self, name, deadline, *, memory):
        self._did("checkpoint")
        self.names.append(name)

    def revert(self, name, deadline):
        self._did("revert")
        assert name in self.names
        self.state = PowerState.RUNNING

    def checkpoints(self, deadline):
        return tuple(self.names)

    def drop_checkpoint(self, name, deadline):
        self.names.remove(name)

    def checkpoint_files(self, deadline):
        return tuple(self.names)

    def endpoint(self, deadline):
        return self.spec.nics[0].forward

    def console(self):
        raise LabError("no console here")

    def view(self, deadline):
        class View:
            state = self.state

        return View


class MemoryHost:
    """Its machines outlive it, as an embedded host's do."""

    name = "kvm"

    def __init__(self, machines: dict[str, MemoryMachine] | None = None, version: str = "1") -> None:
        self.machines = {} if machines is None else machines
        self.version = version
        self.able = {Capability.CHECKPOINT_WITH_MEMORY}
        self._numbers = itertools.count(len(self.machines) + 1)
        self.broken: set[str] = set()

    def facts(self, deadline):
        return HostFacts("fake", self.version, self.version, "none", 2, GiB, 8)

    def capabilities(self, shape):
        return self.able

    def publish(self, image, deadline):
        return PublishedImage(image.digest, "handle")

    def create(self, spec, deadline):
        if "create" in self.broken:
            raise LabError("create failed")
        machine = MemoryMachine(next(self._numbers), spec)
        self.machines[machine.id] = machine
        return machine

    def owned(self, deadline, run=None):
        return [Owned(ResourceKind.MACHINE, name, None) for name, machine in self.machines.items() if not machine.gone]

    def remove(self, thing, deadline):
        self.machines[thing.handle].destroy(deadline)

    def open(self, machine_id, deadline):
        machine = self.machines.get(machine_id)
        if machine is None or machine.gone:
            raise LabError(f"no machine {machine_id}")
        return machine

    def close(self):
        pass

    @property
    def alive(self) -> list[MemoryMachine]:
        return [machine for machine in self.machines.values() if not machine.gone]

    @property
    def running(self) -> list[MemoryMachine]:
        return [machine for machine in self.alive if machine.state is PowerState.RUNNING]


class InstantGuest:
    """Stands in for a Guest: ready as soon as its machine runs, unless ``sick``."""

    sick: set[str] = set()  # noqa: RUF012 - shared by all guests of a test on purpose

    def __init__(self, machine, hypervisor, image, identity) -> None:
        self.machine, self.hypervisor, self.image, self.identity = machine, hypervisor, image, identity
        self.said: list[str] = []
        self.clock = self
        self.ssh = self
        self.host_key = identity.login.host_key

    @property
    def name(self) -> str:
        return self.identity.name

    @property
    def shape(self):
        return self.machine.spec.shape

    def wait_ready(self, deadline):
        assert self.machine.state is PowerState.RUNNING
        if self.machine.id in self.sick:
            raise LabError(f"{self.name} is sick")
        self.said.append("ready")

    def settle(self, deadline):
        self.said.append("settle")

    def set_from_host(self):
        self.said.append("clock set")

    def disconnect(self):
        self.said.append("disconnect")
