"""Disks, NICs and memory modules as libvirt describes them."""

from __future__ import annotations

from harness.backends.kvm.xml import Element, attribute, node
from harness.backends.model import SECTOR, DeviceKind, NetworkKind, NetworkSpec, NicSpec
from harness.backends.protocol import Refused
from harness.core import Size
from harness.qemu import addresses

EMULATED_NIC = "e1000e"
_DEFAULT_MTU = 1500
_MOST_QUEUES = 8


def disk(
    path: str, target: str, *, serial: str | None = None, cache: str | None = None, sector: int = SECTOR
) -> Element:
    """A virtio disk over a qcow2 file; ``target`` (``vda``) only orders disks, the guest goes by ``serial``."""
    sizes = {} if sector == SECTOR else {"logical_block_size": sector, "physical_block_size": sector}
    return node(
        "disk",
        None,
        node("driver", name="qemu", type="qcow2", cache=cache, discard="unmap"),
        node("source", file=path),
        node("target", dev=target, bus="virtio"),
        node("blockio", **sizes) if sizes else None,
        node("serial", serial) if serial else None,
        type="file",
        device="disk",
    )


def cdrom(path: str) -> Element:
    """The seed, read-only, on SATA: every kernel a guest may have knows AHCI."""
    return node(
        "disk",
        None,
        node("driver", name="qemu", type="raw"),
        node("source", file=path),
        node("target", dev="sda", bus="sata"),
        node("readonly"),
        type="file",
        device="cdrom",
    )


def memory_module(size: Size) -> Element:
    """A DIMM to plug into a running guest."""
    return node("memory", None, node("target", None, node("size", size.kib, unit="KiB"), node("node", 0)), model="dimm")


def port(machine: str, mac: str) -> tuple[str, int]:
    """The UDP address of a NIC on the harness's own switch: the same for the machine's whole life."""
    return addresses.udp(machine, mac)


def nic(spec: NicSpec, machine: str, switch: tuple[str, int] | None, vcpus: int = 1) -> Element:
    """A NIC.

    A synthetic one on a tap gets a queue for each vCPU, as other hypervisors give it; other back ends have one alone.

    Args:
        spec: what is asked.
        machine: UUID of the machine it goes into.
        switch: where the harness's own switch listens; None on hosts without it.
        vcpus: of the machine.

    Raises:
        Refused: the host has no such kind of network.
    """
    network = spec.network
    model = node("model", type="virtio" if spec.kind is DeviceKind.SYNTHETIC else EMULATED_NIC)
    common = [node("mac", address=spec.mac), model, None if spec.connected else node("link", state="down")]
    if network.kind is NetworkKind.USER:
        if switch is None:
            raise Refused(f"network {network.name!r}: user networks can be restricted on embedded hosts only")
        return node("interface", None, *common, type="user")
    if network.kind is NetworkKind.SWITCH:
        if switch is None:
            raise Refused(f"network {network.name!r}: the harness's own switch serves embedded hosts only")
        address, number = port(machine, spec.mac)
        source = node("source", None, node("local", address=address, port=number), address=switch[0], port=switch[1])
        return node("interface", None, source, *common, type="udp")
    tag = _vlans(network)
    queues = min(vcpus, _MOST_QUEUES) if spec.kind is DeviceKind.SYNTHETIC else 1
    common.append(node("driver", queues=queues) if queues > 1 else None)
    mtu = None if network.mtu == _DEFAULT_MTU else node("mtu", size=network.mtu)
    if network.kind is NetworkKind.BRIDGE:
        # Linux bridges take no VLAN from libvirt; a tagged port is one of Open vSwitch's.
        switched = None if tag is None else node("virtualport", type="openvswitch")
        source = node("source", bridge=network.source)
        return node("interface", None, source, tag, switched, *common, mtu, type="bridge")
    return node("interface", None, node("source", network=network.source), tag, *common, mtu, type="network")


def _vlans(network: NetworkSpec) -> Element | None:
    """The port's VLANs, where it has any (libvirt's domain format, "Setting VLAN tag"): the native one has no tag."""
    if network.trunk is None:
        return None if network.vlan is None else node("vlan", None, node("tag", id=network.vlan))
    native = node("tag", id=network.trunk.native, nativeMode="untagged")
    return node("vlan", None, native, *(node("tag", id=vlan) for vlan in sorted(network.trunk.allowed)), trunk="yes")


def find_nic(domain: Element, mac: str) -> Element | None:
    """The NIC of this MAC address."""
    return next((nic for nic in domain.iterfind("devices/interface") if mac_of(nic) == mac.lower()), None)


def mac_of(interface: Element) -> str:
    """A NIC's MAC address in lower case."""
    return attribute(interface, "mac", "address").lower()


def find_disk(domain: Element, serial: str) -> Element | None:
    """The data disk of this serial."""
    return next((disk for disk in data_disks(domain) if disk.findtext("serial") == serial), None)


def data_disks(domain: Element) -> list[Element]:
    """Disks with a serial: neither the system disk nor the seed has one."""
    return [disk for disk in domain.iterfind("devices/disk") if disk.findtext("serial")]


def sector_of(disk: Element) -> int:
    """A disk's logical sector, in bytes: 512 where its description says nothing (libvirt's ``blockio``)."""
    return int(attribute(disk, "blockio", "logical_block_size", str(SECTOR)))


def system_bus(domain: Element) -> str:
    """The bus of the disk that a machine starts from: the first one."""
    disk = domain.find("devices/disk[@device='disk']")
    return "" if disk is None else attribute(disk, "target", "bus")


def free_target(domain: Element) -> str:
    """The next disk name of the form ``vdX`` that is not taken."""
    taken = {target.get("dev") for target in domain.iterfind("devices/disk/target")}
    for letter in "bcdefghijklmnopqrstuvwxyz":
        if f"vd{letter}" not in taken:
            return f"vd{letter}"
    raise Refused("the machine has 25 data disks; more are not provided for")
