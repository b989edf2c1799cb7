"""The VMBus of a guest on Hyper-V: its devices, their drivers and channels, and the version that both sides speak.

Linux, Documentation/ABI/stable/sysfs-bus-vmbus, and ``drivers/hv/vmbus_drv.c`` for what that page leaves out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.guest.probe import Probe

if TYPE_CHECKING:
    from harness.guest.guest import Guest

_DEVICES = "/sys/bus/vmbus/devices"
_VERSION = re.compile(r"hv_vmbus: .*Vmbus version: ?(\d+(?:\.\d+)+)")
_GUID = re.compile(r"\{?([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\}?")


@dataclass(frozen=True, slots=True)
class Channel:
    """One way between a device and its host.

    Args:
        relid: its number on the bus.
        cpu: the CPU that the host interrupts for it.
        interrupts: how often the host did so; None before Linux 4.14, which does not count.
        events: how often the guest told the host that something waits; None as before.
    """

    relid: int
    cpu: int
    interrupts: int | None = None
    events: int | None = None


@dataclass(frozen=True, slots=True)
class Ring:
    """One direction of a device's first channel.

    Args:
        masked: whether its reader asked not to be interrupted.
        waiting: bytes that were written and not read yet.
        free: bytes that can be written.
    """

    masked: bool
    waiting: int
    free: int


@dataclass(frozen=True, slots=True)
class VmbusDevice:
    """A device that the host offers.

    Args:
        name: its folder's name; since Linux 4.17 its own GUID.
        class_id: what it is: a GUID in lower case without braces.
        driver: who drives it; None where nobody does.
        channels: all of it, the first one first.
        inbound: what the host writes; None before the channel is open.
        outbound: what the guest writes.
    """

    name: str
    class_id: str
    driver: str | None
    channels: tuple[Channel, ...] = ()
    inbound: Ring | None = None
    outbound: Ring | None = None

    @property
    def cpus(self) -> tuple[int, ...]:
        """The CPUs of its channels, one each."""
        return tuple(channel.cpu for channel in self.channels)


def parse_devices(files: Mapping[str, bytes]) -> tuple[VmbusDevice, ...]:
    """The files of ``/sys/bus/vmbus/devices``, by path.

    The kernel's own words of a driver stand in ``uevent`` (``DRIVER=``, ``drivers/base/core.c``).
    """
    folders: dict[str, dict[str, str]] = {}
    for path, content in files.items():
        name, _, file = path.removeprefix(f"{_DEVICES}/").partition("/")
        folders.setdefault(name, {})[file] = content.decode("ascii").strip()
    return tuple(_device(name, found) for name, found in sorted(folders.items()))


def _device(name: str, files: Mapping[str, str]) -> VmbusDevice:
    guid = _GUID.fullmatch(files["class_id"].lower())
    if not guid:
        raise ValueError(f"{files['class_id']!r} is no GUID")
    told = dict(line.partition("=")[::2] for line in files.get("uevent", "").splitlines())
    channels = []
    for line in files.get("channel_vp_mapping", "").splitlines():
        relid, cpu = (int(word) for word in line.split(":"))
        counted = [files.get(f"channels/{relid}/{what}") for what in ("interrupts", "events")]
        channels.append(Channel(relid, cpu, *(None if count is None else int(count) for count in counted)))
    return VmbusDevice(
        name, guid[1], told.get("DRIVER") or None, tuple(channels), _ring(files, "in"), _ring(files, "out")
    )


def _ring(files: Mapping[str, str], way: str) -> Ring | None:
    words = [files.get(f"{way}_{what}") for what in ("intr_mask", "read_bytes_avail", "write_bytes_avail")]
    mask, waiting, free = (None if word is None else int(word) for word in words)
    return None if mask is None or waiting is None or free is None else Ring(bool(mask), waiting, free)


DEVICES = Probe.files(
    "VMBus devices",
    parse_devices,
    *(
        f"{_DEVICES}/*/{file}"
        for file in (
            *("class_id", "uevent", "channel_vp_mapping", "in_*", "out_*"),
            *("channels/*/interrupts", "channels/*/events"),
        )
    ),
)
"""Every device with its driver, channels and rings, for one process in the guest."""


class Vmbus:
    """The VMBus of a guest: empty where there is none. Every call reads afresh."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest

    def devices(self) -> tuple[VmbusDevice, ...]:
        """What the host offers: ``/sys/bus/vmbus/devices``."""
        return self._guest.read(DEVICES)

    def of_class(self, class_id: str) -> tuple[VmbusDevice, ...]:
        """The devices of one kind, by its GUID."""
        return tuple(device for device in self.devices() if device.class_id == class_id)

    def vacate(self, cpu: int) -> tuple[VmbusDevice, ...]:
        """Move every channel away from a CPU that is to go out of service: to the first, which stays for ever.

        The kernel keeps a CPU that channels are bound to (``drivers/hv/hv.c``, ``hv_synic_cleanup``: EBUSY), and moves
        one by ``/sys/bus/vmbus/devices/*/channels/*/cpu``: since Linux 5.8, with a host that speaks VMBus 4.1.

        Args:
            cpu: any but the first.

        Returns:
            The devices that have a channel there still.
        """
        bound = [
            f"{_DEVICES}/{device.name}/channels/{channel.relid}/cpu"
            for device in self.devices()
            for channel in device.channels
            if channel.cpu == cpu
        ]
        for path in bound:
            self._guest.run(["tee", path], stdin=b"0\n", check=False)
        return tuple(device for device in self.devices() if cpu in device.cpus) if bound else ()

    def versions(self) -> tuple[str, ...]:
        """The versions of the protocol that the kernel's log says were agreed on: one, where all is well."""
        found = (_VERSION.search(message.text) for message in self._guest.kernel.log())
        return tuple(match[1] for match in found if match)
