"""What the host sees of a machine: its description, its screen, its log; and the NMI button."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.backends.kvm import devices, picture
from harness.backends.kvm.disks import Disks
from harness.backends.kvm.xml import Element, attribute, number, text
from harness.backends.model import Firmware, PowerState, Topology
from harness.backends.views import HostEvent, MachineView, NicView
from harness.core import Deadline, LabError, Size

_LOG_LINE = re.compile(r"^(\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+)?)(?:\+0000|Z)?: (.*)$")
_LAST_BYTES = 65536
_LARGEST_PICTURE = 64 << 20


class Evidence(Disks):
    """The verb :meth:`Machine.view`, and those of :class:`Screenshot`, :class:`NmiInjector`, :class:`HostEvents`."""

    def view(self, deadline: Deadline) -> MachineView:
        """Libvirt's live description of a running machine, the persistent one of a machine that is off."""
        state = self._state(deadline)
        domain = self._xml(deadline)
        vcpu = domain.find("vcpu")
        most = number(domain, "vcpu", 1)
        return MachineView(
            state=state,
            vcpus=int(vcpu.get("current", most)) if vcpu is not None else most,
            max_vcpus=most,
            memory=Size(number(domain, "memory") << 10),
            firmware=Firmware.BIOS if domain.find("os/loader") is None else Firmware.UEFI,
            topology=_topology(domain),
            nics=self._nic_views(domain, deadline),
            disks=self._disk_views(domain, deadline),
            raw=text(domain),
            root_controller=devices.system_bus(domain),
            critical=self._critical(deadline),
            numa_nodes=len(domain.findall("cpu/numa/cell")) or None,
        )

    def screenshot(self, deadline: Deadline) -> bytes:
        """A PNG: QEMU's own since 7.1, else made from its PPM."""

        def work(connection: Any) -> bytes:
            stream = connection.newStream()
            connection.lookupByUUIDString(self._uuid).screenshot(stream, 0)
            data = bytearray()
            while chunk := stream.recv(262120):
                data += chunk
                if len(data) > _LARGEST_PICTURE:  # the guest chooses how large its screen is
                    stream.abort()
                    raise LabError(
                        f"the screen takes more than {Size(_LARGEST_PICTURE)}",
                        host=self._host.name,
                        operation="screenshot",
                    )
            stream.finish()
            return bytes(data)

        self._require("screenshot", deadline, PowerState.RUNNING, PowerState.PAUSED, PowerState.CRASHED)
        return picture.png(self._host.connection.call("screenshot", work, deadline))

    def nmi(self, deadline: Deadline) -> None:
        """``virsh inject-nmi``."""
        with self._lock:
            self._require("nmi", deadline, PowerState.RUNNING)
            self._act("nmi", lambda domain: domain.injectNMI(), deadline)

    def events(self, deadline: Deadline) -> tuple[HostEvent, ...]:
        """Libvirt's events since this process opened the host, and QEMU's log where it is on this machine."""
        events = list(self._host.events.of(self._uuid))
        if self._host.root:
            events += qemu_log(self._host.root.path / "log" / "qemu" / f"{self._spec.name}.log")
        return tuple(sorted(events, key=lambda event: event.at))

    def _nic_views(self, live: Element, deadline: Deadline) -> tuple[NicView, ...]:
        inactive = self._xml(deadline, inactive=True)
        seen = {devices.mac_of(nic): nic for nic in inactive.iterfind("devices/interface")}
        seen |= {devices.mac_of(nic): nic for nic in live.iterfind("devices/interface")}
        networks = {nic.mac: nic.network for nic in self._asked(inactive)}
        return tuple(
            NicView(
                mac=mac,
                network=networks[mac].name if mac in networks else _source(nic),
                model=attribute(nic, "model", "type"),
                connected=attribute(nic, "link", "state", "up") == "up",
                vlan=networks[mac].vlan if mac in networks else None,
                trunk=networks[mac].trunk if mac in networks else None,
            )
            for mac, nic in seen.items()
        )


def _topology(domain: Element) -> Topology | None:
    found = domain.find("cpu/topology")
    if found is None:
        return None
    return Topology(*(int(found.get(name, "1")) for name in ("sockets", "cores", "threads")))


def _source(interface: Element) -> str:
    return attribute(interface, "source", "network") or attribute(interface, "source", "bridge") or "switch"


def qemu_log(path: Path) -> list[HostEvent]:
    """QEMU's own words, without its command lines; lines without a time take that of the line before."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _LAST_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []
    events: list[HostEvent] = []
    at = datetime.fromtimestamp(0, UTC)
    for line in lines:
        found = _LOG_LINE.match(line)
        if found:
            at = datetime.fromisoformat(found[1]).replace(tzinfo=UTC)
        said = found[2] if found else line
        if said and not said.endswith("\\") and not said.startswith(("-", "LC_ALL=", "PATH=", "HOME=", "XDG_", "/")):
            events.append(HostEvent(at, "qemu-log", said))
    return events
