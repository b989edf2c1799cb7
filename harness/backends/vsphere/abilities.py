"""Which capabilities an ESXi has with a machine of some shape."""

from __future__ import annotations

import re
from collections.abc import Iterable
from collections.abc import Set as AbstractSet

from harness.backends.capabilities import Capability
from harness.backends.model import Shape

_ALWAYS = frozenset(
    {
        Capability.BIOS,
        Capability.UEFI,
        Capability.LINKED_CLONE,
        Capability.DISK_HOT_ADD,
        Capability.DISK_RESIZE,
        Capability.NIC_HOT_ADD,
        Capability.LINK_STATE,
        Capability.SAVE,  # suspend, which is to disk: there is no pause
        Capability.CHECKPOINT,
        Capability.CHECKPOINT_WITH_MEMORY,
        Capability.QUIESCE,
        Capability.SHUTDOWN,
        Capability.HEARTBEAT,
        Capability.EXCHANGE,
        Capability.SERVICE_TOGGLE,  # of time synchronisation
        Capability.SCREENSHOT,
        Capability.NMI,
        Capability.HOST_EVENTS,
        Capability.HOST_CLOCK,
        Capability.LEGACY_NIC,
        Capability.PEER_NETWORK,
        Capability.OFFLOAD,  # of a twin's NICs, too: QEMU's vmxnet3 does the work where the network does not
    }
)


def abilities(shape: Shape, *, networks: Iterable[str], twin: bool, typed: bool = False) -> AbstractSet[Capability]:
    """What an ESXi can do with such a machine; sizes that may grow need room kept by the shape.

    vCPUs are never taken away: ``cpuHotRemoveEnabled`` exists, and no ESXi honours it for Linux.

    Args:
        shape: what a test asks for.
        networks: the names of the port groups that the ESXi has; see :func:`harness.backends.vsphere.networks.wanted`.
        twin: whether a twin stands in for the ESXi.
        typed: whether serial consoles are ports, not files.
    """
    can = set(_ALWAYS)
    if typed:
        can.add(Capability.CONSOLE_INPUT)
    if shape.topology is None or shape.topology.threads == 1:
        can.add(Capability.TOPOLOGY)  # a virtual core has one thread
    if shape.max_vcpus and shape.max_vcpus > shape.vcpus:
        can.add(Capability.CPU_HOT_ADD)
    else:
        can.add(Capability.NUMA)  # a machine that vCPUs may be added to is shown no nodes
    if shape.max_memory and shape.max_memory > shape.memory:
        can.add(Capability.MEMORY_HOT_ADD)
    names = list(networks)
    if any(re.search(r"-vlan\d+", name) for name in names):
        can.add(Capability.VLAN)
    if any(re.search(r"-mtu\d+", name) for name in names):
        can.add(Capability.MTU)
    if not twin:
        can.add(Capability.MULTIQUEUE)  # whatever comes to a twin's NIC comes by the first of its queues
    return frozenset(can)
