"""PowerShell modules of the twin: functions with real parameters, so that the real binder binds them.

A function's body sends its name and what was bound to the twin, by a Unix socket, and makes objects of the answer: each
knows the machine model's key of what it is about, enumerations are real ones, ids are real Guids.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from harness.twins.hyperv.emulated.configuration import STATES
from harness.twins.hyperv.emulated.signatures import Parameter, Signature, signatures

SOCKET: Final = "INTEROP_TWIN_SOCKET"
"""The environment variable that names the bridge's socket."""

_NET: Final = {
    "String": "string", "Int16": "int16", "Int32": "int", "Int64": "long", "UInt16": "uint16", "UInt32": "uint32",
    "UInt64": "uint64", "Char": "char", "Boolean": "bool", "SwitchParameter": "switch", "Guid": "guid",
    "Version": "version", "IDictionary": "System.Collections.IDictionary",
}  # fmt: skip
_CLASSES: Final = {
    "VirtualMachineBase": "TwinObject",
    "VirtualMachine": "VirtualMachineBase",
    "VMSnapshot": "VirtualMachineBase",
    "VMComponentObject": "TwinObject",
    "HardDiskDrive": "VMComponentObject",
    "DvdDrive": "VMComponentObject",
    "VMNetworkAdapterBase": "VMComponentObject",
    "VMNetworkAdapter": "VMNetworkAdapterBase",
    "VMDriveController": "TwinObject",
    "VMScsiController": "VMDriveController",
    **dict.fromkeys(
        ("VMComPort", "VMFirmware", "VMBios", "VMProcessor", "VMMemory", "VMIntegrationComponent", "VMSwitch"),
        "TwinObject",
    ),
    "CimInstance": "TwinObject",
}  # fmt: skip
"""Classes of objects that parameters take, with what they derive from; all others are plain objects with properties."""

_COMMON: Final = Path(__file__).with_name("twin.ps1")


def write(folder: Path, year: int, *, without: str = "") -> None:
    """Write all modules below ``folder``, which belongs on ``PSModulePath``.

    Args:
        folder: where.
        year: of the Windows Server that it passes for.
        without: a module that this host has not.
    """
    known = signatures(year)
    for module in sorted({each.module for each in known.values()} - {without}):
        place = folder / module
        place.mkdir(parents=True, exist_ok=True)
        own = [each for each in known.values() if each.module == module]
        names = ", ".join(f"'{each.name}'" for each in own)
        (place / f"{module}.psm1").write_text(
            "\n".join(["using module InteropTwin", *(_function(each) for each in own)])
            + f"\nExport-ModuleMember -Function {names}\n",
            encoding="utf-8",
        )
        # Named here, so that a call alone loads the module, as on Windows.
        (place / f"{module}.psd1").write_text(
            f"@{{ ModuleVersion = '2.0.0.0'; RootModule = '{module}.psm1'; FunctionsToExport = @({names}) }}\n",
            encoding="utf-8",
        )
    place = folder / "InteropTwin"
    place.mkdir(parents=True, exist_ok=True)
    classes = [
        "class TwinObject { hidden [string]$Twin; hidden [string]$Kind; [string]ToString() { return $this.Kind } }"
    ]
    classes += [f"class {name} : {base} {{}}" for name, base in _CLASSES.items()]
    states = "; ".join(f"{name} = {number}" for name, number in STATES.items())
    classes.append(f"enum VMState {{ {states} }}")
    (place / "InteropTwin.psm1").write_text(
        "\n".join([*classes, _COMMON.read_text(encoding="utf-8")]), encoding="utf-8"
    )


def _function(signature: Signature) -> str:
    default = f", DefaultParameterSetName = '{signature.default}'" if signature.default else ""
    parameters = ",\n    ".join(
        "".join(_declared(each, signature))
        for each in signature.parameters.values()
        if each.name not in {"Confirm", "WhatIf"}
    )
    body = f"process {{ Invoke-InteropTwin $PSCmdlet '{signature.name}' $PSBoundParameters }}"
    return (
        f"function {signature.name} {{\n  [CmdletBinding(SupportsShouldProcess{default})]\n"
        f"  param(\n    {parameters})\n  {body}\n}}"
    )


def _declared(parameter: Parameter, signature: Signature) -> Iterable[str]:
    for each in signature.sets:
        if parameter.name in each.mandatory | each.optional:
            options = [f"ParameterSetName = '{each.name}'"]
            options += ["Mandatory"] if parameter.name in each.mandatory else []
            options += ["ValueFromPipeline"] if parameter.pipe else []
            yield f"[Parameter({', '.join(options)})]"
    if parameter.values:
        yield f"[ValidateSet({_quoted(parameter.values)})]"
    if parameter.aliases:
        yield f"[Alias({_quoted(parameter.aliases)})]"
    plain = parameter.type.removesuffix("[]")
    kind = _NET.get(plain, plain if plain in _CLASSES else ("string" if parameter.values else "object"))
    yield f"[{kind}{'[]' if parameter.type.endswith('[]') else ''}]${parameter.name}"


def _quoted(texts: Iterable[str]) -> str:
    return ", ".join("'" + text.replace("'", "''") + "'" for text in texts)
