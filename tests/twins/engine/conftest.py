"""Engines with real QEMU processes: machines without a system where QEMU alone matters, one tiny guest for the rest."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.core import Deadline, GiB, MiB
from harness.core.waiting import Pending, wait_for
from harness.image import Image, resolve
from harness.twins.engine import (
    VMWARE,
    Disk,
    Engine,
    EngineMachine,
    EngineSettings,
    ExitReason,
    Hardware,
    MachineState,
    NatNetwork,
    SwitchNetwork,
    open_engine,
)
from tests.twins.engine.tiny import tiny_disk

NETWORKS = {"nat": NatNetwork("10.78.0.0/16", "127.78.0.0/16"), "peers": SwitchNetwork(), "vlan": SwitchNetwork(vlan=7)}


class Heard:
    """A watcher that remembers."""

    def __init__(self) -> None:
        self.exits: list[tuple[str, ExitReason]] = []
        self.reboots: list[str] = []
        self.panics: list[str] = []

    def exited(self, machine: EngineMachine, reason: ExitReason) -> None:
        self.exits.append((machine.key, reason))

    def rebooted(self, machine: EngineMachine) -> None:
        self.reboots.append(machine.key)

    def panicked(self, machine: EngineMachine) -> None:
        self.panics.append(machine.key)


def opened(folder: Path, watcher: Heard) -> Engine:
    """Emulated: what is proven here must hold on any machine."""
    return open_engine(EngineSettings(folder, NETWORKS, accel="tcg"), VMWARE, watcher)


def hardware(name: str = "empty", **changes: object) -> Hardware:
    """A small machine with an empty disk: its firmware looks for a system for ever."""
    values: dict[str, object] = {
        "uuid": str(uuid.uuid4()),
        "name": name,
        "vcpus": 1,
        "memory": 64 * MiB,
        "disks": (Disk(Path(f"/{name}.vmdk"), 16 * MiB),),
    }
    return Hardware(**(values | changes))  # type: ignore[arg-type]


def await_state(machine: EngineMachine, state: MachineState, seconds: float = 60) -> None:
    """It gets there by itself."""

    def there() -> bool | Pending:
        return machine.state is state or Pending(machine.state)

    wait_for(f"{state}", there, Deadline.after(seconds))


def await_heard(what: Callable[[], object], seconds: float = 60) -> None:
    """News travel by a thread of their own."""
    wait_for("the news", lambda: bool(what()) or Pending("nothing"), Deadline.after(seconds))


@pytest.fixture
def heard() -> Heard:
    """What the engine told."""
    return Heard()


@pytest.fixture
def engine(tmp_path: Path, heard: Heard) -> Iterator[Engine]:
    """An engine of this test."""
    made = opened(tmp_path / "engine", heard)
    yield made
    made.close()


@pytest.fixture
def machine(engine: Engine) -> EngineMachine:
    """A machine without a system, off."""
    return engine.add("vm-1", hardware())


@pytest.fixture(scope="session")
def image() -> Image:
    """The guest image, which lends its kernel."""
    return resolve("debian12")


@pytest.fixture(scope="session")
def disk(image: Image, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk that boots to a shell."""
    return tiny_disk(tmp_path_factory.mktemp("tiny"), image)


def tiny_hardware(disk: Path, **changes: object) -> Hardware:
    """A machine for that disk, with room to grow."""
    system = Disk(Path("/tiny.vmdk"), 256 * MiB, disk, serial="SYSTEM")
    values: dict[str, object] = {"vcpus": 2, "max_vcpus": 4, "memory": MiB * 512, "max_memory": GiB, "disks": (system,)}
    return hardware("tiny", **(values | changes))
