"""The guest as a whole: what it believes it runs on, how it started, who it is, what its clocks are."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from harness.backends.model import Firmware
from harness.core import Deadline, Pending, wait_for
from harness.guest.kernel import parse_line
from harness.guest.probe import Probe

if TYPE_CHECKING:
    from harness.guest.guest import Guest

_DMI = "/sys/class/dmi/id"
_CLOCKSOURCE = "/sys/devices/system/clocksource/clocksource0"
_RTC = "/sys/class/rtc/rtc0"
_PHASES = ("firmware", "loader", "kernel", "initrd", "userspace")
_UNITS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True)
class Dmi:
    """What the firmware says of the machine (SMBIOS): empty words where it says nothing."""

    vendor: str
    product: str
    bios_vendor: str
    serial: str
    uuid: str


@dataclass(frozen=True, slots=True)
class Clocksource:
    """What the kernel tells the time by, and what else it could use."""

    current: str
    available: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rtc:
    """The battery clock.

    Args:
        since_epoch: its time in whole seconds, if it counts UTC.
        name: its driver and device.
    """

    since_epoch: int
    name: str


@dataclass(frozen=True, slots=True)
class OsRelease:
    """Which distribution this is: os-release(5)."""

    name: str
    pretty_name: str
    version_id: str


@dataclass(frozen=True, slots=True)
class Names:
    """What the kernel calls itself and its machine: uname(2).

    Args:
        host: the host name.
        fqdn: with its domain, where it can be resolved; else the host name.
        kernel: the kernel's release.
        architecture: the machine's, such as ``x86_64``.
    """

    host: str
    fqdn: str
    kernel: str
    architecture: str


@dataclass(frozen=True, slots=True)
class ParavirtualDevice:
    """A device that exists only in virtual machines.

    Args:
        bus: ``virtio``, ``vmbus``, or ``pci`` for those of VMware.
        name: its name on that bus.
        driver: what is bound to it; None when nothing is.
    """

    bus: str
    name: str
    driver: str | None


def parse_dmi(files: Mapping[str, bytes]) -> Dmi:
    """The files below ``/sys/class/dmi/id``."""

    def word(name: str) -> str:
        return files.get(f"{_DMI}/{name}", b"").decode("utf-8", "backslashreplace").strip()

    return Dmi(
        word("sys_vendor"), word("product_name"), word("bios_vendor"), word("product_serial"), word("product_uuid")
    )


def parse_clocksource(files: Mapping[str, bytes]) -> Clocksource:
    """The files of the one clocksource device."""
    available = files[f"{_CLOCKSOURCE}/available_clocksource"].decode("ascii").split()
    return Clocksource(parse_line(files[f"{_CLOCKSOURCE}/current_clocksource"]), tuple(available))


def parse_rtc(files: Mapping[str, bytes]) -> Rtc:
    """The files of the first RTC."""
    return Rtc(int(files[f"{_RTC}/since_epoch"]), parse_line(files[f"{_RTC}/name"]))


def parse_firmware(data: bytes) -> Firmware:
    """``efi`` or ``bios``, as the shell found the directory or did not."""
    return {b"efi": Firmware.UEFI, b"bios": Firmware.BIOS}[data.strip()]


_OS_RELEASE = 64 << 10
_TIMES = 1000
"""Bytes: of a line without end the pattern would be sought at each letter, to the end each time."""


def parse_boot_times(data: bytes) -> dict[str, timedelta] | None:
    """``systemd-analyze time``: the phases that it names; None while the guest is still booting."""
    text = data[:_TIMES].decode("utf-8", "backslashreplace")
    if "not yet finished" in text or not text.strip():
        return None
    phases = {}
    for phase in _PHASES:
        found = re.search(rf"((?:\d+h )?(?:\d+min )?(?:[\d.]+m?s)) \({phase}\)", text)
        if found:
            phases[phase] = _span(found[1])
    if "kernel" not in phases or "userspace" not in phases:
        raise ValueError("kernel and userspace are not both named")
    return phases


def _span(text: str) -> timedelta:
    return timedelta(
        seconds=sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"([\d.]+)(ms|min|s|h)", text))
    )


def parse_machine_id(data: bytes) -> str:
    """``/etc/machine-id``, machine-id(5)."""
    text = parse_line(data)
    if not re.fullmatch(r"[0-9a-f]{32}", text):
        raise ValueError("a machine id has 32 hexadecimal digits")
    return text


def parse_build_id(data: bytes | None) -> str | None:
    """The image's build id; None for an image without one."""
    return None if data is None else parse_line(data)


def parse_host_keys(files: Mapping[str, bytes]) -> frozenset[str]:
    """The public halves of the ssh server's host keys, without their comments."""
    keys = frozenset(b" ".join(content.split()[:2]).decode("ascii") for content in files.values())
    if not keys or not all(re.fullmatch(r"[\w@.-]+ [A-Za-z0-9+/=]+", key) for key in keys):
        raise ValueError("no public keys")
    return keys


def parse_os_release(data: bytes) -> OsRelease:
    """``NAME=value`` a line, the value quoted as for a shell."""
    if len(data) > _OS_RELEASE:
        raise ValueError(f"{len(data)} bytes are no os-release")
    values = {}
    for line in data.decode("utf-8", "backslashreplace").splitlines():
        name, assigned, value = line.partition("=")
        if assigned and not line.startswith("#"):
            values[name.strip()] = "".join(shlex.split(value))
    # A rolling distribution has no VERSION_ID.
    return OsRelease(values["NAME"], values["PRETTY_NAME"], values.get("VERSION_ID", ""))


