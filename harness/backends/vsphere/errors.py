"""vSphere's faults in the harness's words."""

from __future__ import annotations

from typing import Any

from pyVmomi import vim, vmodl

from harness.backends.protocol import GuestIgnored, Refused, WrongState
from harness.core import InteropError, LabError


class Gone(LabError):
    """The object is not on the host any more: somebody else removed it, or it was never ours."""


class NameTaken(LabError):
    """Another object has this name; :attr:`other` is its id, if the host told."""

    other: str | None = None


class NotThere(LabError):
    """There is no such file on the datastore."""


class Busy(LabError):
    """Another task holds the object; the same request may work a moment later."""


class Cancelled(LabError):
    """The task was cancelled by somebody."""


class LoggedOut(LabError):
    """The session is gone; one new login is worth a try."""


class Unreachable(LabError):
    """No connection, or it broke before an answer."""


class Unavailable(LabError):
    """Something answers there, but not the API: 503 and its like."""


class BadAnswer(LabError):
    """The host's answer could not be understood."""


_REFUSED = (
    vim.fault.VmConfigFault,  # of them: hot-plug off, too many or too few of something, invalid device
    vim.fault.InvalidDeviceSpec,
    vim.fault.RuleViolation,
    vim.fault.SnapshotFault,
    vim.fault.InvalidName,
    vmodl.fault.NotSupported,
    vmodl.fault.MethodNotFound,
    vmodl.fault.InvalidArgument,
    vmodl.fault.InvalidRequest,
    vmodl.fault.NotImplemented,
    vmodl.fault.InvalidType,
)
_HINTS: tuple[tuple[tuple[type, ...], str], ...] = (
    (
        (vim.fault.InvalidLogin,),
        "check `user` (with its domain, as in name@vsphere.local) and what `password` refers to",
    ),
    ((vim.fault.NoPermission,), "give the account's role this privilege: docs/vsphere-host.md has the whole list"),
    (
        (vim.fault.NoDiskSpace, vim.fault.InsufficientStorageSpace),
        "free space on the datastore, or name another under `datastore:`; `interop reap` removes leftovers",
    ),
    (
        (vim.fault.InsufficientResourcesFault,),
        "the ESXi or its resource pool has no room left: set `capacity:` in the lab file to what there is",
    ),
    ((vmodl.fault.HostNotConnected, vmodl.fault.HostCommunication), "is the ESXi connected to its vCenter?"),
    ((vim.fault.InvalidHostState,), "look at the ESXi in the inventory: is it in maintenance mode?"),
)


def name_of(fault: BaseException) -> str:
    """A fault's own name without its packages: ``NoPermission``."""
    return type(fault).__name__.rpartition(".")[2]


def words_of(fault: BaseException) -> str:
    """What the host says about a fault: its message, what it concerns, the details in it; all on one line."""
    parts = [str(getattr(fault, "msg", None) or "").strip()]
    for detail in getattr(fault, "faultMessage", None) or ():
        text = str(getattr(detail, "message", None) or getattr(detail, "key", "")).strip()
        if text and text not in parts:
            parts.append(text)
    for key in ("privilegeId", "property", "datastore", "name", "invalidProperty", "reason"):
        value = getattr(fault, key, None)
        if isinstance(value, str) and value and value not in " ".join(parts):
            parts.append(f"{key} {value}")
    return f"{name_of(fault)}: {'; '.join(' '.join(part.split()) for part in parts if part)}".rstrip(": ")


def translated(fault: BaseException, host: str, operation: str) -> InteropError:
    """A fault as the contract wants it: :class:`WrongState`, :class:`Refused`, or a :class:`LabError` of ours."""
    words = words_of(fault)
    kind = _class_of(fault)
    hint = next((hint for kinds, hint in _HINTS if isinstance(fault, kinds)), None)
    error = kind(words, host=host, operation=operation, hint=hint)
    if isinstance(error, NameTaken):
        other: Any = getattr(fault, "object", None)
        error.other = other._GetMoId() if other is not None else None  # noqa: SLF001 - pyVmomi calls it public
    error.__cause__ = fault
    return error


def _class_of(fault: BaseException) -> type[InteropError]:
    for kinds, kind in _CLASSES:
        if isinstance(fault, kinds):
            return kind
    return LabError


_CLASSES: tuple[tuple[type | tuple[type, ...], type[InteropError]], ...] = (
    (vim.fault.NotAuthenticated, LoggedOut),
    (vmodl.fault.ManagedObjectNotFound, Gone),
    (vim.fault.FileNotFound, NotThere),
    (vim.fault.DuplicateName, NameTaken),
    (vim.fault.AlreadyExists, NameTaken),
    (vim.fault.FileAlreadyExists, NameTaken),
    ((vim.fault.TaskInProgress, vim.fault.ConcurrentAccess, vim.fault.ResourceInUse), Busy),
    (vmodl.fault.RequestCanceled, Cancelled),
    # A finding about the guest, not about the host: nobody listens there, or it does not do what it was asked.
    ((vim.fault.ToolsUnavailable, vim.fault.FilesystemQuiesceFault, vim.fault.ApplicationQuiesceFault), GuestIgnored),
    (vim.fault.InvalidHostState, LabError),
    (vim.fault.InvalidState, WrongState),
    ((vim.fault.InsufficientResourcesFault, vim.fault.NoPermission), LabError),
    (_REFUSED, Refused),
)
