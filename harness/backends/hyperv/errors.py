"""What a Hyper-V host says no with, in the harness's words."""

from __future__ import annotations

import re
from dataclasses import dataclass

from harness.backends.hyperv.steps import Step
from harness.backends.protocol import Refused, WrongState
from harness.core import InteropError, LabError


class Gone(LabError):
    """The object is not on the host any more: somebody else removed it, or it was never ours."""


class Busy(LabError):
    """Something else holds the object; the same request may work a moment later."""


class NoRight(LabError):
    """The account may not do this on the host."""


class Full(LabError):
    """A volume of the host has no room left."""


class Failed(LabError):
    """The host tried, and that is all it says."""


class Lost(LabError):
    """The agent went away before it answered: whether the request was done is not known."""


class Broken(LabError):
    """The connection broke. The shell on the host may still be there, and be reached by another one."""


class Unreachable(Broken):
    """There was no connection to begin with: nothing was sent."""


class Ended(LabError):
    """The shell or its agent is gone, and with it whatever it was doing."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What the agent says of a step that failed.

    Args:
        step: the step's number, from 0; -1 for the request itself.
        id: PowerShell's fully qualified error id, as in ``InvalidState,Microsoft.HyperV.PowerShell.Commands.StartVM``.
        category: its category, as in ``ObjectNotFound``.
        hresult: the HRESULT, unsigned.
        message: the host's own words, in the host's own language: for people, never for decisions.
    """

    step: int
    id: str
    category: str
    hresult: int
    message: str


class StepFailed(Exception):
    """The cause of what :func:`translated` makes: for those to whom it matters how far a request got.

    Args:
        failure: what the agent said.
    """

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def failed_step(error: BaseException) -> int | None:
    """Which step of a request failed with this error: the host was reached, and said no.

    Returns:
        Its number, -1 for the request itself; None where no step failed: the login, the connection or the deadline did.
    """
    cause = error.__cause__
    return cause.failure.step if isinstance(cause, StepFailed) else None


NOT_FOUND = ("ObjectNotFound", "InvalidParameter")
"""What ``Get-VM`` and its like say of something that is not there, by id and by name."""
REMOVED = "somebody else removed it: look at the host, and at other runs that use it"
_GENERAL = {0x80131500, 0x80131501, 0}  # COR_E_EXCEPTION, COR_E_SYSTEM: .NET's own, which say nothing
_IN_TEXT = re.compile(r"0x[89A-Fa-f][0-9A-Fa-f]{7}")

