"""Sealed bodies (MS-WSMV 2.2.9.1): a SOAP message, encrypted by the connection's security context, as MIME parts."""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, Final

import spnego
from spnego.exceptions import SpnegoError

if TYPE_CHECKING:
    from harness.twins.hyperv.kerberos import Acceptor

_BOUNDARY: Final = b"--Encrypted Boundary"
_OCTETS: Final = b"\tContent-Type: application/octet-stream\r\n"
_LENGTH: Final = re.compile(rb"Length=(\d+)")
_RECORD: Final = 16384
"""What CredSSP seals at once: the longest record of TLS."""


class Unsealable(ValueError):
    """The body was not sealed by the peer of this context, or not as its next message."""


def sealed(kind: str) -> bool:
    """Whether a body of this content type is sealed."""
    return kind.lower().startswith(("multipart/encrypted", "multipart/x-multi-encrypted"))


def content_type(context: spnego.ContextProxy | Acceptor) -> str:
    """Of a body that this context seals."""
    kind = "x-multi-encrypted" if _by_credssp(context) else "encrypted"
    return f'multipart/{kind};protocol="{_protocol(context)}";boundary="Encrypted Boundary"'


def seal(context: spnego.ContextProxy | Acceptor, message: bytes) -> bytes:
    """Seal ``message``. Order matters: contexts count their messages."""
    most = _RECORD if _by_credssp(context) else max(1, len(message))
    pieces = [message[at : at + most] for at in range(0, max(1, len(message)), most)]
    return b"".join(_part(context, piece) for piece in pieces) + _BOUNDARY + b"--\r\n"


def unseal(context: spnego.ContextProxy | Acceptor, body: bytes) -> bytes:
    """What was sealed.

    Raises:
        Unsealable: by nobody we know, or out of order; the context is spoiled, as it is on Windows.
    """
    rest = body.removesuffix(_BOUNDARY + b"--\r\n")
    if len(rest) == len(body):
        raise Unsealable("not a sealed message")
    parts = rest.split(_BOUNDARY + b"\r\n")[1:]
    if not parts or len(parts) % 2:
        raise Unsealable("not a sealed message")
    return b"".join(_opened(context, *pair) for pair in zip(parts[::2], parts[1::2], strict=True))


def _opened(context: spnego.ContextProxy | Acceptor, head: bytes, octets: bytes) -> bytes:
    length = _LENGTH.search(head)
    payload = octets.removeprefix(_OCTETS)
    if length is None or len(payload) == len(octets) or len(payload) < 4:
        raise Unsealable("not a sealed message")
    size = struct.unpack("<i", payload[:4])[0]
    if not 0 < size <= len(payload) - 4:
        raise Unsealable("its signature does not fit")
    try:
        message = context.unwrap_winrm(payload[4 : 4 + size], payload[4 + size :])
    except SpnegoError as error:
        raise Unsealable(str(error)) from error
    if len(message) != int(length[1]):
        raise Unsealable("its length is not what it says")
    return message


def _part(context: spnego.ContextProxy | Acceptor, message: bytes) -> bytes:
    wrapped = context.wrap_winrm(message)
    return b"".join(
        (
            _BOUNDARY,
            b"\r\n\tContent-Type: ",
            _protocol(context).encode(),
            b"\r\n\tOriginalContent: type=application/soap+xml;charset=UTF-8;Length=",
            str(len(message) + wrapped.padding_length).encode(),
            b"\r\n",
            _BOUNDARY,
            b"\r\n",
            _OCTETS,
            struct.pack("<i", len(wrapped.header)),
            wrapped.header,
            wrapped.data,
        )
    )


def _by_credssp(context: spnego.ContextProxy | Acceptor) -> bool:
    return context.protocol == "credssp"


def _protocol(context: spnego.ContextProxy | Acceptor) -> str:
    return f"application/HTTP-{'CredSSP' if _by_credssp(context) else 'SPNEGO'}-session-encrypted"
