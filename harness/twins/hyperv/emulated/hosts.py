"""The host itself: what it is, its volumes, neighbours and events."""

from __future__ import annotations

import datetime as dt
import re
import shutil
from typing import Any

from harness.twins.hyperv.emulated.calls import Answer, Call, cmdlet, like
from harness.twins.hyperv.emulated.configuration import colons
from harness.twins.hyperv.emulated.events import WORKER
from harness.twins.hyperv.emulated.objects import Choice, Thing
from harness.twins.hyperv.emulated.refusals import Refusal


@cmdlet("Get-VMHost")
def get_host(call: Call) -> Answer:
    """What it is and may."""
    settings = call.world.settings
    return [
        Thing(
            "VMHost",
            "host",
            {
                "Name": settings.name,
                "ComputerName": settings.name,
                "FullyQualifiedDomainName": settings.name,
                "LogicalProcessorCount": settings.cpus,
                "MemoryCapacity": settings.memory,
                "VirtualMachinePath": str(settings.folder / "machines"),
                "VirtualHardDiskPath": str(settings.folder / "disks"),
                "MacAddressMinimum": "00155D010000",
                "MacAddressMaximum": "00155D0100FF",
                "IovSupport": False,
                "NumaSpanningEnabled": True,
                "SupportedVmVersions": ["8.0", "9.0", "10.0"],
                "EnableEnhancedSessionMode": False,
            },
        )
    ]


@cmdlet("Get-NetNeighbor")
def get_net_neighbor(call: Call) -> Answer:
    """Who was heard on the host's own switches: guests that have said their addresses."""
    wanted = [str(each) for each in call.many("LinkLayerAddress")]
    families = {str(each) for each in call.many("AddressFamily")}
    found = []
    for vm in call.world.all():
        if vm.state != "Running" or vm.machine is None:
            continue
        addresses = vm.machine.tools().addresses
        for nic in vm.config.nics:
            mac = colons(nic.mac).replace(":", "-").upper()
            if wanted and not any(like(mac, each) for each in wanted):
                continue
            for address in addresses.get(colons(nic.mac), ()):
                family = "IPv6" if ":" in address else "IPv4"
                if families and family not in families:
                    continue
                found.append(
                    Thing(
                        "CimInstance",
                        "",
                        {
                            "IPAddress": address,
                            "LinkLayerAddress": mac,
                            "State": Choice("NeighborState", "Reachable"),
                            "InterfaceAlias": f"vEthernet ({nic.switch})",
                            "AddressFamily": Choice("AddressFamily", family),
                        },
                    )
                )
    if not found and wanted and not any(char in each for each in wanted for char in "*?"):
        raise Refusal("CmdletizationQuery_NotFound_LinkLayerAddress", f"No neighbor {wanted[0]}.", "ObjectNotFound")
    return found


@cmdlet("Get-Volume")
def get_volume(call: Call) -> Answer:
    """Where files are."""
    settings = call.world.settings
    place = call.world.file(str(call.get("FilePath"))) if "FilePath" in call else settings.folder
    usage = shutil.disk_usage(place if place.exists() else settings.folder)
    return [
        Thing(
            "CimInstance",
            "",
            {
                "DriveLetter": "C",
                "FileSystem": "NTFS",
                "FileSystemType": "NTFS",
                "DriveType": "Fixed",
                "HealthStatus": "Healthy",
                "Size": usage.total,
                "SizeRemaining": usage.free if settings.free is None else settings.free,
            },
        )
    ]


@cmdlet("Get-WinEvent")
def get_win_event(call: Call) -> Answer:
    """What happened to machines, newest first."""
    filters: list[dict[str, Any]] = [dict(each) for each in call.many("FilterHashtable")]
    logs = [str(name) for name in call.many("LogName")] or [
        str(log) for each in filters for log in _list(each, "LogName")
    ]
    since = max((when for each in filters if (when := _when(each.get("StartTime"))) is not None), default=None)
    numbers = {int(number) for each in filters for number in _list(each, "ID")}
    found = [
        event
        for event in call.world.events.since(since)
        if (not logs or any(like(event.log, each) for each in logs)) and (not numbers or event.number in numbers)
    ]
    if logs and not any(like(WORKER, each) for each in logs):
        raise Refusal("NoMatchingLogsFound", f"There is no event log {logs[0]}.", "InvalidArgument")
    if not found:
        raise Refusal("NoMatchingEventsFound", "No events were found that match.", "ObjectNotFound")
    if call.on("Oldest"):
        found.reverse()
    return [event.thing() for event in found[: int(call.get("MaxEvents", len(found)))]]


def _list(each: dict[str, Any], name: str) -> list[Any]:
    value: Any = next((value for key, value in each.items() if key.lower() == name.lower()), [])
    return list(value) if isinstance(value, list | tuple) else [value]


def _when(value: Any) -> dt.datetime | None:
    if value is None or isinstance(value, dt.datetime):
        return value
    # .NET has seven digits of a second, Python six.
    when = dt.datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", str(value)))
    return when if when.tzinfo else when.replace(tzinfo=dt.UTC)