# The first part of the id decides, then the HRESULT, then the category.
_BY_ID: dict[str, tuple[type[InteropError], str | None]] = {
    "InvalidState": (WrongState, None),
    "NothingNamed": (Gone, REMOVED),
    "ObjectNotFound": (Gone, None),
    "PathNotFound": (Gone, None),
    "ItemNotFoundException": (Gone, None),
    "AccessDenied": (NoRight, "the account must be in the host's group Hyper-V Administrators: docs/hyperv-host.md"),
    "UnauthorizedAccess": (NoRight, "the account must be in the host's group Hyper-V Administrators"),
    "Unauthorized": (NoRight, "the account must be in the host's group Hyper-V Administrators"),
    "NotSupported": (Refused, None),
    "InvalidParameter": (Refused, None),
    "InvalidOperation": (Refused, None),
    "OutOfMemory": (LabError, "the host has no memory left: set `capacity:` in the lab file to what there is"),
    "AnswerTooLarge": (LabError, "ask for fewer properties or fewer objects"),
    "Modules_ModuleNotFound": (
        LabError,
        "Install-WindowsFeature -Name Hyper-V -IncludeManagementTools -Restart",
    ),
    "ConstrainedLanguage": (
        LabError,
        "the host allows PowerShell's constrained language only: sign the agent, put it on the host's disk, and write "
        "its path as `agent:` into the lab file (docs/hyperv-host.md)",
    ),
}
_OLD_HOST = "the host's Hyper-V module is older or newer than those this release knows (Server 2016 to 2025)"
_BINDER = (
    "NamedParameterNotFound",
    "AmbiguousParameterSet",
    "ParameterArgumentValidationError",
    "ParameterArgumentTransformationError",
    "CannotConvertArgument",
    "CannotConvertArgumentNoMessage",
    "MissingMandatoryParameter",
    "CommandNotFoundException",
    "PropertyNotFoundStrict",
)
_BY_HRESULT: dict[int, tuple[type[InteropError], str | None]] = {
    0x80070005: (NoRight, "the account must be in the host's group Hyper-V Administrators"),
    0x80070002: (Gone, None),
    0x80070003: (Gone, None),
    0x8007000E: (LabError, "the host has no memory left: set `capacity:` in the lab file to what there is"),
    0x800705AA: (LabError, "the host has no memory left: set `capacity:` in the lab file to what there is"),
    0x80070050: (Refused, None),  # ERROR_FILE_EXISTS
    0x800700B7: (Refused, None),  # ERROR_ALREADY_EXISTS
    0x80070020: (Busy, "another process holds the file: a backup, a virus scanner, or a merge of a checkpoint"),
    0x80070021: (Busy, None),
    0x80070070: (Full, "free space below `store:`; `interop reap` removes leftovers"),
    0x80070027: (Full, "free space below `store:`; `interop reap` removes leftovers"),
    0x0000001C: (Full, "free space below `store:`; `interop reap` removes leftovers"),  # ENOSPC: .NET on Linux
    0xC03A001A: (LabError, "the file is sparse, compressed or encrypted: `fsutil sparse setflag FILE 0`, `compact /u`"),
    0x8007139F: (WrongState, None),  # ERROR_INVALID_STATE
}
_BY_CATEGORY: dict[str, type[InteropError]] = {
    "ObjectNotFound": Gone,
    "PermissionDenied": NoRight,
    "SecurityError": NoRight,
    "ResourceBusy": Busy,
    "ResourceExists": Refused,
    "InvalidArgument": Refused,
    "NotImplemented": Refused,
}


def number_of(failure: Failure) -> int:
    """The HRESULT that says something: Hyper-V's own errors have .NET's general one, and the real one in their text."""
    if failure.hresult not in _GENERAL:
        return failure.hresult
    found = _IN_TEXT.search(failure.message)
    return int(found[0], 16) if found else failure.hresult


def translated(failure: Failure, step: Step | None, host: str, operation: str) -> InteropError:
    """A failed step as the contract wants it: :class:`WrongState`, :class:`Refused`, or a :class:`LabError` of ours.

    Args:
        failure: what the agent said.
        step: the step that failed; None where it was the request, or the agent itself.
        host: the lab's name of the host.
        operation: the verb.
    """
    first = failure.id.partition(",")[0]
    number = number_of(failure)
    kind: type[InteropError]
    hint: str | None
    if first in _BINDER:
        kind, hint = LabError, _OLD_HOST
    elif first in NOT_FOUND and step is not None and _looks_up(step):
        kind, hint = Gone, REMOVED
    elif first in _BY_ID:
        kind, hint = _BY_ID[first]
    elif number in _BY_HRESULT:
        kind, hint = _BY_HRESULT[number]
    elif first == "OperationFailed":
        kind, hint = Failed, None
    else:
        kind, hint = _BY_CATEGORY.get(failure.category, LabError), None
    words = " ".join(failure.message.split()) or "(no message)"
    code = f", 0x{number:08X}" if number not in _GENERAL else ""
    where = f"{step}: " if step else ""
    return kind(f"{where}{words} [{first or failure.category}{code}]", host=host, operation=operation, hint=hint)


def _looks_up(step: Step) -> bool:
    """Whether it asks for a machine by its id: that is never wrong, but the machine may be gone."""
    return step.call.startswith("Get-") and not {"Id", "VMId"}.isdisjoint(step.args)
