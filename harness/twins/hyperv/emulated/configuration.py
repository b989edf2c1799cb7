"""What a machine is made of: drives, adapters, settings, and what a checkpoint keeps of them."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass, field
from typing import Any, Final

MIB: Final = 1 << 20
SERVICES: Final = {
    "84EAAE65-2F2E-45F5-9BB5-0E857DC8EB47": "Heartbeat",
    "2A34B1C2-FD73-4043-8A5B-DD2159BC743F": "Key-Value Pair Exchange",
    "9F8233AC-BE49-4C79-8EE3-E7E1985B2077": "Shutdown",
    "2497F4DE-E9FA-4204-80E4-4B75C46419C0": "Time Synchronization",
    "5CED1297-4598-4915-A5FC-AD21BB4D02A4": "VSS",
    "6C09BB55-D683-4DA0-8931-C9BF705F6480": "Guest Service Interface",
}
"""Integration services by the suffix of their id; the names are those of an English host."""
KVP: Final = "2A34B1C2-FD73-4043-8A5B-DD2159BC743F"
VSS: Final = "5CED1297-4598-4915-A5FC-AD21BB4D02A4"
GUEST_SERVICE: Final = "6C09BB55-D683-4DA0-8931-C9BF705F6480"
STATES: Final = {
    "Other": 1,
    "Running": 2,
    "Off": 3,
    "Stopping": 4,
    "Saved": 6,
    "Paused": 9,
    "Starting": 10,
    "Reset": 11,
    "Saving": 32773,
    "Pausing": 32776,
    "Resuming": 32777,
}
"""Hyper-V's VMState."""


@dataclass(slots=True)
class Drive:
    """A hard drive or DVD drive.

    Args:
        path: the file in it, as the user named it; None: empty.
        merged: while checkpoints exist: the AVHDX that is written to, in place of ``path``.
    """

    key: str
    dvd: bool
    controller_type: str
    controller: int
    location: int
    path: str | None
    merged: str | None = None


@dataclass(slots=True)
class Nic:
    """A network adapter.

    Args:
        outlet: the switch that it was last plugged into, for the engine: a pulled cable takes no device away.
    """

    key: str
    name: str
    mac: str
    dynamic: bool
    switch: str | None
    legacy: bool = False
    vlan: dict[str, Any] = field(default_factory=lambda: {"mode": "Untagged", "access": 0, "native": 0, "allowed": []})
    spoofing: bool = False
    outlet: str = ""

    def plug(self, switch: str | None) -> None:
        """Into a switch, or out of the one it is in."""
        self.outlet = switch or self.switch or self.outlet
        self.switch = switch


@dataclass(slots=True)
class Config:
    """All that a checkpoint brings back."""

    name: str
    notes: str = ""
    vcpus: int = 1
    vcpus_per_node: int | None = None
    memory: int = 512 * MIB
    dynamic: bool = False
    memory_minimum: int = 512 * MIB
    memory_maximum: int = 1 << 40
    drives: list[Drive] = field(default_factory=list)
    nics: list[Nic] = field(default_factory=list)
    scsi: int = 0
    com: dict[int, str] = field(default_factory=lambda: {1: "", 2: ""})
    secure_boot: bool = True
    secure_boot_template: str = "MicrosoftWindows"
    boot_order: list[str] = field(default_factory=list)
    console_mode: str = "Default"
    services: dict[str, bool] = field(default_factory=lambda: {each: each != GUEST_SERVICE for each in SERVICES})
    checkpoint_type: str = "Production"
    automatic_checkpoints: bool = False
    start_action: str = "StartIfRunning"
    start_delay: int = 0
    stop_action: str = "Save"
    nested: bool = False
    kvp: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Checkpoint:
    """A checkpoint: what was, and whether it ran then."""

    id: uuid.UUID
    name: str
    parent: uuid.UUID | None
    created: dt.datetime
    config: Config
    memory: bool
    automatic: bool = False


def colons(mac: str) -> str:
    """A MAC address as all but Windows write it."""
    return ":".join(mac[at : at + 2] for at in range(0, 12, 2)).lower()
