"""One disk that starts by BIOS and by UEFI, made of plain files: no mount, no loop device, no grub-install.

The layout is GPT: a 1 MiB BIOS boot partition for GRUB's core image, an EFI system partition, and the root file system.
"""

from __future__ import annotations

import os
import struct
import uuid
from dataclasses import dataclass
from pathlib import Path

from harness.core import Deadline, MiB, Size
from harness.core.process import need, run
from harness.image.progress import Job
from harness.image.rootfs import EPOCH
from harness.image.tools import english

SECTOR = 512
_NAMESPACE = uuid.UUID("a8a7e1a4-8f0a-4c58-9a49-6d5b3f5e1c52")
_BIOS_START = 2048
_BIOS_SECTORS = MiB // SECTOR
_ESP_START = _BIOS_START + _BIOS_SECTORS
_ESP_SECTORS = 64 * MiB // SECTOR  # mtools refuses FAT32 on 32 MiB
_ROOT_START = _ESP_START + _ESP_SECTORS
_GPT_BACKUP_SECTORS = 2048  # the backup table needs 33; the partition's end stays aligned to 1 MiB
_GRUB = Path("/usr/lib/grub")
_MODULES = ("part_gpt", "ext2", "normal", "configfile", "linux", "search", "search_fs_uuid", "echo")


@dataclass(frozen=True, slots=True)
class Layout:
    """The identifiers of a disk, all derived from its build id."""

    build_id: str

    def _uuid(self, part: str) -> uuid.UUID:
        return uuid.uuid5(_NAMESPACE, f"{self.build_id}/{part}")

    @property
    def root(self) -> uuid.UUID:
        """UUID of the root file system."""
        return self._uuid("root")

    @property
    def disk(self) -> uuid.UUID:
        """GUID of the partition table."""
        return self._uuid("disk")

    def partition(self, number: int) -> uuid.UUID:
        """GUID of a partition, from 1."""
        return self._uuid(f"partition {number}")

    @property
    def esp_serial(self) -> str:
        """Serial number of the FAT file system: 8 hex digits."""
        return self._uuid("esp").hex[:8]


def boot_files(layout: Layout, kernel: str, initrd: str, arguments: str) -> dict[str, bytes]:
    """The fstab and GRUB's configuration. ``extra.cfg`` is a seam: a variant adds kernel arguments there."""
    return {
        "/etc/fstab": f"UUID={layout.root} / ext4 errors=remount-ro 0 0\n".encode(),
        "/boot/grub/grub.cfg": (
            f"source $prefix/extra.cfg\n"
            f"linux /{kernel} root=UUID={layout.root} ro {arguments} $extra\n"
            f"initrd /{initrd}\n"
            f"boot\n"
        ).encode(),
        "/boot/grub/extra.cfg": extra_arguments(""),
    }


def extra_arguments(arguments: str) -> bytes:
    """The text of ``/boot/grub/extra.cfg`` for further kernel arguments."""
    return f"set extra='{arguments}'\n".encode()


def make_disk(tars: list[tuple[Path, list[str]]], layout: Layout, size: Size, job: Job) -> Path:
    """Write ``disk.raw`` (sparse) into the job's folder.

    Args:
        tars: what makes the root file system, in order, each with the patterns left out of it.
        layout: identifiers.
        size: of the whole disk.
        job: its folder needs room for the tree and the disk.

    Raises:
        LabError: a tool is missing or failed, or the tree does not fit on the disk.
    """
    work, deadline, progress = job.work, job.deadline, job.progress
    disk = work / "disk.raw"
    with disk.open("wb") as raw:
        raw.truncate(size)
    _partition(disk, layout, deadline)
    with progress.step("unpacking the tree"):
        tree = _unpack(tars, work, deadline)
    with progress.step("writing the root file system"):
        _root_filesystem(tree, disk, layout, job)
    with progress.step("installing boot loaders"):
        _bios_loader(disk, layout, work, deadline)
        _efi_loader(disk, layout, work, deadline)
    run([*_as_root(work), "rm", "-rf", tree], deadline)
    return disk


def _as_root(work: Path) -> list[str | Path]:
    """Ordinary users keep owners and modes of the tree in fakeroot's list, from one step to the next."""
    if os.geteuid() == 0:
        return []
    state = work / "owners"
    state.touch()
    return [need("fakeroot", "fakeroot"), "-i", state, "-s", state, "--"]


def _partition(disk: Path, layout: Layout, deadline: Deadline) -> None:
    last = disk.stat().st_size // SECTOR - _GPT_BACKUP_SECTORS - 1
    bounds = ((_BIOS_START, _ESP_START - 1, "ef02"), (_ESP_START, _ROOT_START - 1, "ef00"), (_ROOT_START, last, "8300"))
    argv: list[str | Path] = [need("sgdisk", "gdisk"), "-a", "1", "-U", str(layout.disk)]
    for number, (start, end, kind) in enumerate(bounds, 1):
        argv += ["-n", f"{number}:{start}:{end}", "-t", f"{number}:{kind}"]
        argv += ["-u", f"{number}:{layout.partition(number)}"]
    run([*argv, disk], deadline)


