"""A machine: all its concerns together, and its end."""

from __future__ import annotations

from typing import Any

import libvirt

from harness.backends.kvm import devices
from harness.backends.kvm.base import switch_off
from harness.backends.kvm.evidence import Evidence
from harness.backends.kvm.sizes import Sizes
from harness.backends.views import ResourceKind
from harness.core import Deadline

_EVERYTHING = (
    libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
    | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
)


class KvmMachine(Evidence, Sizes):
    """A domain of ours."""

    def destroy(self, deadline: Deadline) -> None:
        """The domain first, then its files: a half-done removal still has its mark."""
        with self._lock:
            self._host.ledger.check()
            self._hang_up()
            checkpoints = self._host.connection.call("destroy", self._checkpoints_left, deadline)
            self._host.connection.call("destroy", lambda connection: undefine(connection, self._uuid), deadline)
            for nic in self._spec.nics:
                self._plug(devices.port(self._uuid, nic.mac), None)
            self._host.places.clear(self._uuid, deadline)
            self._host.events.forget(self._uuid)
            for name in checkpoints:
                self._host.ledger.gone(ResourceKind.CHECKPOINT, f"{self._uuid}/{name}")
            self._host.ledger.gone(ResourceKind.MACHINE, self._uuid)

    def _checkpoints_left(self, connection: Any) -> set[str]:
        """They go with the machine, and the journal shall know."""
        names = set(self._states.names())
        try:
            return names | {one.getName() for one in connection.lookupByUUIDString(self._uuid).listAllSnapshots()}
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                raise
            return names


def power_off(connection: Any, uuid: str) -> bool:
    """Switch a domain off; whether it was on."""
    domain = connection.lookupByUUIDString(uuid)
    was_on = bool(domain.isActive())
    if was_on:
        switch_off(domain)
    return was_on


def undefine(connection: Any, uuid: str) -> None:
    """Switch a domain off and forget it; no-op when there is none."""
    try:
        power_off(connection, uuid)
        connection.lookupByUUIDString(uuid).undefineFlags(_EVERYTHING)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
            raise
