"""The guest's disks: by serial number, the name that guest and host share."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from harness.backends.protocol import DiskNames
from harness.core import Deadline, GuestError, Size
from harness.guest.inside import program
from harness.guest.probe import Probe, read_json

if TYPE_CHECKING:
    from harness.guest.guest import Guest

# /proc/diskstats counts sectors of 512 bytes, whatever the disk itself has (Documentation/admin-guide/iostats.rst).
_SECTOR = 512

_NAMES_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Disk:
    """A whole disk.

    Args:
        name: the kernel's name (``vda``); not an identity.
        serial: what the hypervisor gave it, or the name it was asked for by where the host chooses serial numbers;
            None when it shows none.
        size: to the byte.
        mounts: where it or its partitions are mounted.
        sector: its logical sector, in bytes: the least that can be read or written past the page cache. From
            ``/sys/block/<name>/queue/logical_block_size`` (Documentation/ABI/stable/sysfs-block), as lsblk reads it.
    """

    name: str
    serial: str | None
    size: Size
    mounts: frozenset[str]
    sector: int


@dataclass(frozen=True, slots=True)
class DiskIo:
    """A disk's counters since boot.

    Args:
        reads: reads completed.
        read: bytes read.
        writes: writes completed.
        written: bytes written.
    """

    reads: int
    read: Size
    writes: int
    written: Size


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """Data written to a disk and read back from it.

    Args:
        size: how much.
        written: sha256 of what was written, hex.
        read: sha256 of what came back after the page cache was dropped, hex.
    """

    size: Size
    written: str
    read: str


@dataclass(frozen=True, slots=True)
class DiskData:
    """What was written to a disk or read from it, past any file system.

    Args:
        size: how much it took or gave.
        sha256: of that, hex.
        error: what the kernel said when it ended early; empty where all went well.
    """

    size: Size
    sha256: str
    error: str


def parse_disks(data: bytes) -> tuple[Disk, ...]:
    """``lsblk --json --bytes``: the disks of its tree."""
    tree = read_json(data)["blockdevices"]
    return tuple(
        Disk(
            entry["name"],
            (entry.get("serial") or "").strip() or None,
            Size(int(entry["size"])),
            _mounts(entry),
            int(entry["log-sec"]),
        )
        for entry in tree
        if entry["type"] == "disk"
    )


def called(disks: Iterable[Disk], names: Mapping[str, str]) -> tuple[Disk, ...]:
    """The disks by the names they were asked for, where the host gave them serial numbers of its own.

    Args:
        disks: as the guest shows them.
        names: what :class:`~harness.backends.protocol.DiskNames` tells.
    """
    return tuple(replace(disk, serial=_called(disk.serial, names)) for disk in disks)


def _called(serial: str | None, names: Mapping[str, str]) -> str | None:
    plain = (serial or "").replace("-", "").lower()
    return next((name for key, name in names.items() if key and plain.endswith(key)), serial)


def _mounts(entry: Mapping[str, Any]) -> frozenset[str]:
    own = {entry["mountpoint"]} if entry.get("mountpoint") else set()
    return frozenset(own).union(*(_mounts(child) for child in entry.get("children", ())))


def parse_io(data: bytes) -> dict[str, DiskIo]:
    """``/proc/diskstats``, by kernel name."""
    counters = {}
    for line in data.decode("ascii").splitlines():
        _major, _minor, name, *fields = line.split()
        reads, _, sectors_read, _, writes, _, sectors_written = (int(word) for word in fields[:7])
        counters[name] = DiskIo(reads, Size(sectors_read * _SECTOR), writes, Size(sectors_written * _SECTOR))
    return counters


def parse_drivers(data: bytes) -> dict[str, tuple[str, ...]]:
    """One line a driver, ``disk driver``, from the disk's own upwards."""
    chains: dict[str, list[str]] = {}
    for line in data.decode("utf-8", "surrogateescape").splitlines():
        disk, driver = line.split()
        chains.setdefault(disk, []).append(driver)
    return {disk: tuple(drivers) for disk, drivers in chains.items()}


def parse_errors(files: Mapping[str, bytes]) -> dict[str, int]:
    """``/sys/fs/ext4/<device>/errors_count``, by device."""
    return {path.split("/")[-2]: int(content) for path, content in files.items()}


def parse_round_trip(data: bytes) -> RoundTrip:
    """What the program ``round_trip`` printed."""
    fields = read_json(data)
    return RoundTrip(Size(int(fields["size"])), str(fields["written"]), str(fields["read"]))


def parse_disk_data(data: bytes) -> DiskData:
    """What the program ``disk_data`` printed."""
    fields = read_json(data)
    return DiskData(Size(int(fields["size"])), str(fields["sha256"]), str(fields["error"]))


def parse_scsi_errors(files: Mapping[str, bytes]) -> dict[str, int]:
    """``/sys/block/<disk>/device/ioerr_cnt``, hexadecimal, by disk."""
    return {path.split("/")[3]: int(content, 16) for path, content in files.items()}


