"""Which capabilities a Hyper-V host has with a machine of some shape."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from harness.backends.capabilities import Capability
from harness.backends.model import Firmware, Shape

_ALWAYS = frozenset(
    {
        Capability.BIOS,
        Capability.UEFI,
        Capability.LINKED_CLONE,
        Capability.DISK_HOT_ADD,
        Capability.DISK_RESIZE,
        Capability.SECTORS_4K,
        Capability.LINK_STATE,
        Capability.PAUSE,
        Capability.SAVE,
        Capability.CHECKPOINT,
        Capability.CHECKPOINT_WITH_MEMORY,
        Capability.QUIESCE,
        Capability.SHUTDOWN,
        Capability.HEARTBEAT,
        Capability.EXCHANGE,
        Capability.FILE_COPY,
        Capability.SERVICE_TOGGLE,
        Capability.SCREENSHOT,
        Capability.NMI,
        Capability.HOST_EVENTS,
        Capability.HOST_CLOCK,
        Capability.CONSOLE_INPUT,
        Capability.PEER_NETWORK,
        Capability.VLAN,
        Capability.VLAN_TRUNK,
        Capability.NUMA,
    }
)


def abilities(shape: Shape, *, twin: bool, memory: bool = True) -> AbstractSet[Capability]:
    """What a host can do with such a machine. No vCPU is ever added or taken away while it runs.

    Args:
        shape: what a test asks for.
        twin: whether a twin stands in for the host.
        memory: whether checkpoints hold it: standard ones do.
    """
    can = set(_ALWAYS)
    if shape.firmware is Firmware.UEFI:
        can.add(Capability.NIC_HOT_ADD)  # generation 1 takes NICs only while it is off
    else:
        can.add(Capability.LEGACY_NIC)
    if shape.max_memory and shape.max_memory > shape.memory:
        can.add(Capability.MEMORY_HOT_ADD)
    if not memory:
        can.remove(Capability.CHECKPOINT_WITH_MEMORY)
    if not twin:
        can |= {Capability.MULTIQUEUE, Capability.OFFLOAD, Capability.PTP, Capability.VMBUS}
    return frozenset(can)
