"""Which capabilities a libvirt host has with a machine of some shape."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from harness.backends.capabilities import Capability
from harness.backends.kvm.domain import HostKind
from harness.backends.model import Firmware, Shape

_ALWAYS = frozenset(
    {
        Capability.BIOS,
        Capability.TOPOLOGY,
        Capability.NUMA,
        Capability.LINKED_CLONE,
        Capability.DISK_HOT_ADD,
        Capability.DISK_RESIZE,
        Capability.SECTORS_4K,
        Capability.NIC_HOT_ADD,
        Capability.LINK_STATE,
        Capability.PAUSE,
        Capability.SAVE,
        Capability.SHUTDOWN,
        Capability.HEARTBEAT,
        Capability.EXCHANGE,
        Capability.FILE_COPY,
        Capability.SCREENSHOT,
        Capability.NMI,
        Capability.HOST_EVENTS,
        Capability.CONSOLE_INPUT,
        Capability.LEGACY_NIC,
        Capability.PEER_NETWORK,
        Capability.MTU,
        Capability.CHECKPOINT,
        Capability.CHECKPOINT_WITH_MEMORY,
        Capability.QUIESCE,
        Capability.DYNAMIC_MEMORY,
    }
)


def abilities(shape: Shape, host: HostKind) -> AbstractSet[Capability]:
    """What the host can do with such a machine; sizes that may grow need room kept by the shape."""
    can = set(_ALWAYS)
    there = {Capability.UEFI: host.uefi, Capability.FULL_DISK: host.scarce, Capability.HOST_CLOCK: host.clock}
    can |= {capability for capability, has in there.items() if has}
    if shape.max_vcpus and shape.max_vcpus > shape.vcpus:
        if host.kvm or host.embedded:
            # Emulated vCPUs that are added live only where all share a thread (harness.qemu.accel.option), which no
            # daemon's libvirt can be asked for.
            can.add(Capability.CPU_HOT_ADD)
        if host.kvm:
            # An emulated CPU that the guest gave back is unplugged, but QEMU never says so (DEVICE_DELETED comes for
            # its local APIC alone, seen with 7.2), so libvirt shows it for ever.
            can.add(Capability.CPU_HOT_REMOVE)
    if shape.max_memory and shape.max_memory > shape.memory:
        can.add(Capability.MEMORY_HOT_ADD)
    if host.embedded:
        # The harness's own switch; Linux bridges take no VLAN from libvirt.
        can |= {Capability.VLAN, Capability.VLAN_TRUNK}
    else:
        can |= {
            Capability.MULTIQUEUE,
            Capability.OFFLOAD,
        }  # a tap with vnet headers; user and udp netdevs have one queue and none
        if shape.firmware is Firmware.UEFI:
            can -= {Capability.CHECKPOINT, Capability.CHECKPOINT_WITH_MEMORY, Capability.QUIESCE}
    if host.kvm:
        can |= {Capability.STEAL, Capability.PTP}
    elif shape.topology and shape.topology.threads > 1:
        can.discard(Capability.TOPOLOGY)  # the emulated CPU has no TOPOEXT: Linux takes its threads for cores
    return frozenset(can)
