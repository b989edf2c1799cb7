"""HTTP authentication of one connection: Basic, NTLM, SPNEGO or Kerberos under ``Negotiate``, CredSSP, certificates.

NTLM authenticates a TCP connection, not a request (MS-NTHT): whoever passed stays known until the connection ends, and
the context that was negotiated seals what follows.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import spnego
from spnego.channel_bindings import GssChannelBindings
from spnego.exceptions import SpnegoError

from harness.twins.hyperv.accounts import Accounts

if TYPE_CHECKING:
    from harness.twins.hyperv.kerberos import Acceptor

_MUTUAL: Final = "http://schemas.dmtf.org/wbem/wsman/1/wsman/secprofile/https/mutual"
"""What a client says that shows a certificate (DSP0226, security profiles)."""

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
        schemes: what is offered: ``negotiate``, ``basic``, ``credssp``; ``kerberos`` is Negotiate that takes no NTLM,
            as a domain's policy may want it.
        bindings: the channel's, over TLS; a client that binds to another channel is refused.
        keytab: the service's keys in a Kerberos realm; None: the host is in none.
        mapped: the account of the certificate that the client showed; None: it showed none, or one that nobody knows.
    """

    accounts: Accounts
    schemes: tuple[str, ...]
    bindings: GssChannelBindings | None = None
    keytab: Path | None = None
    mapped: str | None = None
    context: spnego.ContextProxy | Acceptor | None = field(default=None, init=False)
    _user: str | None = field(default=None, init=False)

    def check(self, header: str | None) -> Verdict:
        """Who sends this request.

        Args:
            header: its ``Authorization``.
        """
        if header is None:
            return Verdict(self._user) if self._user is not None else self._refuse()
        if header == _MUTUAL:
            return Verdict(self.accounts.canonical(self.mapped)) if self.mapped is not None else self._refuse()
        scheme, _, credential = header.partition(" ")
        scheme = scheme.lower()
        if scheme not in self._offers():
            return self._refuse()
        try:
            token = base64.b64decode(credential.strip(), validate=True)
        except binascii.Error:
            return self._refuse()
        return self._basic(token) if scheme == "basic" else self._negotiate(token, self._offers()[scheme])

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

    def _negotiate(self, token: bytes, scheme: str) -> Verdict:
        if self.context is None or self.context.complete:
            self.forget()
            self.context = spnego.server(protocol="credssp") if scheme == "CredSSP" else self._acceptor(token)
            if self.context is None:
                return self._refuse()
        try:
            reply = self.context.step(token)
        except (SpnegoError, ValueError):  # a wrong password, foreign bindings, or no token at all
            return self._refuse()
        said = f"{scheme} {base64.b64encode(reply).decode()}" if reply else ""
        if not self.context.complete:
            return Verdict(None, (said or scheme,))
        self._user = self.accounts.canonical(self.context.client_principal or "")
        return Verdict(self._user, (said,) if said else ())

    def _acceptor(self, token: bytes) -> spnego.ContextProxy | Acceptor | None:
        if self.keytab is not None:
            from harness.twins.hyperv import kerberos  # noqa: PLC0415 - its library need not be there otherwise

            if kerberos.speaks(token):
                return kerberos.Acceptor(self.keytab, self.bindings)
        if "negotiate" not in self.schemes:
            return None
        # requests_ntlm sends bare NTLMSSP under Negotiate; use_ntlm with SPNEGO itself is a KeyError of pyspnego's.
        if token.startswith(_NTLMSSP):
            return spnego.server(
                protocol="ntlm", channel_bindings=self.bindings, options=spnego.NegotiateOptions.use_ntlm
            )
        return spnego.server(protocol="negotiate", channel_bindings=self.bindings)

    def _refuse(self) -> Verdict:
        self.forget()
        return Verdict(None, tuple(self._offers().values()))

    def _offers(self) -> dict[str, str]:
        """What is offered, by the scheme's name on the wire."""
        offers = {
            "negotiate": ("negotiate", "Negotiate"),
            "kerberos": ("negotiate", "Negotiate"),
            "credssp": ("credssp", "CredSSP"),
            "basic": ("basic", 'Basic realm="WSMAN"'),
        }
        return dict(offers[scheme] for scheme in self.schemes)
