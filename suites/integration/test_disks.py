import pytest
from interop_fixtures import Capability, Expectations, Guest

from harness.backends.model import SECTOR, DiskSpec
from harness.backends.protocol import DiskPlug, DiskResize
from harness.backends.verbs import able
from harness.backends.views import DiskView
from harness.core import Pending, Size, wait_for
from harness.guest.disks import Disk
from harness.measure.views import Views


def disks_by_name(guest: Guest) -> dict[str, Disk]:
    """The whole disks that the guest has now."""
    return {disk.name: disk for disk in guest.disks.all()}


def by_host(guest: Guest, serial: str, expect: Expectations) -> DiskView | None:
    """A data disk as the host shows it; None where it has no such disk."""
    disks = guest.machine.view(expect.deadline("host.verb")).disks
    return next((disk for disk in disks if disk.serial == serial), None)


def size_by_host(guest: Guest, serial: str, expect: Expectations) -> Size | None:
    """How large the host says that a data disk is; None where it has no such disk."""
    disk = by_host(guest, serial, expect)
    return disk.size if disk else None


def own_drivers(guest: Guest, disk: Disk, expect: Expectations) -> None:
    """Assert that a disk hangs on the hypervisor's own controller, and on nothing that is emulated."""
    chain = guest.disks.drivers().get(disk.name, ())
    wanted, emulated = expect.words("disk_drivers"), expect.words("emulated_disk_drivers")
    assert set(chain) & set(wanted), f"{disk.name} is driven by {chain}, none of which is one of {wanted}"
    assert not set(chain) & set(emulated), f"{disk.name} hangs on an emulated controller: its drivers are {chain}"


def plug_in(guest: Guest, asked: DiskSpec, expect: Expectations) -> Disk:
    """Add a disk to a running guest; it gets that one and no other, as large as asked."""
    before = disks_by_name(guest)

    def came() -> Disk | Pending:
        new = [disk for name, disk in disks_by_name(guest).items() if name not in before]
        return new[0] if len(new) == 1 and new[0].serial == asked.serial else Pending(f"new disks: {new}")

    able(guest.machine, DiskPlug).attach_disk(asked, expect.deadline("host.verb"))
    disk = wait_for(
        f"exactly one new disk with serial {asked.serial}", came, expect.deadline("I27.device"), fault=AssertionError
    )
    views = Views(f"size of {asked.serial}", int(asked.size), size_by_host(guest, asked.serial, expect), int(disk.size))
    assert views.agree, views
    return disk


def filled(guest: Guest, disk: Disk, size: Size, offset: int = 0) -> str:
    """Write random data onto a disk; returns what its checksum must be from now on."""
    written = guest.disks.fill(disk, size, offset=offset)
    assert (written.size, written.error) == (size, ""), f"{disk.name} took {written.size} of {size}: {written.error}"
    return written.sha256


def holds(guest: Guest, disk: Disk, size: Size, sha256: str, offset: int = 0) -> None:
    """Assert that a disk gives back what was written to it."""
    read = guest.disks.digest(disk, size, offset=offset)
    assert (read.size, read.error) == (size, ""), f"{disk.name} gave {read.size} of {size}: {read.error}"
    assert read.sha256 == sha256, f"{disk.name}: {size} came back different: wrote {sha256}, read {read.sha256}"


@pytest.mark.check("I04")
@pytest.mark.smoke
def test_the_root_disk_is_the_hypervisors_own(guest: Guest, expect: Expectations) -> None:
    """A guest starts from a fast disk: from loader to root file system none of it goes through emulated hardware."""
    root = guest.disks.root()
    own_drivers(guest, root, expect)
    host, wanted = guest.machine.view(expect.deadline("host.verb")), expect.words("root_controller")
    assert host.root_controller in wanted, (
        f"the host has the system disk on {host.root_controller or 'nothing'}, not on one of {wanted}:\n{host.raw}"
    )
    assert guest.disks.io()[root.name].read > 0, f"nothing was ever read from {root.name}, which is to hold /"


@pytest.mark.check("I05")
@pytest.mark.shape(data_disks=["1 GiB"])
@pytest.mark.changes_guest
def test_a_data_disk_gives_back_what_it_took(guest: Guest, expect: Expectations) -> None:
    """Databases rely on it: what was written to a disk is on it, whole and without an error."""
    gives_back(guest, SECTOR, expect)


@pytest.mark.check("I05", part="4096")
@pytest.mark.needs(Capability.SECTORS_4K)
@pytest.mark.shape(data_disks=["1 GiB"], data_sectors=4096)
@pytest.mark.changes_guest
def test_a_data_disk_with_sectors_of_4096_bytes_gives_back_what_it_took(guest: Guest, expect: Expectations) -> None:
    """The same of a disk with large sectors, as drives have them today: the guest is shown them as they are."""
    gives_back(guest, 4096, expect)


