"""What an agent is asked: cmdlets with their arguments as data, and how both go over the wire.

The form is described in the header of ``harness/agent/agent.ps1``. Nothing is ever interpolated into PowerShell text: a
quote, a backtick or ``$()`` in an argument is three characters like any others.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, TypeAlias

from harness.core import UsageError

_INT64 = 1 << 63
_UINT64 = 1 << 64
_SHOWN = 200
"""How much of one argument an error message shows."""


@dataclass(frozen=True, slots=True)
class Ref:
    """What an earlier step of the same request returned: one object, or all of them as a list.

    Args:
        name: the step's name.
        path: a property of it, with dots for properties of properties; empty: the object itself.
    """

    name: str
    path: str = ""


@dataclass(frozen=True, slots=True)
class Typed:
    """A value that has to be of a .NET type: CIM methods convert nothing by themselves.

    Args:
        kind: PowerShell's name of the type, as in ``uint16``.
        value: what is converted to it.
    """

    kind: str
    value: Value


@dataclass(frozen=True, slots=True)
class Masked:
    """A text that no message may show."""

    value: str = field(repr=False)


Value: TypeAlias = (
    "bool | int | float | str | bytes | Ref | Typed | Masked | Sequence[Value] | Mapping[str, Value] | None"
)
"""An argument. Bytes become base64 text; a mapping becomes a hashtable."""

Row: TypeAlias = "Mapping[str, Any]"
"""The asked properties of one object. Enums are their names, dates ISO 8601 in UTC, spans seconds, bytes base64."""


@dataclass(frozen=True, slots=True)
class Step:
    """One cmdlet or function of the agent.

    Args:
        call: its name.
        args: arguments by parameter; True for a switch.
        name: what later steps call the objects it returned.
        get: the properties that come back of each object; ``.`` is the object itself, and one that ends in ``?``
            is None where an object has none. Nothing asked, nothing comes back.
        where: properties with a regular expression that their text fits, see :func:`exactly`, or a number that they
            are less than: other objects are dropped.
        when: skip the step, as if it returned nothing, where the step of this name returned nothing.
        unless: skip it where that step returned something.
        within: ask again until something fits, at most so many seconds: a wait that costs no round trips. An agent
            that waits does nothing else meanwhile.
        allow: error ids, as far as their first comma, that are no errors, but mean that nothing was returned.
    """

    call: str
    args: Mapping[str, Value] = field(default_factory=dict)
    name: str | None = None
    get: tuple[str, ...] = ()
    where: tuple[tuple[str, str | int], ...] = ()
    when: str | None = None
    unless: str | None = None
    within: int | None = None
    allow: tuple[str, ...] = ()

    def only(self, when: str) -> Step:
        """The same step, done only where the step called ``when`` returned something."""
        return replace(self, when=when)

    def __str__(self) -> str:
        return " ".join([self.call, *(f"-{name} {shown(value)}" for name, value in self.args.items())])


def exactly(text: str) -> str:
    """A regular expression, for :attr:`Step.where`, that only ``text`` itself fits (in whatever case)."""
    return beginning(text) + "$"


def beginning(text: str) -> str:
    """A regular expression that only what begins with ``text`` fits."""
    # Not re.escape: it is .NET that reads this, and every character by its number is the same to both.
    return "^" + "".join(f"\\u{ord(unit):04x}" for unit in _utf16(text))


def seconds(date: str) -> float:
    """Seconds since 1970 of a date in a :data:`Row`: .NET writes seven digits behind the point, Python reads six."""
    head, _, tail = date.rstrip("Z").partition(".")
    return datetime.fromisoformat(head).replace(tzinfo=UTC).timestamp() + float(f"0.{tail or 0}")


def request(number: int, steps: Sequence[Step]) -> bytes:
    """One request as a line for the agent's standard input, all ASCII.

    Raises:
        UsageError: an argument cannot be said: half a surrogate pair, or a value of no known kind.
    """
    return json.dumps({"id": number, "steps": [_step(step) for step in steps]}).encode("ascii") + b"\n"


def shown(value: Value) -> str:  # noqa: PLR0911 - one line a kind of value
    """An argument as messages have it: short, on one line, without secrets."""
    match value:
        case Ref(name, path):
            return f"<{name}{'.' if path else ''}{path}>"
        case Typed(kind, inner):
            return f"[{kind}]{shown(inner)}"
        case Masked():
            return "***"
        case bytes():
            return f"<{len(value)} bytes>"
        case Mapping():
            return "{" + ", ".join(f"{key}: {shown(item)}" for key, item in value.items()) + "}"
        case str() if len(value) > _SHOWN:
            return f"{value[:_SHOWN]!r}... ({len(value)} characters)"
        case str():
            return repr(value)
        case Sequence():
            return "[" + ", ".join(shown(item) for item in value[:9]) + ("..." if len(value) > 9 else "") + "]"
        case _:
            return str(value)


def _step(step: Step) -> dict[str, Any]:
    said: dict[str, Any] = {"call": step.call, "args": {name: _value(value) for name, value in step.args.items()}}
    if step.name:
        said["as"] = step.name
    if step.get:
        said["get"] = step.get
    if step.where:
        said["where"] = step.where
    if step.when:
        said["when"] = step.when
    if step.unless:
        said["unless"] = step.unless
    if step.within is not None:
        said["within"] = step.within
    if step.allow:
        said["allow"] = step.allow
    return said


def _value(value: Value) -> Any:  # noqa: C901, PLR0911 - one line a kind of value
    match value:
        case None | bool():
            return value
        case int() if -_INT64 <= value < _INT64:
            return int(value)
        case int():
            return {"$as": ["uint64" if 0 <= value < _UINT64 else "bigint", f"={value:d}"]}
        case float():
            return {"$as": ["double", f"={_DOUBLES.get(repr(value), repr(value))}"]}  # JSON's reader makes decimals
        case str():
            return f"={_sayable(value)}"
        case bytes():
            return "=" + base64.b64encode(value).decode("ascii")
        case Masked(text):
            return f"={_sayable(text)}"
        case Ref(name, path):
            return {"$ref": f"{name}.{path}" if path else name}
        case Typed(kind, inner):
            return {"$as": [kind, _value(inner)]}
        case Mapping():
            return {"$map": [[_value(key), _value(item)] for key, item in value.items()]}
        case Sequence():
            return [_value(item) for item in value]
    raise UsageError(f"an argument cannot be a {type(value).__name__}")


_DOUBLES = {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}


def _sayable(text: str) -> str:
    _utf16(text)
    return text


def _utf16(text: str) -> list[str]:
    """The UTF-16 units of a text: what .NET counts as characters."""
    try:
        raw = text.encode("utf-16-le")
    except UnicodeEncodeError as error:
        raise UsageError(f"half a surrogate pair is no text: {text[error.start : error.end]!r}") from None
    return [chr(int.from_bytes(raw[at : at + 2], "little")) for at in range(0, len(raw), 2)]
