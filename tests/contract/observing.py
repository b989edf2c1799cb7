"""Hypervisors and machines under observation: each verb that is called is noted with its time and outcome."""

from __future__ import annotations

import statistics
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from harness.backends import protocol
from harness.backends.protocol import Hypervisor, Machine

_GIVES_MACHINE = {"create", "open"}


@dataclass(frozen=True, slots=True)
class Call:
    """One call: ``outcome`` is ``ok`` or the name of what was raised."""

    verb: str
    seconds: float
    outcome: str


@dataclass(slots=True)
class Log:
    """All calls of a session."""

    calls: list[Call] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, call: Call) -> None:
        """Note a call."""
        with self._lock:
            self.calls.append(call)

    def summary(self) -> dict[str, dict[str, Any]]:
        """By verb: how often it was called, worked, and what it raised; median and longest seconds of what worked."""
        verbs: dict[str, dict[str, Any]] = {}
        with self._lock:
            noted = list(self.calls)
        for verb in sorted({call.verb for call in noted}):
            calls = [call for call in noted if call.verb == verb]
            worked = [call.seconds for call in calls if call.outcome == "ok"]
            raised = [call.outcome for call in calls if call.outcome != "ok"]
            verbs[verb] = {
                "calls": len(calls),
                "worked": len(worked),
                "median_seconds": round(statistics.median(worked), 3) if worked else None,
                "longest_seconds": round(max(worked), 3) if worked else None,
                "raised": {name: raised.count(name) for name in sorted(set(raised))},
            }
        return verbs


def kind_of(error: BaseException) -> str:
    """What the protocol calls it: a backend's own kind of error is, for its caller, the one that it derives from."""
    known, backends = protocol.__name__, protocol.__name__.rpartition(".")[0]
    kinds = [
        kind for kind in type(error).__mro__ if kind.__module__ == known or not kind.__module__.startswith(backends)
    ]
    return kinds[0].__name__


def observed_host(host: Hypervisor, log: Log) -> Any:
    """``host``, with every verb noted; so are those of machines it gives."""
    return _observed(host, log, "host.")


def observed_machine(machine: Machine, log: Log) -> Any:
    """``machine``, with every verb noted."""
    return _observed(machine, log, "")


def _observed(thing: Any, log: Log, prefix: str) -> Any:
    # A class of its own for each: it has exactly the verbs of the thing, so isinstance() of a protocol says the same.
    members: dict[str, Any] = {"__repr__": lambda _: f"<observed {thing!r}>"}
    for name in dir(type(thing)):
        if not name.startswith("_"):
            verb = callable(getattr(type(thing), name))
            members[name] = _verb(thing, name, log, prefix) if verb else property(lambda _, n=name: getattr(thing, n))
    for name in vars(thing) if hasattr(thing, "__dict__") else ():
        if not name.startswith("_") and name not in members:
            members[name] = property(lambda _, n=name: getattr(thing, n))
    return type(f"Observed{type(thing).__name__}", (), members)()


def _verb(thing: Any, name: str, log: Log, prefix: str) -> Any:
    def call(_: Any, *arguments: Any, **named: Any) -> Any:
        began = time.monotonic()
        outcome = "interrupted"
        try:
            result = getattr(thing, name)(*arguments, **named)
            outcome = "ok"
        except Exception as error:
            outcome = kind_of(error)
            raise
        finally:
            log.add(Call(prefix + name, time.monotonic() - began, outcome))
        return observed_machine(result, log) if prefix and name in _GIVES_MACHINE else result

    return call
