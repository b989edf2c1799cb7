"""Data disks that come, go and grow."""

from __future__ import annotations

from collections.abc import Callable

import libvirt

from harness.backends.kvm import devices
from harness.backends.kvm.quiesce import Quiesce
from harness.backends.kvm.xml import Element, attribute, text
from harness.backends.model import DiskSpec, PowerState
from harness.backends.protocol import GuestIgnored
from harness.backends.views import DiskView
from harness.core import Deadline, Pending, Size, wait_for

MODEL = "virtio-blk"


class Disks(Quiesce):
    """The verbs of :class:`DiskPlug` and :class:`DiskResize`."""

    def attach_disk(self, disk: DiskSpec, deadline: Deadline) -> DiskView:
        """A qcow2 file beside the others, plugged into a spare PCIe port."""
        return self._attach(
            disk, lambda: self._host.places.add_disk(self._uuid, disk.serial, disk.size, deadline), deadline
        )

    def _attach(self, disk: DiskSpec, make: Callable[[], str], deadline: Deadline) -> DiskView:
        with self._lock:
            flags = self._flags("attach_disk", deadline)
            domain = self._xml(deadline, inactive=True)
            if devices.find_disk(domain, disk.serial) is not None:
                raise self._refused(f"a disk {disk.serial!r} is there already", "attach_disk")
            self._host.ledger.check()
            element = devices.disk(
                make(),
                devices.free_target(domain),
                serial=disk.serial,
                cache=self._host.kind.cache,
                sector=disk.sector,
            )
            self._act("attach_disk", lambda found: found.attachDeviceFlags(text(element), flags), deadline)
            return DiskView(disk.serial, disk.size, MODEL, disk.sector)

    def detach_disk(self, serial: str, deadline: Deadline) -> None:
        """Returns when QEMU says that the guest let go; the file is deleted unless a checkpoint needs it."""
        with self._lock:
            flags = self._flags("detach_disk", deadline)
            element = devices.find_disk(self._xml(deadline, inactive=True), serial)
            if element is None:
                return
            self._act("detach_disk", lambda found: found.detachDeviceFlags(text(element), flags), deadline)
            if flags & libvirt.VIR_DOMAIN_AFFECT_LIVE:
                wait_for(
                    f"{self._spec.name} to let go of the disk {serial}",
                    lambda: (
                        Pending("it still holds it")
                        if devices.find_disk(self._xml(deadline), serial) is not None
                        else True
                    ),
                    deadline,
                    fault=lambda message: GuestIgnored(message, host=self._host.name, operation="detach_disk"),
                )
            self._sweep(deadline)

    def resize_disk(self, serial: str, size: Size, deadline: Deadline) -> None:
        """``virsh blockresize``; a running guest is told at once."""
        with self._lock:
            self._require("resize_disk", deadline, PowerState.RUNNING)
            element = self._find(self._xml(deadline), serial, "resize_disk")
            target = attribute(element, "target", "dev")
            now = self._capacity(target, deadline)
            if size < now:
                raise self._refused(f"{serial} has {now}; a disk does not shrink to {size}", "resize_disk")
            # QEMU takes any size, and shows the guest as many whole sectors as are in it.
            if size % (sector := devices.sector_of(element)):
                raise self._refused(f"{serial}: {int(size)} bytes are no whole sectors of {sector}", "resize_disk")
            self._act(
                "resize_disk",
                lambda found: found.blockResize(target, int(size), libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES),
                deadline,
            )

    def _let_go(self, serial: str, deadline: Deadline) -> bool | Pending:
        present = devices.find_disk(self._xml(deadline), serial) is not None
        return Pending("it still holds it") if present else True

    def _capacity(self, target: str, deadline: Deadline) -> Size:
        return Size(self._ask("size", lambda found: found.blockInfo(target)[0], deadline))

    def _disk_views(self, domain: Element, deadline: Deadline) -> tuple[DiskView, ...]:
        return tuple(
            DiskView(
                disk.findtext("serial") or "",
                self._capacity(attribute(disk, "target", "dev"), deadline),
                MODEL,
                devices.sector_of(disk),
            )
            for disk in devices.data_disks(domain)
        )

    def _find(self, domain: Element, serial: str, verb: str) -> Element:
        found = devices.find_disk(domain, serial)
        if found is None:
            raise self._refused(f"there is no disk {serial!r}", verb)
        return found

    def _flags(self, verb: str, deadline: Deadline) -> int:
        state = self._require(verb, deadline, PowerState.RUNNING, PowerState.OFF)
        live = libvirt.VIR_DOMAIN_AFFECT_LIVE if state is PowerState.RUNNING else 0
        return int(libvirt.VIR_DOMAIN_AFFECT_CONFIG | live)