# Every device on the way from the disk to the root of the device tree that has a driver.
_LIST_DRIVERS = """
for disk in /sys/block/*; do
    [ -e "$disk/device" ] || continue
    device=$(readlink -f "$disk/device")
    while [ "$device" != /sys/devices ] && [ -n "$device" ]; do
        if [ -e "$device/driver" ]; then
            driver=$(readlink "$device/driver")
            echo "${disk##*/} ${driver##*/}"
        fi
        device=${device%/*}
    done
done
"""


def parse_uuid(data: bytes) -> str:
    """One UUID, as ``findmnt`` prints it: XFS's and btrfs's like ext's, in lower case with dashes."""
    return str(uuid.UUID(data.decode("ascii").strip()))


ROOT_UUID = Probe("UUID of /", ("findmnt", "--noheadings", "--first-only", "--output", "UUID", "/"), parse_uuid)
_COLUMNS = "NAME,SERIAL,SIZE,LOG-SEC,TYPE,MOUNTPOINT"
DISKS = Probe("disks", ("lsblk", "--json", "--bytes", "--output", _COLUMNS), parse_disks)
ERRORS = Probe.files("file system errors", parse_errors, "/sys/fs/ext4/*/errors_count")
SCSI_ERRORS = Probe.files("SCSI errors", parse_scsi_errors, "/sys/block/*/device/ioerr_cnt")
IO = Probe.file("/proc/diskstats", parse_io)
DRIVERS = Probe("disk drivers", ("sh", "-c", _LIST_DRIVERS), parse_drivers)


class Disks:
    """The disks of a guest. Every call reads afresh."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest

    def all(self) -> tuple[Disk, ...]:
        """All whole disks: ``lsblk`` (``/sys/block`` and udev)."""
        found = self._guest.read(DISKS)
        machine = self._guest.machine
        if not isinstance(machine, DiskNames):
            return found
        return called(found, machine.disk_names(Deadline.after(_NAMES_SECONDS)))

    def root(self) -> Disk:
        """The disk that holds ``/``.

        Raises:
            GuestError: none does.
        """
        for disk in self.all():
            if "/" in disk.mounts:
                return disk
        raise GuestError(f"{self._guest.name}: no disk of lsblk holds /")

    def root_uuid(self) -> str:
        """The UUID of the file system that holds ``/``: ``findmnt``."""
        return self._guest.read(ROOT_UUID)

    def by_serial(self, serial: str) -> Disk | None:
        """The disk with this serial number; None when there is none."""
        return next((disk for disk in self.all() if disk.serial == serial), None)

    def drivers(self) -> dict[str, tuple[str, ...]]:
        """By kernel name, the drivers from a disk up to its bus: the ``driver`` links above ``/sys/block/*/device``."""
        return self._guest.read(DRIVERS)

    def io(self) -> dict[str, DiskIo]:
        """By kernel name, what went to and from each disk since boot: ``/proc/diskstats``."""
        return self._guest.read(IO)

    def errors(self) -> dict[str, int]:
        """By device, the errors that a file system on it remembers: ``/sys/fs/ext4/*/errors_count`` (ext4 alone)."""
        return self._guest.read(ERRORS)

    def round_trip(self, size: Size, *, folder: str = "/var/tmp") -> RoundTrip:  # noqa: S108  the guest's, and its own
        """Write random data below ``folder``, drop it from memory, read it back; the file is removed again."""
        argv = ["python3", "-", str(int(size)), folder]
        result = self._guest.run(argv, stdin=program("round_trip"), timeout=timedelta(minutes=5))
        return Probe("disk round trip", tuple(argv), parse_round_trip).value(result, self._guest.name)

    def scsi_errors(self) -> dict[str, int]:
        """By kernel name, the commands of a SCSI disk that ended in an error since boot, those of probing among them:
        ``/sys/block/*/device/ioerr_cnt`` (drivers/scsi/scsi_sysfs.c). Other disks have no such counter.
        """
        return self._guest.read(SCSI_ERRORS)

    def fill(self, disk: Disk, size: Size, *, offset: int = 0) -> DiskData:
        """Write ``size`` random bytes onto a disk from ``offset`` on, and wait until it has them.

        Whatever was there is lost, a file system as well.
        """
        return self._data("fill", disk, size, offset)

    def digest(self, disk: Disk, size: Size, *, offset: int = 0) -> DiskData:
        """Read ``size`` bytes of a disk from ``offset`` on, after the kernel forgot what it knew of them."""
        return self._data("read", disk, size, offset)

    def rescan(self, disk: Disk) -> None:
        """Have the kernel ask a SCSI disk for its size: ``/sys/block/<disk>/device/rescan``.

        Others tell of a new one by themselves.
        """
        path = f"/sys/block/{disk.name}/device/rescan"
        if self._guest.files.exists(path):
            self._guest.run(["tee", path], stdin=b"1\n")

    def _data(self, act: str, disk: Disk, size: Size, offset: int) -> DiskData:
        argv = ["python3", "-", act, f"/dev/{disk.name}", str(int(offset)), str(int(size))]
        result = self._guest.run(argv, stdin=program("disk_data"), timeout=timedelta(minutes=10))
        return Probe(f"{act} of {disk.name}", tuple(argv), parse_disk_data).value(result, self._guest.name)
