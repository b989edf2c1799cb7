"""The single looks of ``interop doctor``. Each only reads: nothing is started, installed or changed."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import pwd
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from harness.backends import registry
from harness.core import Deadline, GiB, InteropError, LabError, Size, paths
from harness.qemu import QemuError, accel, firmware
from harness.report import render
from harness.twins.vsphere import build

NEEDED_MEMORY = Size(2 * GiB)
NEEDED_DISK = Size(6 * GiB)
"""An image tree while it is built, the image in three formats, and a few warm slots."""


class State(StrEnum):
    """How a finding is meant."""

    OK = "ok"
    NOTE = "note"
    """It works, with a drawback that is named."""
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: its name, its state, what was seen, and what to do where it is not well."""

    name: str
    state: State
    seen: str
    remedy: str | None = None


def controller() -> Iterator[Finding]:
    """Python, the backends that are installed, memory, and room in the cache."""
    version = platform.python_version()
    yield Finding("python", State.OK, f"{version} in {sys.prefix}")
    for name in registry.names():
        try:
            registry.find(name)
        except InteropError as error:
            yield Finding(f"backend {name}", State.MISSING, error.message, error.hint)
        else:
            yield Finding(f"backend {name}", State.OK, "can be loaded")
    yield _enough(
        "memory", _available_memory(), NEEDED_MEMORY, "available", "close other programs, or use fewer guests"
    )
    try:
        cache = paths.cache()
        free = Size(shutil.disk_usage(cache).free)
    except OSError as error:
        yield Finding("cache", State.MISSING, str(error), "set INTEROP_CACHE to a folder that can be written")
    else:
        remedy = "`interop image prune`, or set INTEROP_CACHE to a folder on a larger disk"
        yield _enough("cache", free, NEEDED_DISK, f"free in {cache}", remedy)


def kvm() -> Iterator[Finding]:
    """The libvirt binding, the QEMU driver that runs inside the process, QEMU, firmware, acceleration."""
    yield _module("libvirt", "python binding", "pip install 'interop-harness[kvm]' (it compiles against libvirt-dev)")
    drivers = [
        path
        for root in ("/usr/lib", "/usr/lib64")
        for path in Path(root).glob("**/libvirt/connection-driver/libvirt_driver_qemu.so")
    ]
    if drivers:
        yield Finding("embedded driver", State.OK, str(drivers[0]))
    else:
        remedy = _package("libvirt-daemon-driver-qemu")
        yield Finding("embedded driver", State.MISSING, "libvirt has no QEMU driver here", remedy)
    if os.geteuid() == 0:
        yield _account()
    yield _tool("qemu-system-x86_64", "qemu-system-x86", "--version")
    yield _tool("qemu-img", "qemu-utils", "--version")
    yield _uefi_firmware()
    yield _acceleration()


def twins() -> Iterator[Finding]:
    """QEMU, its monitor's library, and a Go toolchain for what twins are made of."""
    yield _tool("qemu-system-x86_64", "qemu-system-x86", "--version")
    yield _module("qemu.qmp", "monitor library", "pip install 'interop-harness[twins]'")
    yield _go()


def image() -> Iterator[Finding]:
    """The tools that build an image without root and loop devices."""
    yield _tool("mmdebstrap", "mmdebstrap", "--version")
    for tool, package in (
        ("mke2fs", "e2fsprogs"),
        ("debugfs", "e2fsprogs"),
        ("sgdisk", "gdisk"),
        ("mformat", "mtools"),
        ("fakeroot", "fakeroot"),
        ("grub-mkimage", "grub-common"),
    ):
        yield _tool(tool, package)
    for target, package in (("i386-pc", "grub-pc-bin"), ("x86_64-efi", "grub-efi-amd64-bin")):
        folder = Path("/usr/lib/grub") / target
        if folder.is_dir():
            yield Finding(f"grub {target}", State.OK, str(folder))
        else:
            yield Finding(f"grub {target}", State.MISSING, f"{folder} does not exist", _package(package))


def report() -> Iterator[Finding]:
    """Node.js and the pinned Allure; without them results are kept and can be rendered elsewhere."""
    yield _tool("node", "nodejs", "--version")
    try:
        yield Finding("allure", State.OK, render.allure()[-1])
    except InteropError as error:
        yield Finding("allure", State.MISSING, error.message, error.hint)