def parse_names(data: bytes) -> Names:
    """Host name, kernel and architecture, then the full name where there is one: a line each."""
    host, kernel, architecture, *full = data.decode("utf-8", "backslashreplace").splitlines()
    return Names(host, full[0] if full and full[0] else host, kernel, architecture)


def parse_paravirtual(data: bytes) -> tuple[ParavirtualDevice, ...]:
    """One line a device: its bus, its name, and its driver where it has one."""
    devices = []
    for line in data.decode("utf-8", "surrogateescape").splitlines():
        bus, name, *driver = line.split()
        devices.append(ParavirtualDevice(bus, name, driver[0] if driver else None))
    return tuple(devices)


# 0x15ad is VMware's PCI vendor id: its devices have no bus of their own. Bridges (class 0x06) need no driver.
_LIST_PARAVIRTUAL = """
list() {
    driver=$(readlink "$2/driver")
    echo "$1 ${2##*/} ${driver##*/}"
}
for device in /sys/bus/virtio/devices/*; do [ -e "$device" ] && list virtio "$device"; done
for device in /sys/bus/vmbus/devices/*; do [ -e "$device" ] && list vmbus "$device"; done
for device in /sys/bus/pci/devices/*; do
    [ -e "$device/vendor" ] && read -r vendor <"$device/vendor" && read -r class <"$device/class" || continue
    case $vendor/$class in 0x15ad/0x06*) ;; 0x15ad/*) list pci "$device" ;; esac
done
true
"""

# A container or a bare machine is "none", with status 1.
VIRT = Probe("systemd-detect-virt", ("systemd-detect-virt", "--vm"), parse_line, accept=(0, 1))
DMI = Probe.files(
    "DMI",
    parse_dmi,
    *(f"{_DMI}/{name}" for name in ("sys_vendor", "product_name", "bios_vendor", "product_serial", "product_uuid")),
)
OS_RELEASE = Probe.file("/etc/os-release", parse_os_release)
NAMES = Probe(
    "names", ("sh", "-c", "uname -n && uname -r && uname -m && { hostname --fqdn 2>/dev/null || true; }"), parse_names
)
FIRMWARE = Probe(
    "firmware", ("sh", "-c", "if [ -d /sys/firmware/efi ]; then echo efi; else echo bios; fi"), parse_firmware
)
BOOT_TIMES = Probe("boot times", ("systemd-analyze", "time"), parse_boot_times, accept=(0, 1))
BUILD_ID = Probe.maybe_file("/etc/interop-build-id", parse_build_id, name="build id")
MACHINE_ID = Probe.file("/etc/machine-id", parse_machine_id, name="machine id")
HOST_KEYS = Probe.files("ssh host keys", parse_host_keys, "/etc/ssh/ssh_host_*_key.pub")
CLOCKSOURCE = Probe.files("clocksource", parse_clocksource, f"{_CLOCKSOURCE}/*_clocksource")
RTC = Probe.files("RTC", parse_rtc, f"{_RTC}/since_epoch", f"{_RTC}/name")
PARAVIRTUAL = Probe("paravirtual devices", ("sh", "-c", _LIST_PARAVIRTUAL), parse_paravirtual)


class System:
    """The guest as a whole. Every call reads afresh."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest

    def virt(self) -> str:
        """What systemd believes it runs on (``kvm``, ``microsoft``, ``vmware``, ``qemu``): ``systemd-detect-virt``."""
        return self._guest.read(VIRT)

    def dmi(self) -> Dmi:
        """What the firmware says of the machine: ``/sys/class/dmi/id``."""
        return self._guest.read(DMI)

    def firmware(self) -> Firmware:
        """UEFI if and only if the kernel was started by it: ``/sys/firmware/efi``."""
        return self._guest.read(FIRMWARE)

    def boot_times(self, deadline: Deadline) -> dict[str, timedelta]:
        """How long each phase of this boot took: ``systemd-analyze time``; waits until systemd says it is done.

        Raises:
            AssertionError: it never did.
        """

        def finished() -> dict[str, timedelta] | Pending:
            return self._guest.read(BOOT_TIMES) or Pending("systemd says that it is still starting")

        return wait_for(f"the end of {self._guest.name}'s boot", finished, deadline, fault=AssertionError)

    def os_release(self) -> OsRelease:
        """Which distribution this is: ``/etc/os-release``."""
        return self._guest.read(OS_RELEASE)

    def names(self) -> Names:
        """Host name, kernel and architecture: ``uname``, and ``hostname --fqdn``."""
        return self._guest.read(NAMES)

    def build_id(self) -> str | None:
        """Which build of the image this is: ``/etc/interop-build-id``; None for an image without one."""
        return self._guest.read(BUILD_ID)

    def machine_id(self) -> str:
        """This installation's identity: ``/etc/machine-id``."""
        return self._guest.read(MACHINE_ID)

    def host_keys(self) -> frozenset[str]:
        """The ssh server's public host keys: ``/etc/ssh/ssh_host_*_key.pub``."""
        return self._guest.read(HOST_KEYS)

    def clocksource(self) -> Clocksource:
        """What the kernel tells the time by: ``/sys/devices/system/clocksource/clocksource0``."""
        return self._guest.read(CLOCKSOURCE)

    def rtc(self) -> Rtc:
        """The battery clock, read now: ``/sys/class/rtc/rtc0``."""
        return self._guest.read(RTC)

    def paravirtual_devices(self) -> tuple[ParavirtualDevice, ...]:
        """Devices of the hypervisor's own kind: ``/sys/bus/{virtio,vmbus}/devices``, and VMware's on PCI."""
        return self._guest.read(PARAVIRTUAL)