def _unpack(tars: list[tuple[Path, list[str]]], work: Path, deadline: Deadline) -> Path:
    tree = work / "tree"
    tree.mkdir()
    for tar, left_out in tars:
        argv: list[str | Path] = [*_as_root(work), "tar", "--extract", "--numeric-owner", "--same-permissions"]
        # No extended attributes: fakeroot cannot carry them, and the disk must not depend on who built it. Debian's
        # own are file capabilities (ping), which root does not need.
        argv += ["--keep-directory-symlink", "--anchored", "--wildcards"]
        argv += [f"--exclude={pattern}" for pattern in left_out]
        run([*argv, "-C", tree, "-f", tar], deadline, env=english())
    return tree


def _root_filesystem(tree: Path, disk: Path, layout: Layout, job: Job) -> None:
    sectors = disk.stat().st_size // SECTOR - _GPT_BACKUP_SECTORS - _ROOT_START
    extended = f"offset={_ROOT_START * SECTOR},hash_seed={layout.root},root_owner=0:0"
    argv: list[str | Path] = [*_as_root(job.work), need("mke2fs", "e2fsprogs"), "-q", "-F", "-t", "ext4", "-b", "4096"]
    argv += ["-L", "interop-root", "-U", str(layout.root), "-E", extended, "-d", tree, disk, str(sectors // 8)]
    times = {"SOURCE_DATE_EPOCH": str(EPOCH), "E2FSPROGS_FAKE_TIME": str(EPOCH)}
    run(argv, job.deadline, env=english() | times)


def _early_config(layout: Layout, work: Path) -> Path:
    config = work / "early.cfg"
    config.write_text(f"search.fs_uuid {layout.root} root\nset prefix=($root)/boot/grub\nconfigfile $prefix/grub.cfg\n")
    return config


def _core(platform: str, layout: Layout, work: Path, modules: tuple[str, ...], deadline: Deadline) -> Path:
    core = work / f"core.{platform}"
    argv: list[str | Path] = [need("grub-mkimage", "grub-common"), "-O", platform, "-o", core, "-p", "/boot/grub"]
    run([*argv, "-c", _early_config(layout, work), *_MODULES, *modules], deadline)
    return core


def _bios_loader(disk: Path, layout: Layout, work: Path, deadline: Deadline) -> None:
    """What grub-install does for i386-pc: boot.img to sector 0, core.img to the BIOS boot partition, both patched.

    Offsets are those of GRUB's ``include/grub/i386/pc/boot.h``. The defaults in the files (core image at sector 1, its
    rest from sector 2) are right for the gap after an MBR only.
    """
    core = bytearray(_core("i386-pc", layout, work, ("biosdisk",), deadline).read_bytes())
    boot = bytearray((_GRUB / "i386-pc" / "boot.img").read_bytes()[:440])
    boot[0x5C:0x64] = struct.pack("<Q", _BIOS_START)
    boot[0x66:0x68] = b"\x90\x90"  # trust the drive number in DL only after GRUB's own check is cut out
    rest = -(-len(core) // SECTOR) - 1
    if rest >= _BIOS_SECTORS:
        raise AssertionError(f"GRUB's core image takes {len(core)} bytes, its partition holds {_BIOS_SECTORS * SECTOR}")
    core[0x1F4:0x200] = struct.pack("<QHH", _BIOS_START + 1, rest, 0x820)
    with disk.open("r+b") as raw:
        raw.write(boot)
        raw.seek(_BIOS_START * SECTOR)
        raw.write(core)


def _efi_loader(disk: Path, layout: Layout, work: Path, deadline: Deadline) -> None:
    """The loader at the path that firmware tries on a disk it has no entry for (UEFI specification, 3.5.1.1)."""
    core = _core("x86_64-efi", layout, work, ("fat", "all_video", "efi_gop"), deadline)
    esp = f"{disk}@@{_ESP_START * SECTOR}"
    env = english() | {"SOURCE_DATE_EPOCH": str(EPOCH), "MTOOLS_SKIP_CHECK": "1"}
    label = ["-v", "ESP", "-N", layout.esp_serial]
    run([need("mformat", "mtools"), "-i", esp, "-F", "-T", str(_ESP_SECTORS), *label, "::"], deadline, env=env)
    run(["mmd", "-i", esp, "::/EFI", "::/EFI/BOOT"], deadline, env=env)
    run(["mcopy", "-i", esp, core, "::/EFI/BOOT/BOOTX64.EFI"], deadline, env=env)
