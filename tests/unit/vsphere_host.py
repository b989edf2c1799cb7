"""What tests of the vSphere driver meet: the real vcsim, and a TLS front of their own that can misbehave on demand.

vcsim speaks plain HTTP here; the front gives it a certificate made for the test, counts what passes, and answers in
its stead where a test wants a fault.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import http.client
import http.server
import ipaddress
import re
import secrets
import ssl
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from harness.backends.vsphere.settings import Settings
from harness.core import Deadline, MiB, Size
from harness.core.secrets import Secret
from harness.image.model import Format, Image
from tests import compiled

SOURCES = Path(__file__).parent / "vcsim"
USER, PASSWORD = "interop", "secret"


def binary() -> Path:
    """The vcsim of :data:`SOURCES`, built once by content."""
    return compiled.program(SOURCES, "plain-vcsim")


@contextlib.contextmanager
def vcsim(*flags: str) -> Iterator[str]:
    """A vcsim of its own; gives host and port."""
    argv = [str(binary()), "-user", USER, "-password", PASSWORD, *flags]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


@dataclass
class Certificate:
    """A certificate on disk: what a server shows, what a client trusts, and its thumbprint."""

    chain: Path
    key: Path
    ca: Path
    thumbprint: str


def certificate(folder: Path, *names: str, days: float = 2) -> Certificate:
    """A certificate by a CA of its own, for ``names``; with negative ``days`` it expired."""
    now = dt.datetime.now(dt.UTC)
    folder.mkdir(parents=True, exist_ok=True)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"test CA {secrets.token_hex(8)}")])
    span = (now - dt.timedelta(days=9), now + dt.timedelta(days=9))
    begun = _builder(issuer, issuer, ca_key.public_key(), span)
    ca = begun.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    span = (now - dt.timedelta(days=5), now + dt.timedelta(days=days))
    begun = _builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])]), issuer, key.public_key(), span)
    leaf = begun.add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
    signed = leaf.sign(ca_key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    chain = folder / "chain.pem"
    chain.write_bytes(signed.public_bytes(pem))
    (folder / "ca.pem").write_bytes(ca.sign(ca_key, hashes.SHA256()).public_bytes(pem))
    raw = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(raw)
    return Certificate(chain, folder / "key.pem", folder / "ca.pem", signed.fingerprint(hashes.SHA256()).hex())


def _builder(subject, issuer, key, span):
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    return builder.serial_number(x509.random_serial_number()).not_valid_before(span[0]).not_valid_after(span[1])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


@dataclass
class Front:
    """The TLS front. Change its fields while it runs.

    Args:
        endpoint: where it listens.
        upstream: where vcsim does.
        certificate: what it shows.
        calls: SOAP methods and HTTP paths that passed.
        refusing: by SOAP method or ``"PUT"``, ``"POST"``, ...: how many of the next calls get 503, or another status.
        status: which other one, by the same words.
        cutting: likewise: how many get their connection cut without an answer.
        faults: by SOAP method, the fault that the next call gets; see :func:`fault`.
        bodies: by SOAP method, what was last asked.
        sessions: HTTP paths that were asked for with a cookie.
        rewrite: what becomes of each answer.
        stalled: SOAP methods that are not answered while the gate is clear.
        gate: while it is clear, uploads stand still.
    """

    endpoint: str
    upstream: str
    certificate: Certificate
    calls: Counter[str] = field(default_factory=Counter)
    refusing: Counter[str] = field(default_factory=Counter)
    cutting: Counter[str] = field(default_factory=Counter)
    status: dict[str, int] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)
    bodies: dict[str, bytes] = field(default_factory=dict)
    sessions: set[str] = field(default_factory=set)
    rewrite: Callable[[bytes], bytes] = lambda body: body
    stalled: set[str] = field(default_factory=set)
    gate: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.gate.set()


@contextlib.contextmanager
def front(upstream: str, shown: Certificate, address: str = "127.0.0.1") -> Iterator[Front]:
    """A TLS front before ``upstream``."""
    server = http.server.ThreadingHTTPServer((address, 0), _Handler)
    server.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(shown.chain, shown.key)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    made = Front(f"{address}:{server.server_port}", upstream, shown)
    server.front = made  # type: ignore[attr-defined]
    server.handle_error = lambda request, address: None  # type: ignore[method-assign] - clients hang up in tests
    thread = threading.Thread(target=server.serve_forever, daemon=True, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


_OWN = ("host", "connection", "accept-encoding", "transfer-encoding", "content-length", "expect")
"""Headers that belong to one connection alone."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def _pass(self) -> None:
        front: Front = self.server.front  # type: ignore[attr-defined]
        length = int(self.headers.get("Content-Length") or 0)
        soap = self.path == "/sdk"
        if self.headers.get("Transfer-Encoding") == "chunked":
            body: object = b"".join(iter(self._chunk, b""))
            length = len(body)  # type: ignore[arg-type]
        else:
            body = self.rfile.read(length) if soap else _Limited(self.rfile, length, front.gate)
        words = {self.command}
        if soap:
            found = re.search(rb"<(?:\w+:)?Body[^>]*>\s*<(\w+)", body)  # type: ignore[arg-type]
            method = found[1].decode() if found else "?"
            words.add(method)
            front.bodies[method] = body  # type: ignore[assignment]
        else:
            words |= {self.path.partition("?")[0], "/" + self.path.split("/")[1]}
        front.calls.update(words)
        if self.headers.get("Cookie"):
            front.sessions |= words
        if words & front.stalled:
            front.gate.wait(30)
        if _due(front.cutting, words):
            self.close_connection = True
            return
        if _due(front.refusing, words):
            self.close_connection = True
            self.send_response(next((front.status[word] for word in words if word in front.status), 503))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        for word in words & set(front.faults):
            self._answer(500, front.faults.pop(word).encode(), {"Content-Type": "text/xml"})
            return
        self._forward(front, body, length)

    def _chunk(self) -> bytes:
        size = int(self.rfile.readline().partition(b";")[0], 16)
        data = self.rfile.read(size)
        self.rfile.readline()
        return data

    def _forward(self, front: Front, body: object, length: int) -> None:
        headers = {k: v for k, v in self.headers.items() if k.lower() not in _OWN}
        if length:
            headers["Content-Length"] = str(length)
        upstream = http.client.HTTPConnection(front.upstream, timeout=120)
        try:
            upstream.request(self.command, self.path, body=body if length else None, headers=headers)  # type: ignore[arg-type]
            got = upstream.getresponse()
            answer = got.read().replace(f"http://{front.upstream}".encode(), f"https://{front.endpoint}".encode())
            keep = {k: v for k, v in got.getheaders() if k.lower() not in ("content-length", "transfer-encoding")}
            if self.command == "HEAD" and got.getheader("Content-Length"):
                keep["Content-Length"] = got.getheader("Content-Length") or "0"
            self._answer(got.status, front.rewrite(answer), keep)
        finally:
            upstream.close()

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


