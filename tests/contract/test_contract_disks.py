"""Data disks, by their serial number: asked, shown by the host, seen by the guest."""

from __future__ import annotations

import pytest

from harness.backends.capabilities import Capability
from harness.backends.model import DiskSpec
from harness.backends.protocol import Refused
from harness.backends.views import ResourceKind
from harness.core import MiB, Pending, Size, wait_for

SIZE = Size(32 * MiB)


def find_disk(guest, serial, deadline):
    """The guest's disk of this serial, once it shows."""

    def shown():
        return guest.disks.by_serial(serial) or Pending(f"{[disk.serial for disk in guest.disks.all()]}")

    return wait_for(f"a disk {serial} in {guest.name}", shown, deadline, fault=AssertionError)


@pytest.fixture
def plugged(site, guest):
    """A disk that came while the guest runs, with sectors as those of its other data disks; it goes again."""
    disk = DiskSpec("plugged", SIZE, guest.shape.data_sectors)
    view = guest.machine.attach_disk(disk, site.deadline())
    yield view
    guest.machine.detach_disk(disk.serial, site.deadline())


def test_data_disks_are_there_from_the_start(site, guest):
    """By serial and to the byte, for host and guest."""
    asked = {disk.serial: disk.size for disk in guest.machine.spec.disks}
    assert asked
    assert {disk.serial: disk.size for disk in site.view(guest.machine).disks} == asked
    seen = {disk.serial: disk.size for disk in guest.disks.all() if disk.serial in asked}
    assert seen == asked


@pytest.mark.proves(Capability.SECTORS_4K)
def test_a_data_disk_has_the_sectors_that_were_asked_for(site, guest):
    """For host and guest: nothing smaller is read or written."""
    [asked] = guest.machine.spec.disks
    disk = guest.disks.by_serial(asked.serial)
    assert (asked.sector, [view.sector for view in site.view(guest.machine).disks], disk.sector) == (4096, [4096], 4096)
    read = ["dd", f"if=/dev/{disk.name}", "of=/dev/null", "iflag=direct", "count=1", "status=none"]
    assert [guest.run([*read, f"bs={size}"], check=False).status for size in (512, 4096)] == [1, 0]


@pytest.mark.proves(Capability.LINKED_CLONE)
def test_clones_of_one_image_do_not_see_each_others_writes(guest, other):
    """Nor does the image: both still have its build id."""
    guest.files.write("/root/mine-alone", b"first")
    guest.run(["sync"])
    assert not other.files.exists("/root/mine-alone")
    guest.files.remove("/root/mine-alone")
    assert guest.system.build_id() == other.system.build_id() == guest.image.build_id


@pytest.mark.proves(Capability.DISK_HOT_ADD)
def test_a_disk_that_comes_can_be_written_and_read(site, guest, plugged):
    """It is empty, and keeps what the guest writes."""
    assert (plugged.serial, plugged.size) == ("plugged", SIZE)
    assert plugged in site.view(guest.machine).disks
    disk = find_disk(guest, "plugged", site.deadline(60))
    assert (disk.size, disk.sector) == (SIZE, guest.shape.data_sectors)
    device = f"/dev/{disk.name}"
    assert guest.run(["head", "-c", "1048576", device]).stdout.strip(b"\0") == b""
    data = bytes(range(256)) * 4096
    guest.run(["dd", f"of={device}", "bs=1M", "oflag=direct", "status=none"], stdin=data)
    guest.run(["blockdev", "--flushbufs", device])
    assert guest.run(["head", "-c", str(len(data)), device]).stdout == data


@pytest.mark.proves(Capability.DISK_HOT_ADD)
def test_a_disk_that_goes_is_gone_everywhere(site, guest):
    """For the guest when the verb returns, for the host, and from what we own."""
    before = site.handles()
    count = len(site.witness.notes)
    guest.machine.attach_disk(DiskSpec("short-lived", SIZE), site.deadline())
    find_disk(guest, "short-lived", site.deadline(60))
    guest.machine.detach_disk("short-lived", site.deadline())
    assert guest.disks.by_serial("short-lived") is None
    assert "short-lived" not in {disk.serial for disk in site.view(guest.machine).disks}
    assert site.handles() == before
    notes = [note for note in site.witness.since(count) if note.kind is ResourceKind.DISK]
    made = [note.word for note in notes if note.step == "made"]
    assert [note.word for note in notes if note.step == "gone"] == made


@pytest.mark.proves(Capability.DISK_HOT_ADD)
def test_a_serial_is_taken_once(site, guest, plugged):
    """The disk that has it keeps it."""
    with pytest.raises(Refused):
        guest.machine.attach_disk(DiskSpec("plugged", Size(2 * SIZE)), site.deadline())
    assert [disk.size for disk in site.view(guest.machine).disks if disk.serial == "plugged"] == [plugged.size]


@pytest.mark.proves(Capability.DISK_HOT_ADD)
def test_a_disk_comes_to_a_machine_that_is_off(site, machine):
    """And goes again."""
    machine.attach_disk(DiskSpec("cold", SIZE), site.deadline())
    assert ("cold", SIZE) in {(disk.serial, disk.size) for disk in site.view(machine).disks}
    machine.detach_disk("cold", site.deadline())
    assert site.view(machine).disks == ()


@pytest.mark.proves(Capability.DISK_HOT_ADD, Capability.DISK_RESIZE)
def test_a_disk_grows_while_in_use(site, guest, plugged):
    """The guest sees its new size, and what was written is still there."""
    name = find_disk(guest, plugged.serial, site.deadline(60)).name
    device, rescan = f"/dev/{name}", f"/sys/block/{name}/device/rescan"
    guest.run(["dd", f"of={device}", "oflag=direct", "bs=4096", "status=none"], stdin=b"kept".ljust(4096))
    guest.machine.resize_disk(plugged.serial, Size(2 * SIZE), site.deadline())
    assert 2 * SIZE in {disk.size for disk in site.view(guest.machine).disks if disk.serial == plugged.serial}
    if guest.files.exists(rescan):  # of a SCSI disk, Linux reports "capacity data has changed" and waits to be asked
        guest.run(["tee", rescan], stdin=b"1")

    def grown():
        size = find_disk(guest, plugged.serial, site.deadline(60)).size
        return True if size == 2 * SIZE else Pending(str(size))

    wait_for("the guest to see the new size", grown, site.deadline(60), fault=AssertionError)
    guest.run(["blockdev", "--flushbufs", device])
    assert guest.run(["head", "-c", "4", device]).stdout == b"kept"


@pytest.mark.proves(Capability.DISK_HOT_ADD, Capability.DISK_RESIZE)
def test_a_disk_does_not_shrink(site, guest, plugged):
    """It would cut off data."""
    with pytest.raises(Refused):
        guest.machine.resize_disk(plugged.serial, Size(SIZE // 2), site.deadline())
    assert find_disk(guest, plugged.serial, site.deadline(60)).size == SIZE
