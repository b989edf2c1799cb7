"""NICs: added, taken away, their cables pulled; and where the controller reaches the guest."""

from __future__ import annotations

from harness.backends.endpoints import reserved
from harness.backends.model import Endpoint, NicSpec, PowerState
from harness.backends.views import AddressView
from harness.backends.vsphere import devices, networks, notes
from harness.backends.vsphere.base import MachineBase
from harness.backends.vsphere.devices import DEVICES
from harness.core import Deadline

RUNNING, OFF = PowerState.RUNNING, PowerState.OFF
_NET = "guest.net"


class Nics(MachineBase):
    """The verbs of :class:`NicPlug` and :class:`LinkSwitch`, and the two views of addresses."""

    def endpoint(self, deadline: Deadline) -> Endpoint:
        """What the lab reserved for the first NIC that can be reached; tools are not asked."""
        return reserved(self._spec, self._host.name)

    def addresses(self, deadline: Deadline) -> tuple[AddressView, ...]:
        """What the guest's tools told of the machine's own NICs; bridges and containers inside have other MACs."""
        values = self._read("addresses", deadline, "runtime.powerState", _NET, DEVICES)
        if values.get("runtime.powerState") != "poweredOn":
            return ()
        ours = {(card.macAddress or "").lower() for card in devices.cards(values.get(DEVICES) or ())}
        source = "tools (the twin's model)" if self._host.twin else "tools"
        return tuple(
            AddressView(source, mac, address)
            for nic in values.get(_NET) or ()
            if (mac := (nic.macAddress or "").lower()) in ours
            for address in nic.ipAddress or ()
            if address
        )

    def attach_nic(self, nic: NicSpec, deadline: Deadline) -> None:
        """Into the port group of its network."""
        with self._lock:
            _, values = self._look("attach_nic", deadline, (RUNNING, OFF), DEVICES)
            if devices.card_of(values[DEVICES], nic.mac) is not None:
                raise self._refused(f"a NIC {nic.mac} is there already", "attach_nic")
            group = networks.choose(nic.network, self._host.networks(deadline), self._host.name, "attach_nic")
            self._reconfigure(
                "attach_nic",
                deadline,
                deviceChange=[devices.added(devices.nic(nic, group, -1))],
                extraConfig=[notes.nic_note(nic)],
            )

    def detach_nic(self, mac: str, deadline: Deadline) -> None:
        """The host pulls it from the guest."""
        with self._lock:
            _, values = self._look("detach_nic", deadline, (RUNNING, OFF), DEVICES)
            card = devices.card_of(values[DEVICES], mac)
            if card is not None:
                self._reconfigure(
                    "detach_nic",
                    deadline,
                    deviceChange=[devices.removed(card)],
                    extraConfig=[notes.forget_nic(mac)],
                )

    def link(self, mac: str, up: bool, deadline: Deadline) -> None:
        """The guest sees its carrier come and go."""
        with self._lock:
            state, values = self._look("link", deadline, (RUNNING, OFF), DEVICES)
            card = devices.card_of(values[DEVICES], mac)
            if card is None:
                raise self._refused(f"there is no NIC {mac}", "link")
            self._host.ledger.check()
            if devices.plugged(card, state is RUNNING) != up:
                self._reconfigure("link", deadline, deviceChange=[devices.recable(card, up)])
