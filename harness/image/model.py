"""What an image is to the rest of the harness."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from harness.core import Size


class Format(StrEnum):
    """Disk formats, by the names ``qemu-img`` and the hypervisors use."""

    QCOW2 = "qcow2"
    VHDX = "vhdx"
    VMDK = "vmdk"
    """streamOptimized, as OVF import wants it."""


class Access(StrEnum):
    """How the harness gets into a guest of this image."""

    CLOUD_INIT = "cloud-init"
    """The NoCloud seed brings keys, host key and address."""
    READY = "ready"
    """User, key and sudo are already in the image."""


class SeedNetwork(StrEnum):
    """Where a guest of this image gets its address from."""

    SEED = "seed"
    DHCP = "dhcp"
    PRESET = "preset"


@dataclass(frozen=True, slots=True)
class Image:
    """A disk image, named by its content.

    Args:
        name: the recipe's name (``debian12``).
        digest: sha256 of the qcow2's *virtual disk content*, hex; the same for every format of it.
        files: the file of each format at hand; qcow2 is always there.
        virtual_size: size of the disk as the guest sees it.
        build_id: what ``/etc/interop-build-id`` inside says; None for images not built here.
        access: how the harness logs in.
        network: where the guest's address comes from.
        user: the account the harness logs in as: root, or one that may use sudo without a password.
        private_key: for ``ready`` images, the key file; else None.
        kernel: the kernel inside, as a file: a probe boot tells with it whether acceleration really works.
        initrd: its initramfs.
        labels: further facts for the report (distribution, kernel version, "same release, different bits").
        file_systems: of an image not built here, the UUIDs of its file systems: they tell it from others.
    """

    name: str
    digest: str
    files: dict[Format, Path]
    virtual_size: Size
    build_id: str | None = None
    access: Access = Access.CLOUD_INIT
    network: SeedNetwork = SeedNetwork.SEED
    user: str = "root"
    private_key: Path | None = None
    kernel: Path | None = None
    initrd: Path | None = None
    labels: dict[str, str] = field(default_factory=dict)
    file_systems: tuple[str, ...] = ()

    @property
    def qcow2(self) -> Path:
        """The qcow2 file that everything else was converted from."""
        return self.files[Format.QCOW2]
