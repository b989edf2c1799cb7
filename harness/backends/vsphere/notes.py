"""What a machine's own configuration remembers of what was asked: keys of its extra configuration.

They are part of the configuration, so a snapshot keeps them and a revert brings them back together with the devices
that they speak of.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from pyVmomi import vim

from harness.backends.model import NetworkSpec, NicSpec
from harness.backends.vsphere.devices import Device, disks

EXTRA = "config.extraConfig"
_DISK, _NIC = "interop.disk.", "interop.nic."
_PER_NODE = "numa.vcpu.maxPerVirtualNode"


def option(key: str, value: str) -> Any:
    """One key; an empty value removes it."""
    return vim.option.OptionValue(key=key, value=value)


def noted(options: Iterable[Any] | None) -> dict[str, str]:
    """The extra configuration as it was read."""
    return {str(one.key): str(one.value) for one in options or ()}


def disk_note(unit: int, serial: str) -> Any:
    """The disk at this unit is called so; an empty serial forgets it. A VMDK has no serial number to choose."""
    return option(f"{_DISK}{unit}", serial)


def numa(vcpus: int, nodes: int) -> list[Any]:
    """So many NUMA nodes; without the second key small machines are shown none (vSphere Resource Management, "Virtual
    NUMA Controls").
    """
    return [option(_PER_NODE, str(vcpus // nodes)), option("numa.vcpu.min", "1")]


def numa_nodes(vcpus: int, kept: Mapping[str, str]) -> int | None:
    """How many the configuration makes; None where it leaves that to the host."""
    return -(-vcpus // int(kept[_PER_NODE])) if _PER_NODE in kept else None


def data_disks(devices: Iterable[Device], kept: Mapping[str, str]) -> dict[str, Device]:
    """The data disks by the serial they were asked by; the system disk has none."""
    found = {}
    for disk in disks(devices):
        serial = kept.get(f"{_DISK}{disk.unitNumber}")
        if serial:
            found[serial] = disk
    return found


def system_controller(devices: Iterable[Device], kept: Mapping[str, str]) -> str:
    """The kind of controller that the system disk is on: ``ParaVirtualSCSIController``; empty where there is none."""
    found, data = list(devices), {disk.key for disk in data_disks(devices, kept).values()}
    keys = {disk.controllerKey for disk in disks(found) if disk.key not in data}
    return next((type(one).__name__.rpartition(".")[2] for one in found if one.key in keys), "")


def nic_note(nic: NicSpec) -> Any:
    """Where a NIC was plugged in, in the lab's words."""
    return option(_nic_key(nic.mac), json.dumps({"network": nic.network.name, "vlan": nic.network.vlan}))


def forget_nic(mac: str) -> Any:
    """It is gone."""
    return option(_nic_key(mac), "")


def network_of(mac: str, nics: Iterable[NicSpec], kept: Mapping[str, str]) -> tuple[str, int | None] | None:
    """The lab's name and the VLAN of a NIC's network; None for a NIC that we did not plug in."""
    note = kept.get(_nic_key(mac))
    if note:
        values = json.loads(note)
        return str(values["network"]), values["vlan"]
    networks: dict[str, NetworkSpec] = {nic.mac.lower(): nic.network for nic in nics}
    network = networks.get(mac.lower())
    return (network.name, network.vlan) if network else None


def _nic_key(mac: str) -> str:
    return f"{_NIC}{mac.lower().replace(':', '')}"
