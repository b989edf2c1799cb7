"""What the host sees of a machine: its configuration, its screen, its record; and the NMI button."""

from __future__ import annotations

import contextlib
import json
import re
from datetime import UTC, datetime
from typing import Any

from pyVmomi.VmomiJSONEncoder import VmomiJSONEncoder

from harness.backends.model import Firmware, PowerState, Topology
from harness.backends.protocol import Console
from harness.backends.views import HELD, HostEvent, MachineView, NicView
from harness.backends.vsphere import devices, history, notes, questions
from harness.backends.vsphere.base import STATE
from harness.backends.vsphere.collector import Values
from harness.backends.vsphere.console import LOG, FileConsole
from harness.backends.vsphere.devices import DEVICES
from harness.backends.vsphere.disks import Disks
from harness.backends.vsphere.nics import Nics
from harness.backends.vsphere.questions import QUESTION
from harness.backends.vsphere.refs import Ref
from harness.core import Deadline, LabError, MiB, Size

_HARDWARE = tuple(f"config.hardware.{name}" for name in ("numCPU", "numCoresPerSocket", "memoryMB"))
_CONFIG = ("config.name", "config.firmware", "config.uuid", "config.version", "config.cpuHotAddEnabled")
_SHOWN = (*STATE, *_HARDWARE, *_CONFIG, DEVICES, notes.EXTRA, "runtime.host", QUESTION)
_LARGEST_PICTURE = 32 << 20
_LARGEST_LOG = 4 << 20
_LOG_FOLDER = "config.files.logDirectory"
_FILE = re.compile(r"\[(?P<store>[^\]]+)\] ?(?P<path>.+)")


class Evidence(Disks, Nics):
    """The verbs :meth:`Machine.view` and :meth:`Machine.console`, and those of :class:`Screenshot`,
    :class:`NmiInjector` and :class:`HostEvents`.
    """

    _log_file: str | None = None

    def view(self, deadline: Deadline) -> MachineView:
        """One read; sizes and devices are those of the configuration, which the host keeps true while running."""
        values = self._read("view", deadline, *_SHOWN)
        state = self._known(values, "view")
        vcpus, cores = int(values["config.hardware.numCPU"]), int(values["config.hardware.numCoresPerSocket"] or 1)
        room = self._spec.shape.max_vcpus or 0
        found = values.get(DEVICES) or ()
        kept = notes.noted(values.get(notes.EXTRA))
        return MachineView(
            state=state,
            vcpus=vcpus,
            max_vcpus=max(vcpus, room) if values.get("config.cpuHotAddEnabled") else vcpus,
            memory=Size(int(values["config.hardware.memoryMB"]) * MiB),
            firmware=Firmware.UEFI if values.get("config.firmware") == "efi" else Firmware.BIOS,
            topology=Topology(sockets=vcpus // cores, cores=cores, threads=1),
            nics=tuple(self._nic_view(card, state, kept) for card in devices.cards(found)),
            disks=tuple(devices.disk_view(serial, disk) for serial, disk in notes.data_disks(found, kept).items()),
            raw=_raw(values),
            root_controller=notes.system_controller(found, kept),
            numa_nodes=notes.numa_nodes(vcpus, kept),
        )

    def console(self) -> Console:
        """What the first serial port is connected to: a file, or whoever listens."""
        wire = self._hear()
        return FileConsole(self._host, f"{self._files}/{LOG}", self._spec.name) if wire is None else wire

    def screenshot(self, deadline: Deadline) -> bytes:
        """A PNG that the host puts beside the machine's disks; it is taken away again."""
        with self._lock:
            self._require("screenshot", deadline, PowerState.RUNNING)
            made = str(self._task("screenshot", "CreateScreenshot_Task", deadline))
            found = _FILE.fullmatch(made)
            if found is None or found["store"] != self._host.store.name:
                raise LabError(
                    f"the picture is at {made!r}, which is not on {self._host.store.name}",
                    host=self._host.name,
                    operation="screenshot",
                )
            try:
                return self._host.store.read(found["path"], 0, _LARGEST_PICTURE, deadline)
            finally:
                self._host.store.delete(found["path"], deadline)

    def nmi(self, deadline: Deadline) -> None:
        """To every vCPU."""
        with self._lock:
            self._require("nmi", deadline, PowerState.RUNNING)
            self._call("nmi", "SendNMI", deadline)

    def events(self, deadline: Deadline) -> tuple[HostEvent, ...]:
        """What vCenter (or the ESXi) remembers of it, by the host's clock; with the end of the machine's own log.

        A question that it asks now comes last: whatever the guest does not do since then is not the guest's fault.
        """
        session = self._host.session
        values = self._read("events", deadline, _LOG_FOLDER, QUESTION)
        events = [*history.of_machine(session, self._ref, deadline), *self._log(values, deadline)]
        events.sort(key=lambda event: event.at)
        asked = values.get(QUESTION)
        if asked is not None:
            now = max([datetime.now(UTC), *(event.at for event in events)])
            events.append(HostEvent(now, HELD, f"{questions.told(asked)} and stands still until it is answered"))
        return tuple(events)

    def _log(self, values: Values, deadline: Deadline) -> tuple[HostEvent, ...]:
        """Lines of ``vmware.log``, which lies beside the disks; none where it cannot be read now."""
        if self._log_file is None:
            found = _FILE.fullmatch(str(values.get(_LOG_FOLDER, "")))
            ours = found is not None and found["store"] == self._host.store.name
            self._log_file = f"{found['path'].rstrip('/')}/vmware.log" if found and ours else ""
        if not self._log_file:
            return ()
        with contextlib.suppress(LabError):  # the ESXi may hold it: it is evidence, and no reason to fail
            return history.of_log(self._host.store.read(self._log_file, 0, _LARGEST_LOG, deadline))
        return ()

    def _nic_view(self, card: devices.Device, state: PowerState, kept: dict[str, str]) -> NicView:
        mac = (card.macAddress or "").lower()
        network = notes.network_of(mac, self._spec.nics, kept)
        return NicView(
            mac=mac,
            network=network[0] if network else devices.source_of(card, {}),
            model=devices.model_of(card),
            connected=devices.plugged(card, state is PowerState.RUNNING),
            vlan=network[1] if network else None,
        )


def _raw(values: Values) -> str:
    """Everything that was read, as JSON without what is not set: evidence for a report."""
    plain = {path: str(value) if isinstance(value, Ref) else value for path, value in values.items()}
    text = json.dumps(plain, cls=VmomiJSONEncoder)
    return json.dumps(_filled(json.loads(text)), indent=1, sort_keys=True)


def _filled(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _filled(item) for key, item in value.items() if item not in (None, [], "")}
    return [_filled(item) for item in value] if isinstance(value, list) else value
