"""Sealed bodies (MS-WSMV 2.2.9.1): a SOAP message, encrypted by the connection's security context, as MIME parts."""

from __future__ import annotations

import re
import struct
from typing import Final

import spnego
from spnego.exceptions import SpnegoError

PROTOCOL: Final = "application/HTTP-SPNEGO-session-encrypted"
CONTENT_TYPE: Final = f'multipart/encrypted;protocol="{PROTOCOL}";boundary="Encrypted Boundary"'

_BOUNDARY: Final = b"--Encrypted Boundary"
_OCTETS: Final = b"\tContent-Type: application/octet-stream\r\n"
_LENGTH: Final = re.compile(rb"Length=(\d+)")


class Unsealable(ValueError):
    """The body was not sealed by the peer of this context, or not as its next message."""


def sealed(content_type: str) -> bool:
    """Whether a body of this type is sealed."""
    return content_type.lower().startswith("multipart/encrypted")


def seal(context: spnego.ContextProxy, message: bytes) -> bytes:
    """Seal ``message``. Order matters: contexts count their messages."""
    wrapped = context.wrap_winrm(message)
    return b"".join(
        (
            _BOUNDARY,
            b"\r\n\tContent-Type: ",
            PROTOCOL.encode(),
            b"\r\n\tOriginalContent: type=application/soap+xml;charset=UTF-8;Length=",
            str(len(message) + wrapped.padding_length).encode(),
            b"\r\n",
            _BOUNDARY,
            b"\r\n",
            _OCTETS,
            struct.pack("<i", len(wrapped.header)),
            wrapped.header,
            wrapped.data,
            _BOUNDARY,
            b"--\r\n",
        )
    )


def unseal(context: spnego.ContextProxy, body: bytes) -> bytes:
    """What was sealed.

    Raises:
        Unsealable: by nobody we know, or out of order; the context is spoiled, as it is on Windows.
    """
    head, found, rest = body.partition(_BOUNDARY + b"\r\n" + _OCTETS)
    length = _LENGTH.search(head)
    payload = rest.removesuffix(_BOUNDARY + b"--\r\n")
    if not found or length is None or len(payload) == len(rest) or len(payload) < 4:
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
