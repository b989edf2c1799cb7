"""From a machine's configuration, as the simulator tells it, to what the engine runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from harness.twins.engine.values import Disk, Hardware, Nic

_LAST_SLOT = 9


def hardware(said: Mapping[str, Any], backing: Callable[[Path], Path | None]) -> Hardware:
    """What the engine shall run.

    Args:
        said: the configuration, as ``hardware.go`` writes it.
        backing: which image a disk starts from.
    """
    return Hardware(
        uuid=said["uuid"],
        name=said["name"],
        vcpus=said["vcpus"],
        memory=said["memory"],
        max_vcpus=said["max_vcpus"] or None,
        max_memory=said["max_memory"] or None,
        cores_per_socket=said["cores_per_socket"],
        numa_nodes=said["numa_nodes"],
        uefi=said["uefi"],
        disks=tuple(_disk(each, backing) for each in said["disks"]),
        cdrom=Path(said["cd"]) if said["cd"] else None,
        nics=tuple(_nic(each) for each in said["nics"]),
        serial=Path(said["serial"]) if said["serial"] else None,
    )


def _disk(said: Mapping[str, Any], backing: Callable[[Path], Path | None]) -> Disk:
    path = Path(said["file"])
    return Disk(
        path=path,
        size=said["size"],
        backing=backing(path),
        serial=said["serial"],
        bus=said["bus"],
        controller=said["controller"],
        unit=said["unit"],
    )


def _nic(said: Mapping[str, Any]) -> Nic:
    slot = said["slot"]
    return Nic(
        mac=said["mac"],
        network=said["network"],
        model=said["model"],
        connected=said["connected"],
        slot=slot if 0 <= slot <= _LAST_SLOT else None,
    )
