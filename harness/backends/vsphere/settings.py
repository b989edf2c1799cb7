"""A vSphere host's section of a lab file."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field, PrivateAttr, field_validator, model_validator

from harness.backends.registry import LONGEST_NAME, HostSettings
from harness.core import LabError
from harness.core.secrets import Secret

_SHA256_DIGITS = 64
_PORTS = re.compile(r"tcp://(?P<address>\[[0-9a-fA-F:.]+\]|[^\s/:@\[\]]*):(?P<first>\d{1,5})-(?P<last>\d{1,5})")


class Settings(HostSettings):
    """Which vCenter or ESXi to log in to, as whom, and where in its inventory guests go."""

    twin_module: ClassVar[str | None] = "harness.twins.vsphere"
    macs: ClassVar[str | None] = "00:50:56:00:00:00-00:50:56:3f:ff:ff"

    endpoint: str | None = None
    """Name or address of the vCenter (or of an ESXi that stands alone), with `:port` if it is not 443."""

    user: str | None = None
    """The account, for example `interop@vsphere.local`."""

    password: Secret | None = None
    """Its password, by reference: `env:NAME`, `file:PATH` or `keyring:SERVICE/USER`."""

    ca: Path | None = None
    """A file of CA certificates (PEM) that the endpoint's certificate must come from. Left out: those of the system,
    unless a `thumbprint` is given."""

    thumbprint: str | None = None
    """The SHA-256 thumbprint of the endpoint's own certificate, 64 hexadecimal digits, colons or not. The certificate
    must then be exactly this one, whoever signed it."""

    datacenter: str | None = None
    """The datacenter. Left out: the only one."""

    cluster: str | None = None
    """The cluster that the ESXi hosts belong to. Left out: hosts are found wherever they are in the datacenter."""

    esxi: str | tuple[str, ...] | None = Field(default=None, min_length=1)
    """The ESXi hosts guests run on, by their names in the inventory. Several become several hosts of the lab, one pool.
    Left out: the only one."""

    resource_pool: str | None = None
    """The resource pool guests go into. Left out: the root pool of the host or cluster."""

    datastore: str | None = None
    """The datastore for guests, images and seeds. Left out: the largest that the ESXi can use."""

    folder: str = Field(default="interop", pattern=r"^[^/%\\]+$")
    """The folder, of virtual machines and on the datastore, that everything of the harness is kept in."""

    console: str = "file"
    """How the serial console is kept. `file`: beside the machine's disks; it can be read and not typed into.
    `tcp://ADDRESS:FIRST-LAST`: the ESXi listens on a port of that range for each machine (its firewall must let it:
    docs/vsphere-host.md), and the console can be typed into. Without ADDRESS it is the ESXi's name in the inventory."""

    twin: bool = False
    """True: no real vSphere is spoken to, but a twin that the harness runs on this machine; the endpoint, the account
    and the inventory are the twin's own then."""

    connect_seconds: float = Field(default=30.0, gt=0)
    """How long logging in may take."""

    _password: str | None = PrivateAttr(default=None)  # a twin's: it lives as long as its twin
    _accelerated: str = PrivateAttr(default="tcg")

    @field_validator("thumbprint")
    @classmethod
    def _of_sha256(cls, value: str | None) -> str | None:
        if value is None:
            return None
        digits = value.replace(":", "").replace(" ", "").lower()
        if len(digits) == 40:
            raise ValueError("that is a SHA-1 thumbprint; give the SHA-256 one (docs/vsphere-host.md says how)")
        if not re.fullmatch(rf"[0-9a-f]{{{_SHA256_DIGITS}}}", digits):
            raise ValueError(f"a SHA-256 thumbprint has {_SHA256_DIGITS} hexadecimal digits, colons or not")
        return digits

    @field_validator("console")
    @classmethod
    def _file_or_ports(cls, value: str) -> str:
        found = _PORTS.fullmatch(value)
        if value != "file" and not (found and 0 < int(found["first"]) <= int(found["last"]) < 1 << 16):
            raise ValueError("write file, or tcp://ADDRESS:FIRST-LAST with a range of ports; ADDRESS may be left out")
        return value

    @field_validator("endpoint")
    @classmethod
    def _host_and_port(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^\s/:@\[\]]+)(:\d{1,5})?", value):
            raise ValueError("write a name or address, with :port if it is not 443; no https:// and no path")
        return value

    @model_validator(mode="after")
    def _complete(self) -> Self:
        needed = ("endpoint", "user", "password")
        if self.twin:
            given = [key for key in (*needed, "ca", "thumbprint") if getattr(self, key) is not None]
            if given and self._password is None:
                raise ValueError(f"a twin has its own {given[0]}: leave it out, or leave out twin: true")
            return self
        missing = [key for key in needed if getattr(self, key) is None]
        if missing:
            raise ValueError(f"needs {' and '.join(missing)}, or twin: true")
        return self

    @property
    def local(self) -> bool:
        """A twin's guests run on this machine."""
        return self.twin

    @property
    def address(self) -> tuple[str, int]:
        """Host (without brackets) and port of the endpoint.

        Raises:
            LabError: these are settings of a twin that nobody started.
        """
        if self.endpoint is None:
            raise LabError("the twin has not been started: its address is not known", operation="connect")
        found = re.fullmatch(r"\[?(.*?)\]?(?::(\d+))?", self.endpoint)
        host, port = (found[1], found[2]) if found else (self.endpoint, None)
        return host, int(port or 443)

    def ports(self) -> range:
        """The ports that the ESXi may listen on for serial consoles; none where they are files."""
        found = _PORTS.fullmatch(self.console)
        return range(int(found["first"]), int(found["last"]) + 1) if found else range(0)

    def console_address(self, esxi: str) -> str:
        """Where it listens.

        Args:
            esxi: its name in the inventory.
        """
        found = _PORTS.fullmatch(self.console)
        if self.twin:
            return "127.0.0.1"
        return (found["address"].strip("[]") if found else "") or esxi

    def reveal(self) -> str:
        """The account's password, fetched now.

        Raises:
            LabError: it is not where the lab file says.
        """
        if self._password is not None:
            return self._password
        if self.password is None:
            raise LabError("there is no password for the account", operation="connect")
        return self.password.reveal()

    @property
    def accelerated(self) -> str:
        """What runs the vCPUs of a twin's guests."""
        return self._accelerated

    def expand(self, name: str) -> dict[str, Self]:
        """A vCenter's ESXi hosts are hosts of the lab each: quiet, clock and capacity are an ESXi's.

        One whose name would become too long for a lab is called by the first label of it, unless others begin so too.
        """
        if not isinstance(self.esxi, tuple):
            return {name: self}
        labels = Counter(_word(one).partition(".")[0] for one in self.esxi)
        found = {}
        for one in self.esxi:
            word = _word(one)
            label = word.partition(".")[0]
            short = len(f"{name}-{word}") > LONGEST_NAME and labels[label] == 1
            found[f"{name}-{label if short else word}"] = self._with(esxi=one)
        return found

    def at_twin(self, record: Mapping[str, Any]) -> Self:
        """These settings, with the endpoint, account and inventory of a running twin.

        Args:
            record: what the twin said of itself: ``endpoint``, ``ca``, ``user``, ``password``, ``datacenter``,
                ``esxi``, ``datastore`` and ``accel``.
        """
        names = record.get("esxi") or [None]
        found = self._with(
            endpoint=record["endpoint"],
            user=record["user"],
            ca=Path(record["ca"]),
            datacenter=self.datacenter or record.get("datacenter"),
            esxi=self.esxi or (names if isinstance(names, str) else names[0]),
            datastore=self.datastore or record.get("datastore"),
        )
        # Ours; kept out of dumps and of the lab file's schema.
        found._accelerated = str(record.get("accel") or self._accelerated)  # noqa: SLF001
        found._password = record["password"]  # noqa: SLF001
        return found

    def _with(self, **changes: Any) -> Self:
        copy = self.model_copy(update=changes)
        copy._password, copy._accelerated = self._password, self._accelerated  # noqa: SLF001 - ours
        return copy


def _word(name: str) -> str:
    """An inventory name as a part of a lab's name."""
    return re.sub(r"[^a-z0-9_.-]+", "-", name.lower()).strip("-.")
