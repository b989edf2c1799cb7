"""Data disks that come, go and grow, by the serial they were asked by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.backends.model import DiskSpec, PowerState
from harness.backends.views import DiskView
from harness.backends.vsphere import devices, notes
from harness.backends.vsphere.base import MachineBase
from harness.backends.vsphere.collector import Values
from harness.backends.vsphere.devices import DEVICES
from harness.core import Deadline, Size

RUNNING, OFF = PowerState.RUNNING, PowerState.OFF


class Disks(MachineBase):
    """The verbs of :class:`DiskPlug`, :class:`DiskResize` and :class:`DiskNames`."""

    def attach_disk(self, disk: DiskSpec, deadline: Deadline) -> DiskView:
        """A thin VMDK beside the others, on the same SCSI controller."""
        devices.sectors_are_usual(disk, self._host.name, "attach_disk")
        with self._lock:
            _, values = self._look("attach_disk", deadline, (RUNNING, OFF), DEVICES, notes.EXTRA)
            if disk.serial in _data(values):
                raise self._refused(f"a disk {disk.serial!r} is there already", "attach_disk")
            controller = devices.scsi(values[DEVICES])
            if controller is None:
                raise self._refused("the machine has no SCSI controller", "attach_disk")
            unit = devices.free_unit(values[DEVICES], controller)
            made = devices.disk(disk.size, controller.key, unit, -1)
            self._reconfigure(
                "attach_disk",
                deadline,
                deviceChange=[devices.added(made, create=True)],
                extraConfig=[notes.disk_note(unit, disk.serial)],
            )
            return DiskView(disk.serial, disk.size, devices.DISK_MODEL)

    def detach_disk(self, serial: str, deadline: Deadline) -> None:
        """The file goes along, unless a snapshot still stands on it: then it goes with the machine."""
        with self._lock:
            _, values = self._look("detach_disk", deadline, (RUNNING, OFF), DEVICES, notes.EXTRA)
            found = _data(values).get(serial)
            if found is None:
                return
            kept = getattr(found.backing, "parent", None) is not None
            self._reconfigure(
                "detach_disk",
                deadline,
                deviceChange=[devices.removed(found, destroy=not kept)],
                extraConfig=[notes.disk_note(found.unitNumber, "")],
            )

    def resize_disk(self, serial: str, size: Size, deadline: Deadline) -> None:
        """The host tells a running guest of it."""
        with self._lock:
            _, values = self._look("resize_disk", deadline, (RUNNING, OFF), DEVICES, notes.EXTRA)
            found = _data(values).get(serial)
            if found is None:
                raise self._refused(f"there is no disk {serial!r}", "resize_disk")
            now = devices.size_of(found)
            if size < now:
                raise self._refused(f"{serial} has {now}; a disk does not shrink to {size}", "resize_disk")
            if size > now:
                found.capacityInBytes, found.capacityInKB = int(size), size.kib
                self._reconfigure("resize_disk", deadline, deviceChange=[devices.edited(found)])

    def disk_names(self, deadline: Deadline) -> Mapping[str, str]:
        """By what the guest reads (the VMDK's UUID, shown because of ``disk.EnableUUID``), the serial asked for."""
        values = self._read("disk_names", deadline, DEVICES, notes.EXTRA)
        return {devices.uuid_of(found): serial for serial, found in _data(values).items()}


def _data(values: Values) -> dict[str, Any]:
    return notes.data_disks(values.get(DEVICES) or (), notes.noted(values.get(notes.EXTRA)))
