"""Values of the agent's protocol, as a PowerShell engine takes, reads, compares and shows them."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any, Final

from harness.twins.hyperv.emulated.binder import RANGES
from harness.twins.hyperv.emulated.objects import Choice, Lazy, Thing
from harness.twins.hyperv.emulated.refusals import FORMAT, INVALID_CAST, OVERFLOW, SYSTEM, Refusal

LARGEST: Final = 8 << 20
"""How much text one answer may hold."""
_ARGUMENT: Final = 0x80070057 - (1 << 32)  # COR_E_ARGUMENT
_WHERE: Final = "Microsoft.PowerShell.Commands.WhereObjectCommand"
_ALIASES: Final = {"int": "Int32", "long": "Int64", "uint": "UInt32", "ulong": "UInt64", "byte": "Byte"}
_NUMBERS: Final = {name.lower(): each for name, each in RANGES.items()} | {
    alias: RANGES[name] for alias, name in _ALIASES.items()
}
_SHOWN: Final = 200
_TEXTS: Final = {"string", "object", "psobject"}


class Named(Exception):
    """A refusal with the fully qualified id that its record has."""

    def __init__(self, refusal: Refusal, identifier: str) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal
        self.identifier = identifier


def absent(part: str) -> Named:
    """An object has no such property, in strict mode."""
    refusal = Refusal("PropertyNotFoundStrict", f"The property '{part}' cannot be found.", "NotSpecified", SYSTEM)
    return Named(refusal, refusal.identifier)


def resolve(value: Any, names: Mapping[str, list[Any]]) -> Any:
    """An argument as its step means it.

    Raises:
        Named: it refers to nothing, or is of no form or type that there is.
    """
    if isinstance(value, str):
        return value[1:]
    if isinstance(value, list):
        return [resolve(each, names) for each in value]
    if not isinstance(value, dict):
        return value
    form, content = next(iter(value.items()))
    if form == "$ref":
        name, _, path = content.partition(".")
        if not names.get(name):
            refusal = Refusal("NothingNamed", f"there is no {name}", "ObjectNotFound")
            raise Named(refusal, refusal.identifier)
        found: Any = names[name][0] if len(names[name]) == 1 else names[name]
        return read(found, path) if path else found
    if form == "$as":
        return typed(str(content[0]).lower(), resolve(content[1], names))
    if form == "$map":
        return {str(resolve(key, names)): resolve(item, names) for key, item in content}
    # A text that is thrown is its own id.
    said = f"an argument of the unknown form {form}"
    raise Named(Refusal(said, said, "OperationStopped", SYSTEM), said)


def typed(kind: str, value: Any) -> Any:
    """A value of a .NET type, as far as it makes a difference here.

    Raises:
        Named: it cannot be one, or there is no such type.
    """
    if kind in _TEXTS or (kind == "byte[]" and isinstance(value, bytes)):
        return value
    if kind.endswith("[]"):
        return [typed(kind[:-2], each) for each in (value if isinstance(value, list | tuple | bytes) else [value])]
    try:
        if kind in {"double", "single", "float"}:
            return float(str(value).replace("Infinity", "inf"))
        if kind in _NUMBERS:
            low, high = _NUMBERS[kind]
            if not low <= int(value) <= high:
                raise OverflowError
            return int(value)
        if kind == "bigint":
            return int(value)
        if kind in {"datetime", "system.datetime"}:
            return dt.datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", str(value)))
    except (ValueError, OverflowError) as error:
        why = OVERFLOW if isinstance(error, OverflowError) else FORMAT
        refusal = Refusal("PSInvalidCastException", f"'{str(value)[:_SHOWN]}' is no {kind}.", "NotSpecified", why)
        raise Named(refusal, refusal.identifier) from error
    refusal = Refusal("InvalidCastFromStringToType", f"There is no type {kind}.", "InvalidArgument", INVALID_CAST)
    raise Named(refusal, refusal.identifier)


def read(found: Any, path: str) -> Any:
    """A property of a property, as strict mode reads it.

    Raises:
        Named: there is none; a path that ends in ``?`` is None then.
    """
    lenient = path.endswith("?")
    for part in path.rstrip("?").split("."):
        if not part:
            continue
        if isinstance(found, Lazy):
            found = found.read()
        try:
            found = _property(found, part)
        except KeyError:
            if lenient:
                return None
            raise absent(part) from None
    return found.read() if isinstance(found, Lazy) else found


def _property(found: Any, part: str) -> Any:
    if isinstance(found, Thing):
        return found.get(part)
    if isinstance(found, Mapping):
        return found[part]
    if isinstance(found, uuid.UUID) and part.lower() == "guid":
        return str(found)
    if isinstance(found, list | tuple):
        if part.lower() in {"count", "length"}:
            return len(found)
        # Of each that has it; one value is itself, as all that PowerShell collects.
        values = [_property(each, part) for each in found]
        if not values:
            raise KeyError(part)
        return values[0] if len(values) == 1 else values
    if isinstance(found, str | bytes) and part.lower() == "length":
        return len(found)
    raise KeyError(part)


def show(value: Any, room: list[int]) -> Any:  # noqa: PLR0911  one line a kind of value
    """A value as answers have it.

    Args:
        value: what.
        room: how many characters the answer may still hold; less afterwards.

    Raises:
        Named: it is too large.
    """
    room[0] -= 8
    match value:
        case None | bool() | float():
            return value
        case int() if -(1 << 63) <= value < 1 << 64:
            return value
        case dt.datetime():
            return value.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "0Z"
        case dt.timedelta():
            return value.total_seconds()
        case bytes():
            return _spent(b64encode(value).decode("ascii"), room)
        case Mapping():
            return {str(key): show(each, room) for key, each in value.items()}
        case list() | tuple():
            return [show(each, room) for each in value]
        case Thing():
            return _spent(value.kind, room)
        case Lazy():
            return show(value.read(), room)
    return _spent(str(value), room)


def _spent(text: str, room: list[int]) -> str:
    room[0] -= len(text)
    if room[0] < 0:
        refusal = Refusal("AnswerTooLarge", "the answer is larger than 8 MiB", "LimitsExceeded")
        raise Named(refusal, refusal.identifier)
    return text


def fits(found: Any, rules: Sequence[tuple[str, Any]]) -> bool:
    """Whether an object fits the rules of a step's ``where``.

    Raises:
        Named: it has no such property, or a rule is no regular expression; so is one that only .NET could read.
    """
    try:
        return all(_fits(read(found, path), rule) for path, rule in rules)
    except Named as named:
        # The rules are read inside of that cmdlet.
        raise Named(named.refusal, f"{named.identifier},{_WHERE}") from named


def _fits(value: Any, rule: Any) -> bool:
    if not isinstance(rule, str):
        return _less(value, rule)
    shown = show(value, [LARGEST])
    text = "" if shown is None else str(shown.name if isinstance(shown, Choice) else shown)
    try:
        return re.search(rule.replace("(?<", "(?P<") if _NAMED.search(rule) else rule, text, re.IGNORECASE) is not None
    except re.error as error:
        identifier = "System.Text.RegularExpressions.RegexParseException"
        refusal = Refusal(identifier, f"'{rule}': {error}", "OperationStopped", _ARGUMENT)
        raise Named(refusal, identifier) from error


_NAMED: Final = re.compile(r"\(\?<\w")
"""A group with a name, which Python writes with a P."""


def _less(value: Any, number: int) -> bool:
    """``-lt``: the right side becomes what the left one is; nothing is less than all that is not negative."""
    match value:
        case None:
            return number >= 0
        case bool():
            return value < bool(number)
        case str():
            return value.lower() < str(number)
    return bool(value < number)
