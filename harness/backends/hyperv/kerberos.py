"""Kerberos for WinRM: logins by tickets of the host's own, bound to their TLS channel.

Pywinrm's own way goes by ``KRB5CCNAME``, which all hosts and threads of a process share. This one takes the host's
:class:`~harness.backends.hyperv.tickets.Tickets`, never falls back to NTLM, wants the host's proof in return, and seals
as [MS-WSMV] 2.2.9.1 has it: a DCE-style header before the data.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any
from urllib.parse import urlsplit

import gssapi
import requests
from cryptography import x509
from gssapi.raw import IOV, ChannelBindings, GSSError, IOVBufferType, unwrap_iov, wrap_iov
from winrm.exceptions import WinRMError

from harness.backends.hyperv.door import Door
from harness.backends.hyperv.tickets import MARGIN_SECONDS, Tickets
from harness.backends.hyperv.transport import Tamed


class Ticketed(Tamed):
    """As :class:`Tamed`, with logins by Kerberos.

    Args:
        door: where and as whom.
        seal: whether messages are sealed; over TLS they need not be.
        options: as of the base.
    """

    def __init__(self, door: Door, *, seal: bool, **options: Any) -> None:
        # Told of Kerberos, the base would want pykerberos; so it logs nobody in, and takes our login below.
        told = {"auth_method": "basic", "username": "-", "password": "-", "message_encryption": "never"}
        super().__init__(door.settings.thumbprint, **options, **told)
        self._tickets = Tickets(door.settings, door.host)
        self._seal = seal
        self._login: Login | None = None

    @property
    def stale(self) -> bool:
        """As the base's."""
        seconds = None if self._login is None else self._login.seconds
        return seconds is not None and seconds < MARGIN_SECONDS

    def build_session(self) -> requests.Session:
        """As the base's."""
        known = self.session is not None
        session = super().build_session()
        if not known:
            session.auth = self._login = Login(self._tickets)
            if self._seal:
                self.setup_encryption(session)
        return session

    def setup_encryption(self, session: requests.Session) -> None:
        """As the base's."""
        told, self.auth_method = self.auth_method, "kerberos"
        try:
            super().setup_encryption(session)
        finally:
            self.auth_method = told


class Login(requests.auth.AuthBase):
    """One connection's login: it answers the host's challenge, and seals and unseals what follows.

    Args:
        tickets: who we are.
    """

    def __init__(self, tickets: Tickets) -> None:
        self._tickets = tickets
        self._context: gssapi.SecurityContext | None = None

    @property
    def seconds(self) -> float | None:
        """How long the login holds; None: there is none yet."""
        if self._context is None:
            return None
        try:
            return float(self._context.lifetime)
        except GSSError:  # it is over
            return 0.0

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """See to it that a challenge is answered."""
        request.hooks["response"] = [*request.hooks.get("response", []), self._answered]
        return request

    def wrap_winrm(self, host: str | None, message: bytes) -> tuple[bytes, bytes]:
        """The sealed message and its header, as pywinrm asks for them."""
        del host
        parts = IOV(IOVBufferType.header, message, IOVBufferType.padding, std_layout=False)
        try:
            wrap_iov(self._open(), parts, confidential=True)
        except GSSError as error:
            raise WinRMError(f"cannot seal: {error}") from error
        header, data, padding = (bytes(part.value or b"") for part in parts)
        return data + padding, header

    def unwrap_winrm(self, host: str | None, sealed: bytes, header: bytes) -> bytes:
        """What was sealed by the host."""
        del host
        parts = IOV((IOVBufferType.header, False, header), sealed, IOVBufferType.data, std_layout=False)
        try:
            unwrap_iov(self._open(), parts)
        except GSSError as error:
            raise WinRMError(f"cannot unseal: {error}") from error
        return bytes(parts[1].value or b"")

    def _open(self) -> gssapi.SecurityContext:
        if self._context is None:
            raise WinRMError("nobody has logged in on this connection")
        return self._context

    def _answered(self, response: requests.Response, **options: Any) -> requests.Response:
        if response.status_code != 401:
            return response
        bindings = _bindings(response)
        _ = response.content  # the connection is free for the next request when this one was read
        response.raw.release_conn()
        offered = response.headers.get("WWW-Authenticate", "")
        if "negotiate" not in offered.lower():
            raise PermissionError(f"it offers {offered or 'nothing'}")
        context = self._tickets.context(bindings)
        request = response.request.copy()
        request.headers["Authorization"] = f"Negotiate {base64.b64encode(self._step(context, None)).decode()}"
        request.hooks["response"] = []
        # What requests calls a connection is the adapter that sent it.
        second: requests.Response = response.connection.send(request, **options)
        second.history.append(response)
        if second.status_code == 401:
            return second
        scheme, _, token = second.headers.get("WWW-Authenticate", "").partition(" ")
        if scheme.lower() == "negotiate" and token:
            self._step(context, base64.b64decode(token))
        elif not context.complete:
            raise WinRMError("the host did not prove that it is who the ticket was made for")
        self._context = context
        return second

    def _step(self, context: gssapi.SecurityContext, token: bytes | None) -> bytes:
        try:
            answer = context.step(token) or b""
            _ = context.complete  # with a token to send, an error is only raised when the context is next looked at
        except GSSError as error:
            raise self._tickets.explained(error) from error
        return answer


def _bindings(response: requests.Response) -> ChannelBindings | None:
    """What binds a login to its TLS channel: tls-server-end-point, RFC 5929 section 4.1. None without TLS."""
    if urlsplit(response.url).scheme != "https":
        return None
    channel: Any = response.raw.connection  # urllib3's, still open: nobody has read the body yet
    certificate = channel.sock.getpeercert(True)
    used = x509.load_der_x509_certificate(certificate).signature_hash_algorithm
    weak = used is None or used.name in ("md5", "sha1")
    digest = hashlib.new("sha256" if weak or used is None else used.name, certificate).digest()
    return ChannelBindings(application_data=b"tls-server-end-point:" + digest)
