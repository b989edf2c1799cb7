"""Opening the embedded driver: a root of this process, files on this machine, the restricted emulator, the switch."""

from __future__ import annotations

from pathlib import Path

from harness.backends.kvm import orphans, roots
from harness.backends.kvm.base import HostAccess, lab_error
from harness.backends.kvm.connection import Connection
from harness.backends.kvm.domain import HostKind
from harness.backends.kvm.events import EventLog
from harness.backends.kvm.files import Files
from harness.backends.kvm.scarce import Scarce
from harness.backends.kvm.settings import Settings
from harness.backends.registry import Context
from harness.core import LabError, paths
from harness.core.process import need
from harness.qemu import QemuError, accel, firmware, restrict
from harness.qemu.switchboard import SwitchClient

_events: dict[str, EventLog] = {}


def access(settings: Settings, context: Context) -> HostAccess:
    """Everything a machine needs of an embedded host.

    Raises:
        LabError: QEMU is missing, the root is in use, the switch does not start, libvirt refuses.
    """
    only = Path(settings.root) if settings.root else None
    root = roots.take(context.scratch / "roots", only=only)
    emulator = Path(settings.emulator or need("qemu-system-x86_64", "qemu-system-x86"))
    # As the connection, for good: libvirt refuses a second listener for the same event.
    events = _events.setdefault(root.uri, EventLog())
    try:
        verdict = _accel(settings, context, emulator)
        switch = SwitchClient(paths.state() / "switch")
        wrapper = restrict.install(context.scratch / "bin", emulator)
    except QemuError as error:
        raise lab_error(error, context.host, "connect") from error
    flash = _firmware(settings)
    scarce = Scarce(settings.scarce, context.host) if settings.scarce else None
    if scarce:
        scarce.check()
    kind = HostKind(
        kvm=verdict.accel is accel.Accel.KVM,
        emulator=str(wrapper),
        firmware=(str(flash.code), str(flash.variables)) if flash else None,
        switch=switch.address,
        cache="unsafe",  # flushes survive QEMU's end, not this machine's; its crash ends the run anyway
        embedded=True,
        clock=True,
        scarce=scarce is not None,
    )
    if orphans.init_is_slow():
        orphans.adopt()
    return HostAccess(
        name=context.host,
        connection=Connection(root.uri, context.host, events),
        kind=kind,
        places=Files(root, context.scratch / "base", context.host, flash.variables if flash else None, scarce),
        ledger=context.ledger,
        events=events,
        switch=switch,
        root=root,
        scarce=scarce,
        # Saved machines hold the switch's address: a new one makes them useless.
        notes={"acceleration": verdict.reason, "peer switch": f"{switch.address[0]}:{switch.address[1]}"},
    )


def _accel(settings: Settings, context: Context, emulator: Path) -> accel.Verdict:
    if settings.accel != "auto":
        return accel.Verdict(accel.Accel(settings.accel), "chosen in the lab file")
    image = context.image
    kernel, initrd = (image.kernel, image.initrd) if image else (None, None)
    return accel.decide(emulator, kernel, initrd, paths.cache() / "acceleration.json")


def _firmware(settings: Settings) -> firmware.Firmware | None:
    if settings.firmware_code and settings.firmware_variables:
        return firmware.Firmware(Path(settings.firmware_code), Path(settings.firmware_variables))
    if settings.firmware_code or settings.firmware_variables:
        raise LabError("firmware_code and firmware_variables belong together; one is missing", operation="connect")
    try:
        return firmware.uefi()
    except QemuError:
        return None  # the host has BIOS alone, and says so by its capabilities
