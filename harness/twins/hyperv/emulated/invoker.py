"""The agent's protocol without a PowerShell engine: the same requests, the same table of cmdlets, our own binder.

What a request looks like is said in the header of the agent's script; this stands in for that script of that digest
and for no other, so that a change of the agent is noticed.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
import re
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Final

from harness import agent
from harness.core.waiting import pause
from harness.twins.hyperv.emulated import table
from harness.twins.hyperv.emulated.binder import BINDING, bind
from harness.twins.hyperv.emulated.functions import FUNCTIONS, Consoles
from harness.twins.hyperv.emulated.objects import Choice, Lazy, Thing
from harness.twins.hyperv.emulated.refusals import Refusal
from harness.twins.hyperv.emulated.signatures import signatures
from harness.twins.hyperv.emulated.world import World

_REMEMBERED: Final = 8
_LARGEST: Final = 8 << 20
_PAUSE: Final = 0.1
_NO_FILE: Final = 0x80070002 - (1 << 32)
ENGINE: Final = "twin"
"""What the ready line says the engine is, so that results can."""


class Agent:
    """One agent's conversation.

    Args:
        world: the host.
        say: takes each line that goes out.
    """

    def __init__(self, world: World, say: Callable[[bytes], None], *, installed: bool = False) -> None:
        self._world = world
        self._installed = installed
        self._say = say
        self._known = signatures(world.settings.year)
        self._said: OrderedDict[str, bytes] = OrderedDict()
        self._consoles = Consoles()
        self._begun = False

    def hear(self, line: bytes) -> bool:
        """One line of input; False: it is no agent that this stands in for, and the program ends."""
        if not self._begun:
            try:
                source = base64.b64decode(line.strip(), validate=True)
            except binascii.Error:
                source = b""
            # A lab that installs the agent appends its signature.
            if not source.replace(b"\r\n", b"\n").startswith(agent.source()):
                return False
            self._begun = True
            if "module" in self._world.settings.lacks:
                missing = Refusal(
                    "Modules_ModuleNotFound",
                    "The specified module 'Hyper-V' was not loaded.",
                    "ResourceUnavailable",
                    _NO_FILE,
                )
                self._fail(
                    0, -1, [], missing, f"{missing.identifier},Microsoft.PowerShell.Commands.ImportModuleCommand"
                )
                return True
            installed = {"script": agent.script_digest()} if self._installed else {}
            self._answer(0, {"ok": True, "engine": ENGINE, "process": 0, "results": [], **installed})
            return True
        if line.strip():
            self._request(line)
        return True

    def close(self) -> None:
        """Input ended."""
        self._consoles.close()

    def _request(self, line: bytes) -> None:
        number, at, results = -1, -1, []
        try:
            request = json.loads(line)
            number = request["id"]
            if str(number) in self._said:
                self._say(self._said[str(number)])
                return
            names: dict[str, list[Any]] = {}
            room = [_LARGEST]
            for step in request["steps"]:
                at += 1
                results.append(self._step(step, names, room))
            self._answer(number, {"ok": True, "results": results})
        except Refusal as refusal:
            self._fail(number, at, results, refusal, refusal.identifier)
        except _Named as named:
            self._fail(number, at, results, named.refusal, named.identifier)
        except (ValueError, KeyError, TypeError) as error:
            self._fail(
                number, at, results, Refusal("ArgumentException", str(error), "InvalidArgument"), "ArgumentException"
            )

    def _fail(self, number: int, step: int, results: list[Any], refusal: Refusal, identifier: str) -> None:
        said = {"id": identifier, "category": refusal.category, "hresult": refusal.hresult, "message": refusal.message}
        self._answer(number, {"ok": False, "step": step, **said, "results": results})

    def _answer(self, number: int, answer: Mapping[str, Any]) -> None:
        line = f"{agent.MARK} {number} {json.dumps(answer, separators=(',', ':'))}\r\n".encode("ascii")
        self._said[str(number)] = line
        if len(self._said) > _REMEMBERED:
            self._said.popitem(last=False)
        self._say(line)

    def _step(self, step: Mapping[str, Any], names: dict[str, list[Any]], room: list[int]) -> list[Any]:
        if "as" in step:
            names[step["as"]] = []
        if "when" in step and not names.get(step["when"]):
            return []
        if "unless" in step and names.get(step["unless"]):
            return []
        given = {name: resolve(value, names) for name, value in step.get("args", {}).items()}
        until = time.monotonic() + step.get("within", 0)
        while not (out := self._found(step, given)) and time.monotonic() < until:
            pause(_PAUSE)
        if "as" in step:
            names[step["as"]] = out
        if "get" not in step:
            return []
        return [{path: show(read(each, path), room) for path in step["get"]} for each in out]

    def _found(self, step: Mapping[str, Any], given: dict[str, Any]) -> list[Any]:
        try:
            out = self._call(str(step["call"]), given)
        except _Named as named:
            if named.identifier.partition(",")[0] not in step.get("allow", ()):
                raise
            out = []
        return [each for each in out if _fits(each, step.get("where", ()))]

    def _call(self, call: str, given: dict[str, Any]) -> list[Any]:
        function = FUNCTIONS.get(call.lower())
        if function is not None:
            try:
                return function(self._world, self._consoles, given)
            except Refusal as refusal:
                raise _Named(refusal, f"{refusal.identifier},{call}") from refusal
        signature = self._known.get(call.lower())
        if signature is None:
            unknown = Refusal("CommandNotFoundException", f"there is no cmdlet {call}", "ObjectNotFound", BINDING)
            raise _Named(unknown, unknown.identifier)
        try:
            arguments = bind(signature, given)
        except Refusal as refusal:
            raise _Named(refusal, f"{refusal.identifier},{signature.name}") from refusal
        try:
            return table.run(self._world, signature.name, arguments)
        except Refusal as refusal:
            raise _Named(refusal, refusal.qualified(signature.name)) from refusal


class _Named(Exception):
    """A refusal with the fully qualified id that its record has."""

    def __init__(self, refusal: Refusal, identifier: str) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal
        self.identifier = identifier


def resolve(value: Any, names: Mapping[str, list[Any]]) -> Any:
    """An argument as its step means it."""
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
            raise _Named(refusal, refusal.identifier)
        found: Any = names[name][0] if len(names[name]) == 1 else names[name]
        return read(found, path) if path else found
    if form == "$as":
        return typed(str(content[0]).lower(), resolve(content[1], names))
    if form == "$map":
        return {str(resolve(key, names)): resolve(item, names) for key, item in content}
    raise ValueError(f"an argument of the unknown form {form}")


def typed(kind: str, value: Any) -> Any:
    """A value of a .NET type, as far as it makes a difference here."""
    if kind in {"double", "single", "float"}:
        return float(str(value).replace("Infinity", "inf"))
    if kind.rstrip("0123456789") in {"int", "uint", "bigint"} or kind in {"long", "ulong", "byte"}:
        return int(value)
    if kind in {"datetime", "system.datetime"}:
        return dt.datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", str(value)))
    return list(value) if kind.endswith("[]") and isinstance(value, list | tuple) else value


def read(found: Any, path: str) -> Any:
    """A property of a property, as strict mode reads it.

    Raises:
        Refusal: there is none; a path that ends in ``?`` is None then.
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
            raise _Named(
                Refusal("PropertyNotFoundStrict", f"The property '{part}' cannot be found.", "NotSpecified", BINDING),
                "PropertyNotFoundStrict",
            ) from None
    return found.read() if isinstance(found, Lazy) else found


