"""Where this machine keeps its UEFI firmware: read from the descriptors that distributions install for QEMU.

The format is QEMU's ``docs/interop/firmware.json``; files are taken in lexical order, and a name in ``/etc`` hides the
same name in ``/usr/share``.
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.qemu.errors import QemuError

DESCRIPTORS = (Path("/etc/qemu/firmware"), Path("/usr/share/qemu/firmware"))


@dataclass(frozen=True, slots=True)
class Firmware:
    """A pair of flash images: ``code`` is read-only and shared, ``variables`` the template of each guest's own."""

    code: Path
    variables: Path


def uefi(machine: str = "pc-q35-7.2", architecture: str = "x86_64", folders: Iterable[Path] = DESCRIPTORS) -> Firmware:
    """The first firmware without Secure Boot that fits a machine type.

    Args:
        machine: QEMU's versioned machine type; descriptors hold patterns such as ``pc-q35-*``.
        architecture: as QEMU spells it.
        folders: where descriptors live, most important first.

    Raises:
        QemuError: none is installed; names the package.
    """
    for descriptor in _descriptors(folders):
        found = _fitting(descriptor, machine, architecture)
        if found and found.code.is_file() and found.variables.is_file():
            return found
    raise QemuError("no UEFI firmware for QEMU is installed (Debian: ovmf, RHEL: edk2-ovmf, SLES: qemu-ovmf-x86_64)")


def _descriptors(folders: Iterable[Path]) -> Iterator[dict[str, Any]]:
    files: dict[str, Path] = {}
    for folder in folders:
        if folder.is_dir():
            for path in folder.glob("*.json"):
                files.setdefault(path.name, path)
    for name in sorted(files):
        if files[name].stat().st_size == 0:  # an empty file masks a descriptor
            continue
        try:
            descriptor = json.loads(files[name].read_bytes())
        except (OSError, ValueError):
            continue
        if isinstance(descriptor, dict):
            yield descriptor


def _fitting(descriptor: dict[str, Any], machine: str, architecture: str) -> Firmware | None:
    features = set(descriptor.get("features", ()))
    mapping = descriptor.get("mapping", {})
    if "uefi" not in descriptor.get("interface-types", ()) or features & {"secure-boot", "requires-smm"}:
        return None
    if mapping.get("device") != "flash" or mapping.get("mode", "split") != "split":
        return None
    fits = any(
        target.get("architecture") == architecture
        and any(fnmatch.fnmatchcase(machine, pattern) for pattern in target.get("machines", ()))
        for target in descriptor.get("targets", ())
    )
    code, variables = mapping.get("executable", {}), mapping.get("nvram-template", {})
    if not fits or code.get("format") != "raw" or variables.get("format") != "raw":
        return None
    return Firmware(Path(code["filename"]), Path(variables["filename"]))
