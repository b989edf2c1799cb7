"""A backend whose hosts and guests answer at once with what they took when they were recorded, and need no processor.

What is left of a run's cost is the harness's own. Verbs of hosts take the medians that ``docs/accepted`` has of a real
libvirt (scaled, so that a night fits into minutes). Guests have no wire: commands are answered here, facts by bytes of
the form that a guest's shell would print. :mod:`benchmarks.night` registers it by an entry point of its own.
"""

from __future__ import annotations

import itertools
import json
import re
import uuid
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from harness.backends.capabilities import Capability
from harness.backends.model import Endpoint, Firmware, MachineSpec, PowerState, PublishedImage, Shape
from harness.backends.registry import Context, HostSettings
from harness.backends.views import AddressView, HostFacts, MachineView, Owned
from harness.core import Deadline, GiB, LabError, Size
from harness.core.waiting import pause
from harness.guest import Guest
from harness.guest.ssh import Outcome
from harness.image.model import Image
from harness.lab import making

_BOOT = 52.0
"""Seconds from power-on to ssh of a Debian guest without KVM, on two processors that do nothing else."""
_READY = 1.2
"""Seconds from a revert to ssh."""
ROUND_TRIP = 0.13
"""Seconds that one command takes there."""
_TOKEN = re.compile(rb"printf '([0-9a-f]+) ")
_ANSWERS = {"settled": b"settled\n", "osrelease": b"6.1.0-simulated\n"}
_NUMBERS = itertools.count(1)


class Settings(HostSettings):
    """What a lab file says of a simulated host."""

    recorded: Path
    """The file of `docs/accepted` that its verbs take their time from."""
    scale: float = 0.01
    """What these times are multiplied by."""
    log: Path
    """Where a line is added for each boot and each revert."""


@cache
def _medians(path: Path) -> dict[str, float]:
    said = json.loads(path.read_text())["verbs"]
    return {verb: float(seen["median_seconds"]) for verb, seen in said.items()}


class Console:
    """A serial port that nothing ever came out of."""

    def read(self, offset: int, limit: int) -> bytes:
        """Nothing."""
        del offset, limit
        return b""

    def write(self, data: bytes) -> None:
        """Goes nowhere."""


class SimulatedMachine:
    """As :class:`~harness.backends.protocol.Machine`, with checkpoints."""

    def __init__(self, host: SimulatedHost, spec: MachineSpec) -> None:
        self.host = host
        self._id = f"sim-{next(_NUMBERS)}"
        self._spec = spec
        self._state = PowerState.OFF
        self._names: list[str] = []
        self.boot = ""
        self.wakes = 0.0

    @property
    def id(self) -> str:
        """Its number."""
        return self._id

    @property
    def spec(self) -> MachineSpec:
        """What was asked for."""
        return self._spec

    def view(self, deadline: Deadline) -> MachineView:
        """As it was asked for."""
        del deadline
        self.host.take("view")
        shape = self._spec.shape
        return MachineView(
            self._state, shape.vcpus, shape.vcpus, shape.memory, Firmware.BIOS, None, nics=(), disks=(), raw="<sim/>"
        )

    def start(self, deadline: Deadline) -> None:
        """A boot: its guest answers so much later."""
        del deadline
        self.host.take("start")
        self._up(_BOOT, "boot")

    def stop(self, deadline: Deadline) -> None:
        """Off."""
        del deadline
        self.host.take("stop")
        self._state = PowerState.OFF

    def reset(self, deadline: Deadline) -> None:
        """Another boot."""
        self.start(deadline)

    def destroy(self, deadline: Deadline) -> None:
        """Gone."""
        del deadline
        self.host.take("destroy")
        self.host.machines.pop(self._id, None)

    def resize(self, deadline: Deadline, *, vcpus: int | None = None, memory: Size | None = None) -> None:
        """Nothing that a night asks for."""
        raise LabError("a simulated machine has one size", host=self.host.name)

    def endpoint(self, deadline: Deadline) -> Endpoint:
        """Where nobody listens: guests have no wire."""
        del deadline
        return Endpoint("127.0.0.1", 1)

    def addresses(self, deadline: Deadline) -> tuple[AddressView, ...]:
        """None."""
        del deadline
        return ()

    def console(self) -> Console:
        """A silent one."""
        return Console()

    def checkpoint(self, name: str, deadline: Deadline, *, memory: bool) -> None:
        """A name to go back to."""
        del deadline, memory
        self.host.take("checkpoint")
        self._names.append(name)

    def revert(self, name: str, deadline: Deadline) -> None:
        """Its guest answers soon."""
        del deadline, name
        self.host.take("revert")
        self._up(_READY, "revert")

    def checkpoints(self, deadline: Deadline) -> tuple[str, ...]:
        """The names."""
        del deadline
        self.host.take("checkpoints")
        return tuple(self._names)

    def drop_checkpoint(self, name: str, deadline: Deadline) -> None:
        """Forgotten."""
        del deadline
        self._names.remove(name)

    def checkpoint_files(self, deadline: Deadline) -> tuple[str, ...]:
        """The names: there are no files."""
        return self.checkpoints(deadline)

    def _up(self, seconds: float, how: str) -> None:
        self._state = PowerState.RUNNING
        self.boot = str(uuid.uuid4())
        self.wakes = seconds
        with self.host.settings.log.open("a") as log:
            log.write(json.dumps({"host": self.host.name, "shape": str(self._spec.shape), "how": how}) + "\n")


