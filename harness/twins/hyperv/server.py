"""The HTTP side: connections, TLS, authentication, sealed bodies, and what goes wrong on the way."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import ssl
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from spnego.channel_bindings import GssChannelBindings

from harness.core.waiting import pause
from harness.twins.hyperv import messages, seal
from harness.twins.hyperv.accounts import Accounts
from harness.twins.hyperv.auth import Gate
from harness.twins.hyperv.faults import WsmanError, fault
from harness.twins.hyperv.plan import Effect, Planned
from harness.twins.hyperv.service import Peer, Service

_PLAIN: Final = "application/soap+xml;charset=UTF-8"
_TOO_MUCH: Final = 64 << 20
"""Bytes that are not even read: no client sends so much by mistake."""


@dataclass(frozen=True, slots=True)
class Transport:
    """How one port is spoken to.

    Args:
        accounts: who is known.
        schemes: which authentication is offered, as :class:`Gate` has it.
        unencrypted: ``AllowUnencrypted``: whether a body may come in clear over plain HTTP.
        tls: for HTTPS; None: HTTP.
        certificate_hash: of the certificate, as tls-server-end-point wants it (RFC 5929).
        keytab: the service's keys in a Kerberos realm; None: the host is in none.
        clients: accounts that client certificates are mapped to, by the certificate's SHA-256.
    """

    accounts: Accounts
    schemes: tuple[str, ...] = ("negotiate", "basic")
    unencrypted: bool = False
    tls: ssl.SSLContext | None = None
    certificate_hash: bytes = b""
    keytab: Path | None = None
    clients: Mapping[str, str] = field(default_factory=dict)

    def gate(self, client: bytes | None) -> Gate:
        """The authentication of a new connection.

        Args:
            client: the certificate that the client showed, if any.
        """
        bindings = None
        if self.tls is not None:
            bindings = GssChannelBindings(application_data=b"tls-server-end-point:" + self.certificate_hash)
        mapped = None if client is None else self.clients.get(hashlib.sha256(client).hexdigest())
        return Gate(self.accounts, self.schemes, bindings, self.keytab, mapped)


class Listener(ThreadingHTTPServer):
    """One port of a host.

    Args:
        address: where to listen; port 0 takes a free one.
        service: what is behind.
        transport: how it is spoken to.
    """

    daemon_threads = True
    request_queue_size = 64
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], service: Service, transport: Transport) -> None:
        self.service = service
        self.transport = transport
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(address, Handler)
        self._thread = threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": 0.1}, name=f"wsman:{self.port}", daemon=True
        )

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])

    def start(self) -> None:
        """Take connections from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Take no more, and end those that are open."""
        self.shutdown()
        self._thread.join()
        self.server_close()
        with self._lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def get_request(self) -> tuple[socket.socket, Any]:
        """A connection; its TLS handshake is left to its own thread."""
        connection, address = super().get_request()
        if self.transport.tls is not None:
            connection = self.transport.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        with self._lock:
            self._connections.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        """The connection is over."""
        with self._lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Connections end in many ways that are nobody's business: resets, foreign TLS, silence."""


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version = "Microsoft-HTTPAPI/2.0"
    sys_version = ""
    disable_nagle_algorithm = True
    wbufsize = -1  # one packet an answer
    server: Listener
    _gate: Gate

    def setup(self) -> None:
        """Begin: the time-out that http.sys ends silent connections with, TLS, nobody known yet."""
        self.request.settimeout(self.server.service.quotas.connection_idle_seconds)
        super().setup()
        client = None
        if isinstance(self.connection, ssl.SSLSocket):
            self.connection.do_handshake()
            client = self.connection.getpeercert(binary_form=True)
        self._gate = self.server.transport.gate(client)

    def version_string(self) -> str:
        """What the ``Server`` header says."""
        return self.server_version

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base names it so
        """Nothing: a twin's standard error is for what went wrong."""

    def do_GET(self) -> None:
        """Windows answers only POST here."""
        self._reply(405)

    def do_POST(self) -> None:
        """One request."""
        body = self._body()
        if body is None:
            return
        if self.path.partition("?")[0].rstrip("/").lower() != "/wsman":
            self._reply(404)
            return
        if self.server.service.plan.unauthorised():
            self._gate.forget()
            self._reply(401, challenges=("Negotiate",))
            return
        if self.headers.get("WSMANIDENTIFY", "").lower() == "unauthenticated":
            self._answer(body, Peer("", self.client_address[0]), only="Identify")
            return
        verdict = self._gate.check(self.headers.get("Authorization"))
        if verdict.user is None:
            self._reply(401, challenges=verdict.headers)
        elif not body:
            # The handshake ends with an empty request; what follows is sealed.
            self._reply(200, challenges=verdict.headers)
        else:
            self._answer(body, Peer(verdict.user, self.client_address[0]), challenges=verdict.headers)

    def _body(self) -> bytes | None:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            self.close_connection = True
            self._reply(411)
            return None
        if int(length) > _TOO_MUCH:
            self.close_connection = True
            self._reply(413)
            return None
        body = self.rfile.read(int(length))
        if len(body) != int(length):  # cut inside
            self.close_connection = True
            return None
        return body

    def _answer(self, body: bytes, peer: Peer, *, challenges: Sequence[str] = (), only: str = "") -> None:
        context = self._gate.context if seal.sealed(self.headers.get("Content-Type", "")) else None
        clear = self._clear(body, freely=bool(only))
        if clear is None:
            return
        service = self.server.service
        planned: dict[Effect, Planned] = {}
        status = 200
        try:
            request = self._request(clear, only)
            planned = service.plan.take(request.operation)
            if self._spoilt(planned):
                return
            answer = service.perform(request, peer, planned)
        except WsmanError as error:
            answer = service.refuse(error, messages.message_id(clear))
            status = 500
        if Effect.CUT in planned or Effect.SILENT in planned:
            self._stay_silent(planned)
            return
        if context is not None:
            answer = seal.seal(context, answer)
        self._reply(status, answer, _PLAIN if context is None else seal.content_type(context), challenges)
        if Effect.HANG_UP in planned:
            # As a silent connection ends: without a word, when its time is over.
            self.connection.settimeout(max(0.001, planned[Effect.HANG_UP].seconds))

    def _clear(self, body: bytes, *, freely: bool) -> bytes | None:
        """The message in a body; None: it was answered already, because it came as it must not."""
        transport = self.server.transport
        if not seal.sealed(self.headers.get("Content-Type", "")):
            if transport.tls is not None or transport.unencrypted or freely:
                return body
            self._reply(500)
            return None
        try:
            if self._gate.context is None:
                raise seal.Unsealable("nobody has sealed anything on this connection")
            return seal.unseal(self._gate.context, body)
        except seal.Unsealable:
            self._reply(400)
            return None

    def _request(self, body: bytes, only: str) -> messages.Request:
        if len(body) > self.server.service.quotas.envelope_kb * 1024:
            raise fault("envelope")
        request = messages.parse(body)
        if only not in {"", request.operation}:
            raise fault("denied")
        return request

    def _spoilt(self, planned: dict[Effect, Planned]) -> bool:
        status = planned.get(Effect.STATUS)
        if status is not None:
            self._reply(status.status)
            return True
        ends = [planned[effect] for effect in (Effect.CUT, Effect.SILENT) if effect in planned]
        if ends and not any(end.taken for end in ends):
            self._stay_silent(planned)
            return True
        return False

    def _stay_silent(self, planned: dict[Effect, Planned]) -> None:
        if Effect.SILENT in planned:
            pause(planned[Effect.SILENT].seconds)
        self.close_connection = True

    def _reply(self, status: int, body: bytes = b"", content_type: str = "", challenges: Sequence[str] = ()) -> None:
        self.send_response(status)
        for challenge in challenges:
            self.send_header("WWW-Authenticate", challenge)
        if content_type:
            self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()
