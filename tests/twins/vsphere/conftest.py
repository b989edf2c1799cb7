"""One twin for all tests of a session; each test makes its own machines in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.twins.vsphere.control import Control
from tests import compiled
from tests.twins.vsphere.client import Client, streamed
from tests.twins.vsphere.running import TwinProcess

NETWORKS = {
    "VM Network": {"kind": "nat", "subnet": "10.78.0.0/16", "outside": "127.78.0.0/16", "port": 2222},
    "peers": {"kind": "switch", "vlan": None, "mtu": 1500},
}


@pytest.fixture(scope="session")
def simulator() -> Path:
    """The simulator's program, or the reason why there is none."""
    return compiled.simulator()


@pytest.fixture(scope="session")
def twin(simulator: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwinProcess]:
    """A twin of two hosts."""
    with TwinProcess(tmp_path_factory.mktemp("twin"), networks=NETWORKS, esxi=["esx1", "esx2"]) as up:
        yield up


@pytest.fixture(scope="session")
def session(twin: TwinProcess) -> Iterator[Client]:
    """A session of pyVmomi."""
    client = Client(twin.record)
    yield client
    client.close()


@pytest.fixture
def client(session: Client) -> Iterator[Client]:
    """The session; whatever machines a test left are destroyed."""
    yield session
    for machine in session.all(vm_type()):
        if machine.runtime.powerState != "poweredOff":
            session.done(machine.PowerOffVM_Task())
        session.done(machine.Destroy_Task())


def vm_type() -> Any:
    """vim.VirtualMachine; pyVmomi makes its types on demand."""
    from pyVmomi import vim

    return vim.VirtualMachine


@pytest.fixture
def control(twin: TwinProcess) -> Iterator[Control]:
    """What may go wrong; afterwards everything goes well again."""
    control = Control(twin.record)
    yield control
    control.plan()


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small streamOptimized VMDK of 8 MiB."""
    return streamed(tmp_path_factory.mktemp("image"))
