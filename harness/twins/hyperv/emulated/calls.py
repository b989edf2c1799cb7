"""The table of emulated cmdlets: what was bound, and the functions that answer it."""

from __future__ import annotations

import fnmatch
import re
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from harness.core.waiting import pause
from harness.twins.hyperv.emulated.objects import Thing
from harness.twins.hyperv.emulated.refusals import Refusal, no_machine, no_right, no_service
from harness.twins.hyperv.plan import Effect

if TYPE_CHECKING:
    from harness.twins.hyperv.emulated.machines import Vm
    from harness.twins.hyperv.emulated.world import World

Answer = Iterable[Any]
Cmdlet = Callable[["Call"], Answer]

TABLE: Final[dict[str, Cmdlet]] = {}
"""Every emulated cmdlet, by name in lower case."""


def cmdlet(name: str) -> Callable[[Cmdlet], Cmdlet]:
    """Register the function below as what answers ``name``."""

    def register(function: Cmdlet) -> Cmdlet:
        TABLE[name.lower()] = function
        return function

    return register


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a cmdlet, bound.

    Args:
        world: the host.
        name: the cmdlet's name.
        arguments: by parameter; objects as :class:`Thing`.
        planned: what goes wrong meanwhile.
    """

    world: World
    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    planned: Collection[Effect] = ()

    def __contains__(self, name: str) -> bool:
        return name in self.arguments

    def get(self, name: str, otherwise: Any = None) -> Any:
        """An argument."""
        return self.arguments.get(name, otherwise)

    def on(self, name: str) -> bool:
        """Whether a switch is set."""
        return bool(self.arguments.get(name, False))

    def many(self, name: str) -> list[Any]:
        """An argument that may be one or several."""
        value = self.arguments.get(name)
        if value is None:
            return []
        return list(value) if isinstance(value, list | tuple) else [value]

    def machines(self) -> list[Vm]:
        """The machines that it is about: by object, id, or name with wildcards.

        Raises:
            Refusal: there is none of that name or id.
        """
        if "VM" in self:
            return [self.world.vm(thing.key) for thing in self.many("VM")]
        there = self.world.on_nodes([str(name) for name in self.many("ComputerName")])
        if "Id" in self:
            vm = self.world.by_id(self.get("Id"))
            if vm not in there:
                raise no_machine("id", self.get("Id"), listing=True)
            return [vm]
        names = self.many("VMName") or self.many("Name")
        if not names:
            return there
        found: list[Vm] = []
        for name in names:
            fits = [vm for vm in there if like(vm.name, str(name))]
            # A name with wildcards that fits nothing is no error; one without is.
            if not fits and not is_pattern(str(name)):
                raise no_machine("name", name, listing=self.name.lower() == "get-vm")
            found += [vm for vm in fits if vm not in found]
        return found

    def passed(self, things: Iterable[Any]) -> Answer:
        """What a cmdlet with ``-Passthru`` returns: nothing without it."""
        return list(things) if self.on("Passthru") else []


def run(world: World, name: str, arguments: Mapping[str, Any], user: str = "") -> list[Any]:
    """Run a bound cmdlet.

    Args:
        world: the host.
        name: of the cmdlet.
        arguments: by parameter.
        user: whose shell it runs in.

    Raises:
        Refusal: it refuses.
    """
    function = TABLE.get(name.lower())
    if function is None:
        raise Refusal("NotSupported", f"This twin has no {name}.")
    if name.lower().partition("-")[2].startswith(("vm", "vhd")) and not world.settings.feature:
        raise no_service(world.settings.name)
    operators = world.settings.operators
    if operators is not None and user.casefold() not in operators and _needs_rights(name, arguments):
        raise no_right(world.settings.name)
    planned = world.plan.take_of_cmdlet(name)
    if Effect.SLOW in planned:
        pause(planned[Effect.SLOW].seconds)
    if arguments.get("WhatIf") or Effect.IDLE in planned:
        return []
    if Effect.OVERLOOK in planned:
        overlooked = planned[Effect.OVERLOOK].parameter
        arguments = {parameter: value for parameter, value in arguments.items() if parameter != overlooked}
    return list(function(Call(world, name, arguments, planned)))


def _needs_rights(name: str, arguments: Mapping[str, Any]) -> bool:
    noun = name.partition("-")[2].lower()
    return noun.startswith(("vm", "vhd")) or "virtualization" in str(arguments.get("Namespace", "")).lower()


def like(text: str, pattern: str) -> bool:
    """PowerShell's wildcards: ``*``, ``?``, ``[a-c]``; in whatever case. A backtick takes the meaning away."""
    translated = re.sub(r"`(.)", lambda match: f"[{match[1]}]", pattern)
    return fnmatch.fnmatchcase(text.lower(), translated.lower())


def is_pattern(text: str) -> bool:
    """Whether a name holds wildcards."""
    return bool(re.search(r"(?<!`)[*?\[]", text))


def guid(value: Any) -> uuid.UUID:
    """An id, however it was given.

    Raises:
        Refusal: it is none.
    """
    if isinstance(value, uuid.UUID):
        return value
    try:
        return uuid.UUID(str(value))
    except ValueError:
        raise Refusal("InvalidParameter", f"'{value}' is not an id.") from None


def switch_thing(world: World, name: str) -> Thing:
    """A switch by its name, for properties of others."""
    return world.switch(name).thing()
