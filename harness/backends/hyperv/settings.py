"""A Hyper-V host's section of a lab file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, PrivateAttr, field_validator, model_validator

from harness.backends.registry import HostSettings
from harness.core import LabError
from harness.core.secrets import Secret

Authentication = Literal["ntlm", "kerberos", "credssp", "certificate", "basic"]
Checkpoints = Literal["standard", "production"]


class Settings(HostSettings):
    """How a Windows host's WinRM is reached, as whom, and where on the host guests are kept."""

    twin_module: ClassVar[str | None] = "harness.twins.hyperv"

    endpoint: str | None = None
    """Name or address of the host, with `:port` if it is not 5986 (5985 without TLS)."""

    tls: bool = True
    """Whether WinRM is spoken to by HTTPS. Without it every message is still sealed, by NTLM, Kerberos or CredSSP."""

    user: str | None = None
    """The account: `DOMAIN\\name`, `name@domain`, or `name` for one of the host's own."""

    password: Secret | None = None
    """Its password, by reference: `env:NAME`, `file:PATH` or `keyring:SERVICE/USER`. A certificate needs none, nor does
    Kerberos where there is a ticket or a keytab."""

    auth: Authentication = "ntlm"
    """How the account is proved. `kerberos` and `credssp` need what `pip install interop-harness[kerberos]` or
    `[credssp]` brings; `kerberos` never falls back to NTLM; `certificate` and `basic` need TLS."""

    certificate: Path | None = None
    """The client certificate (PEM) for `auth: certificate`."""

    certificate_key: Path | None = None
    """Its private key (PEM, not encrypted)."""

    spn: str | None = Field(default=None, pattern=r"^[A-Za-z]+/[^/\s]+$")
    """The service principal name for Kerberos where it is not `HTTP/` and the endpoint's name."""

    keytab: Path | None = None
    """The keytab of the account, for `auth: kerberos`: tickets are made of it, and made anew before they end."""

    cache: str | None = None
    """The credential cache with the account's ticket, for `auth: kerberos`: a file, or `TYPE:NAME`. A renewable ticket
    is renewed by `kinit -R`. Left out, with neither keytab nor password: the cache of whoever runs the harness."""

    ca: Path | None = None
    """A file of CA certificates (PEM) that the host's certificate must come from. Left out: those of the system, unless
    a `thumbprint` is given."""

    thumbprint: str | None = None
    """The SHA-256 thumbprint of the host's own certificate, 64 hexadecimal digits, colons or not. The certificate must
    then be exactly this one, whoever signed it."""

    agent: str = "inline"
    """`inline`: the agent's script is sent to a PowerShell that runs it. A path on the host, as in
    `C:\\interop\\agent.ps1`: the script lies there, signed, and is started under the policy AllSigned."""

    store: str = "C:\\interop"
    """The folder on the host that everything of the harness is kept in: images, disks, consoles. It may be on a
    cluster's shared volume. The harness makes it where it is missing."""

    nodes: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]*$")], ...] = ()
    """The names of the cluster's other nodes, where the host is one and the `store` a shared volume: machines of ours
    that somebody moved there are found and can be removed. The account must be allowed to pass from node to node."""

    checkpoints: Checkpoints = "standard"
    """What checkpoints of guests are: `standard` ones hold memory, where a guest runs; `production` ones never do, so
    that the host lacks `CHECKPOINT_WITH_MEMORY` and every fresh guest is a cold boot."""

    pull: str | None = None
    """The address by which the host reaches this controller, with `:port` if the firewall wants a certain one: the host
    then fetches images by HTTP. Left out: images are sent through WinRM, which is some ten times slower."""

    twin: bool = False
    """True: no real Hyper-V is spoken to, but a twin that the harness runs on this machine; the endpoint and the
    account are the twin's own then."""

    connect_seconds: float = Field(default=60.0, gt=0)
    """How long logging in and starting an agent may take: loading the Hyper-V module takes a while on a cold host."""

    _password: str | None = PrivateAttr(default=None)  # a twin's: it lives as long as its twin

    @field_validator("thumbprint")
    @classmethod
    def _of_sha256(cls, value: str | None) -> str | None:
        if value is None:
            return None
        digits = value.replace(":", "").replace(" ", "").lower()
        if len(digits) == 40:
            raise ValueError("that is a SHA-1 thumbprint; give the SHA-256 one (docs/hyperv-host.md says how)")
        if not re.fullmatch(r"[0-9a-f]{64}", digits):
            raise ValueError("a SHA-256 thumbprint has 64 hexadecimal digits, colons or not")
        return digits

    @field_validator("endpoint", "pull")
    @classmethod
    def _host_and_port(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^\s/:@\[\]]+)(:\d{1,5})?", value):
            raise ValueError("write a name or address, with :port where needed; no https:// and no path")
        return value

    @field_validator("store")
    @classmethod
    def _whole_path(cls, value: str) -> str:
        if not re.fullmatch(r'([A-Za-z]:\\|/)[^"*?<>|\[\]]*', value) or ".." in value:
            raise ValueError("write a whole path on the host, as in D:\\interop, without wildcards")
        return value

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.twin:
            given = [
                key for key in ("endpoint", "user", "password", "ca", "thumbprint") if getattr(self, key) is not None
            ]
            if given and self._password is None:
                raise ValueError(f"a twin has its own {given[0]}: leave it out, or leave out twin: true")
            return self
        needed = {
            "certificate": ("endpoint", "certificate", "certificate_key"),
            "kerberos": ("endpoint", "user"),
        }.get(self.auth, ("endpoint", "user", "password"))
        missing = [key for key in needed if getattr(self, key) is None]
        if missing:
            raise ValueError(f"auth: {self.auth} needs {' and '.join(missing)}; or write twin: true")
        self._one_source_of_tickets()
        if not self.tls and self.auth in ("basic", "certificate"):
            raise ValueError(f"auth: {self.auth} needs tls: true, for it seals nothing by itself")
        if not self.tls and (self.ca or self.thumbprint):
            raise ValueError("without TLS there is no certificate to trust: leave out ca and thumbprint, or tls: false")
        return self

    def _one_source_of_tickets(self) -> None:
        given = [key for key in ("keytab", "cache", "spn") if getattr(self, key) is not None]
        if self.auth != "kerberos":
            if given:
                raise ValueError(f"{given[0]} is for auth: kerberos alone")
            return
        if "\\" in str(self.user):
            raise ValueError("Kerberos knows accounts as name@REALM: write `user` so")
        sources = [key for key in ("keytab", "cache", "password") if getattr(self, key) is not None]
        if len(sources) > 1:
            raise ValueError(f"tickets come from one source: leave out {' or '.join(sources)}")

    @property
    def local(self) -> bool:
        """A twin's guests run on this machine."""
        return self.twin

    @property
    def address(self) -> tuple[str, int]:
        """Host (an IPv6 address in brackets, as in a URL) and port of the endpoint.

        Raises:
            LabError: these are settings of a twin that nobody started.
        """
        if self.endpoint is None:
            raise LabError("the twin has not been started: its address is not known", operation="connect")
        host, colon, port = self.endpoint.rpartition(":")
        if not colon or port.endswith("]"):
            return self.endpoint, 5986 if self.tls else 5985
        return host, int(port)

    @property
    def url(self) -> str:
        """What pywinrm calls the endpoint."""
        host, port = self.address
        return f"http{'s' if self.tls else ''}://{host}:{port}/wsman"

    def reveal(self) -> str | None:
        """The account's password, fetched now; None where the way of proving it needs none.

        Raises:
            LabError: it is not where the lab file says.
        """
        if self._password is not None:
            return self._password
        return None if self.password is None else self.password.reveal()

    def path(self, *parts: str) -> PurePath:
        """A path below the store, as the host writes paths."""
        kind = PurePosixPath if self.store.startswith("/") else PureWindowsPath
        return kind(self.store, *parts)

    def at_twin(self, record: Mapping[str, Any]) -> Self:
        """These settings, with the endpoint, account and store of a running twin.

        Args:
            record: what the twin said of itself: ``endpoint`` (and ``http``, the one without TLS) as URLs, ``ca``,
                ``user``, ``password``, and ``store`` where it has one of its own.
        """
        found = self.model_copy(
            update={
                "endpoint": _place(record["endpoint"] if self.tls else record["http"]),
                "user": record["user"],
                "ca": Path(record["ca"]) if self.tls else None,
                "store": record.get("store") or self.store,
                "pull": self.pull or "127.0.0.1",  # it runs beside us; sending an image takes many minutes
            }
        )
        found._password = record["password"]  # noqa: SLF001 - ours; kept out of dumps and of the lab file's schema
        return found


def _place(url: str) -> str:
    """Host and port of a URL."""
    return url.partition("://")[2].partition("/")[0] or url
