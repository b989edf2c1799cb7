"""The host's own record of a machine: vCenter's events, oldest first, and those among them that spoil a result."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from pyVmomi import vim

from harness.backends.views import MOVED, HostEvent
from harness.backends.vsphere.refs import Ref
from harness.backends.vsphere.session import Session
from harness.core import Deadline

_MOST = 1000
"""As many as a host gives at once (``EventFilterSpec.maxCount``); without a number it may be as few as ten."""

_LOG_LINES = 300
# 2024-05-01T12:00:00.123Z In(05) vmx - words; before ESXi 8: 2024-05-01T12:00:00.123Z| vmx| I125: words
_LOG_LINE = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d))[|\s]\s*(.*)")

_MOVES = (
    vim.event.VmMigratedEvent,  # also by DRS
    vim.event.VmBeingHotMigratedEvent,
    vim.event.VmBeingMigratedEvent,
    vim.event.VmRelocatedEvent,
    vim.event.VmBeingRelocatedEvent,
    vim.event.VmEmigratingEvent,
    vim.event.VmDasBeingResetEvent,  # HA's own monitoring pressed the reset button; also with a screenshot
    vim.event.VmRestartedOnAlternateHostEvent,
    vim.event.VmFailoverFailed,
)
_MOVE_IDS = re.compile(
    r"com\.vmware\.vc\.(ha\.VmRestartedByHAEvent|HA\.VmUnprotected.*Failover|vm\.VmStateRevertedToSnapshotByHA"
    r"|ha\.VmDasBeingReset.*|vmam\..*Reset.*|vm\.Vm(Hot|Cold)?Migrat(ed|ing).*)",
    re.IGNORECASE,
)


def of_machine(session: Session, machine: Ref, deadline: Deadline) -> tuple[HostEvent, ...]:
    """The last thousand things the host remembers of a machine; ``EventManager.QueryEvents``, one round trip."""
    only = vim.event.EventFilterSpec.ByEntity(entity=machine.managed, recursion="self")
    found = session.call(
        "events",
        session.manager("eventManager"),
        "QueryEvents",
        deadline,
        vim.event.EventFilterSpec(entity=only, maxCount=_MOST),
    )
    return tuple(told(event) for event in sorted(found or (), key=lambda event: (event.createdTime, event.key)))


def of_log(data: bytes) -> tuple[HostEvent, ...]:
    """The last lines of a machine's ``vmware.log``; a line without a time of its own takes that of the one before, and
    is left out where there is none.
    """
    events: list[HostEvent] = []
    at: datetime | None = None
    for line in data.decode("utf-8", "replace").splitlines()[-_LOG_LINES:]:
        found = _LOG_LINE.match(line)
        if found:
            at = datetime.fromisoformat(found[1]).astimezone(UTC)
        said = (found[2] if found else line).strip()
        if said and at:
            events.append(HostEvent(at, "vmware-log", said))
    return tuple(events)


def told(event: Any) -> HostEvent:
    """A vSphere event in our words: a move to another ESXi or datastore, and HA's reset, are of kind :data:`MOVED`."""
    kind = kind_of(event)
    message = str(event.fullFormattedMessage or "").strip() or kind
    at = event.createdTime.astimezone(UTC)
    return HostEvent(at, MOVED, f"{kind}: {message}") if moves(event) else HostEvent(at, kind, message)


def kind_of(event: Any) -> str:
    """``VmPoweredOnEvent`` as ``powered-on``; an event without a class of its own by its id."""
    named = getattr(event, "eventTypeId", None)
    if named:
        return str(named)
    name = type(event).__name__.rpartition(".")[2].removeprefix("Vm").removesuffix("Event")
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()


def moves(event: Any) -> bool:
    """Whether the machine was taken to another place, or reset by the cluster: what was measured then means nothing."""
    return isinstance(event, _MOVES) or bool(_MOVE_IDS.fullmatch(str(getattr(event, "eventTypeId", "") or "")))
