"""What a Windows host refuses with: WSManFault codes, and the SOAP fault that carries one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Reason:
    """A fault as it appears on the wire.

    Args:
        code: ``Code`` of the WSManFault: an HRESULT of WinRM's (0x8033....) or a Win32 error.
        subcode: qualified name of the WS-Man fault it belongs to.
        text: what it says.
        sender: whether the client is to blame, as SOAP sees it.
    """

    code: int
    subcode: str
    text: str
    sender: bool = True


class WsmanError(Exception):
    """A fault on its way to the client.

    Args:
        reason: which fault.
        detail: what stands in its detail, where that says more than the reason.
    """

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(detail or reason.text)
        self.reason = reason
        self.detail = detail or reason.text


_RETRY = "the service has as many as it may have; close some, or try again later."

FAULTS: Final = {
    "timeout": Reason(
        0x80338029,
        "w:TimedOut",
        "The operation was not complete when the time its OperationTimeout grants was over.",
        sender=False,
    ),
    "gone": Reason(0x8033805B, "w:InvalidSelectors", "The selectors of the request name no instance of the resource."),
    "envelope": Reason(
        0x80338047,
        "w:EncodingLimit",
        "The request is larger than the largest envelope that the service is configured to take.",
    ),
    "action": Reason(0x80338001, "a:ActionNotSupported", "The resource does not support this action."),
    "resource": Reason(0x80338000, "a:DestinationUnreachable", "There is no resource of this URI here."),
    "selectors": Reason(0x8033805A, "w:InvalidSelectors", "The request lacks a selector that the resource needs."),
    "options": Reason(0x80338039, "w:InvalidOptions", "An option that must be complied with is not known."),
    "parameter": Reason(0x8033803A, "w:InvalidParameter", "A parameter of the operation is not valid."),
    "syntax": Reason(0x80338041, "w:SchemaValidationError", "The request is not the XML that the service expects."),
    "denied": Reason(5, "w:AccessDenied", "Access is denied."),
    "shells": Reason(0x803381A5, "w:QuotaLimit", f"Too many shells of one user: {_RETRY}"),
    "operations": Reason(0x803381A6, "w:QuotaLimit", f"Too many operations of one user: {_RETRY}"),
    "commands": Reason(0x803381E9, "w:QuotaLimit", f"Too many commands in one shell: {_RETRY}"),
    "users": Reason(0x803381AB, "w:QuotaLimit", f"Too many users with shells: {_RETRY}"),
    "busy": Reason(170, "w:InternalError", "The requested resource is in use.", sender=False),
    "aborted": Reason(995, "w:InternalError", "The operation was aborted: its command or shell ended.", sender=False),
    "cancelled": Reason(1223, "w:InternalError", "The operation was cancelled.", sender=False),
    "disconnected": Reason(0x803381C4, "w:InvalidSelectors", "The shell is disconnected."),
    "stream": Reason(0x803381DE, "w:InternalError", "The stream was disconnected by the service.", sender=False),
    "internal": Reason(0x54F, "w:InternalError", "An internal error occurred.", sender=False),
}
"""By the names that fault plans use. Codes are Windows's; where a text is quoted by nobody, it is ours."""


def fault(name: str, detail: str = "") -> WsmanError:
    """The error of this name.

    Args:
        name: a key of :data:`FAULTS`.
        detail: what the fault's detail says.
    """
    return WsmanError(FAULTS[name], detail)


def no_shell(shell_id: str) -> WsmanError:
    """The shell is not there (any more)."""
    return fault("gone", f"There is no shell {shell_id} on this host: it never was, or it has ended. Create another.")


def no_command(command_id: str) -> WsmanError:
    """The command is not there (any more)."""
    return fault("gone", f"There is no command {command_id} in this shell: it never was, or it has completed.")
