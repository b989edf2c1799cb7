"""The host of a recorded guest on Hyper-V: it takes devices off the VMBus and tells key-value pairs as Hyper-V does."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.backends.model import Endpoint, Firmware, Shape
from harness.backends.protocol import Refused
from harness.backends.views import HostFacts, MachineView, NicView, ServiceView
from harness.core import Deadline, GiB
from harness.lab.expectations import Expectations
from tests.recorded.guest import RecordedGuest, Tree, record
from tests.unit.fake_machine import NIC, FakeMachine

FACTS = HostFacts("Microsoft Hyper-V", "10.0.20348", "20348", "hyperv", 64, GiB, 256)
DEVICES = "/sys/bus/vmbus/devices"
SERVICES = {
    "heartbeat": "fd149e91-82e0-4a7d-afa6-2a4166cbd7c0",
    "kvp": "242ff919-07db-4180-9c2e-b86cb68c8c55",
    "shutdown": "b6650ff7-33bc-4840-8048-e0676786f393",
    "timesync": "2dd1ce17-079e-403c-b352-a1921ee207ee",
    "vss": "2450ee40-33bf-4fbd-892e-9fb06e9214cf",
}
"""The services' devices: every guest on Hyper-V knows them by these names."""
NIC_DEVICE, DISK_DEVICE = "7a1d4f6e-2b8c-4d53-9e0f-61c2a3b47d58", "5c3e9b12-74d0-4f6a-8a1b-d2e6f0954c37"
POOL = "/var/lib/hyperv/.kvp_pool_0"


def device(name: str, file: str) -> str:
    """A file of a device, a service's by the service's name."""
    return f"{DEVICES}/{SERVICES.get(name, name)}/{file}"


@dataclass
class Host(FakeMachine):
    """The machine around a tree; a defect of a host is a subclass.

    Args:
        tree: its guest's files.
    """

    where: Endpoint = field(default_factory=lambda: Endpoint("127.0.0.1"))
    tree: Tree = None  # type: ignore[assignment]  # the base has defaults before it
    pairs: dict[str, str] = field(default_factory=dict)
    enabled: dict[str, bool] = field(default_factory=lambda: dict.fromkeys(SERVICES, True))

    def __post_init__(self) -> None:
        self.taken = self.tree.root.with_name("taken")
        self.taken.mkdir()
        object.__setattr__(self.spec, "shape", Shape(vcpus=8))

    def view(self, deadline: Deadline) -> MachineView:
        nics = (NicView(NIC.mac, "management", "synthetic", True),)
        return MachineView(self.state, 8, 8, GiB, Firmware.UEFI, None, nics, (), "")

    def services(self, deadline: Deadline) -> tuple[ServiceView, ...]:
        return tuple(ServiceView(name, on, self.answers(name)) for name, on in self.enabled.items())

    def answers(self, service: str) -> bool:
        return self.enabled[service]

    def toggle(self, service: str, on: bool, deadline: Deadline) -> None:
        if self.enabled[service] is on:
            return
        self.enabled[service] = on
        if on:
            self.offer(service)
        else:
            self.rescind(service)

    def rescind(self, service: str) -> None:
        shutil.move(self.tree.at(f"{DEVICES}/{SERVICES[service]}"), self.taken / service)

    def offer(self, service: str) -> None:
        shutil.move(self.taken / service, self.tree.at(f"{DEVICES}/{SERVICES[service]}"))

    def exchange(self, question: str, deadline: Deadline) -> str:
        if not question.startswith("{"):
            key, _, value = question.partition("=")
            self.pairs[key] = value
        else:
            ((method, pairs),) = json.loads(question).items()
            self.change(method, pairs)
        self.tell()
        return ""

    def change(self, method: str, pairs: dict[str, str]) -> None:
        there = [key in self.pairs for key in pairs]
        long = any(len(key) > 255 or len(value) > 1023 for key, value in pairs.items())
        if long or len(pairs) > 128 or (any(there) if method == "AddKvpItems" else not all(there)):
            raise Refused("32773")
        for key, value in pairs.items():
            if method == "RemoveKvpItems":
                del self.pairs[key]
            else:
                self.pairs[key] = value

    def tell(self) -> None:
        self.tree.write(POOL, b"".join(record(key, value) for key, value in self.pairs.items()))


def beats(tree: Tree) -> None:
    """A guest answers its host every few seconds, while it has the device."""
    for what in ("interrupts", "events"):
        if tree.at(device("heartbeat", f"channels/2/{what}")).exists():
            tree.count(device("heartbeat", f"channels/2/{what}"), 1)


def recorded(root: Path, kind: type[Host] = Host, goes_on: Any = beats) -> tuple[RecordedGuest, Host]:
    """The guest of ``hyperv.yaml`` and its host."""
    tree = Tree("hyperv", root / "tree")
    host = kind(tree=tree)
    return RecordedGuest(tree, host, goes_on), host


def expectations(**seconds: float) -> Expectations:
    """What a real host is to show: its limits hold, and those on waiting are what a test can wait for."""
    expect = Expectations.for_host("hyperv", FACTS, Firmware.UEFI)
    for key, limit in expect.limits.items():
        wait = {"at_most": seconds.get(key, 0.3)} if limit.unit == "s" else {}
        expect.limits[key] = limit.model_copy(update={"calibrated": True, **wait})
    return expect
