"""What distributions and hypervisors' drivers say of memory, initramfs, services and names, each in its own form."""

from datetime import timedelta

import pytest

from harness.core import GuestError
from harness.guest import disks, initramfs, memory, services, system
from harness.guest.probe import Probe
from harness.guest.result import Result

MEMORY = "/sys/devices/system/memory"
MIB = 1 << 20

# lsinitramfs of Debian 12.
DEBIAN = b"""\
.
bin
conf/conf.d
init
lib
usr/lib/modules/6.1.0-18-amd64/kernel/drivers/block/virtio_blk.ko
usr/lib/modules/6.1.0-18-amd64/kernel/drivers/hid/hid-hyperv.ko
usr/lib/modules/6.1.0-18-amd64/kernel/drivers/net/vmxnet3/vmxnet3.ko
usr/lib/modules/6.1.0-18-amd64/modules.dep
"""

# lsinitrd of dracut, as on RHEL 9 and SLES 15.
DRACUT = b"""\
Image: /boot/initramfs-5.14.0-362.el9.x86_64.img: 33M
========================================================================
Early CPIO image
========================================================================
drwxr-xr-x   3 root     root            0 Oct 11  2023 .
-rw-r--r--   1 root     root            2 Oct 11  2023 early_cpio
========================================================================
Version: dracut-057-44.git20230822.el9

dracut modules:
kernel-modules
========================================================================
drwxr-xr-x  12 root     root            0 Oct 11  2023 .
lrwxrwxrwx   1 root     root           23 Oct 11  2023 init -> usr/lib/systemd/systemd
-rw-r--r--   1 root     root        41236 Oct 11  2023 usr/lib/modules/5.14.0-362/kernel/drivers/scsi/hv_storvsc.ko.xz
-rw-r--r--   1 root     root         7236 Oct 11  2023 usr/lib/modules/5.14.0-362/kernel/drivers/hid/hid-hyperv.ko.zst
========================================================================
"""

# drivers/hv/hv_balloon.c and drivers/misc/vmw_balloon.c, as they print.
HV_BALLOON = b"""\
host_version          : 2.0
capabilities          : enabled hot_add
state                 : 1 (Initialized)
page_size             : 4096
pages_added           : 0
pages_onlined         : 0
pages_ballooned       : 512
total_pages_committed : 91233
max_dynamic_page_count: 0
"""
VMW_BALLOON = b"""\
balloon capabilities  :             0x1e
used capabilities     :              0x6
is resetting          :                n
target                :             2048
current               :             1024
rateSleepAlloc        :             2048
"""
# Before Linux 4.20.
VMW_BALLOON_OF_OLD = b"""\
target:                 2048 pages
current:                1024 pages
"""


def vmstat(inflated: int | None, deflated: int = 0) -> bytes:
    own = b"" if inflated is None else b"balloon_inflate %d\nballoon_deflate %d\n" % (inflated, deflated)
    return b"nr_free_pages 160403\npgpgin 202348\n" + own


def test_blocks_tell_what_is_in_service_from_what_is_merely_there() -> None:
    files = {f"{MEMORY}/block_size_bytes": b"8000000\n"}
    files |= {f"{MEMORY}/memory{block}/state": b"online\n" for block in range(8)}
    files |= {f"{MEMORY}/memory32/state": b"offline\n", f"{MEMORY}/memory33/state": b"going-offline\n"}
    seen = memory.parse_blocks(files)
    assert (seen.size, seen.in_service, seen.offline) == (128 * MIB, 1024 * MIB, {32, 33})


@pytest.mark.parametrize(
    "files",
    [
        {},
        {f"{MEMORY}/block_size_bytes": b"8000000\n"},
        {f"{MEMORY}/block_size_bytes": b"8000000\n", f"{MEMORY}/memory0/state": b"offline\n"},
        {
            f"{MEMORY}/block_size_bytes": b"8\n",
            f"{MEMORY}/memory0/state": b"online\n",
            f"{MEMORY}/memory1/state": b"?\n",
        },
        {f"{MEMORY}/block_size_bytes": b"0\n", f"{MEMORY}/memory0/state": b"online\n"},
    ],
)
def test_memory_without_blocks_in_service_is_no_answer(files: dict[str, bytes]) -> None:
    with pytest.raises((ValueError, LookupError)):
        memory.parse_blocks(files)


