"""What the host sees of a machine: its configuration, its screen, its record; and the NMI button."""

from __future__ import annotations

import base64
import json
import zlib
from datetime import UTC, datetime, timedelta

from harness.backends.hyperv import nics
from harness.backends.hyperv.access import QUIET
from harness.backends.hyperv.base import RUNNING, VM, answered, state_of
from harness.backends.hyperv.console import PipeConsole
from harness.backends.hyperv.disks import Disks, drives, files_of, system_controller, views
from harness.backends.hyperv.nics import Nics
from harness.backends.hyperv.picture import png
from harness.backends.hyperv.power import LOG, NAMESPACE
from harness.backends.hyperv.steps import Ref, Row, Step, Typed, Value, seconds
from harness.backends.model import Firmware, PowerState, Topology
from harness.backends.protocol import Console, Unwatched
from harness.backends.views import HostEvent, MachineView
from harness.core import Deadline, Pending, Size, wait_for

_SHOWN = ("Id", "Name", "Generation", "ProcessorCount", "MemoryStartup", "MemoryAssigned", "Uptime?", "Version?")
LOGS = ["Microsoft-Windows-Hyper-V-Worker-Admin", "Microsoft-Windows-Hyper-V-VMMS-Admin"]
_EVENT = ("TimeCreated", "Id", "LevelDisplayName?", "Message")
_MOST_EVENTS = 500


class Evidence(Disks, Nics, Unwatched):
    """The verbs :meth:`Machine.view` and :meth:`Machine.console`, and those of :class:`Screenshot`,
    :class:`NmiInjector` and :class:`HostEvents`.
    """

    def view(self, deadline: Deadline) -> MachineView:
        """One request; memory is what is assigned while it runs."""
        steps = [self._vm(*_SHOWN), nics.cards_of(), drives(), files_of(self._id)]
        if self.spec.shape.numa_nodes:
            steps.append(Step("Get-VMProcessor", {"VM": VM}, get=("MaximumCountPerNumaNode",)))

        def look() -> tuple[PowerState, list[list[Row]]] | Pending:
            answer = self._host.run("view", steps, answered(deadline), repeatable=True)
            state = state_of(answer[0])
            return Pending(f"it is {answer[0][0]['State']}") if state is None else (state, answer)

        # Another thread, or somebody else, may be starting or stopping it just now.
        state, (vm, cards, plugged, files, *processors) = wait_for(
            f"{self.spec.name} to settle", look, deadline, every=0.2, fault=lambda text: self._stuck(text, "view")
        )
        row = vm[0]
        vcpus = int(row["ProcessorCount"])
        memory = int(row["MemoryAssigned"] or 0) if state is RUNNING else 0
        named = [{**card, "Mac": nics.mac_of(card)} for card in cards]  # as the lab, the guest and people write it
        whole = {"vm": row, "nics": named, "drives": plugged, "files": files}
        return MachineView(
            state=state,
            vcpus=vcpus,
            max_vcpus=vcpus,
            memory=Size(memory or int(row["MemoryStartup"])),
            firmware=Firmware.UEFI if int(row["Generation"]) == 2 else Firmware.BIOS,
            topology=Topology(1, vcpus) if self.spec.shape.topology else None,
            nics=tuple(nics.view(card) for card in cards),
            disks=views(files),
            raw=json.dumps(whole, indent=1, sort_keys=True),
            root_controller=system_controller(plugged),
            numa_nodes=_nodes(vcpus, processors),
        )

    def console(self) -> Console:
        """COM1."""
        return PipeConsole(self._host, self._id, self._mark.pipe, self._file(LOG))

    def screenshot(self, deadline: Deadline) -> bytes:
        """The picture that Hyper-V Manager shows, in the screen's own size (RGB565)."""
        head = Ref("head", "CurrentHorizontalResolution"), Ref("head", "CurrentVerticalResolution")
        system: dict[str, Value] = {"ClassName": "Msvm_ComputerSystem", "Filter": f"Name='{self._id.upper()}'"}
        manager: dict[str, Value] = {"ClassName": "Msvm_VirtualSystemManagementService"}
        associated: dict[str, Value] = {"InputObject": Ref("system"), "Namespace": NAMESPACE}
        arguments: dict[str, Value] = {
            "TargetSystem": Ref("settings"),
            "WidthPixels": Typed("uint16", head[0]),
            "HeightPixels": Typed("uint16", head[1]),
        }
        asked: dict[str, Value] = {
            "InputObject": Ref("manager"),
            "MethodName": "GetVirtualSystemThumbnailImage",
            "Arguments": arguments,
        }
        resolution = ("CurrentHorizontalResolution", "CurrentVerticalResolution")
        with self._lock:
            _, answer = self._act(
                "screenshot",
                deadline,
                (RUNNING,),
                Step("Get-CimInstance", {"Namespace": NAMESPACE, **system}, name="system"),
                Step("Get-CimInstance", {"Namespace": NAMESPACE, **manager}, name="manager"),
                Step(
                    "Get-CimAssociatedInstance",
                    {**associated, "ResultClassName": "Msvm_VirtualSystemSettingData", "Association": _REALISED},
                    name="settings",
                ),
                Step(
                    "Get-CimAssociatedInstance",
                    {**associated, "ResultClassName": "Msvm_VideoHead"},
                    name="head",
                    get=resolution,
                ),
                Step("Invoke-CimMethod", asked, name="picture", get=("ReturnValue",)),
                Step("Compress-InteropData", {"Data": Typed("byte[]", Ref("picture", "ImageData"))}, get=(".",)),
                repeatable=True,
            )
        width, height = (int(answer[3][0][name]) for name in resolution)
        return png(zlib.decompress(base64.b64decode(answer[5][0]["."]), -15), width, height)

    def nmi(self, deadline: Deadline) -> None:
        """``Debug-VM``."""
        with self._lock:
            inject = Step("Debug-VM", {"VM": VM, "InjectNonMaskableInterrupt": True, "Force": True, **QUIET})
            self._act("nmi", deadline, (RUNNING,), inject)

    def events(self, deadline: Deadline) -> tuple[HostEvent, ...]:
        """What Hyper-V's own logs say of it: by its id, which stands in every message about a machine.

        The kind is the event's number. None is called a move: which numbers are is documented nowhere for all releases,
        and a reset of ours has the same as somebody else's.
        """
        since = self.spec.owner.expiry - timedelta(days=30)
        logs: dict[str, Value] = {"LogName": LOGS, "StartTime": Typed("datetime", since.astimezone(UTC).isoformat())}
        args: dict[str, Value] = {"FilterHashtable": logs, "MaxEvents": _MOST_EVENTS}
        ours = (("Message", self._id),)
        step = Step("Get-WinEvent", args, get=_EVENT, where=ours, allow=("NoMatchingEventsFound",))
        rows = self._host.run("events", [step], answered(deadline), repeatable=True)[0]
        found = [HostEvent(_at(row), str(row["Id"]), str(row["Message"])) for row in rows]
        return tuple(sorted(found, key=lambda event: event.at))


def _at(event: Row) -> datetime:
    return datetime.fromtimestamp(seconds(str(event["TimeCreated"])), UTC)


_REALISED = "Msvm_SettingsDefineState"  # the association to what the machine is now, not to its checkpoints


def _nodes(vcpus: int, processors: list[list[Row]]) -> int | None:
    """As many as it takes, where it was asked for: by default a node holds what one of the host's does."""
    most = [int(row["MaximumCountPerNumaNode"]) for rows in processors for row in rows]
    return -(-vcpus // most[0]) if most else None
