"""vCPUs and memory: set while off, added (and vCPUs removed) while running; and the balloon."""

from __future__ import annotations

from typing import Any

import libvirt

from harness.backends.kvm import devices
from harness.backends.kvm.base import MachineBase
from harness.backends.kvm.xml import Element, attribute, change, drop, number, parse, text
from harness.backends.model import PowerState
from harness.backends.protocol import GuestIgnored
from harness.core import Deadline, LabError, Pending, Size, wait_for

_CONFIG, _LIVE = libvirt.VIR_DOMAIN_AFFECT_CONFIG, libvirt.VIR_DOMAIN_AFFECT_LIVE


class Sizes(MachineBase):
    """The verb :meth:`Machine.resize`: CPU_HOT_ADD, CPU_HOT_REMOVE, MEMORY_HOT_ADD; and those of :class:`Ballooning`.

    QEMU 7.2 under TCG takes a vCPU away and never says so: the vCPU's own memory regions keep its object alive, so
    DEVICE_DELETED does not come, libvirt goes on counting it, and saving the machine hangs from then on. A vCPU that is
    added there is reset once more after its thread may run (``device_set_realized``), and is not halted for an instant
    of that (``cpu_common_reset``): in about one guest of ten it ran the firmware, which resets the whole machine. So it
    stands still meanwhile.
    """

    def resize(self, deadline: Deadline, *, vcpus: int | None = None, memory: Size | None = None) -> None:
        """Both parts are checked before either is done; how many vCPUs are too many, libvirt says."""
        with self._lock:
            state = self._require("resize", deadline, PowerState.OFF, PowerState.RUNNING)
            if vcpus is not None and vcpus < 1:
                raise self._refused(f"{vcpus} vCPUs", "resize")
            if state is PowerState.OFF:
                self._resize_off(vcpus, memory, deadline)
                return
            domain = self._xml(deadline)
            if vcpus is not None and vcpus < self._vcpus(domain) and not self._host.kind.kvm:
                raise self._refused("QEMU's emulation cannot take vCPUs from a running machine", "resize")
            growth = None if memory is None else int(memory) - (number(domain, "memory") << 10)
            if growth is not None and growth < 0:
                raise self._refused("memory cannot be taken from a running machine", "resize")
            if growth and domain.find("maxMemory") is None:
                raise self._refused("the machine was made without room for more memory", "resize")
            if vcpus is not None:
                self._set_vcpus(vcpus, deadline)
            if growth:
                module = text(devices.memory_module(Size(growth)))
                self._act("resize", lambda found: found.attachDeviceFlags(module, _LIVE | _CONFIG), deadline)

    def balloon(self, memory: Size, deadline: Deadline) -> None:
        """``virsh setmem --live``: virtio-balloon is told, and the guest's driver does it in its own time."""
        with self._lock:
            self._require("balloon", deadline, PowerState.RUNNING)
            has = Size(number(self._xml(deadline), "memory") << 10)
            if not 0 < memory <= has:
                raise self._refused(f"{memory}; the machine has {has}", "balloon")
            self._act("balloon", lambda found: found.setMemoryFlags(memory.kib, _LIVE), deadline)

    def assigned(self, deadline: Deadline) -> Size:
        """``actual`` of ``virsh dommemstat``: what QEMU's balloon device says."""
        self._require("assigned", deadline, PowerState.RUNNING)
        return Size(int(self._ask("assigned", lambda found: found.memoryStats(), deadline)["actual"]) << 10)

    @staticmethod
    def _vcpus(domain: Element) -> int:
        return int(attribute(domain, "vcpu", "current") or number(domain, "vcpu"))

    def _set_vcpus(self, vcpus: int, deadline: Deadline) -> None:
        def seen() -> int:
            return int(self._ask("resize", lambda found: found.vcpusFlags(_LIVE), deadline))

        try:
            self._act("resize", lambda found: self._set_live(found, vcpus), deadline)
        except LabError as error:
            if "unplug request timed out" not in error.message:
                raise  # libvirt waits 5 s for the guest; a slow one is given until the deadline
        wait_for(
            f"{self._spec.name} to have {vcpus} vCPUs",
            lambda: True if (now := seen()) == vcpus else Pending(f"it has {now}"),
            deadline,
            every=0.25,
            fault=lambda message: GuestIgnored(message, host=self._host.name, operation="resize"),
        )
        self._act("resize", lambda found: found.setVcpusFlags(vcpus, _CONFIG), deadline)

    def _set_live(self, found: Any, vcpus: int) -> None:
        """Under emulation while nothing runs: see the class."""
        if self._host.kind.kvm:
            found.setVcpusFlags(vcpus, _LIVE)
            return
        found.suspend()
        try:
            found.setVcpusFlags(vcpus, _LIVE)
        finally:
            found.resume()

    def _resize_off(self, vcpus: int | None, memory: Size | None, deadline: Deadline) -> None:
        def work(connection: Any) -> None:
            found = connection.lookupByUUIDString(self._uuid)
            domain = parse(found.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE))
            if vcpus is not None:
                change(domain, "vcpu", str(max(vcpus, number(domain, "vcpu"))), current=str(vcpus))
            if memory is not None:
                drop(domain, "devices/memory")
                for tag in ("memory", "currentMemory"):
                    change(domain, tag, str(memory.kib), unit="KiB")
            connection.defineXML(text(domain))

        self._host.ledger.check()
        self._host.connection.call("resize", work, deadline)