def tests() -> Iterator[Finding]:
    """A browser for the page test."""
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found:
        yield Finding("chromium", State.OK, found)
    else:
        yield Finding("chromium", State.MISSING, "not on PATH", _package("chromium", "test-packages"))


def _available_memory() -> Size:
    text = Path("/proc/meminfo").read_text(encoding="ascii")
    found = re.search(r"^MemAvailable:\s+(\d+) kB", text, re.MULTILINE)
    return Size(int(found[1]) << 10 if found else 0)


def _enough(name: str, have: Size, need: Size, where: str, remedy: str) -> Finding:
    if have >= need:
        return Finding(name, State.OK, f"{have} {where}")
    return Finding(name, State.MISSING, f"only {have} {where}; {need} are needed", remedy)


def _module(module: str, name: str, remedy: str) -> Finding:
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:  # not even the package it is in
        spec = None
    if spec is None:
        return Finding(name, State.MISSING, f"the module {module} is not installed", remedy)
    return Finding(name, State.OK, str(spec.origin))


def _package(name: str, target: str = "setup") -> str:
    return f"install the Debian package {name}, or run `make {target}` in the checkout"


def _tool(tool: str, package: str, *version: str) -> Finding:
    found = shutil.which(tool) or shutil.which(tool, path="/usr/sbin:/sbin")
    if not found:
        return Finding(tool, State.MISSING, "not on PATH", _package(package))
    if not version:
        return Finding(tool, State.OK, found)
    try:
        done = subprocess.run([found, *version], capture_output=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        return Finding(tool, State.MISSING, f"{found} does not run: {error}", _package(package))
    first = done.stdout.decode("utf-8", "replace").splitlines()[:1]
    return Finding(tool, State.OK, first[0].strip() if first else found)


def _go() -> Finding:
    """Whoever makes the vSphere twin says whether it can."""
    try:
        compiler, version = build.compiler(Deadline.after(20))
    except LabError as error:
        return Finding("go", State.MISSING, error.message, error.hint)
    return Finding("go", State.OK, f"{version} in {compiler.parent}")


def _account() -> Finding:
    """As root the driver must know the account it was compiled to run guests as, even where it is told another."""
    known = [name for name in ("libvirt-qemu", "qemu") if name in {entry.pw_name for entry in pwd.getpwall()}]
    if known:
        return Finding("account", State.OK, known[0])
    remedy = "run `make setup` in the checkout, install libvirt-daemon-system, or do not run as root"
    return Finding("account", State.MISSING, "libvirt refuses to run as root without the account libvirt-qemu", remedy)


def _uefi_firmware() -> Finding:
    try:
        found = firmware.uefi()
    except QemuError as error:
        return Finding("UEFI firmware", State.MISSING, str(error), _package("ovmf"))
    return Finding("UEFI firmware", State.OK, str(found.code))


def _acceleration() -> Finding:
    device = Path("/dev/kvm")
    slow = "guests are emulated (TCG), which is some ten times slower"
    if not device.exists():
        return Finding("acceleration", State.NOTE, f"no {device}: {slow}", "switch virtualisation on in the firmware")
    if not os.access(device, os.R_OK | os.W_OK):
        remedy = "add your account to the group kvm and log in again"
        return Finding("acceleration", State.NOTE, f"{device} is not yours to open: {slow}", remedy)
    found = _last_probe()
    if found is None:
        return Finding("acceleration", State.OK, f"{device} can be opened; the first guest proves whether it works")
    if found["accel"] == accel.Accel.KVM:
        return Finding("acceleration", State.OK, f"KVM: {found['reason']}")
    return Finding("acceleration", State.NOTE, f"{found['reason']}; so {slow}", "nested virtualisation may be at fault")


def _last_probe() -> dict[str, str] | None:
    """The newest verdict on this machine's KVM since it booted; None where nobody asked yet."""
    known = paths.cache() / "acceleration.json"
    booted = time.time() - float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
    try:
        if known.stat().st_mtime < booted:
            return None
        verdicts: list[dict[str, str]] = list(json.loads(known.read_bytes()).values())
        return verdicts[-1] if verdicts else None
    except (OSError, ValueError, AttributeError):
        return None
