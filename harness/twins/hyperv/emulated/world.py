"""The whole host that cmdlets speak of: machines, switches, files, and the engines that run guests for real."""

from __future__ import annotations

import contextlib
import json
import ntpath
import subprocess
import threading
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from harness.twins.engine import Engine, EngineError, EngineMachine, ExitReason
from harness.twins.hyperv.emulated.calls import guid, like
from harness.twins.hyperv.emulated.configuration import Checkpoint, Drive, Nic
from harness.twins.hyperv.emulated.events import Events
from harness.twins.hyperv.emulated.machines import Vm
from harness.twins.hyperv.emulated.objects import Choice, Thing
from harness.twins.hyperv.emulated.performance import Performance
from harness.twins.hyperv.emulated.pipes import Pipes
from harness.twins.hyperv.emulated.refusals import Refusal, no_file, no_machine
from harness.twins.hyperv.emulated.signatures import BUILDS, Signature, signatures
from harness.twins.hyperv.plan import FaultPlan

_FIRST_MAC: Final = 0x00155D010000


@dataclass(slots=True)
class Switch:
    """A virtual switch. The engine has a network of the same name, or guests on it are plugged into nothing."""

    id: uuid.UUID
    name: str
    kind: str

    def thing(self) -> Thing:
        """The switch as cmdlets show it."""
        return Thing(
            "VMSwitch",
            f"switch/{self.id}",
            {
                "Name": self.name,
                "Id": self.id,
                "SwitchType": Choice("VMSwitchType", self.kind),
                "Notes": "",
                "AllowManagementOS": self.kind == "Internal",
                "NetAdapterInterfaceDescription": None,
                "ComputerName": "TWIN",
            },
        )


class Engines(Protocol):
    """Those that run guests."""

    def __call__(self, generation: int, /) -> Engine:
        """The engine of a generation."""

    def delete_disk(self, path: Path) -> None:
        """Forget what guests wrote to a disk; one that a machine has stays."""


@dataclass(frozen=True, slots=True)
class WorldSettings:
    """What the host is.

    Args:
        folder: where files named without a drive, and with one, are.
        name: the host's.
        year: which Windows Server it is.
        networks: switches that are there from the beginning, which the engine knows by name.
        memory: bytes of the host.
        cpus: of the host.
        merge_seconds: how long a removed checkpoint's disks are merged.
        stop_seconds: how long ``Stop-VM`` waits for the guest.
        module: whether Hyper-V's module of PowerShell is there.
        operators: accounts that may use it, in lower case; None: all.
        feature: whether the service behind the module is there.
        free: bytes free on its volumes; None: as many as there are.
        nodes: names of other nodes of its cluster: machines may be there, and nothing runs.
        pipes: makes of a named pipe's name the Unix socket that .NET looks for.
    """

    folder: Path
    name: str = "TWIN"
    year: int = 2022
    networks: tuple[str, ...] = ()
    memory: int = 8 << 30
    cpus: int = 2
    merge_seconds: float = 1.0
    stop_seconds: float = 300.0
    module: bool = True
    operators: frozenset[str] | None = None
    feature: bool = True
    free: int | None = None
    nodes: tuple[str, ...] = ()
    pipes: str = "/tmp/CoreFxPipe_"  # noqa: S108  where .NET on Linux looks

    @property
    def build(self) -> int:
        """The build of Windows."""
        return BUILDS[self.year]


