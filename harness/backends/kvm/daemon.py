"""Opening a libvirt daemon, on this machine or on another: its own QEMU, its own firmware, volumes of its pool."""

from __future__ import annotations

from typing import Any

import libvirt

from harness.backends.kvm.base import HostAccess
from harness.backends.kvm.connection import Connection
from harness.backends.kvm.domain import HostKind
from harness.backends.kvm.events import EventLog
from harness.backends.kvm.settings import Settings
from harness.backends.kvm.volumes import Volumes
from harness.backends.kvm.xml import Element, parse
from harness.backends.registry import Context
from harness.core import Deadline


def access(settings: Settings, context: Context) -> HostAccess:
    """Everything a machine needs of a host behind a daemon.

    Raises:
        LabError: it refuses, does not answer in time, or has no such storage pool.
    """
    deadline = Deadline.after(settings.connect_seconds)
    events = EventLog()
    connection = Connection(settings.uri, context.host, events)
    emulated = connection.call("capabilities", lambda opened: _abilities(opened, settings, "qemu"), deadline)
    kvm, reason = None, "chosen in the lab file"
    if settings.accel != "tcg":
        kvm = connection.call("capabilities", lambda opened: _abilities(opened, settings, "kvm"), deadline)
        reason = "the host's libvirt offers KVM" if kvm is not None else "the host's libvirt offers no KVM"
    abilities = kvm if kvm is not None else emulated
    connection.call("storage", lambda opened: opened.storagePoolLookupByName(settings.storage), deadline)
    kind = HostKind(
        kvm=kvm is not None,
        emulator=settings.emulator,
        firmware=None,
        automatic_firmware=abilities is not None and "efi" in _firmwares(abilities),
        switch=None,
        cache=None,
        embedded=False,
        clock=settings.local or settings.clock is not None,
    )
    return HostAccess(
        name=context.host,
        connection=connection,
        kind=kind,
        places=Volumes(connection, settings.storage, context.owner, context.host),
        ledger=context.ledger,
        events=events,
        switch=None,
        root=None,
        notes={"acceleration": reason},
    )


def _abilities(connection: Any, settings: Settings, kind: str) -> Element | None:
    try:
        return parse(connection.getDomainCapabilities(settings.emulator, "x86_64", "q35", kind, 0))
    except libvirt.libvirtError as error:
        if error.get_error_code() in {libvirt.VIR_ERR_INVALID_ARG, libvirt.VIR_ERR_CONFIG_UNSUPPORTED}:
            return None  # this kind of virtualization is not there
        raise


def _firmwares(abilities: Element) -> list[str]:
    return [value.text or "" for value in abilities.iterfind("os/enum[@name='firmware']/value")]
