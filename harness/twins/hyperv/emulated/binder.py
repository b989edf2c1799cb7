"""Our own parameter binder, for hosts without a PowerShell engine: the same signatures, the same error ids."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final

from harness.twins.hyperv.emulated.objects import Choice, Thing
from harness.twins.hyperv.emulated.refusals import FORMAT, INVALID_CAST, OVERFLOW, SYSTEM, Refusal
from harness.twins.hyperv.emulated.signatures import Parameter, ParameterSet, Signature

_COMMON: Final = frozenset(
    {
        "verbose", "debug", "erroraction", "warningaction", "informationaction", "errorvariable", "warningvariable",
        "informationvariable", "outvariable", "outbuffer", "pipelinevariable", "progressaction", "confirm", "whatif",
    }
)  # fmt: skip
RANGES: Final = {
    "Byte": (0, (1 << 8) - 1),
    "Int16": (-(1 << 15), (1 << 15) - 1),
    "Int32": (-(1 << 31), (1 << 31) - 1),
    "Int64": (-(1 << 63), (1 << 63) - 1),
    "UInt16": (0, (1 << 16) - 1),
    "UInt32": (0, (1 << 32) - 1),
    "UInt64": (0, (1 << 64) - 1),
}


def bind(signature: Signature, given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by the real names of their parameters, converted.

    Raises:
        Refusal: as the real binder refuses.
    """
    bound: dict[str, Any] = {}
    for name, value in given.items():
        parameter = _parameter(signature, name)
        if parameter is None:
            if name.lower() == "whatif":
                bound["WhatIf"] = value
            continue
        if parameter.name in bound:
            raise _error("ParameterAlreadyBound", f"'{parameter.name}' is given more than once.")
        bound[parameter.name] = _convert(parameter, value)
    chosen = _choose(signature, bound.keys() - {"WhatIf"})
    if missing := chosen.mandatory - bound.keys():
        raise _error("MissingMandatoryParameter", f"{signature.name} needs {', '.join(sorted(missing))}.")
    return bound


def _parameter(signature: Signature, name: str) -> Parameter | None:
    lowered = name.lower()
    for parameter in signature.parameters.values():
        if lowered in {parameter.name.lower(), *(alias.lower() for alias in parameter.aliases)}:
            return None if lowered in {"whatif", "confirm"} else parameter
    if lowered in _COMMON:
        return None
    fits = [each for each in signature.parameters.values() if each.name.lower().startswith(lowered)]
    if len(fits) == 1:
        return fits[0]
    if fits:
        raise _error("AmbiguousParameter", f"'{name}' may be {', '.join(each.name for each in fits)}.")
    raise _error("NamedParameterNotFound", f"{signature.name} has no parameter '{name}'.")


def _choose(signature: Signature, names: set[str]) -> ParameterSet:
    fits = [each for each in signature.sets if names <= each.mandatory | each.optional]
    if not fits:
        raise _error(
            "AmbiguousParameterSet", f"{signature.name} has no set of parameters with {', '.join(sorted(names))}."
        )
    complete = [each for each in fits if each.mandatory <= names]
    for each in complete + fits:
        if each.name == signature.default:
            return each
    if len(complete) > 1:
        # As the real one: the set that asks for most is meant; two that ask for as much are ambiguous.
        complete.sort(key=lambda each: len(each.mandatory), reverse=True)
        if len(complete[0].mandatory) == len(complete[1].mandatory):
            raise _error("AmbiguousParameterSet", f"{signature.name}: {', '.join(sorted(names))} fit several sets.")
    return (complete or fits)[0]


def _convert(parameter: Parameter, value: Any) -> Any:
    kind = parameter.type
    if kind == "Byte[]" and isinstance(value, bytes):
        return value
    if kind.endswith("[]"):
        values = list(value) if isinstance(value, list | tuple) else [value]
        return [_one(parameter, kind[:-2], each) for each in values]
    if isinstance(value, list | tuple) and len(value) == 1 and kind not in {"Object", "PSObject"}:
        value = value[0]
    return _one(parameter, kind, value)


def _one(parameter: Parameter, kind: str, value: Any) -> Any:
    if isinstance(value, Choice):
        value = value.name
    if parameter.values:
        found = next((each for each in parameter.values if each.lower() == str(value).lower()), None)
        if found is None:
            raise _error(
                "ParameterArgumentValidationError",
                f"'{value}' is none of {', '.join(parameter.values)}: {parameter.name}.",
            )
        value = found
    if value is None and kind == "String":
        return ""
    convert = _CONVERSIONS.get(kind)
    try:
        return value if convert is None else convert(kind, value)
    except (ValueError, OverflowError, TypeError) as error:
        # What .NET threw shows through.
        why = next(code for each, code in _WHY if isinstance(error, each))
        message = f"'{value}' is no {parameter.type}: {parameter.name}."
        raise _error("ParameterArgumentTransformationError", message, why) from None


def _integer(kind: str, value: Any) -> int:
    if isinstance(value, Thing):
        raise TypeError
    number = int(str(value), 0) if isinstance(value, str) else int(value)
    low, high = RANGES[kind]
    if not low <= number <= high:
        raise OverflowError
    return number


def _switch(_kind: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _boolean(_kind: str, value: Any) -> bool:
    if isinstance(value, str | Thing):
        raise TypeError
    return bool(value)


def _text(_kind: str, value: Any) -> str:
    return value.isoformat() if isinstance(value, dt.datetime) else str(value)


def _object(kind: str, value: Any) -> Thing:
    if not isinstance(value, Thing):
        raise TypeError
    if _BASES.get(value.kind.partition(":")[0], value.kind) not in {kind, "CimInstance"} and kind not in {
        value.kind,
        *_ABOVE.get(value.kind, ()),
    }:
        raise TypeError
    return value


_BASES: Final = {"CimInstance": "CimInstance"}
_ABOVE: Final = {
    "HardDiskDrive": ("VMComponentObject",),
    "DvdDrive": ("VMComponentObject",),
    "VMNetworkAdapter": ("VMNetworkAdapterBase", "VMComponentObject"),
    "VMScsiController": ("VMDriveController",),
    "VirtualMachine": ("VirtualMachineBase",),
    "VMSnapshot": ("VirtualMachineBase",),
}
_CONVERSIONS: Final[dict[str, Callable[[str, Any], Any]]] = {
    **dict.fromkeys(RANGES, _integer),
    "SwitchParameter": _switch,
    "Boolean": _boolean,
    "String": _text,
    "Guid": lambda _kind, value: value if isinstance(value, uuid.UUID) else uuid.UUID(str(value)),
    **dict.fromkeys(
        (
            "VirtualMachine", "VMSnapshot", "HardDiskDrive", "DvdDrive", "VMNetworkAdapter", "VMNetworkAdapterBase",
            "VMComPort", "VMFirmware", "VMBios", "VMProcessor", "VMMemory", "VMIntegrationComponent", "VMSwitch",
            "VMDriveController", "VMComponentObject", "VirtualMachineBase", "CimInstance",
        ),
        _object,
    ),
}  # fmt: skip


_WHY: Final[tuple[tuple[type[Exception], int], ...]] = (
    (ValueError, FORMAT),
    (OverflowError, OVERFLOW),
    (TypeError, INVALID_CAST),
)


def _error(identifier: str, message: str, hresult: int = SYSTEM) -> Refusal:
    category = "InvalidData" if "Argument" in identifier else "InvalidArgument"
    return Refusal(identifier, message, category, hresult)