@dataclass(slots=True)
class World:
    """The host. Threads share it; verbs of one machine are serialised by its lock.

    Args:
        settings: what it is.
        engine: the engines of generations; None: machines change their state, and no guest runs.
    """

    settings: WorldSettings
    engine: Engines | None = None
    lock: threading.RLock = field(default_factory=threading.RLock)
    vms: dict[uuid.UUID, Vm] = field(default_factory=dict)
    switches: list[Switch] = field(default_factory=list)
    events: Events = field(default_factory=Events)
    performance: Performance = field(default_factory=Performance)
    pipes: Pipes = field(init=False)
    plan: FaultPlan = field(default_factory=FaultPlan)
    _macs: int = 0

    def __post_init__(self) -> None:
        self.pipes = Pipes(self.settings.pipes)
        self.switches += [Switch(uuid.uuid4(), name, "Internal") for name in self.settings.networks]

    @property
    def cmdlets(self) -> Mapping[str, Signature]:
        """Those that the host has, by name in lower case."""
        known = signatures(self.settings.year)
        return {name: each for name, each in known.items() if self.settings.module or each.module != "Hyper-V"}

    # --- machines ------------------------------------------------------------------------------------------------

    def all(self) -> list[Vm]:
        """All machines, by name."""
        with self.lock:
            return sorted(self.vms.values(), key=lambda vm: (vm.name.lower(), str(vm.id)))

    def on_nodes(self, names: Iterable[str]) -> list[Vm]:
        """The machines of nodes, by name; of this one where no names are given.

        Raises:
            Refusal: there is no such node.
        """
        here = {"localhost", ".", self.settings.name.lower()}
        known = {node.lower(): node for node in self.settings.nodes} | dict.fromkeys(here, "")
        for name in names:
            if name.lower() not in known:
                raise Refusal("OperationFailed", f"'{name}': the RPC server is unavailable. (0x800706BA)")
        wanted = {known[name.lower()] for name in names} or {""}
        return [vm for vm in self.all() if vm.node in wanted]

    def by_id(self, value: Any) -> Vm:
        """The machine of this id."""
        with self.lock:
            vm = self.vms.get(guid(value))
        if vm is None:
            raise no_machine("id", value, listing=True)
        return vm

    def vm(self, key: str) -> Vm:
        """The machine that an object is, or belongs to."""
        kind, _, rest = key.partition("/")
        with self.lock:
            vm = self.vms.get(guid(rest.partition("/")[0])) if kind == "vm" else None
        if vm is None:
            raise Refusal("ObjectNotFound", "The object is not there any more: its virtual machine was removed.")
        return vm

    def drive(self, key: str) -> tuple[Vm, Drive]:
        """The drive that an object is."""
        vm = self.vm(key)
        drive = vm.drive(key.rpartition("/")[2])
        if drive is None:
            raise Refusal("ObjectNotFound", "The drive is not there any more.")
        return vm, drive

    def nic(self, key: str) -> tuple[Vm, Nic]:
        """The network adapter that an object is."""
        vm = self.vm(key)
        nic = vm.nic(key.rpartition("/")[2])
        if nic is None:
            raise Refusal("ObjectNotFound", "The network adapter is not there any more.")
        return vm, nic

    def checkpoint(self, key: str) -> tuple[Vm, Checkpoint]:
        """The checkpoint that an object is."""
        vm = self.vm(key)
        wanted = key.rpartition("/")[2]
        found = next((each for each in vm.checkpoints if str(each.id) == wanted), None)
        if found is None:
            raise Refusal("ObjectNotFound", "The checkpoint is not there any more.")
        return vm, found

    def next_mac(self) -> str:
        """A dynamic MAC address."""
        with self.lock:
            self._macs += 1
            return f"{_FIRST_MAC + self._macs:012X}"

    # --- switches ------------------------------------------------------------------------------------------------

    def switch(self, name: str) -> Switch:
        """The switch of this name."""
        with self.lock:
            found = [each for each in self.switches if like(each.name, name)]
        if not found:
            raise Refusal("InvalidParameter", f'Hyper-V was unable to find a virtual switch with name "{name}".')
        return found[0]

    # --- files ---------------------------------------------------------------------------------------------------

    def file(self, path: str) -> Path:
        """Where a path of the host is here: as it is, or, with a drive, below the twin's folder."""
        drive, rest = ntpath.splitdrive(path)
        if drive:
            return self.settings.folder / "drives" / drive.rstrip(":").upper() / rest.replace("\\", "/").lstrip("/")
        plain = Path(path)
        return plain if plain.exists() or not plain.is_absolute() else Path(path.replace("\\", "/"))

    def image(self, path: str) -> dict[str, Any]:
        """What qemu-img says of a disk.

        Raises:
            Refusal: it is not there, or no disk.
        """
        place = self.file(path)
        if not place.is_file():
            raise no_file(path)
        return img(["info", "--output=json", "-U", str(place)])

    def begin_disk(self, place: Path) -> None:
        """A disk is about to be made: what guests wrote to one that had its name, and was deleted, is not on it."""
        if self.engine is not None:
            self.engine.delete_disk(place)

    def user_of(self, path: str) -> Vm | None:
        """The machine that has a disk in a drive and runs."""
        place = self.file(path)
        for vm in self.all():
            if vm.on and any(each.path and self.file(each.path) == place for each in vm.config.drives):
                return vm
        return None

    # --- what the engine tells -----------------------------------------------------------------------------------

    def exited(self, machine: EngineMachine, reason: ExitReason) -> None:
        """A machine ended unasked."""
        with contextlib.suppress(Refusal):
            vm = self.by_id(machine.key)
            vm.state = "Off"
            self.pipes.changed(vm)
            if reason is ExitReason.GUEST_SHUTDOWN:
                self.events.worker(18504, vm, "was shut down by the guest operating system")
            else:
                self.events.worker(18560, vm, "was reset because an unrecoverable error occurred")

    def rebooted(self, machine: EngineMachine) -> None:
        """A guest reset itself."""
        with contextlib.suppress(Refusal):
            self.events.worker(18514, self.by_id(machine.key), "was reset by the guest operating system")

    def panicked(self, machine: EngineMachine) -> None:
        """A guest told that its kernel panicked."""
        with contextlib.suppress(Refusal):
            what = "has encountered a fatal error. The guest operating system reported that it failed"
            self.events.worker(18590, self.by_id(machine.key), what)


def img(arguments: list[str]) -> dict[str, Any]:
    """Run qemu-img; its JSON answer, if it gives one.

    Raises:
        Refusal: it failed.
    """
    done = subprocess.run(["qemu-img", *arguments], capture_output=True, text=True, check=False, timeout=600)
    if done.returncode:
        raise Refusal("OperationFailed", f"The virtual disk: {done.stderr.strip()}")
    said: Mapping[str, Any] = json.loads(done.stdout) if done.stdout.lstrip().startswith("{") else {}
    return dict(said)


def refused(error: EngineError) -> Refusal:
    """What the engine cannot do, as the host says it."""
    return Refusal("OperationFailed", str(error))
