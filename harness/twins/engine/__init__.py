"""What all twins share: QEMU processes that behave like the machines of another hypervisor."""

from harness.twins.engine.api import Engine, EngineMachine, Watcher
from harness.twins.engine.core import open_engine
from harness.twins.engine.personality import VMWARE, Personality
from harness.twins.engine.values import (
    Disk,
    EngineError,
    EngineSettings,
    ExitReason,
    GuestSilent,
    Hardware,
    MachineState,
    NatNetwork,
    Nic,
    NotSupported,
    SnapshotView,
    SwitchNetwork,
    ToolsView,
    WrongMachineState,
)

__all__ = [
    "VMWARE",
    "Disk",
    "Engine",
    "EngineError",
    "EngineMachine",
    "EngineSettings",
    "ExitReason",
    "GuestSilent",
    "Hardware",
    "MachineState",
    "NatNetwork",
    "Nic",
    "NotSupported",
    "Personality",
    "SnapshotView",
    "SwitchNetwork",
    "ToolsView",
    "Watcher",
    "WrongMachineState",
    "open_engine",
]
