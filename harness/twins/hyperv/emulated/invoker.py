"""The agent's protocol without a PowerShell engine: the same requests, the same table of cmdlets, our own binder.

What a request looks like is said in the header of the agent's script; this stands in for that script of that digest
and for no other, so that a change of the agent is noticed.
"""

from __future__ import annotations

import base64
import binascii
import json
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Final

from harness import agent
from harness.core.waiting import pause
from harness.twins.hyperv.emulated import table
from harness.twins.hyperv.emulated.binder import bind
from harness.twins.hyperv.emulated.functions import FUNCTIONS, OWN, Consoles, complete
from harness.twins.hyperv.emulated.refusals import SYSTEM, Refusal, thrown
from harness.twins.hyperv.emulated.signatures import Signature
from harness.twins.hyperv.emulated.values import LARGEST, Named, absent, fits, read, resolve, show
from harness.twins.hyperv.emulated.world import World

_REMEMBERED: Final = 8
_PAUSE: Final = 0.1
_NO_FILE: Final = 0x80070002 - (1 << 32)
ENGINE: Final = "twin"
"""What the ready line says the engine is, so that results can."""


class Agent:
    """One agent's conversation.

    Args:
        world: the host.
        say: takes each line that goes out.
        user: whose shell it runs in.
        installed: whether its script lies on the host.
    """

    def __init__(self, world: World, say: Callable[[bytes], None], user: str, *, installed: bool = False) -> None:
        self._world = world
        self._installed = installed
        self._say = say
        self._user = user
        self._known = world.cmdlets
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
            if not self._world.settings.module:
                missing = "Modules_ModuleNotFound,Microsoft.PowerShell.Commands.ImportModuleCommand"
                self._fail(0, -1, [], Refusal("", "There is no module Hyper-V.", "ResourceUnavailable"), missing)
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
            room = [LARGEST]
            for step in request["steps"]:
                at += 1
                results.append(self._step(step, names, room))
            self._answer(number, {"ok": True, "results": results})
        except Refusal as refusal:
            self._fail(number, at, results, refusal, refusal.identifier)
        except Named as named:
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
        for condition in ("when", "unless"):
            if condition in step and step[condition] not in names:
                raise absent("Count")  # of nothing, in strict mode
            if condition in step and bool(names[step[condition]]) is (condition == "unless"):
                return []
        call = str(step["call"])
        if call.lower() not in self._known and call.lower() not in FUNCTIONS:
            unknown = Refusal("CommandNotFoundException", f"there is no cmdlet {call}", "ObjectNotFound", SYSTEM)
            raise Named(unknown, unknown.identifier)
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
        except Named as named:
            if named.identifier.partition(",")[0] not in step.get("allow", ()):
                raise
            out = []
        return [each for each in out if fits(each, step.get("where", ()))]

    def _call(self, call: str, given: dict[str, Any]) -> list[Any]:
        function = FUNCTIONS.get(call.lower())
        if function is None:
            signature = self._known[call.lower()]
            arguments = self._bound(signature, given)
            try:
                return table.run(self._world, signature.name, arguments, self._user)
            except Refusal as refusal:
                raise Named(refusal, refusal.qualified(signature.name)) from refusal
        own = OWN.get(call.lower())
        try:
            return function(
                self._world, self._consoles, given if own is None else complete(own, self._bound(own, given))
            )
        except Refusal as refusal:
            raise Named(refusal, f"{refusal.identifier},{call}") from refusal
        except OSError as error:
            why = thrown(error)
            raise Named(why, f"{why.identifier},{call}") from error

    def _bound(self, signature: Signature, given: dict[str, Any]) -> dict[str, Any]:
        try:
            return bind(signature, given)
        except Refusal as refusal:
            raise Named(refusal, f"{refusal.identifier},{signature.name}") from refusal


__all__ = ["ENGINE", "Agent"]
