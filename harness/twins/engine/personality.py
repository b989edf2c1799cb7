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
        hot: whether disks come and go while the machine runs.
    """

    controller: str | None
    device: str
    units: int
    hot: bool = True


@dataclass(frozen=True, slots=True)
class Personality:
    """A kind of machine.

    Args:
        name: of the twin: ``vsphere``.
        machine: QEMU's machine type with its options.
        cpu: flags that every vCPU gets, ``-hypervisor``.
        smbios: ``-smbios`` tables by type, as fields; made from the machine's UUID.
        buses: disk buses by the front's word; the first is the default.
        nics: QEMU's NIC devices by the front's word; the first is the default.
        tools: the guest's services, any of which stands for the tools; their units.
        tools_package: the file whose presence proves that they are installed.
        memory_step: hot-added memory comes in multiples of this.
    """

    name: str
    machine: str
    cpu: str
    smbios: Callable[[str], Mapping[int, Mapping[str, str]]]
    buses: Mapping[str, Bus]
    nics: Mapping[str, str]
    tools: str
    tools_program: str
    memory_step: int = 128 << 20


def _vmware_smbios(uuid: str) -> Mapping[int, Mapping[str, str]]:
    digits = uuid.replace("-", "").lower()
    pairs = [digits[at : at + 2] for at in range(0, 32, 2)]
    serial = f"VMware-{' '.join(pairs[:8])}-{' '.join(pairs[8:])}"
    maker = "VMware, Inc."
    return {
        0: {"vendor": maker, "version": "VMW71.00V.0.B64"},
        1: {"manufacturer": maker, "product": "VMware7,1", "version": "None", "serial": serial},
        2: {"manufacturer": "Intel Corporation", "product": "440BX Desktop Reference Platform"},
    }


VMWARE = Personality(
    name="vsphere",
    machine="pc,vmport=on",
    cpu="-hypervisor",
    smbios=_vmware_smbios,
    buses={
        "pvscsi": Bus("pvscsi", "scsi-hd", 16),
        "lsisas": Bus("mptsas1068", "scsi-hd", 8),
        "lsilogic": Bus("lsi53c895a", "scsi-hd", 7),
        "sata": Bus("ich9-ahci", "ide-hd", 6, hot=False),
        "ide": Bus(None, "ide-hd", 2, hot=False),
    },
    nics={"vmxnet3": "vmxnet3", "e1000e": "e1000e", "e1000": "e1000"},
    tools="open-vm-tools.service",
    tools_program="/usr/bin/vmtoolsd",
)
"""A virtual machine of vSphere 7 or later."""
