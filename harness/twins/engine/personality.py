"""What QEMU must look like to pass for a machine of another hypervisor: data alone.

Sources: Linux ``arch/x86/kernel/cpu/vmware.c`` (DMI prefix ``VMware-`` and the backdoor port decide where no CPUID leaf
does), QEMU ``hw/scsi/vmw_pvscsi.c``, ``hw/net/vmxnet3.c``, ``hw/i386/vmport.c``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bus:
    """How disks of one kind hang on a machine.

    Args:
        controller: QEMU's device of the controller; None: the machine type has it.
        device: QEMU's device of a disk.
        units: how many a controller takes.
        slot: the PCI slot of controller 0; the others follow. The same machine has the same slots for ever, or no
            snapshot could be loaded into a new process.
        controllers: how many there may be.
        hot: whether disks come and go while the machine runs.
        apart: whether every disk but the first gets a controller to itself, in one of the spare slots. QEMU's pvscsi
            tells its guest of disks by a message ring that is not part of a snapshot (``vmstate_pvscsi``): after a
            revert nobody would hear. A controller that comes or goes along with its disk is always heard of.
    """

    controller: str | None
    device: str
    units: int
    slot: int = 0
    controllers: int = 1
    hot: bool = True
    apart: bool = False


@dataclass(frozen=True, slots=True)
class Personality:
    """A kind of machine.

    Args:
        name: of the twin: ``vsphere``.
        machine: QEMU's machine type with its options.
        firmware: a versioned machine type that UEFI descriptors are asked about.
        cpu: features that every vCPU gets or lacks, as QEMU's ``-cpu`` takes them.
        smbios: ``-smbios`` tables by type, as fields; made from the machine's UUID.
        buses: disk buses by the front's word; the first is the default, and its controller 0 is always there.
        nics: QEMU's NIC devices by the front's word; the first is the default.
        nic_slot: the PCI slot of NIC 0; the others follow.
        nic_slots: how many NICs there may be.
        spare_slots: PCI slots for controllers of single disks.
        uefi_bus: where the first disk hangs in a machine with UEFI, whatever it asked for; empty: as asked.
        cdrom: the drive: QEMU's device with its place.
        tools: the unit in the guest that stands for the tools.
        tools_version: programs in the guest that tell their version, with arguments; the first that does counts. Run
            once a boot. Their own (``vmtoolsd -v``) says nothing where it finds no channel.
        tools_wanted: the folder in the guest that has the unit when something starts it: a target's, or, where a udev
            rule starts it for a device that QEMU has not got, that of all units.
        file_copy: the unit in the guest that takes files from the host; empty: there is no such service.
        quiesce: the unit in the guest that freezes its file systems for the host; empty: the tools do.
        memory_step: hot-added memory comes in multiples of this.
        panic: QEMU's device by which a guest's kernel tells its host of a panic; empty: nobody asks it to.
    """

    name: str
    machine: str
    firmware: str
    cpu: str
    smbios: Callable[[str], Mapping[int, Mapping[str, str]]]
    buses: Mapping[str, Bus]
    nics: Mapping[str, str]
    nic_slot: int
    nic_slots: int
    spare_slots: tuple[int, ...]
    uefi_bus: str
    cdrom: Mapping[str, str | int]
    tools: str
    tools_version: tuple[tuple[str, ...], ...]
    tools_wanted: str = "/etc/systemd/system/multi-user.target.wants"
    file_copy: str = ""
    quiesce: str = ""
    memory_step: int = 128 << 20
    panic: str = ""


AGENT_MARK = "interop-serial-agent"
"""The chassis' asset tag by which the image knows that its agent is wanted on the second serial port."""


def _vmware_smbios(uuid: str) -> Mapping[int, Mapping[str, str]]:
    digits = uuid.replace("-", "").lower()
    pairs = [digits[at : at + 2] for at in range(0, 32, 2)]
    serial = f"VMware-{' '.join(pairs[:8])}-{' '.join(pairs[8:])}"
    maker = "VMware, Inc."
    return {
        0: {"vendor": maker, "version": "VMW71.00V.0.B64"},
        1: {"manufacturer": maker, "product": "VMware7,1", "version": "None", "serial": serial},
        2: {"manufacturer": "Intel Corporation", "product": "440BX Desktop Reference Platform"},
        3: {"manufacturer": "No Enclosure", "asset": AGENT_MARK},
    }


VMWARE = Personality(
    name="vsphere",
    machine="pc,vmport=on,usb=off",
    firmware="pc-i440fx-7.2",
    cpu="-hypervisor",
    smbios=_vmware_smbios,
    buses={
        "pvscsi": Bus("pvscsi", "scsi-hd", 16, slot=3, controllers=4, apart=True),
        "lsisas": Bus("mptsas1068", "scsi-hd", 8, slot=7, controllers=2, apart=True),
        "lsilogic": Bus("lsi53c895a", "scsi-hd", 7, slot=9, controllers=2, apart=True),
        "sata": Bus("ich9-ahci", "ide-hd", 6, slot=11, hot=False),
        "ide": Bus(None, "ide-hd", 2, hot=False),
    },
    nics={"vmxnet3": "vmxnet3", "e1000e": "e1000e", "e1000": "e1000"},
    nic_slot=16,
    nic_slots=10,
    spare_slots=(12, 13, 14, 15, 26, 27, 28, 29, 30, 31),
    uefi_bus="sata",  # distributions build OVMF without its pvscsi driver, and an NVMe disk of QEMU has no snapshots
    cdrom={"driver": "ide-cd", "bus": "ide.1", "unit": 0},
    tools="open-vm-tools.service",
    tools_version=(
        ("/usr/bin/dpkg-query", "-W", "-f=${Version}", "open-vm-tools"),
        ("/usr/bin/rpm", "-q", "--qf=%{VERSION}", "open-vm-tools"),
    ),
)
"""A virtual machine of vSphere 7 or later."""
