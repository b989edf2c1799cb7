"""What all twins share: QEMU processes that behave like the machines of another hypervisor."""

from harness.twins.engine.api import (
    Disk,
    Engine,
    EngineError,
    EngineMachine,
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
    Watcher,
    WrongMachineState,
)
from harness.twins.engine.core import open_engine
from harness.twins.engine.personality import VMWARE, Personality

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
