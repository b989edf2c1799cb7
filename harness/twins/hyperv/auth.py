"""HTTP authentication of one connection: Basic, and NTLM or SPNEGO under ``Negotiate``.

NTLM authenticates a TCP connection, not a request (MS-NTHT): whoever passed stays known until the connection ends, and
the context that was negotiated seals what follows.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import Final

import spnego
from spnego.channel_bindings import GssChannelBindings
from spnego.exceptions import SpnegoError

from harness.twins.hyperv.accounts import Accounts

_NTLMSSP: Final = b"NTLMSSP\x00"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a request.

    Args:
        user: who sent it; None: it is answered with 401.
        headers: values of ``WWW-Authenticate`` for the answer, whatever it is.
    """

    user: str | None
    headers: tuple[str, ...] = ()


@dataclass(slots=True)
class Gate:
    """The authentication of one connection.

    Args:
        accounts: who is known.
        schemes: what is offered: ``negotiate``, ``basic``.
        bindings: the channel's, over TLS; a client that binds to another channel is refused.
    """

    accounts: Accounts
    schemes: tuple[str, ...]
    bindings: GssChannelBindings | None = None
    context: spnego.ContextProxy | None = field(default=None, init=False)
    _user: str | None = field(default=None, init=False)

    def check(self, header: str | None) -> Verdict:
        """Who sends this request.

        Args:
            header: its ``Authorization``.
        """
        if header is None:
            return Verdict(self._user) if self._user is not None else self._refuse()
        scheme, _, credential = header.partition(" ")
        scheme = scheme.lower()
        if scheme not in self.schemes:
            return self._refuse()
        try:
            token = base64.b64decode(credential.strip(), validate=True)
        except binascii.Error:
            return self._refuse()
        return self._basic(token) if scheme == "basic" else self._negotiate(token)

    def forget(self) -> None:
        """Nobody has come in here."""
        self.context = None
        self._user = None

    def _basic(self, token: bytes) -> Verdict:
        name, colon, password = token.decode("utf-8", "replace").partition(":")
        if not colon or not self.accounts.accepts(name, password):
            return self._refuse()
        # Basic speaks for one request; the next must say it again.
        return Verdict(self.accounts.canonical(name))

    def _negotiate(self, token: bytes) -> Verdict:
        if self.context is None or self.context.complete:
            self.forget()
            self.context = self._acceptor(token)
        try:
            reply = self.context.step(token)
        except (SpnegoError, ValueError):  # a wrong password, foreign bindings, or no token at all
            return self._refuse()
        said = f"Negotiate {base64.b64encode(reply).decode()}" if reply else ""
        if not self.context.complete:
            return Verdict(None, (said or "Negotiate",))
        self._user = self.accounts.canonical(self.context.client_principal or "")
        return Verdict(self._user, (said,) if said else ())

    def _acceptor(self, token: bytes) -> spnego.ContextProxy:
        # requests_ntlm sends bare NTLMSSP under Negotiate; use_ntlm with SPNEGO itself is a KeyError of pyspnego's.
        if token.startswith(_NTLMSSP):
            return spnego.server(
                protocol="ntlm", channel_bindings=self.bindings, options=spnego.NegotiateOptions.use_ntlm
            )
        return spnego.server(protocol="negotiate", channel_bindings=self.bindings)

    def _refuse(self) -> Verdict:
        self.forget()
        offers = {"negotiate": "Negotiate", "basic": 'Basic realm="WSMAN"'}
        return Verdict(None, tuple(offers[scheme] for scheme in self.schemes))
