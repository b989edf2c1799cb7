"""The driver on a twin host: its agent there, and its machines, which change their state and no more."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from harness.backends import hyperv
from harness.backends.hyperv.door import Door
from harness.backends.hyperv.session import Agent
from harness.backends.hyperv.settings import Settings
from harness.backends.hyperv.shell import Shell
from harness.backends.hyperv.steps import Step
from harness.backends.model import (
    DeviceKind,
    DiskSpec,
    Firmware,
    MachineSpec,
    NetworkKind,
    NetworkSpec,
    NicSpec,
    Ownership,
    Shape,
)
from harness.backends.protocol import Hypervisor, Machine
from harness.backends.registry import Context
from harness.core import GiB, MiB, Size
from harness.image.model import Format, Image
from harness.twins.hyperv.config import TwinConfig
from harness.twins.hyperv.host import Host
from harness.twins.hyperv.programs import powershell
from harness.twins.hyperv.twin import Twin
from tests.twins.hyperv_host import PASSWORD, USER, twin_host
from tests.unit.fake_ledger import NoLedger
from tests.unit.powershell import modules, soon

WAYS = ["ntlm", "ntlm+tls", "basic+tls"]
GET_VM = Step("Get-VM", get=("Id", "State"))

OWNER = Ownership("run-1a", "t0k3n", datetime.now(UTC) + timedelta(days=1))
PEERS = NetworkSpec("peers", NetworkKind.NETWORK, "peers")
TAGGED = NetworkSpec("tagged", NetworkKind.NETWORK, "peers", vlan=7)
FIRST, SECOND = "00:15:5d:00:00:01", "00:15:5d:00:00:02"


@contextlib.contextmanager
def windows(folder: Path, *plan: dict[str, Any], **settings: Any) -> Iterator[Host]:
    """A twin whose PowerShell has the documented Hyper-V module."""
    programs = {"powershell": powershell(modules()["all"])}
    with twin_host(folder, *plan, programs=programs, **{"unencrypted": False, **settings}) as host:
        yield host


def lab_settings(host: Host, how: str = "ntlm", **changes: Any) -> Settings:
    """What a lab file would say of it."""
    auth, _, tls = how.partition("+")
    record = {"endpoint": host.https, "http": host.http, "ca": str(host.identity.authority), "user": USER}
    found = Settings(twin=True, auth=auth, tls=bool(tls)).at_twin(record | {"password": PASSWORD})
    secret = changes.pop("secret", PASSWORD)
    found = found.model_copy(update=changes)
    found._password = secret
    return found


@contextlib.contextmanager
def connected(host: Host, how: str = "ntlm", **changes: Any) -> Iterator[Agent]:
    """An agent there."""
    door = Door(lab_settings(host, how, **changes), "win1")
    with contextlib.closing(Agent(lambda deadline: Shell(door, deadline), "win1")) as started:
        yield started


def shells(host: Host) -> list[Any]:
    """Those that are open there."""
    return host.shells.present()


def shown(certificate: Path, key: Path) -> dict[str, Path | None]:
    """The lab file's account, where it is a certificate."""
    return {"certificate": certificate, "certificate_key": key, "secret": None, "user": None}


@pytest.fixture(scope="module", params=["pwsh", "emulated"])
def twin(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twin]:
    """A host whose machines change their state, and no more."""
    if request.param == "pwsh" and shutil.which("pwsh") is None:
        pytest.skip("pwsh is not on PATH")
    folder = tmp_path_factory.mktemp("twin")
    networks = {"peers": {"kind": "switch"}}
    config = TwinConfig(folder=folder, guests=False, powershell=request.param, networks=networks, merge_seconds=0.5)
    with Twin(config) as twin:
        yield twin


@pytest.fixture(scope="module")
def host(twin: Twin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hypervisor]:
    """The driver, connected."""
    settings = Settings(twin=True).at_twin(twin.said())
    opened = hyperv.connect(settings, Context("win1", OWNER, NoLedger(), tmp_path_factory.mktemp("scratch")))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """A small disk."""
    folder = tmp_path_factory.mktemp("image")
    for name, kind in (("disk.qcow2", "qcow2"), ("disk.vhdx", "vhdx")):
        subprocess.run(["qemu-img", "create", "-q", "-f", kind, folder / name, "64M"], check=True)
    files = {Format.QCOW2: folder / "disk.qcow2", Format.VHDX: folder / "disk.vhdx"}
    return Image("tiny", "ab" * 32, files, Size(64 * MiB))


@pytest.fixture(params=[Firmware.BIOS, Firmware.UEFI], ids=["generation 1", "generation 2"])
def spec(request: pytest.FixtureRequest, host: Hypervisor, image: Image, tmp_path: Path) -> MachineSpec:
    """What a test asks for: two NICs, a data disk, a seed."""
    seed = tmp_path / "seed.iso"
    seed.write_bytes(b"seed" * 100_000)
    kind = DeviceKind.EMULATED if request.param is Firmware.BIOS else DeviceKind.SYNTHETIC
    nics = (
        NicSpec(FIRST, PEERS, address="10.79.0.5/24"),
        NicSpec(SECOND, TAGGED, kind=kind, connected=False),
    )
    disks = (DiskSpec("data0", Size(32 * MiB)),)
    shape = Shape(memory=GiB, firmware=request.param, nics=2, max_memory=Size(2 * GiB), data_disks=(disks[0].size,))
    published = host.publish(image, soon())
    return MachineSpec(f"g-{request.param.value}", published, shape, nics, seed, OWNER, disks)


@pytest.fixture
def machine(host: Hypervisor, spec: MachineSpec) -> Iterator[Machine]:
    """It, off and cold; gone afterwards."""
    made = host.create(spec, soon())
    yield made
    made.destroy(soon())
