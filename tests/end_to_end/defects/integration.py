"""Defects of a running guest that the checks of integration services must catch."""

from __future__ import annotations

from tests.end_to_end.defects.model import FROZEN, Defect, drop_in, instead

# Whoever freezes the root file system finds it thawed at once: ioctl FITHAW, include/uapi/linux/fs.h.
THAWED = """cat >/run/thaw <<'EOF'
import fcntl, os
root = os.open("/", os.O_RDONLY)
while True:
    try:
        fcntl.ioctl(root, 0xC0045878, 0)
    except OSError:
        pass
EOF
systemd-run --quiet python3 /run/thaw
"""


# A program that others have as a link to systemctl(1): the agent runs it when its host asks.
SHUTDOWN = """set -e
rm -f /usr/sbin/shutdown
printf '#!/bin/sh\\n%s\\n' '{what}' >/usr/sbin/shutdown
chmod 755 /usr/sbin/shutdown
sync
"""

# The upper half of the screen is black again as soon as somebody painted it: ioctl FBIOGET_FSCREENINFO, linux/fb.h.
BLACKENED = """cat >/run/blacken <<'EOF'
import fcntl, mmap, struct, time
with open("/dev/fb0", "r+b", buffering=0) as screen:
    (size,) = struct.unpack_from("=I", fcntl.ioctl(screen, 0x4602, bytes(80)), 24)
    with mmap.mmap(screen.fileno(), size) as memory:
        while True:
            memory[: size // 2] = bytes(size // 2)
            time.sleep(0.02)
EOF
systemd-run --quiet python3 /run/blacken
"""
INTEGRATION = (
    Defect(
        "I01",
        "test_the_hypervisor_is_recognised",
        "systemd takes the guest for a machine of another hypervisor",
        instead("/usr/bin/systemd-detect-virt", "echo oracle"),
    ),
    Defect(
        "I03",
        "test_the_initramfs_can_boot_on_this_hypervisor",
        "the initramfs was made anew without the driver of the NIC",
        """set -e
        image=/boot/initrd.img-$(uname -r)
        mkdir /var/tmp/without
        cd /var/tmp/without
        unmkinitramfs "$image" .
        [ ! -d main ] || cd main
        find . -name 'virtio_net.ko*' -delete
        find . | cpio --quiet -o -H newc | gzip -1 >"$image"
        """,
    ),
    Defect(
        "I04",
        "test_the_root_disk_is_the_hypervisors_own",
        "the root disk hangs on an AHCI controller",
        # Its place in sysfs, with all that lies below, and another driver's link in it.
        """set -e
        device=$(readlink -f /sys/block/vda/device)
        mkdir /run/below
        mount --bind "$device/block" /run/below
        mount -t tmpfs none "$device"
        mkdir "$device/block"
        mount --bind /run/below "$device/block"
        ln -s /sys/bus/pci/drivers/ahci "$device/driver"
        """,
    ),
    Defect(
        "I05",
        "test_a_data_disk_gives_back_what_it_took",
        "somebody else writes to the data disk as well",
        """nohup sh -c 'while dd if=/dev/urandom of=/dev/vdb bs=4096 seek=1 count=1 conv=fsync; do :; done' \\
            >/dev/null 2>&1 </dev/null &""",
    ),
    Defect(
        "I05",
        "test_a_data_disk_with_sectors_of_4096_bytes_gives_back_what_it_took",
        "the guest takes a disk with sectors of 4096 bytes for one with the usual ones",
        FROZEN.format(change="s/4096/512/", path="/sys/block/vdb/queue/logical_block_size"),
    ),
    Defect(
        "I09",
        "test_the_host_misses_the_heartbeat_of_a_guest_that_crashed",
        "the guest is told to crash, lives on, and its heart with it",
        "touch /run/trigger && mount --bind /run/trigger /proc/sysrq-trigger",
    ),
    Defect(
        "I11",
        "test_a_guest_shuts_down_when_its_host_asks",
        "a guest that is asked to stop cuts its own power",
        SHUTDOWN.format(what="journalctl --sync; sync; echo o >/proc/sysrq-trigger"),
    ),
    Defect(
        "I11",
        "test_a_guest_reboots_when_its_host_asks",
        "a guest that is asked to reboot does nothing about it",
        SHUTDOWN.format(what="exit 0"),
    ),
    Defect(
        "I15",
        "test_what_the_host_reads_of_a_guest_is_true",
        "the agent tells of another release than the one that is installed",
        "sed 's/bookworm/sid/' /etc/os-release >/run/os-release\n"
        + drop_in("qemu-guest-agent.service", "BindReadOnlyPaths=/run/os-release:/etc/os-release"),
    ),
    Defect(
        "I16",
        "test_a_guest_reads_what_its_host_left_for_it",
        "the agent has a /var/tmp of its own, and leaves there what the host tells",
        drop_in("qemu-guest-agent.service", "PrivateTmp=yes"),
    ),
    Defect(
        "I16",
        "test_a_host_reads_what_its_guest_left_for_it",
        "the agent has a /var/tmp of its own, and does not find what the guest tells",
        drop_in("qemu-guest-agent.service", "PrivateTmp=yes"),
    ),
    Defect(
        "I19",
        "test_files_reach_a_guest_without_a_network",
        "the agent has a /var/tmp of its own, and puts there what the host copies",
        drop_in("qemu-guest-agent.service", "PrivateTmp=yes"),
    ),
    Defect(
        "I20",
        "test_a_quiesced_checkpoint_holds_whole_file_systems",
        "somebody thaws the file systems before the checkpoint is taken",
        THAWED,
    ),
    Defect(
        "I21",
        "test_host_and_guest_agree_on_the_services_versions",
        "the agent's program was replaced and the old one still runs",
        instead("/usr/sbin/qemu-ga", "echo QEMU Guest Agent 7.1.9"),
    ),
    Defect(
        "I22",
        "test_the_daemons_run_and_stay",
        "the agent crashes every few seconds, and systemd starts it again and again",
        drop_in("qemu-guest-agent.service", "ExecStart=\nExecStart=/bin/sh -c 'sleep 3; exit 1'"),
    ),
    Defect(
        "I22",
        "test_a_daemon_that_crashes_comes_back",
        "nobody starts the agent again when it crashed",
        drop_in("qemu-guest-agent.service", "Restart=no"),
    ),
    Defect(
        "I23",
        "test_the_nics_driver_is_reloaded_again_and_again",
        "modprobe says that a module in use was taken out and put back",
        instead("/usr/sbin/modprobe", "exit 0"),
    ),
    Defect(
        "I24",
        "test_a_quiet_host_leaves_its_guests_their_memory",
        "the kernel counts 100 MiB that the balloon took",
        """set -e
        sed 's/^balloon_inflate .*/balloon_inflate 25600/' /proc/vmstat >/run/vmstat
        mount --bind /run/vmstat /proc/vmstat
        """,
    ),
    Defect(
        "I25",
        "test_the_balloon_takes_memory_and_gives_it_back",
        "the balloon's driver is not loaded",
        "modprobe -r virtio_balloon",
    ),
    Defect(
        "I26",
        "test_memory_is_added_while_running",
        "memory that comes stays out of service, whatever the guest was told to do with it",
        "echo offline >/run/policy && mount --bind /run/policy /sys/devices/system/memory/auto_online_blocks",
    ),
    Defect(
        "I27",
        "test_disks_come_and_go_while_running",
        "the kernel finds a new disk and gives it no driver",
        "echo 0 > /sys/bus/virtio/drivers_autoprobe",
    ),
    Defect(
        "I28",
        "test_a_disk_grows_while_in_use",
        "the guest goes on with the size that the disk had when it came",
        """nohup sh -c 'until [ -e /sys/block/vdb/size ]; do sleep 0.05; done
            cat /sys/block/vdb/size >/run/size
            mount --bind /run/size /sys/block/vdb/size' >/dev/null 2>&1 </dev/null &""",
    ),
    Defect(
        "I30",
        "test_a_screenshot_shows_this_guest",
        "somebody paints over half of the screen",
        BLACKENED,
    ),
)
