"""What a cmdlet refuses with: the identifiers and categories of the Hyper-V module's error records."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Final

_CATEGORIES: Final = {
    "InvalidParameter": "InvalidArgument",
    "ObjectNotFound": "ObjectNotFound",
    "InvalidState": "InvalidOperation",
    "InvalidOperation": "InvalidOperation",
    "OperationFailed": "InvalidOperation",
    "AccessDenied": "PermissionDenied",
    "NotSupported": "NotImplemented",
    "OutOfMemory": "ResourceUnavailable",
    "ObjectInUse": "ResourceBusy",
    "Unspecified": "NotSpecified",
}
"""The module's identifiers, and the category that goes with each."""

GENERAL: Final = -2146233088
"""COR_E_EXCEPTION: what a VirtualizationException has; the real HRESULT, where there is one, stands in its text."""

SYSTEM: Final = 0x80131501 - (1 << 32)
"""COR_E_SYSTEM: of all that PowerShell itself refuses with."""
FORMAT: Final = 0x80131537 - (1 << 32)
"""COR_E_FORMAT."""
INVALID_CAST: Final = 0x80004002 - (1 << 32)
"""COR_E_INVALIDCAST."""
OVERFLOW: Final = 0x80131516 - (1 << 32)
"""COR_E_OVERFLOW."""
_IO: Final = 0x80131620 - (1 << 32)  # COR_E_IO
_FILE_NOT_FOUND: Final = 0x80070002 - (1 << 32)
_PATH_NOT_FOUND: Final = 0x80070003 - (1 << 32)
_ACCESS_DENIED: Final = 0x80070005 - (1 << 32)
_DISK_FULL: Final = 0x80070070 - (1 << 32)


class Refusal(Exception):
    """A cmdlet says no.

    Args:
        identifier: the first part of the fully qualified error id.
        message: what it says.
        category: of the error record; empty: the one that goes with the identifier.
        hresult: of the exception.
    """

    def __init__(self, identifier: str, message: str, category: str = "", hresult: int = GENERAL) -> None:
        super().__init__(message)
        self.identifier = identifier
        self.message = message
        self.category = category or _CATEGORIES.get(identifier, "NotSpecified")
        self.hresult = hresult

    def qualified(self, cmdlet: str) -> str:
        """The fully qualified error id that the cmdlet of Windows would have: with the name of its class."""
        verb, _, noun = cmdlet.partition("-")
        if noun.startswith("Cim"):
            return f"{self.identifier},Microsoft.Management.Infrastructure.CimCmdlets.{verb}{noun}Command"
        if noun == "WinEvent":
            return f"{self.identifier},Microsoft.PowerShell.Commands.{verb}{noun}Command"
        if noun.startswith(("VM", "VHD")):
            return f"{self.identifier},Microsoft.HyperV.PowerShell.Commands.{verb}{noun}"
        return f"{self.identifier},{cmdlet}"


def wrong_state(what: str, machine: str, machine_id: object) -> Refusal:
    """The machine is in no state for this."""
    return Refusal(
        "InvalidState",
        f"{what} '{machine}' failed: the operation cannot be performed while the virtual machine is in its current "
        f"state. (Virtual machine ID {str(machine_id).upper()})",
    )


def no_machine(by: str, value: object, *, listing: bool = False) -> Refusal:
    """There is no such machine."""
    said = f'Hyper-V was unable to find a virtual machine with {by} "{value}".'
    return Refusal("InvalidParameter" if listing else "ObjectNotFound", said)


def no_service(host: str) -> Refusal:
    """There is the module, and no service behind it."""
    return Refusal(
        "ObjectNotFound",
        f"Hyper-V encountered an error trying to access an object on computer '{host}' because the object was not "
        "found: is the Virtual Machine Management service running?",
    )


def no_right(host: str) -> Refusal:
    """The account is not of those who may."""
    return Refusal(
        "AccessDenied",
        "You do not have the required permission to complete this task. "
        f"Contact the administrator of the authorization policy for the computer '{host}'.",
    )


def no_file(path: str) -> Refusal:
    """There is no such file."""
    return Refusal("ObjectNotFound", f"The system cannot find the file specified: '{path}'. (0x80070002)")


def in_use(path: str) -> Refusal:
    """Somebody has it open."""
    return Refusal(
        "ObjectInUse", f"'{path}': the process cannot access the file because it is being used. (0x80070020)"
    )


def thrown(error: OSError) -> Refusal:
    """What .NET throws where this system says so."""
    path = Path(error.filename or "")
    if isinstance(error, FileNotFoundError) and path.parent.is_dir():
        return Refusal("FileNotFoundException", f"Could not find file '{path}'.", "NotSpecified", _FILE_NOT_FOUND)
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        said = f"Could not find a part of the path '{path}'."
        return Refusal("DirectoryNotFoundException", said, "NotSpecified", _PATH_NOT_FOUND)
    if isinstance(error, PermissionError | IsADirectoryError):
        said = f"Access to the path '{path}' is denied."
        return Refusal("UnauthorizedAccessException", said, "NotSpecified", _ACCESS_DENIED)
    if error.errno == errno.ENOSPC:
        return Refusal("IOException", "There is not enough space on the disk.", "NotSpecified", _DISK_FULL)
    return Refusal("IOException", f"{path}: {error.strerror}", "NotSpecified", _IO)