def _property(found: Any, part: str) -> Any:
    if isinstance(found, Thing):
        return found.get(part)
    if isinstance(found, Mapping):
        return found[part]
    if isinstance(found, uuid.UUID) and part.lower() == "guid":
        return str(found)
    if isinstance(found, list | tuple):
        return len(found) if part.lower() in {"count", "length"} else [read(each, part) for each in found]
    if isinstance(found, str | bytes) and part.lower() == "length":
        return len(found)
    raise KeyError(part)


def show(value: Any, room: list[int]) -> Any:  # noqa: PLR0911  one line a kind of value
    """A value as answers have it."""
    room[0] -= 8
    match value:
        case None | bool() | int() | float():
            return value
        case dt.datetime():
            return value.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "0Z"
        case dt.timedelta():
            return value.total_seconds()
        case bytes():
            return _spent(base64.b64encode(value).decode("ascii"), room)
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
        raise _Named(refusal, refusal.identifier)
    return text


def _fits(found: Any, rules: Any) -> bool:
    for path, pattern in rules:
        value = show(read(found, path), [_LARGEST])
        if isinstance(pattern, int):
            if not value < pattern:
                return False
            continue
        text = "" if value is None else str(value.name if isinstance(value, Choice) else value)
        if not re.search(pattern, text, re.IGNORECASE):
            return False
    return True


__all__ = ["ENGINE", "Agent", "read", "resolve", "show", "typed"]
