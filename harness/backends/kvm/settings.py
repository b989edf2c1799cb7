"""A kvm host's section of a lab file."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self
from urllib.parse import parse_qs, urlsplit

from pydantic import field_validator, model_validator

from harness.backends.registry import HostSettings
from harness.core.secrets import without_password

_SCHEMES = ("qemu", "qemu+unix", "qemu+ssh", "qemu+libssh", "qemu+libssh2", "qemu+tls", "qemu+tcp")


class Settings(HostSettings):
    """Which libvirt to speak to, and what its host cannot tell by itself."""

    uri: str = "qemu:///embed"
    """libvirt's URI. ``qemu:///embed`` needs no daemon: the driver runs inside this process."""

    accel: Literal["auto", "kvm", "tcg"] = "auto"
    """What runs vCPUs; ``auto`` decides by a probe boot, because an accessible /dev/kvm proves nothing."""

    emulator: str | None = None
    """Path of qemu-system-x86_64 on the host; default: what libvirt knows."""

    firmware_code: str | None = None
    """UEFI code image on the host; default: the first without Secure Boot that QEMU's descriptors name."""

    firmware_variables: str | None = None
    """Template of the UEFI variables that belongs to ``firmware_code``."""

    storage: str = "default"
    """The storage pool (a directory pool) that disks go into; unused by ``qemu:///embed``."""

    scarce: Path | None = None
    """A folder where a small file system is mounted, a tmpfs of 64 MiB for example, that may be filled to the last
    byte: a guest is shown a host whose disk is full. ``qemu:///embed`` alone. Left out: no host's disk is filled."""

    clock: str | None = None
    """``user@host`` (optionally ``:port``) for reading a remote host's clock by ssh; without it there is none."""

    connect_seconds: float = 30.0
    """How long opening the connection may take."""

    @field_validator("uri")
    @classmethod
    def _of_qemu(cls, value: str) -> str:
        if urlsplit(value).scheme not in _SCHEMES:
            raise ValueError(
                f"not a URI of libvirt's QEMU driver; write for example qemu:///embed, {_SCHEMES[2]}://host/system"
            )
        return without_password(value)

    @model_validator(mode="after")
    def _within_reach(self) -> Self:
        if self.scarce is not None and not self.embedded:
            raise ValueError("scarce: only qemu:///embed has its files where the harness can fill their disk")
        return self

    @property
    def embedded(self) -> bool:
        """The driver runs inside this process."""
        return urlsplit(self.uri).path == "/embed"

    @property
    def local(self) -> bool:
        """The guests run on this machine."""
        return not urlsplit(self.uri).hostname

    @property
    def root(self) -> str | None:
        """The root directory that an embed URI names, if it does."""
        return parse_qs(urlsplit(self.uri).query).get("root", [None])[0]