@pytest.mark.parametrize(
    ("files", "pages"),
    [
        ({"/proc/vmstat": vmstat(0)}, 0),
        ({"/proc/vmstat": vmstat(25700, 100)}, 25600),
        ({"/proc/vmstat": vmstat(None), "/sys/kernel/debug/hv-balloon": HV_BALLOON}, 512),
        ({"/proc/vmstat": vmstat(7), "/sys/kernel/debug/vmmemctl": VMW_BALLOON}, 1024),
        ({"/proc/vmstat": vmstat(None), "/sys/kernel/debug/vmmemctl": VMW_BALLOON_OF_OLD}, 1024),
    ],
)
def test_a_balloon_is_as_large_as_its_driver_says(files: dict[str, bytes], pages: int) -> None:
    assert memory.parse_ballooned(files) == pages * 4096


@pytest.mark.parametrize(
    "files",
    [
        {},
        # Kernels before 6.0, and any without debugfs: those counters are the kernel's, hv_balloon leaves them alone.
        {"/sys/module/hv_balloon/parameters/hot_add": b"Y\n"},
        {"/sys/module/vmw_balloon/initstate": b"live\n"},
    ],
)
def test_a_balloon_that_nobody_can_read_is_no_empty_one(files: dict[str, bytes]) -> None:
    assert memory.parse_ballooned({"/proc/vmstat": vmstat(0 if files else None), **files}) is None
    hot_add = "/sys/module/hv_balloon/parameters/hot_add"
    told = {"/proc/vmstat": vmstat(0), hot_add: b"Y\n", "/sys/kernel/debug/hv-balloon": HV_BALLOON}
    assert memory.parse_ballooned(told) == 512 * 4096


@pytest.mark.parametrize(
    "files",
    [{"/proc/vmstat": b"garbage\n"}, {"/proc/vmstat": vmstat(0), "/sys/kernel/debug/vmmemctl": b"target: 0\n"}],
)
def test_a_balloon_whose_driver_says_nothing_of_pages_is_no_empty_one(files: dict[str, bytes]) -> None:
    with pytest.raises(ValueError):
        memory.parse_ballooned(files)


@pytest.mark.parametrize(
    ("listing", "modules"),
    [(DEBIAN, {"virtio_blk", "hid_hyperv", "vmxnet3"}), (DRACUT, {"hv_storvsc", "hid_hyperv"})],
    ids=["initramfs-tools", "dracut"],
)
def test_an_initramfs_lists_its_modules_by_the_kernels_names(listing: bytes, modules: set[str]) -> None:
    assert initramfs.parse_listing(listing) == modules


def test_drivers_that_are_built_in_are_listed_alike() -> None:
    assert initramfs.parse_builtin(b"kernel/drivers/hv/hv_vmbus.ko\nkernel/fs/fuse/virtio-fs.ko\n") == {
        "hv_vmbus",
        "virtio_fs",
    }


def test_a_unit_says_what_starts_it_and_since_when_it_runs() -> None:
    shown = (
        b"Id=qemu-guest-agent.service\nLoadState=loaded\nActiveState=active\nSubState=running\nUnitFileState=static\n"
        b"NRestarts=0\nMainPID=292\nRequiredBy=a.service b.target\n"
        b'WantedBy="sys-devices-virtio1-virtio\\\\x2dports-vport1p1.device"\nActiveEnterTimestampMonotonic=74619833\n'
    )
    unit = services.parse_unit(shown)
    assert unit.started_by == {"sys-devices-virtio1-virtio\\x2dports-vport1p1.device", "a.service", "b.target"}
    assert unit.since == timedelta(seconds=74.619833)


@pytest.mark.parametrize(
    ("package", "version"),
    [
        ("1:7.2+dfsg-7+deb12u18+b3", "7.2"),
        ("2:12.2.0-1+deb12u4", "12.2.0"),
        ("12.3.5-2.el9", "12.3.5"),
        ("8.2.2-150600.3.9", "8.2.2"),
        ("6.1.192-2", "6.1.192"),
    ],
)
def test_a_packages_version_is_told_as_its_makers_do(package: str, version: str) -> None:
    assert services.upstream(package) == version


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("7.2.22", "7.2", True),
        ("12.2.0", "12.2.0.41219", True),
        ("7.2.22", "7.1.9", False),
        ("7.2.2", "7.2.22", False),
        ("12", "12.2.0", False),
    ],
)
def test_versions_are_compared_number_by_number(one: str, other: str, same: bool) -> None:
    assert services.same_release(one, other) is same
    assert services.same_release(other, one) is same


