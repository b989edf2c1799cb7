"""What the engine's machines look like under Hyper-V: data alone.

There is no VMBus in QEMU: synthetic devices are virtio's here, and results say that a twin showed them. DMI and the
absence of a floppy are Hyper-V's (Linux ``drivers/hv``, ``arch/x86/kernel/cpu/mshyperv.c`` look at CPUID, which TCG
and most KVM hosts cannot fake: a guest must not find a hypervisor that it would then miss).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from harness.twins.engine.personality import AGENT_MARK, Bus, Personality


def _smbios(release: str) -> dict[str, str]:
    return {
        "manufacturer": "Microsoft Corporation",
        "product": "Virtual Machine",
        "version": f"Hyper-V UEFI Release {release}" if release else "7.0",
        "family": "Virtual Machine" if release else "",
    }


def _tables(release: str, uuid: str) -> Mapping[int, Mapping[str, str]]:
    vendor = {"vendor": "Microsoft Corporation", "version": f"Hyper-V UEFI Release {release}"}
    old = {"vendor": "American Megatrends Inc.", "version": "090008"}
    serial = "-".join(f"{int(uuid.replace('-', '')[at : at + 3], 16):04d}" for at in range(0, 18, 3))
    system = {key: value for key, value in _smbios(release).items() if value}
    return {
        0: vendor if release else old,
        1: {**system, "serial": serial},
        2: {"manufacturer": "Microsoft Corporation", "product": "Virtual Machine"},
        3: {"manufacturer": "Microsoft Corporation", "asset": AGENT_MARK},
    }


def _first(uuid: str) -> Mapping[int, Mapping[str, str]]:
    return _tables("", uuid)


def _second(uuid: str) -> Mapping[int, Mapping[str, str]]:
    return _tables("v4.1", uuid)


_SCSI: Final = Bus("virtio-scsi-pci", "scsi-hd", 64, slot=3, controllers=4)

FIRST: Final = Personality(
    name="hyperv",
    machine="pc,usb=off",
    firmware="pc-i440fx-7.2",
    cpu="-hypervisor",
    smbios=_first,
    # Linux ignores ATA disks where DMI says Hyper-V (``piix_ignore_devices_quirk``), for hv_storvsc shows them there;
    # what shows them here is virtio. CDs stay ATAPI in both.
    buses={"ide": Bus("virtio-scsi-pci", "scsi-hd", 2, slot=8, controllers=2, hot=False), "scsi": _SCSI},
    nics={"synthetic": "virtio-net-pci", "legacy": "tulip"},
    nic_slot=16,
    nic_slots=8,
    spare_slots=(12, 13, 14, 15),
    uefi_bus="",
    cdrom={"driver": "ide-cd", "bus": "ide.1", "unit": 0},
    tools="hv-kvp-daemon.service",
    file_copy="hv-fcopy-daemon.service",
    quiesce="hv-vss-daemon.service",
    tools_wanted="/usr/lib/systemd/system",  # hyperv-daemons' udev rule wants it for /dev/vmbus/hv_kvp
    tools_version=(("/usr/bin/dpkg-query", "-W", "-f=${Version}", "hyperv-daemons"), ("/usr/bin/uname", "-r")),
    panic="pvpanic",  # in the place of the crash registers, which QEMU has for KVM alone
)
"""Generation 1: BIOS, IDE, and a legacy adapter that needs no driver of ours."""

SECOND: Final = Personality(
    name="hyperv",
    machine="pc,usb=off",
    firmware="pc-i440fx-7.2",
    cpu="-hypervisor",
    smbios=_second,
    buses={"scsi": _SCSI},
    nics={"synthetic": "virtio-net-pci"},
    nic_slot=16,
    nic_slots=8,
    spare_slots=(12, 13, 14, 15),
    uefi_bus="",
    cdrom={"driver": "ide-cd", "bus": "ide.1", "unit": 0},
    tools="hv-kvp-daemon.service",
    file_copy="hv-fcopy-daemon.service",
    quiesce="hv-vss-daemon.service",
    tools_wanted="/usr/lib/systemd/system",  # hyperv-daemons' udev rule wants it for /dev/vmbus/hv_kvp
    tools_version=(("/usr/bin/dpkg-query", "-W", "-f=${Version}", "hyperv-daemons"), ("/usr/bin/uname", "-r")),
    panic="pvpanic",  # in the place of the crash registers, which QEMU has for KVM alone
)
"""Generation 2: UEFI, SCSI."""
