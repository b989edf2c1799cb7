"""The fault plan: what goes wrong on demand, and when. Real hosts do all of this; a twin does it when it is told to."""

from __future__ import annotations

import fnmatch
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any

from harness.core import UsageError
from harness.twins.hyperv.faults import FAULTS


class Effect(StrEnum):
    """What may go wrong."""

    FAULT = "fault"
    """A WSManFault of the name ``fault``; with ``taken`` after the operation was done, else instead of it."""
    SLOW = "slow"
    """The operation takes ``seconds`` more; beyond its OperationTimeout, a fault comes in time and it is done later."""
    SILENT = "silent"
    """Nothing is answered for ``seconds``; then the connection ends."""
    CUT = "cut"
    """The connection ends instead of an answer."""
    HANG_UP = "hang-up"
    """The connection ends after the answer, when ``seconds`` have passed without a further request."""
    EXPIRE = "expire"
    """The shell expires before the operation."""
    KILL = "kill"
    """The command's program is killed before the operation."""
    SPLIT = "split"
    """An answer to Receive holds at most ``size`` bytes of output, whatever character that splits."""
    STATUS = "status"
    """A bare HTTP ``status`` without a body."""
    UNAUTHORISED = "unauthorised"
    """401, as when the account was locked or its password changed."""
    STUCK = "stuck"
    """Of a cmdlet that ends a machine: it is ``Stopping``, and stays so."""
    DEAF = "deaf"
    """Of a cmdlet that asks a guest to shut down or reboot: the guest takes it, and does nothing."""
    IDLE = "idle"
    """Of a cmdlet: it ends as if all were done, and does nothing."""
    OPEN = "open"
    """Of a cmdlet that makes a trunk: its list is taken and shown, and every VLAN passes."""
    OVERLOOK = "overlook"
    """Of a cmdlet: it does what it would have done without ``parameter``."""


_BEFORE_AUTH = frozenset({Effect.UNAUTHORISED})
_OF_CMDLETS = frozenset({Effect.STUCK, Effect.DEAF, Effect.OPEN, Effect.SLOW, Effect.IDLE, Effect.OVERLOOK})


@dataclass(frozen=True, slots=True)
class Planned:
    """One entry of the plan.

    Args:
        do: what goes wrong.
        on: the operation that it happens to (``Create``, ``Receive`` ...); ``any``: each. Or the cmdlet (``Stop-VM``),
            which may hold wildcards.
        skip: how many of these go well first.
        times: to how many it happens then; None: to all.
        taken: whether the operation is done nevertheless.
        seconds: how long.
        size: how many bytes.
        fault: the name of a fault, see :data:`~harness.twins.hyperv.faults.FAULTS`.
        status: an HTTP status.
        parameter: of a cmdlet, by its whole name.
    """

    do: Effect
    on: str = "any"
    skip: int = 0
    times: int | None = 1
    taken: bool = False
    seconds: float = 0.0
    size: int = 1
    fault: str = "internal"
    status: int = 500
    parameter: str = ""

    @property
    def of_cmdlet(self) -> bool:
        """Whether it happens to a cmdlet, and not to an operation of WS-Man."""
        return "-" in self.on

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> Planned:
        """An entry as JSON says it.

        Raises:
            UsageError: a key, an effect or a fault that is not known.
        """
        known = {field.name for field in fields(cls)}
        if unknown := raw.keys() - known:
            raise UsageError(f"a fault plan has no {', '.join(sorted(unknown))}", hint=f"it knows {sorted(known)}")
        try:
            planned = cls(**{**raw, "do": Effect(raw.get("do", ""))})
        except ValueError:
            raise UsageError(f"{raw.get('do')!r} is no effect", hint=f"one of {', '.join(Effect)}") from None
        if planned.fault not in FAULTS:
            raise UsageError(f"{planned.fault!r} is no fault", hint=f"one of {', '.join(FAULTS)}")
        if planned.do is Effect.OVERLOOK and not planned.parameter:
            raise UsageError("overlook needs to know what is overlooked", hint="name it: parameter")
        wrong = planned.do not in _OF_CMDLETS if planned.of_cmdlet else planned.do in _OF_CMDLETS - {Effect.SLOW}
        if wrong:
            raise UsageError(f"{planned.do} does not happen to {planned.on}", hint=f"of cmdlets: {sorted(_OF_CMDLETS)}")
        return planned


class FaultPlan:
    """What is still to go wrong. Threads share it."""

    def __init__(self, entries: Iterable[Planned] = ()) -> None:
        self._lock = threading.Lock()
        self._entries = list(entries)

    def replace(self, entries: Iterable[Planned]) -> None:
        """Forget the plan and make this the plan."""
        with self._lock:
            self._entries = list(entries)

    def unauthorised(self) -> bool:
        """Whether this request is refused before anybody looks at it."""
        return bool(self._take(lambda entry: entry.on == "any" and entry.do in _BEFORE_AUTH))

    def take(self, operation: str) -> dict[Effect, Planned]:
        """What happens to this operation; each is counted."""
        taken = self._take(lambda entry: entry.on in {"any", operation} and entry.do not in _BEFORE_AUTH)
        return {planned.do: planned for planned in taken}

    def take_of_cmdlet(self, name: str) -> dict[Effect, Planned]:
        """What happens to this call of a cmdlet; each is counted."""
        taken = self._take(
            lambda entry: entry.of_cmdlet and fnmatch.fnmatchcase(name.lower(), entry.on.lower()),
        )
        return {planned.do: planned for planned in taken}

    def _take(self, due: Callable[[Planned], bool]) -> list[Planned]:
        taken: list[Planned] = []
        with self._lock:
            left: list[Planned] = []
            for planned in self._entries:
                entry = planned
                if due(entry):
                    if entry.skip:
                        entry = replace(entry, skip=entry.skip - 1)
                    else:
                        taken.append(entry)
                        if entry.times is not None:
                            entry = replace(entry, times=entry.times - 1)
                if entry.times != 0:
                    left.append(entry)
            self._entries = left
        return taken
