"""Kerberos logins: the twin as a service of a realm, with a key in a keytab, as a joined host has in its registry."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import gssapi
from gssapi.raw import IOV, ChannelBindings, GSSError, IOVBufferType, unwrap_iov, wrap_iov
from spnego.channel_bindings import GssChannelBindings
from spnego.exceptions import InvalidTokenError

_MECHANISM: Final = bytes.fromhex("06092a864886f712010202")
"""The object identifier of Kerberos, in DER, that an initial token begins with (RFC 2743, 3.1; RFC 4121, 4.1)."""


def speaks(token: bytes) -> bool:
    """Whether a token begins a Kerberos login, by itself and not inside of SPNEGO."""
    return token[:1] == b"\x60" and _MECHANISM in token[: len(_MECHANISM) + 8]


@dataclass(frozen=True, slots=True)
class Sealed:
    """A sealed message, named as pyspnego names its parts."""

    header: bytes
    data: bytes
    padding_length: int


class Acceptor:
    """The login of one connection; with the face of pyspnego's contexts, as far as the server uses it.

    Args:
        keytab: the service's keys.
        bindings: the channel's, over TLS; a client that binds to another channel is refused.
    """

    protocol: Final = "kerberos"

    def __init__(self, keytab: Path, bindings: GssChannelBindings | None) -> None:
        self._keytab = keytab
        self._bindings = None if bindings is None else ChannelBindings(application_data=bindings.application_data)
        self._context: gssapi.SecurityContext | None = None

    @property
    def complete(self) -> bool:
        """Whether the client is known."""
        return self._context is not None and bool(self._context.complete)

    @property
    def client_principal(self) -> str | None:
        """Who it is, as ``name@REALM``."""
        return str(self._context.initiator_name) if self.complete and self._context is not None else None

    def step(self, token: bytes) -> bytes | None:
        """Take the client's ticket.

        Raises:
            SpnegoError: it is for another service, too old, from another channel, or none.
        """
        try:
            if self._context is None:
                keys = gssapi.Credentials(usage="accept", store={"keytab": f"FILE:{self._keytab}"})
                self._context = gssapi.SecurityContext(creds=keys, usage="accept", channel_bindings=self._bindings)
            reply: bytes | None = self._context.step(token)
            _ = self._context.complete  # with a token to answer, an error is only raised when it is next looked at
        except GSSError as error:
            self._context = None
            raise InvalidTokenError(context_msg=str(error)) from error
        return reply

    def wrap_winrm(self, message: bytes) -> Sealed:
        """Seal a message: a DCE-style header apart from the data."""
        parts = IOV(IOVBufferType.header, message, IOVBufferType.padding, std_layout=False)
        wrap_iov(self._open(), parts, confidential=True)
        header, data, padding = (bytes(part.value or b"") for part in parts)
        return Sealed(header, data + padding, len(padding))

    def unwrap_winrm(self, header: bytes, data: bytes) -> bytes:
        """What was sealed.

        Raises:
            SpnegoError: by nobody we know, or out of order.
        """
        parts = IOV((IOVBufferType.header, False, header), data, IOVBufferType.data, std_layout=False)
        try:
            unwrap_iov(self._open(), parts)
        except GSSError as error:
            raise InvalidTokenError(context_msg=str(error)) from error
        return bytes(parts[1].value or b"")

    def _open(self) -> gssapi.SecurityContext:
        if self._context is None:
            raise InvalidTokenError(context_msg="nobody has logged in")
        return self._context
