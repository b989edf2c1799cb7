"""A machine of a host whose disk may run full."""

from __future__ import annotations

from harness.backends.kvm import qcow2
from harness.backends.kvm.base import HostAccess
from harness.backends.kvm.machine import KvmMachine
from harness.backends.kvm.scarce import Scarce
from harness.backends.model import DiskSpec, MachineSpec
from harness.backends.views import DiskView
from harness.core import Deadline


class ScarceMachine(KvmMachine):
    """The verbs of :class:`FullDisk`, besides all others."""

    def __init__(self, host: HostAccess, uuid: str, spec: MachineSpec, scarce: Scarce) -> None:
        super().__init__(host, uuid, spec)
        self._scarce = scarce

    def attach_scarce_disk(self, disk: DiskSpec, deadline: Deadline) -> DiskView:
        """A qcow2 file in the small file system, which grows as the guest writes."""
        self._scarce.check()
        path = self._scarce.new_disk(self._uuid, disk.serial)

        def make() -> str:
            qcow2.create(path, disk.size, self._host.name, deadline)
            return str(path)

        return self._attach(disk, make, deadline)

    def fill_host(self, deadline: Deadline) -> None:
        """By a file."""
        with self._lock:
            self._host.ledger.check()
            self._scarce.fill(self._uuid)

    def free_host(self, deadline: Deadline) -> None:
        """Libvirt leaves a machine that QEMU stopped for an I/O error to whoever made room."""
        with self._lock:
            self._scarce.free(self._uuid)
            if self._critical(deadline):
                self._act("resume", lambda domain: domain.resume(), deadline)