class _Limited:
    """As much of a request as its header says."""

    def __init__(self, file, left: int, gate: threading.Event) -> None:
        self._file, self._left, self._gate = file, left, gate

    def read(self, size: int = -1) -> bytes:
        self._gate.wait(30)
        data: bytes = self._file.read(min(self._left, size if size >= 0 else self._left))
        self._left -= len(data)
        return data


def _due(counter: Counter[str], words: set[str]) -> bool:
    for word in words:
        if counter[word] > 0:
            counter[word] -= 1
            return True
    return False


def small_disk(folder: Path) -> Image:
    """A small disk with something on it, in both formats; its digest is the test's to give."""
    qcow2, vmdk = folder / "disk.qcow2", folder / "disk.vmdk"
    for argv in (
        ["qemu-img", "create", "-q", "-f", "qcow2", qcow2, "64M"],
        ["qemu-io", "-c", "write -q -P 7 0 4M", qcow2],
        ["qemu-img", "convert", "-O", "vmdk", "-o", "subformat=streamOptimized", qcow2, vmdk],
    ):
        subprocess.run(argv, check=True, timeout=60)
    return Image("small", "", {Format.QCOW2: qcow2, Format.VMDK: vmdk}, Size(64 * MiB))


def fault(name: str, words: str, inner: str = "") -> str:
    """A SOAP fault as vCenter sends one; ``inner`` has its properties as XML."""
    return (
        '<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"'
        ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body><soapenv:Fault>'
        f"<faultcode>ServerFaultCode</faultcode><faultstring>{words}</faultstring><detail>"
        f'<{name}Fault xmlns="urn:vim25" xsi:type="{name}">{inner}</{name}Fault>'
        "</detail></soapenv:Fault></soapenv:Body></soapenv:Envelope>"
    )


def settings(front: Front, folder: Path, **changes: Any) -> Settings:
    """What a lab file says of the host behind a front; the password is in a file, as a lab file may have it."""
    secret = folder / "password"
    new = folder / f"password-{secrets.token_hex(4)}"
    new.write_text(PASSWORD)
    new.replace(secret)  # at once: others may be logging in with it
    said = {"endpoint": front.endpoint, "user": USER, "password": Secret(f"file:{secret}"), "ca": front.certificate.ca}
    said |= {"datacenter": "DC0", "esxi": "DC0_H0", "datastore": "LocalDS_0"}
    return Settings(**{**said, **changes})


def within(seconds: float = 60) -> Deadline:
    """A deadline no test is meant to reach."""
    return Deadline.after(seconds)
