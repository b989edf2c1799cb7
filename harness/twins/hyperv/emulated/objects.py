"""What cmdlets return: objects with properties, in a form that a PowerShell engine and our own invoker both read."""

from __future__ import annotations

import base64
import datetime as dt
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Choice:
    """A value of an enumeration, which says its name."""

    kind: str
    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Lazy:
    """A property that is looked up when it is read, as most are on Windows: what is dear, or seldom wanted."""

    read: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Thing:
    """An object.

    Args:
        kind: its class.
        key: how the machine model finds what it is about; empty: it is about nothing that one could act on.
        properties: values: None, bool, int, float, str, bytes, UUID, datetime, timedelta, Choice, Thing, lists, dicts.
    """

    kind: str
    key: str = ""
    properties: Mapping[str, Any] = field(default_factory=dict)

    def get(self, name: str) -> Any:
        """A property by its name, in whatever case.

        Raises:
            KeyError: it has none of that name.
        """
        lowered = name.lower()
        for each, value in self.properties.items():
            if each.lower() == lowered:
                return value.read() if isinstance(value, Lazy) else value
        raise KeyError(name)


def encode(value: Any) -> Any:  # noqa: C901, PLR0911, PLR0912  one line a kind of value
    """A value as JSON that says its types."""
    match value:
        case None | bool() | str():
            return value
        case int():
            return value if -(1 << 63) <= value < 1 << 63 else {"u": str(value)}
        case float():
            return {"f": repr(value)}
        case bytes():
            return {"b": base64.b64encode(value).decode("ascii")}
        case uuid.UUID():
            return {"g": str(value)}
        case dt.datetime():
            return {"d": value.astimezone(dt.UTC).isoformat()}
        case dt.timedelta():
            return {"s": int(value.total_seconds() * 10_000_000)}
        case Choice("VMState"):
            return {"e": value.name}
        case Choice():
            return value.name
        case Lazy():
            return {"z": 1}
        case Thing():
            return {"t": value.kind, "k": value.key, "p": {key: encode(each) for key, each in value.properties.items()}}
        case Mapping():
            return {"m": {str(key): encode(each) for key, each in value.items()}}
        case list() | tuple():
            return [encode(each) for each in value]
    raise TypeError(f"no cmdlet returns a {type(value).__name__}")


def decode(value: Any) -> Any:
    """An argument that the bridge brought: ``{"k": key}`` is an object of ours, ``{"m": [...]}`` a hashtable."""
    if isinstance(value, list):
        return [decode(each) for each in value]
    if isinstance(value, dict):
        if "m" in value:
            return {str(key): decode(each) for key, each in value["m"]}
        if "b" in value:
            return base64.b64decode(value["b"])
        return Thing(str(value.get("t", "")), str(value.get("k", "")), value.get("p", {}))
    return value