def gives_back(guest: Guest, sector: int, expect: Expectations) -> None:
    """Assert that the data disk is the one that was asked for, and gives back what is written to it."""
    size, asked = expect.size("I05.transfer"), guest.machine.spec.disks[0]
    disk = guest.disks.by_serial(asked.serial)
    assert disk, f"asked for a disk {asked.serial}; the guest has {sorted(disks_by_name(guest).values(), key=str)}"
    shown = by_host(guest, asked.serial, expect)
    views = Views("size of the data disk", asked.size, shown.size if shown else None, disk.size)
    assert views.agree, views
    told = shown.sector if shown else None
    sectors = Views("sectors of the data disk, in bytes", sector, told, disk.sector)
    assert sectors.agree or (told is None and disk.sector == sector), sectors  # a host may not tell
    own_drivers(guest, disk, expect)

    before, errors = guest.disks.io()[disk.name], guest.disks.scsi_errors()
    with guest.kernel.undisturbed(expect.noise):
        sha256 = filled(guest, disk, size)
        holds(guest, disk, size, sha256)
    after = guest.disks.io()[disk.name]
    assert after.written - before.written >= size, f"{disk.name}: writes bypassed it: {before}, then {after}"
    assert after.read - before.read >= size, f"{disk.name}: reads bypassed it: {before}, then {after}"
    assert guest.disks.scsi_errors() == errors, f"commands failed: {errors} before, {guest.disks.scsi_errors()} now"


@pytest.mark.check("I27")
@pytest.mark.needs(Capability.DISK_HOT_ADD)
@pytest.mark.smoke
@pytest.mark.changes_guest
def test_disks_come_and_go_while_running(guest: Guest, expect: Expectations) -> None:
    """A guest gets more disks without a reboot, each as asked, and loses just the one that is taken away.

    On the one controller that drivers of hosts use for data disks; its kind and the LUN are theirs to choose.
    """
    before, size, some = set(disks_by_name(guest)), expect.size("I27.size"), expect.size("I27.transfer")
    with guest.kernel.undisturbed(expect.noise):
        first = plug_in(guest, DiskSpec("interop-first", size), expect)
        second = plug_in(guest, DiskSpec("interop-second", Size(2 * size)), expect)
        sums = {disk: filled(guest, disk, some) for disk in (first, second)}
        for disk, sha256 in sums.items():
            own_drivers(guest, disk, expect)
            holds(guest, disk, some, sha256)

        able(guest.machine, DiskPlug).detach_disk("interop-first", expect.deadline("host.verb"))
        left = before | {second.name}

        def gone() -> bool | Pending:
            now = set(disks_by_name(guest))
            return True if now == left else Pending(f"disks {sorted(now)}, not {sorted(left)}")

        wait_for("exactly one disk to go", gone, expect.deadline("I27.gone"), fault=AssertionError)
        assert size_by_host(guest, "interop-first", expect) is None, "the host still shows the disk that was taken away"
        assert size_by_host(guest, "interop-second", expect) == 2 * size, "the host took the other disk away as well"
        holds(guest, second, some, sums[second])


@pytest.mark.check("I28")
@pytest.mark.needs(Capability.DISK_HOT_ADD, Capability.DISK_RESIZE)
@pytest.mark.smoke
@pytest.mark.changes_guest
def test_a_disk_grows_while_in_use(guest: Guest, expect: Expectations) -> None:
    """A disk that runs full is made larger under a running guest: its data stay, and the new room is real."""
    small, large = expect.size("I28.before"), expect.size("I28.after")
    with guest.kernel.undisturbed(expect.noise):
        disk = plug_in(guest, DiskSpec("interop-grows", small), expect)
        kept = filled(guest, disk, small)
        able(guest.machine, DiskResize).resize_disk("interop-grows", large, expect.deadline("host.verb"))
        guest.disks.rescan(disk)

        def grown() -> bool | Pending:
            now = disks_by_name(guest).get(disk.name)
            return True if now and now.size == large else Pending(f"the guest sees {now}")

        wait_for(
            f"{disk.name} to grow from {small} to {large}", grown, expect.deadline("I28.seen"), fault=AssertionError
        )
        by_host = size_by_host(guest, "interop-grows", expect)
        assert by_host == large, f"asked for {large}, seen by the guest, and the host shows {by_host}"
        added = Size(large - small)
        holds(guest, disk, added, filled(guest, disk, added, small), small)
        holds(guest, disk, small, kept)
