"""NICs: added, taken away, their cables pulled; and where the controller reaches the guest."""

from __future__ import annotations

from dataclasses import replace

from harness.backends.endpoints import reserved
from harness.backends.hyperv.access import QUIET
from harness.backends.hyperv.base import OFF, RUNNING, VM, MachineBase
from harness.backends.hyperv.steps import Ref, Row, Step, Value
from harness.backends.model import DeviceKind, Endpoint, NetworkSpec, NicSpec, Trunk
from harness.backends.views import AddressView, NicView
from harness.core import Deadline

CARDS = ("Name", "MacAddress", "SwitchName", "IsLegacy", "Connected", "IPAddresses")
_VLANS = (
    "VlanSetting.OperationMode?",
    "VlanSetting.AccessVlanId?",
    "VlanSetting.NativeVlanId?",
    "VlanSetting.AllowedVlanIdList?",
)
_CARD = "card"
_NO_NEIGHBOUR = ("CmdletizationQuery_NotFound", "CmdletizationQuery_NotFound_LinkLayerAddress")


class Nics(MachineBase):
    """The verbs of :class:`LinkSwitch`, and the two views of addresses."""

    def endpoint(self, deadline: Deadline) -> Endpoint:
        """What the lab reserved for the first NIC that can be reached; integration services are not asked."""
        return reserved(self.spec, self._host.name)

    def addresses(self, deadline: Deadline) -> tuple[AddressView, ...]:
        """What the guest's KVP daemon told, and what the host's own neighbour table knows."""
        asked = [
            Step(
                "Get-NetNeighbor",
                {"LinkLayerAddress": _dashed(nic.mac)},
                get=("IPAddress", "State"),
                allow=_NO_NEIGHBOUR,
            )
            for nic in self.spec.nics
        ]
        cards, *neighbours = self._ask("addresses", deadline, cards_of(), *asked)[1:]
        kvp = "kvp (the twin's model)" if self._host.twin else "kvp"
        found = [
            AddressView(kvp, mac_of(row), str(address))
            for row in cards
            for address in row["IPAddresses"] or ()
            if address
        ]
        for nic, rows in zip(self.spec.nics, neighbours, strict=True):
            found += [AddressView("neighbours", nic.mac.lower(), str(row["IPAddress"])) for row in rows]
        return tuple(found)

    def link(self, mac: str, up: bool, deadline: Deadline) -> None:
        """The virtual cable ends at a switch: pulling it is disconnecting from that."""
        with self._lock:
            spec = next((nic for nic in self.spec.nics if nic.mac.lower() == mac.lower()), None)
            if up:
                source = spec.network.source if spec else None
                source = source or self._switch_of(mac, deadline)
                plug = Step(
                    "Connect-VMNetworkAdapter",
                    {"VMNetworkAdapter": Ref(_CARD), "SwitchName": source, **QUIET},
                    when=_CARD,
                )
            else:
                plug = Step("Disconnect-VMNetworkAdapter", {"VMNetworkAdapter": Ref(_CARD), **QUIET}, when=_CARD)
            states = (RUNNING, OFF)
            _, answer = self._act("link", deadline, states, self._card(mac, "Name"), plug, repeatable=True)
            if not answer[0]:
                raise self._refused(f"there is no NIC {mac}", "link")

    def _switch_of(self, mac: str, deadline: Deadline) -> str:
        """Of a NIC that was attached later: its name says which switch it was plugged into."""
        rows = self._ask("link", deadline, self._card(mac, "Name"))[1]
        if not rows:
            raise self._refused(f"there is no NIC {mac}", "link")
        return str(rows[0]["Name"]).partition(" @ ")[2]

    def _card(self, mac: str, *get: str) -> Step:
        where = (("MacAddress", f"^{_plain(mac)}$"),)
        return Step("Get-VMNetworkAdapter", {"VM": VM}, name=_CARD, get=get, where=where)


