"""A serial console that the ESXi listens for: our driver hears it from power-on, and types into it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.backends.capabilities import Capability
from harness.backends.model import MachineSpec, PowerState, Shape
from harness.core import GiB, LabError, MiB, Pending, Size, wait_for
from harness.image import resolve
from harness.image.model import Format, Image
from tests.twins.engine.tiny import tiny_disk
from tests.twins.vsphere.client import Client
from tests.twins.vsphere.driving import OWNER, opened, within
from tests.twins.vsphere.running import TwinProcess

PROMPT = b"(initramfs) "
SHAPE = Shape(vcpus=1, memory=Size(512 * MiB))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """The image's kernel and initramfs, which stops at its shell, as a disk that vSphere imports."""
    import subprocess

    folder = tmp_path_factory.mktemp("tiny")
    disk, vmdk = tiny_disk(folder, resolve("debian12")), folder / "tiny.vmdk"
    argv = ["qemu-img", "convert", "-O", "vmdk", "-o", "subformat=streamOptimized", disk, vmdk]
    subprocess.run(argv, check=True, timeout=120)
    return Image("tiny", hashlib.sha256(vmdk.read_bytes()).hexdigest(), {Format.VMDK: vmdk}, Size(GiB))


def free_ports(count: int) -> str:
    """A range of ports that nobody has now; the kernel lends none of them, for it takes those from above."""
    for first in range(20_000 + os.getpid() % 10_000, 32_000, count):
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(first, first + count):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return f"{first}-{first + count - 1}"
    raise AssertionError("all ports are taken")


@pytest.fixture
def driver(twin: TwinProcess, client: Client, tmp_path: Path) -> Iterator[Any]:
    """Our connection, with two ports for consoles."""
    host = opened(twin.record, tmp_path / "scratch", console=f"tcp://:{free_ports(2)}")
    yield host
    host.close()


def machine(driver: Any, image: Image, folder: Path, name: str) -> Any:
    """One without NICs."""
    seed = folder / f"{name}.iso"
    seed.write_bytes(b"no seed")
    published = driver.publish(image, within())
    return driver.create(MachineSpec(name, published, SHAPE, (), seed, OWNER), within())


def heard(machine: Any, beyond: int, mark: bytes) -> bytes:
    """What the console says after so many bytes, once that is in it."""

    def there() -> bytes | Pending:
        said = b""
        while more := machine.console().read(beyond + len(said), 65536):
            said += bytes(more)
        return said if mark in said else Pending(repr(said[-99:]))

    return bytes(wait_for("the console", there, within(240), every=0.2))


def test_what_is_typed_reaches_the_guest_and_its_answer_is_heard(driver: Any, tiny: Image, tmp_path: Path) -> None:
    """From power-on, over suspend and revert, and begun anew with the next power-on."""
    assert Capability.CONSOLE_INPUT in driver.capabilities(SHAPE)
    one = machine(driver, tiny, tmp_path, "typed")
    try:
        one.start(within())
        log = heard(one, 0, PROMPT)
        one.console().write(b"echo is $((6*7))\n")
        at = len(log) + len(heard(one, len(log), b"is 42"))
        one.checkpoint("warm", within(), memory=True)
        for go_on in (lambda: (one.save(within()), one.restore(within())), lambda: one.revert("warm", within())):
            go_on()
            assert one.view(within()).state is PowerState.RUNNING
            one.console().write(b"echo still $((7*8))\n")
            at += len(heard(one, at, b"still 56"))
        one.stop(within())
        one.start(within())
        assert b"still" not in heard(one, 0, PROMPT)
    finally:
        one.destroy(within())
    assert not list((tmp_path / "scratch" / "consoles").glob("*"))


def test_each_machine_has_a_port_of_its_own_and_there_are_no_more_than_the_lab_gives(
    driver: Any, tiny: Image, tmp_path: Path
) -> None:
    """A machine that would get none is not made."""
    made = [machine(driver, tiny, tmp_path, f"port{number}") for number in range(2)]
    try:
        with pytest.raises(LabError, match="all 2 ports for serial consoles are taken"):
            machine(driver, tiny, tmp_path, "portless")
        for one in made:
            one.start(within())
        assert all(one.view(within()).state is PowerState.RUNNING for one in made)
    finally:
        for one in made:
            one.destroy(within())
    machine(driver, tiny, tmp_path, "free again").destroy(within())
