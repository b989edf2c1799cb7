"""A machine and its host without any hypervisor: for tests of what is said to the guest."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

from harness.backends.model import (
    Endpoint,
    Firmware,
    MachineSpec,
    NetworkKind,
    NetworkSpec,
    NicSpec,
    Ownership,
    PowerState,
    PublishedImage,
    Shape,
)
from harness.backends.views import ClockReading, MachineView
from harness.core import GiB

NIC = NicSpec("52:54:00:00:00:01", NetworkSpec("management", NetworkKind.USER), address="10.0.2.15/24")


class Log:
    """A console that puts out what the test gives it and answers nothing."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = data

    def read(self, offset: int, limit: int) -> bytes:
        return self.data[offset : offset + limit]

    def write(self, data: bytes) -> None:
        pass


@dataclass
class FakeMachine:
    where: Endpoint
    port: object = field(default_factory=Log)
    state: PowerState = PowerState.RUNNING
    id: str = "machine-1"
    spec: MachineSpec = field(
        default_factory=lambda: MachineSpec(
            "guest",
            PublishedImage("digest", "handle"),
            Shape(),
            (NIC,),
            None,
            Ownership("run", "token", datetime(2026, 1, 1, tzinfo=UTC)),
        )
    )

    def endpoint(self, deadline):
        return self.where

    def console(self):
        return self.port

    def view(self, deadline):
        return MachineView(self.state, 2, 2, GiB, Firmware.BIOS, None, (), (), "")


@dataclass
class FakeHost:
    """Its clock is ``ahead`` of the controller's."""

    name: str = "host"
    ahead: float = 0.0
    uncertainty: float = 0.0

    def clock(self, deadline):
        return ClockReading(time.time() + self.ahead, self.uncertainty)


class ClocklessHost:
    name = "host"