@pytest.mark.parametrize(
    ("text", "version"),
    [
        (b"QEMU Guest Agent 7.2.22\n", "7.2.22"),
        (b"VMware Tools daemon, version 12.2.0.41219 (build-21223074)\n", "12.2.0.41219"),
    ],
)
def test_a_program_tells_its_version(text: bytes, version: str) -> None:
    assert services.parse_told_version(text) == version


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            b'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nNAME="Debian GNU/Linux"\nVERSION_ID="12"\nID=debian\n',
            ("Debian GNU/Linux", "Debian GNU/Linux 12 (bookworm)", "12"),
        ),
        (
            b'NAME="SLES"\nVERSION="15-SP6"\nVERSION_ID="15.6"\nPRETTY_NAME="SUSE Linux Enterprise Server 15 SP6"\n',
            ("SLES", "SUSE Linux Enterprise Server 15 SP6", "15.6"),
        ),
        (
            b'# a comment = none\nNAME="Red Hat Enterprise Linux"\nVERSION_ID="9.3"\n\n'
            b'PRETTY_NAME="Red Hat Enterprise Linux 9.3 (Plow)"\n',
            ("Red Hat Enterprise Linux", "Red Hat Enterprise Linux 9.3 (Plow)", "9.3"),
        ),
        (b"NAME='Arch Linux'\nPRETTY_NAME='Arch Linux'\n", ("Arch Linux", "Arch Linux", "")),
        (b'NAME=Fedora\nPRETTY_NAME="a \\"quoted\\" one"\n', ("Fedora", 'a "quoted" one', "")),
    ],
)
def test_distributions_say_who_they_are(text: bytes, told: tuple[str, str, str]) -> None:
    seen = system.parse_os_release(text)
    assert (seen.name, seen.pretty_name, seen.version_id) == told


@pytest.mark.parametrize(
    ("text", "fqdn"),
    [
        (b"slot-1\n6.1.0-18-amd64\nx86_64\n", "slot-1"),
        (b"slot-1\n6.1.0-18-amd64\nx86_64\nslot-1.lab\n", "slot-1.lab"),
    ],
)
def test_a_guest_without_a_domain_has_its_host_name_alone(text: bytes, fqdn: str) -> None:
    names = system.parse_names(text)
    assert (names.host, names.fqdn, names.kernel, names.architecture) == ("slot-1", fqdn, "6.1.0-18-amd64", "x86_64")


def test_scsi_errors_are_counted_by_disk() -> None:
    files = {"/sys/block/sda/device/ioerr_cnt": b"0x1a\n", "/sys/block/sdb/device/ioerr_cnt": b"0x0\n"}
    assert disks.parse_scsi_errors(files) == {"sda": 26, "sdb": 0}


@pytest.mark.parametrize(
    ("probe", "output"),
    [
        (memory.BLOCKS, b"garbage"),
        (memory.BALLOONED, b""),
        (Probe("initramfs", (), initramfs.parse_listing), b"cpio: premature end of archive\n"),
        (Probe("built in", (), initramfs.parse_builtin), b"<html>\n"),
        (Probe("version that qemu-ga tells", (), services.parse_told_version), b"unknown option\n"),
        (system.OS_RELEASE, b"NAME=x\n"),
        (system.OS_RELEASE, b'NAME="x\nPRETTY_NAME=y\n'),
        (system.NAMES, b"one\n"),
        (Probe("fill", (), disks.parse_disk_data), b"Traceback (most recent call last):\n"),
    ],
)
def test_garbage_from_the_guest_is_one_error_with_probe_and_guest(probe: Probe[object], output: bytes) -> None:
    with pytest.raises(GuestError, match=r"^guest-1: .* does not read as expected"):
        probe.value(Result(probe.argv, 0, output, b""), "guest-1")
