"""libvirt's errors in the harness's words."""

from __future__ import annotations

import libvirt

from harness.backends.protocol import GuestIgnored, Refused, WrongState
from harness.core import InteropError, LabError

_LOST = {
    libvirt.VIR_ERR_RPC,
    libvirt.VIR_ERR_NO_CONNECT,
    libvirt.VIR_ERR_INVALID_CONN,
    libvirt.VIR_ERR_AUTH_FAILED,
    libvirt.VIR_ERR_AUTH_CANCELLED,
    libvirt.VIR_ERR_LIBSSH,
    libvirt.VIR_ERR_SSH,
}
UNANSWERED = {libvirt.VIR_ERR_AGENT_UNRESPONSIVE, libvirt.VIR_ERR_AGENT_UNSYNCED}
"""The guest's agent was asked, and did not answer libvirt in time."""
# Newer than the oldest libvirt we serve.
UNANSWERED |= {code for code in [getattr(libvirt, "VIR_ERR_AGENT_COMMAND_TIMEOUT", None)] if code is not None}
_KINDS: dict[int, type[InteropError]] = {
    libvirt.VIR_ERR_OPERATION_INVALID: WrongState,
    libvirt.VIR_ERR_CONFIG_UNSUPPORTED: Refused,
    libvirt.VIR_ERR_OPERATION_UNSUPPORTED: Refused,
    libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED: Refused,
    libvirt.VIR_ERR_INVALID_ARG: Refused,
    libvirt.VIR_ERR_NO_SUPPORT: Refused,
    libvirt.VIR_ERR_XML_ERROR: Refused,
    libvirt.VIR_ERR_XML_DETAIL: Refused,
    libvirt.VIR_ERR_DEVICE_MISSING: Refused,
    **dict.fromkeys(UNANSWERED, GuestIgnored),
}
_WORDS_OF_LOSS = ("client socket is closed", "end of file while reading", "connection reset", "broken pipe")


def lost(error: libvirt.libvirtError) -> bool:
    """Whether the connection itself is what failed."""
    text = str(error.get_error_message() or error).lower()
    return error.get_error_code() in _LOST or any(words in text for words in _WORDS_OF_LOSS)


def translated(error: libvirt.libvirtError, host: str, operation: str) -> InteropError:
    """The error as the contract wants it: :class:`WrongState`, :class:`Refused`, :class:`LabError`, or
    :class:`GuestIgnored` where it was the guest's agent that did not answer.
    """
    text = str(error.get_error_message() or error)
    code = error.get_error_code()
    if lost(error):
        return LabError(
            f"the connection to libvirt is lost: {text}",
            host=host,
            operation=operation,
            hint="is libvirtd alive and reachable? The next call connects anew",
        )
    if code in _KINDS:
        return _KINDS[code](text, host=host, operation=operation)
    if code == libvirt.VIR_ERR_NO_DOMAIN:
        return LabError(f"the machine is gone from the host: {text}", host=host, operation=operation)
    if code == libvirt.VIR_ERR_NO_STORAGE_POOL:
        return LabError(text, host=host, operation=operation, hint="name an existing pool in the lab file: `storage:`")
    return LabError(text, host=host, operation=operation)
