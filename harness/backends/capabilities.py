"""What a host may or may not be able to do, and which verb proves it.

The table below is the source of ``docs/capabilities.md``; ``tests/contract`` walks it.
"""

from __future__ import annotations

from enum import StrEnum


class Capability(StrEnum):
    """What a test may ask of a host. Where it is absent, the test is skipped with that reason."""

    BIOS = "boots by BIOS"
    UEFI = "boots by UEFI"
    TOPOLOGY = "sockets, cores and threads as asked"
    LINKED_CLONE = "system disks are linked clones of the image"
    CPU_HOT_ADD = "vCPUs added while running"
    CPU_HOT_REMOVE = "vCPUs removed while running"
    MEMORY_HOT_ADD = "memory added while running"
    DISK_HOT_ADD = "disks added and removed while running"
    DISK_RESIZE = "disks grown while running"
    SECTORS_4K = "data disks with sectors of 4096 bytes"
    FULL_DISK = "a disk of the host may run full"
    NIC_HOT_ADD = "NICs added and removed while running"
    LINK_STATE = "virtual cable pulled and plugged"
    PAUSE = "vCPUs stopped in memory and resumed"
    SAVE = "state saved to disk and restored"
    CHECKPOINT = "disk checkpoints and revert"
    CHECKPOINT_WITH_MEMORY = "checkpoints with memory and revert"
    SHUTDOWN = "guest asked to shut down or reboot"
    HEARTBEAT = "host sees whether integration services answer"
    EXCHANGE = "data exchanged with integration services"
    FILE_COPY = "files copied into the guest without network"
    SERVICE_TOGGLE = "integration services switched on and off"
    SCREENSHOT = "picture of the screen"
    NMI = "NMI injected"
    HOST_EVENTS = "host's own event record"
    HOST_CLOCK = "host's wall clock can be read"
    CONSOLE_INPUT = "serial console can be typed into"
    LEGACY_NIC = "emulated NIC"
    PEER_NETWORK = "guests share an L2 network"
    VLAN = "VLAN tags on virtual NICs"
    VLAN_TRUNK = "a NIC in several VLANs, tagged, and in one untagged"
    MTU = "jumbo frames"
    MULTIQUEUE = "NICs with several queues"
    OFFLOAD = "NIC checksum and segmentation offload"
    STEAL = "steal time reported to the guest"
    PTP = "host clock as a PTP device"
    VMBUS = "devices on Hyper-V's VMBus"
    NUMA = "virtual NUMA nodes"
    QUIESCE = "file systems frozen while a checkpoint is taken"
    DYNAMIC_MEMORY = "memory taken and given back while running, as much as asked"
    MIGRATE = "live migration between hosts"


NOT_YET: dict[Capability, str] = {
    Capability.MIGRATE: "no verb yet: needs two hosts that share storage",
}
"""What checks may ask for already and no backend provides, each with its reason."""
