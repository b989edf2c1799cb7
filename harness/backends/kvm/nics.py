"""NICs: wired before a start, forwarded after it, added and taken away, their cables pulled."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable
from contextlib import suppress

import libvirt

from harness.backends.endpoints import reserved
from harness.backends.kvm import devices
from harness.backends.kvm.base import MachineBase
from harness.backends.kvm.monitor import MonitorError
from harness.backends.kvm.xml import NICS_NAMESPACE, Element, attribute, later_nics, nics_mark, text
from harness.backends.model import DeviceKind, Endpoint, NetworkKind, NicSpec, PowerState
from harness.backends.protocol import GuestIgnored, Refused, WrongState
from harness.backends.views import AddressView
from harness.core import Deadline, LabError, Pending, wait_for
from harness.qemu import QemuError
from harness.qemu.switch import Plug

# A connection that was let in: state, descriptor, the controller's end, then the guest's address and port.
_SLIRP_TALKS = re.compile(r"TCP\[ESTABLISHED\]\s+\d+\s+[\d.]+\s+\d+\s+([\d.]+)\s+\d+")

_NO_NIC = {None, "", "00:00:00:00:00:00"}  # the guest's loopback, as the agent tells of it

_SOURCES = {
    "lease": libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE,
    "arp": libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_ARP,
    "agent": libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT,
}


class Nics(MachineBase):
    """The verbs of :class:`NicPlug` and :class:`LinkSwitch`, and the two views of addresses.

    libvirt 9 cannot hot plug ``<interface type='udp'>``. A NIC on the harness's own switch is therefore plugged through
    QEMU's monitor, and into libvirt's persistent description, so that the next cold start has it as any other. Until
    then QEMU knows it and libvirt does not: state with memory cannot be saved while such a NIC is in.
    """

    def endpoint(self, deadline: Deadline) -> Endpoint:
        """The port forward of the first NIC that has one, else port 22 at the first static address."""
        return reserved(self._spec, self._host.name)

    def addresses(self, deadline: Deadline) -> tuple[AddressView, ...]:
        """DHCP leases, the host's ARP table, the guest agent, slirp, and what the harness's own switch heard said."""
        if self._state(deadline) is not PowerState.RUNNING:
            return ()
        seen: list[AddressView] = []
        for name, source in _SOURCES.items():
            try:
                found = self._ask(name, lambda domain, source=source: domain.interfaceAddresses(source, 0), deadline)  # type: ignore[misc]
            except (Refused, WrongState, LabError):
                continue  # this source knows nothing here: no DHCP server of libvirt's, no agent that answers
            for nic in found.values():
                if nic["hwaddr"] not in _NO_NIC:
                    seen += [AddressView(name, nic["hwaddr"], one["addr"]) for one in nic["addrs"] or ()]
        return tuple(seen + self._heard(deadline))

    def attach_nic(self, nic: NicSpec, deadline: Deadline) -> None:
        """To a running machine: a network of the harness's switch, or one that libvirt serves."""
        with self._lock:
            state = self._require("attach_nic", deadline, PowerState.RUNNING, PowerState.OFF)
            domain = self._xml(deadline, inactive=True)
            if devices.find_nic(domain, nic.mac) is not None:
                raise self._refused(f"a NIC {nic.mac} is there already", "attach_nic")
            switch = self._host.kind.switch
            element = devices.nic(nic, self._uuid, switch, self._spec.shape.vcpus)
            running = state is PowerState.RUNNING
            if running and nic.network.kind is NetworkKind.USER and self._host.kind.embedded:
                raise self._refused(
                    "a user network cannot be restricted when it is plugged while running: it would let the guest out",
                    "attach_nic",
                    hint="attach it while the machine is off, or use another network",
                )
            if nic.network.kind is NetworkKind.SWITCH:
                self._plug(devices.port(self._uuid, nic.mac), _plug_of(nic))
                if running:
                    self._attach_by_monitor(nic, deadline)
                flags = libvirt.VIR_DOMAIN_AFFECT_CONFIG
            else:
                flags = libvirt.VIR_DOMAIN_AFFECT_CONFIG | (libvirt.VIR_DOMAIN_AFFECT_LIVE if running else 0)
            self._act("attach_nic", lambda found: found.attachDeviceFlags(text(element), flags), deadline)
            self._keep((*later_nics(domain), nic), deadline)

    def detach_nic(self, mac: str, deadline: Deadline) -> None:
        """Returns when QEMU says that the guest let go."""
        with self._lock:
            state = self._require("detach_nic", deadline, PowerState.RUNNING, PowerState.OFF)
            mac = mac.lower()
            foreign = _foreign(self._xml(deadline, inactive=True), self._xml(deadline))
            if state is PowerState.RUNNING and mac in foreign:
                self._detach_by_monitor(mac, deadline)
            elif state is PowerState.RUNNING:
                self._detach_live(mac, deadline)
            kept = devices.find_nic(self._xml(deadline, inactive=True), mac)
            if kept is not None:
                config = libvirt.VIR_DOMAIN_AFFECT_CONFIG
                self._act("detach_nic", lambda found: found.detachDeviceFlags(text(kept), config), deadline)
            self._plug(devices.port(self._uuid, mac), None)
            later = later_nics(self._xml(deadline, inactive=True))
            if any(nic.mac == mac for nic in later):
                self._keep((nic for nic in later if nic.mac != mac), deadline)

    def link(self, mac: str, up: bool, deadline: Deadline) -> None:
        """The guest sees its carrier come and go."""
        with self._lock:
            state = self._require("link", deadline, PowerState.RUNNING, PowerState.PAUSED, PowerState.OFF)
            mac = mac.lower()
            kept = devices.find_nic(self._xml(deadline, inactive=True), mac)
            if kept is None:
                raise self._refused(f"there is no NIC {mac}", "link")
            if state is not PowerState.OFF:
                live = devices.find_nic(self._xml(deadline), mac)
                if live is None:
                    self._host.ledger.check()
                    self._monitor("set_link", deadline, name=_id(mac), up=up)
                else:
                    self._update(_with_link(live, up), libvirt.VIR_DOMAIN_AFFECT_LIVE, deadline)
            self._update(_with_link(kept, up), libvirt.VIR_DOMAIN_AFFECT_CONFIG, deadline)

    def _heard(self, deadline: Deadline) -> list[AddressView]:
        """What the harness's own switch, and slirp, have seen of the guest."""
        seen: list[AddressView] = []
        domain = self._xml(deadline, inactive=True)
        for nic in domain.iterfind("devices/interface"):
            mac = devices.mac_of(nic)
            if nic.get("type") == "udp" and self._host.switch:
                with suppress(QemuError):  # the switch was restarted and does not know the port any more
                    heard = self._host.switch.heard(devices.port(self._uuid, mac))
                    seen += [AddressView("switch", whose, address) for whose, address in heard]
            elif nic.get("type") == "user":
                answering = _SLIRP_TALKS.findall(self._human_monitor("info usernet", deadline))
                seen += [AddressView("slirp", mac, address) for address in sorted(set(answering))]
        return seen

    def _wire(self, deadline: Deadline) -> None:
        """Plug into the harness's switch whatever the machine is about to have; the switch may have been restarted."""
        if self._host.switch is None:
            return
        for nic in self._asked(self._xml(deadline, inactive=True)):
            if nic.network.kind is NetworkKind.SWITCH:
                self._plug(devices.port(self._uuid, nic.mac), _plug_of(nic))

    def _asked(self, domain: Element) -> list[NicSpec]:
        """What was asked of the NICs that the machine has, the first ones and those that came later."""
        present = {devices.mac_of(interface) for interface in domain.iterfind("devices/interface")}
        return [nic for nic in (*self._spec.nics, *later_nics(domain)) if nic.mac in present]

    def _keep(self, nics: Iterable[NicSpec], deadline: Deadline) -> None:
        kind, config = libvirt.VIR_DOMAIN_METADATA_ELEMENT, libvirt.VIR_DOMAIN_AFFECT_CONFIG
        mark = text(nics_mark(nics))
        self._act("nics", lambda found: found.setMetadata(kind, mark, "interop-nics", NICS_NAMESPACE, config), deadline)

    def _connect(self, deadline: Deadline) -> None:
        """After a start of any kind: every new QEMU begins without port forwards, for slirp does not save them."""
        domain = self._xml(deadline)
        for nic in self._asked(self._xml(deadline, inactive=True)):
            interface = devices.find_nic(domain, nic.mac)
            if nic.forward is None or nic.network.kind is not NetworkKind.USER or interface is None:
                continue
            inside = nic.address.split("/")[0] if nic.address else ""
            rule = f"tcp:{nic.forward.address}:{nic.forward.port}-{inside}:22"
            alias = attribute(interface, "alias", "name")
            said = self._human_monitor(f"hostfwd_add host{alias} {rule}", deadline)
            if said:
                raise LabError(
                    f"the port forward {rule} was refused: {said}",
                    host=self._host.name,
                    operation="start",
                    hint="is the address in use? `ss -ltnp` on the controller tells",
                )

    def _refuse_foreign_nics(self, verb: str, deadline: Deadline) -> None:
        """Raises :class:`Refused` while QEMU has NICs that libvirt's image of the machine would not hold."""
        foreign = _foreign(self._xml(deadline, inactive=True), self._xml(deadline))
        if foreign:
            raise self._refused(
                f"the NIC {min(foreign)} was plugged while running and would not be in the saved state",
                verb,
                hint="detach it, or stop and start the machine first",
            )

    def _attach_by_monitor(self, nic: NicSpec, deadline: Deadline) -> None:
        self._host.ledger.check()
        name, port, switch = _id(nic.mac), devices.port(self._uuid, nic.mac), self._host.kind.switch
        if switch is None:
            raise self._refused("this host has no switch of the harness's", "attach_nic")
        remote = {"type": "inet", "host": switch[0], "port": str(switch[1])}
        local = {"type": "inet", "host": port[0], "port": str(port[1])}
        model = "virtio-net-pci" if nic.kind is DeviceKind.SYNTHETIC else devices.EMULATED_NIC
        bus = self._last_free_port(deadline)
        try:
            self._monitor("netdev_add", deadline, type="dgram", id=f"host{name}", remote=remote, local=local)
            self._monitor(
                "device_add", deadline, driver=model, id=name, netdev=f"host{name}", mac=nic.mac, bus=bus, addr="0x0"
            )
            if not nic.connected:
                self._monitor("set_link", deadline, name=name, up=False)
        except MonitorError as error:
            self._drop_netdev(name, deadline)
            raise self._refused(str(error), "attach_nic") from error

    def _last_free_port(self, deadline: Deadline) -> str:
        """The highest free PCIe root port: libvirt takes the lowest for what it plugs itself."""
        free = [
            port["qdev_id"]
            for bus in self._monitor("query-pci", deadline)
            for port in bus["devices"]
            if "pci_bridge" in port and not port["pci_bridge"].get("devices") and port["qdev_id"]
        ]
        if not free:
            raise self._refused("no PCIe port is free; the machine has as many devices as it can", "attach_nic")
        return max(free, key=lambda name: int(name.rpartition(".")[2]))  # type: ignore[no-any-return]

    def _detach_by_monitor(self, mac: str, deadline: Deadline) -> None:
        self._host.ledger.check()
        name = _id(mac)

        def asked() -> bool | Pending:
            present = {device["name"] for device in self._monitor("qom-list", deadline, path="/machine/peripheral")}
            return True if name not in present else Pending("the guest still holds it")

        self._monitor("device_del", deadline, id=name)
        self._await_removal(mac, asked, deadline)
        self._drop_netdev(name, deadline)

    def _detach_live(self, mac: str, deadline: Deadline) -> None:
        live = devices.find_nic(self._xml(deadline), mac)
        if live is None:
            return
        flags = libvirt.VIR_DOMAIN_AFFECT_LIVE
        self._act("detach_nic", lambda found: found.detachDeviceFlags(text(live), flags), deadline)

        def asked() -> bool | Pending:
            still = devices.find_nic(self._xml(deadline), mac) is not None
            return Pending("the guest still holds it") if still else True

        self._await_removal(mac, asked, deadline)

    def _await_removal(self, mac: str, asked: object, deadline: Deadline) -> None:
        wait_for(
            f"{self._spec.name} to let go of the NIC {mac}",
            asked,  # type: ignore[arg-type]
            deadline,
            fault=lambda message: GuestIgnored(message, host=self._host.name, operation="detach_nic"),
        )

    def _drop_netdev(self, name: str, deadline: Deadline) -> None:
        try:
            self._monitor("netdev_del", deadline, id=f"host{name}")
        except MonitorError:
            return  # it went with the device, or never came

    def _update(self, interface: Element, flags: int, deadline: Deadline) -> None:
        self._act("link", lambda found: found.updateDeviceFlags(text(interface), flags), deadline)


def _plug_of(nic: NicSpec) -> Plug:
    network = nic.network
    if network.trunk is None:
        return Plug(network.name, vlan=network.vlan, mtu=network.mtu)
    return Plug(network.name, trunk=network.trunk.allowed, native=network.trunk.native, mtu=network.mtu)


def _id(mac: str) -> str:
    return f"nic-{mac.replace(':', '')}"


def _foreign(inactive: Element, live: Element) -> set[str]:
    """MACs of NICs on the switch that are in the persistent description alone: plugged through the monitor."""
    known = {devices.mac_of(nic) for nic in live.iterfind("devices/interface")}
    return {devices.mac_of(nic) for nic in inactive.iterfind("devices/interface[@type='udp']")} - known


def _with_link(interface: Element, up: bool) -> Element:
    changed = copy.deepcopy(interface)
    for old in changed.findall("link"):
        changed.remove(old)
    link = changed.makeelement("link", {"state": "up" if up else "down"})
    changed.append(link)
    return changed