class NicPlugs(Nics):
    """The verbs of :class:`NicPlug`, which machines of generation 2 have: the others take no NIC while they run."""

    def attach_nic(self, nic: NicSpec, deadline: Deadline) -> None:
        """Into the switch of its network."""
        with self._lock:
            steps = [replace(step, unless=_CARD) for step in added(nic, "new")]
            _, answer = self._act("attach_nic", deadline, (RUNNING, OFF), self._card(nic.mac, "Name"), *steps)
            if answer[0]:
                raise self._refused(f"a NIC {nic.mac} is there already", "attach_nic")

    def detach_nic(self, mac: str, deadline: Deadline) -> None:
        """The host pulls it from the guest."""
        with self._lock:
            remove = Step("Remove-VMNetworkAdapter", {"VMNetworkAdapter": Ref(_CARD), **QUIET}, when=_CARD)
            self._act("detach_nic", deadline, (RUNNING, OFF), self._card(mac), remove, repeatable=True)


def cards_of() -> Step:
    """All NICs of the step ``vm``."""
    return Step("Get-VMNetworkAdapter", {"VM": VM}, get=(*CARDS, *_VLANS))


def added(nic: NicSpec, name: str) -> list[Step]:
    """Add a NIC with its MAC, switch and VLAN. Its name says which network it was meant for, also while unplugged."""
    args: dict[str, Value] = {
        "VM": VM,
        "Name": f"{nic.network.name} @ {nic.network.source}",
        "StaticMacAddress": _plain(nic.mac),
        "Passthru": True,
        **QUIET,
    }
    if nic.kind is DeviceKind.EMULATED:
        args["IsLegacy"] = True
    if nic.connected:
        args["SwitchName"] = nic.network.source
    tag: dict[str, Value] = {"VMNetworkAdapter": Ref(name), **QUIET}
    tag |= _port(nic.network)
    return [Step("Add-VMNetworkAdapter", args, name=name), Step("Set-VMNetworkAdapterVlan", tag, when=name)]


def _port(network: NetworkSpec) -> dict[str, Value]:
    """What ``Set-VMNetworkAdapterVlan`` makes of the port that a NIC is plugged into."""
    if network.trunk is not None:
        # As in Microsoft's own example, the list has the native one as well.
        allowed = ",".join(map(str, network.trunk.every))
        return {"Trunk": True, "AllowedVlanIdList": allowed, "NativeVlanId": network.trunk.native}
    return {"Untagged": True} if network.vlan is None else {"Access": True, "VlanId": network.vlan}


def view(row: Row) -> NicView:
    """A NIC as the host told of it."""
    mode = str(row["VlanSetting.OperationMode?"])
    return NicView(
        mac=mac_of(row),
        network=str(row["Name"]).partition(" @ ")[0],
        model="legacy" if row["IsLegacy"] else "synthetic",
        connected=bool(row["SwitchName"]),
        vlan=int(row["VlanSetting.AccessVlanId?"] or 0) or None if mode == "Access" else None,
        trunk=_trunk(row) if mode == "Trunk" else None,
    )


def _trunk(row: Row) -> Trunk | None:
    """None where the native VLAN is 0, by which Hyper-V means none: that is no trunk anybody asked for here."""
    native = int(row["VlanSetting.NativeVlanId?"] or 0)
    allowed = {int(vlan) for vlan in row["VlanSetting.AllowedVlanIdList?"] or ()}
    return Trunk(frozenset(allowed - {native}), native) if native else None


def mac_of(row: Row) -> str:
    """``00155D000001`` as the harness writes it."""
    text = str(row["MacAddress"]).lower()
    return ":".join(text[at : at + 2] for at in range(0, len(text), 2))


def _plain(mac: str) -> str:
    return mac.replace(":", "").upper()


def _dashed(mac: str) -> str:
    return mac.replace(":", "-").upper()