class SimulatedHost:
    """As :class:`~harness.backends.protocol.Hypervisor`."""

    def __init__(self, settings: Settings, name: str) -> None:
        self.settings = settings
        self._name = name
        self._medians = _medians(settings.recorded)
        self.machines: dict[str, SimulatedMachine] = {}

    def take(self, verb: str) -> None:
        """As long as it was recorded to take, scaled."""
        self.rest(self._medians.get(verb, 0.0))

    def rest(self, seconds: float) -> None:
        """So many recorded seconds pass."""
        if seconds * self.settings.scale > 0:
            pause(seconds * self.settings.scale)

    @property
    def name(self) -> str:
        """The lab's name."""
        return self._name

    def facts(self, deadline: Deadline) -> HostFacts:
        """A small host."""
        del deadline
        return HostFacts("Simulated", "1", "1", "none", 8, Size(64 * GiB), 8)

    def capabilities(self, shape: Shape) -> AbstractSet[Capability]:
        """Checkpoints alone."""
        del shape
        return {Capability.BIOS, Capability.CHECKPOINT, Capability.CHECKPOINT_WITH_MEMORY}

    def publish(self, image: Image, deadline: Deadline) -> PublishedImage:
        """It has every image."""
        del deadline
        return PublishedImage(image.digest, "simulated")

    def create(self, spec: MachineSpec, deadline: Deadline) -> SimulatedMachine:
        """Off and cold."""
        del deadline
        self.take("create")
        machine = SimulatedMachine(self, spec)
        self.machines[machine.id] = machine
        return machine

    def open(self, machine_id: str, deadline: Deadline) -> SimulatedMachine:
        """One of this process."""
        del deadline
        if machine_id not in self.machines:
            raise LabError(f"there is no machine {machine_id}", host=self.name, operation="open")
        return self.machines[machine_id]

    def owned(self, deadline: Deadline, run: str | None = None) -> Iterable[Owned]:
        """Nothing outlives the process."""
        del deadline, run
        return []

    def remove(self, thing: Owned, deadline: Deadline) -> None:
        """Nothing is there."""

    def close(self) -> None:
        """Nothing is open."""


class SimulatedSsh:
    """What a guest uses of :class:`~harness.guest.ssh.Ssh`: commands are answered here, after a round trip."""

    def __init__(self, machine: SimulatedMachine, host_key: str | None) -> None:
        self._machine = machine
        self.host_key = host_key
        self.connected = False

    def connect(self, deadline: Deadline, *, retry: bool = True) -> None:
        """The first time after a start it takes as long as the guest needs."""
        del deadline, retry
        wakes, self._machine.wakes = self._machine.wakes, 0.0
        self._machine.host.rest(wakes)
        self.connected = True

    def disconnect(self) -> None:
        """Nothing was open."""
        self.connected = False

    def run(self, command: str, deadline: Deadline, *, stdin: bytes = b"", **_: Any) -> Outcome:
        """What a guest's shell would print, of which nobody here asks for the meaning."""
        del deadline
        self._machine.host.rest(ROUND_TRIP)
        if "boot_id" in command:
            return Outcome(0, self._machine.boot.encode() + b"\n", b"")
        if " -s " in command and stdin:
            return Outcome(0, *_framed(stdin, command.rpartition(" -s ")[2].encode()))
        said = next((answer for word, answer in _ANSWERS.items() if word in command), b"")
        return Outcome(0, said, b"")


def _framed(script: bytes, separator: bytes) -> tuple[bytes, bytes]:
    """The answer to a :class:`~harness.guest.batch.Batch`: each file holds ``1``, each command prints it."""
    found = _TOKEN.search(script)
    assert found is not None, script[:200]
    begin, end = found[1] + b" begin\n", found[1] + b" 0\n"
    parted = b"sh\0-s\0" + separator + b"\0"
    out, err = [begin], [begin]
    for line in script.splitlines():
        if line.endswith(b"</dev/null"):
            files = line.count(b"/proc/$$/cmdline")
            out.append((parted + b"1\n") * files if files else b"1\n")
            out.append(end)
            err.append(end)
    return b"".join(out), b"".join(err)


class SimulatedGuest(Guest):
    """The harness's own guest, without a wire, and with a clock that needs no setting."""

    def __init__(self, machine: Any, hypervisor: Any, image: Image, identity: Any) -> None:
        super().__init__(machine, hypervisor, image, identity)
        self.ssh = SimulatedSsh(machine, identity.login.host_key)  # type: ignore[assignment]
        self.clock = SimpleNamespace(set_from_host=lambda: None)  # type: ignore[assignment]


def connect(settings: Settings, context: Context) -> SimulatedHost:
    """Open a host; from now on guests of this process have no wire."""
    vars(making)["Guest"] = SimulatedGuest
    return SimulatedHost(settings, context.host)
