"""Port groups: which one a NIC of the lab is plugged into, and how a device says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pyVmomi import vim

from harness.backends.model import NetworkKind, NetworkSpec
from harness.backends.protocol import Refused
from harness.core.config import nearest

_DEFAULT_MTU = 1500


@dataclass(frozen=True, slots=True)
class PortGroup:
    """A network of an ESXi.

    Args:
        name: as the inventory has it.
        key: of a distributed port group; empty for one of a standard switch.
        switch: the distributed switch's UUID; empty as above.
    """

    name: str
    key: str = ""
    switch: str = ""

    def backing(self) -> Any:
        """What a NIC that is plugged in here has as its backing."""
        card = vim.vm.device.VirtualEthernetCard
        if self.key:
            port = vim.dvs.PortConnection(portgroupKey=self.key, switchUuid=self.switch)
            return card.DistributedVirtualPortBackingInfo(port=port)
        return card.NetworkBackingInfo(deviceName=self.name)


def wanted(network: NetworkSpec) -> tuple[str, ...]:
    """The names a network's port group may have, the best first.

    On vSphere a VLAN and an MTU are the port group's and its switch's own, not the NIC's. A NIC that asks for another
    than its network has goes to the port group of that name with ``-vlan<id>`` or ``-mtu<bytes>`` behind it, where the
    host has one: only then are those capabilities declared. A lab's own network with a ``vlan`` names its port group.
    """
    base = network.source or network.name
    vlan = f"-vlan{network.vlan}" if network.vlan is not None else ""
    mtu = f"-mtu{network.mtu}" if network.mtu != _DEFAULT_MTU else ""
    names = [f"{base}{vlan}{mtu}", f"{base}{vlan}", f"{base}{mtu}", base, network.name]
    return tuple(dict.fromkeys(names))


def choose(network: NetworkSpec, present: Mapping[str, PortGroup], host: str, operation: str) -> PortGroup:
    """The port group for a NIC.

    Raises:
        Refused: the host has none of that name, or the network is of a kind that vSphere has not got.
    """
    if network.kind not in (NetworkKind.NETWORK, NetworkKind.SWITCH):
        raise Refused(
            f"the network {network.name} is a {network.kind.value}, and vSphere has port groups only",
            host=host,
            operation=operation,
            hint="write `kind: network` and its port group as `source:` in the lab file",
        )
    if network.trunk is not None:
        raise Refused(
            f"a trunk was asked for ({network.trunk}); a port group has one VLAN, or all of them and no native one",
            host=host,
            operation=operation,
        )
    for name in wanted(network):
        if name in present:
            return present[name]
    name = network.source or network.name
    raise Refused(
        f"the host has no port group {name!r}{nearest(name, sorted(present))}",
        host=host,
        operation=operation,
        hint="`source:` of the network in the lab file names it",
    )
