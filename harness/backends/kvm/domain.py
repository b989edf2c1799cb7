"""The domain that a machine's spec becomes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from harness.backends.kvm import devices
from harness.backends.kvm.places import Parts
from harness.backends.kvm.xml import Element, mark, node
from harness.backends.model import Firmware, MachineSpec, Shape, Topology

SPARE_PORTS = 10
"""PCIe slots left free for disks and NICs that come while the guest runs (q35 has none otherwise)."""

_OWN_PORTS = 4
"""Of what every machine has: its system disk, the agent's port, balloon and random numbers."""

MODULE_SLOTS = 8


@dataclass(frozen=True, slots=True)
class HostKind:
    """What the domain has to know of its host.

    Args:
        kvm: whether KVM runs the vCPUs, else TCG.
        emulator: path of QEMU (or of the wrapper in its place); None: libvirt's own choice.
        firmware: UEFI code and template of its variables; None on hosts without UEFI.
        automatic_firmware: libvirt has UEFI to choose from by itself.
        switch: where the harness's own switch listens; None on hosts without it.
        cache: disk cache mode; ``unsafe`` where the host's crash would end the run anyway.
        embedded: whether the driver, and so every file and socket, is on this machine.
        clock: whether the host's clock can be read.
        scarce: whether it has a file system that may run full.
    """

    kvm: bool
    emulator: str | None
    firmware: tuple[str, str] | None
    switch: tuple[str, int] | None
    cache: str | None
    embedded: bool
    clock: bool
    automatic_firmware: bool = False
    scarce: bool = False

    @property
    def uefi(self) -> bool:
        """Whether guests may have it."""
        return self.firmware is not None or self.automatic_firmware


def build(spec: MachineSpec, uuid: str, parts: Parts, host: HostKind) -> Element:
    """The whole ``<domain>``.

    Raises:
        Refused: the host has no network of a kind the spec names.
    """
    shape = spec.shape
    memory = shape.max_memory and max(shape.max_memory, shape.memory)
    return node(
        "domain",
        None,
        node("name", spec.name),
        node("uuid", uuid),
        node("metadata", None, mark(spec)),
        node("maxMemory", memory >> 10, unit="KiB", slots=MODULE_SLOTS) if memory else None,
        node("memory", shape.memory.kib, unit="KiB"),
        node("vcpu", _most_vcpus(shape), placement="static", current=shape.vcpus),
        _boot(shape, parts, host),
        node("features", None, node("acpi"), node("apic")),
        _cpu(shape, host),
        _clock(host),
        node("on_poweroff", "destroy"),
        node("on_reboot", "restart"),
        node("on_crash", "preserve"),  # a panic stays visible as a state, and its memory and screen as evidence
        node("pm", None, node("suspend-to-mem", enabled="no"), node("suspend-to-disk", enabled="no")),
        _devices(spec, uuid, parts, host),
        type="kvm" if host.kvm else "qemu",
    )


def _most_vcpus(shape: Shape) -> int:
    return max(shape.vcpus, shape.max_vcpus or 0, shape.topology.vcpus if shape.topology else 0)


def _boot(shape: Shape, parts: Parts, host: HostKind) -> Element:
    kind, disk = node("type", "hvm", arch="x86_64", machine="q35"), node("boot", dev="hd")
    if shape.firmware is Firmware.BIOS:
        return node("os", None, kind, disk)
    if host.firmware is None:
        plain = node("firmware", None, node("feature", enabled="no", name="secure-boot"))
        return node("os", None, kind, plain, disk, firmware="efi")
    code, template = host.firmware
    loader = node("loader", code, readonly="yes", type="pflash")
    return node("os", None, kind, loader, node("nvram", parts.variables, template=template), disk)


def _cpu(shape: Shape, host: HostKind) -> Element:
    topology = shape.topology
    return node(
        "cpu",
        None,
        _topology(topology) if topology else None,
        # TCG walks five levels of page tables in software for every TLB miss where the guest may use them.
        None if host.kvm else node("feature", policy="disable", name="la57"),
        _numa(shape),
        mode="host-passthrough" if host.kvm else "maximum",
        check="none",
        migratable="on" if host.kvm else None,
    )


def _numa(shape: Shape) -> Element | None:
    """Nodes of neighbouring vCPUs; one where memory may come later, for libvirt plugs it into nodes only."""
    nodes = shape.numa_nodes or (1 if shape.max_memory else 0)
    if not nodes:
        return None
    vcpus, kib = _most_vcpus(shape), shape.memory.kib
    bounds = [(vcpus * at // nodes, kib * at // nodes) for at in range(nodes + 1)]
    cells = [
        node("cell", id=at, cpus=f"{first}-{beyond - 1}", memory=end - begin, unit="KiB")
        for at, ((first, begin), (beyond, end)) in enumerate(pairwise(bounds))
    ]
    return node("numa", None, *cells)


def _topology(asked: Topology) -> Element:
    return node("topology", sockets=asked.sockets, cores=asked.cores, threads=asked.threads)


def _clock(host: HostKind) -> Element:
    timers = [node("timer", name="rtc", tickpolicy="catchup"), node("timer", name="pit", tickpolicy="delay")]
    if host.kvm:
        timers += [node("timer", name="kvmclock", present="yes"), node("timer", name="hpet", present="no")]
    return node("clock", None, *timers, offset="utc")


def _devices(spec: MachineSpec, uuid: str, parts: Parts, host: HostKind) -> Element:
    disks = [devices.disk(parts.system, "vda", cache=host.cache)]
    for index, (asked, path) in enumerate(zip(spec.disks, parts.disks, strict=True)):
        target = f"vd{chr(ord('b') + index)}"
        disks.append(devices.disk(path, target, serial=asked.serial, cache=host.cache, sector=asked.sector))
    ports = [node("controller", type="pci", index=0, model="pcie-root")]
    taken = _OWN_PORTS + len(spec.disks) + len(spec.nics)
    ports += [node("controller", type="pci", model="pcie-root-port") for _ in range(SPARE_PORTS + taken)]
    return node(
        "devices",
        None,
        node("emulator", host.emulator) if host.emulator else None,
        *disks,
        devices.cdrom(parts.seed) if parts.seed else None,
        *ports,
        *[devices.nic(nic, uuid, host.switch, spec.shape.vcpus) for nic in spec.nics],
        _serial(parts),
        _agent(parts),
        node("video", None, node("model", type="vga")),
        node("memballoon", model="virtio"),
        node("rng", None, node("backend", "/dev/urandom", model="random"), model="virtio"),
        node("panic", model="isa"),
    )


def _serial(parts: Parts) -> Element:
    if parts.console is None:
        return node(
            "serial", None, node("log", file=parts.console_log, append="off"), node("target", port=0), type="pty"
        )
    log = node("log", file=parts.console_log, append="on")
    source = node("source", mode="bind", path=parts.console)
    return node("serial", None, source, log, node("target", port=0), type="unix")


def _agent(parts: Parts) -> Element:
    source = node("source", mode="bind", path=parts.agent) if parts.agent else None
    return node("channel", None, source, node("target", type="virtio", name="org.qemu.guest_agent.0"), type="unix")
