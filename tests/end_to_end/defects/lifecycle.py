"""Defects of a running guest that the checks of its life must catch."""

from __future__ import annotations

from tests.end_to_end.defects.model import Defect, instead

# A file of memory or disk that is never what the check wrote.
MEDDLED = """systemd-run --quiet sh -c 'until [ -s {path} ]; do sleep 0.05; done
    while sleep 0.1; do echo meddled >> {path}; done'"""

# What counts seconds is put forward by a thousand at a time, time and again.
LEAPS = """systemd-run --quiet sh -c 'until [ -s /run/interop-ticks ]; do sleep 0.05; done
    while sleep 0.02; do head -c 1000 /dev/zero >> /run/interop-ticks; done'"""

# A condition of systemd.service(5) that holds in one boot, however often it is looked at there.
AT_FIRST = """set -e
folder=/etc/systemd/system/qemu-guest-agent.service.d
mkdir -p $folder
printf '[Service]\\nExecCondition=/bin/sh /root/at-first\\n' >$folder/defect.conf
cat >/root/at-first <<'EOF'
cat /proc/sys/kernel/random/boot_id >>/root/boots
[ "$(sort -u /root/boots | wc -l)" -lt 2 ]
EOF
sync
"""

LIFECYCLE = (
    Defect(
        "L01",
        "test_the_guest_runs_the_very_image",
        "the guest was made from an older build of the image",
        "sed 's/./0/g' /etc/interop-build-id > /run/build-id && mount --bind /run/build-id /etc/interop-build-id",
    ),
    Defect(
        "L03",
        "test_it_reboots_time_and_again",
        "a service that runs starts with the next boot, and never again",
        AT_FIRST,
    ),
    Defect(
        "L04",
        "test_synced_data_outlive_a_reset_and_a_power_cut",
        "who asks for data to be written to the disk is told that they are, and nothing is done",
        instead("/usr/bin/sync", "exit 0"),
    ),
    Defect(
        "L05",
        "test_a_paused_guest_stands_still_and_goes_on",
        "what a program counts goes up by leaps",
        LEAPS,
    ),
    Defect(
        "L06",
        "test_a_saved_guest_goes_on_where_it_was",
        "a file in memory is not what it was",
        MEDDLED.format(path="/run/interop-in-memory"),
    ),
    Defect(
        "L07",
        "test_a_checkpoint_brings_memory_and_disk_back",
        "a file of the disk is not what it was",
        MEDDLED.format(path="/var/tmp/interop-before"),
    ),
    Defect(
        "L08",
        "test_a_checkpoint_of_the_disk_brings_files_back",
        "files are kept in memory where a disk should be",
        "mount -t tmpfs none /var/tmp",
    ),
    Defect(
        "L09",
        "test_a_chain_of_checkpoints_comes_apart_without_loss",
        "files are kept in memory where a disk should be",
        "mount -t tmpfs none /var/tmp",
    ),
    Defect(
        "L11",
        "test_a_panic_is_explained",
        "the guest is told to crash, and lives on",
        "touch /run/trigger && mount --bind /run/trigger /proc/sysrq-trigger",
    ),
    Defect(
        "L12",
        "test_a_crashed_kernel_leaves_its_memory",
        "the boot loader leaves out what it was told to add to the kernel's command line",
        "sed -i 's/ [$]extra$//' /boot/grub/grub.cfg && sync",
    ),
    Defect(
        "L13",
        "test_firmware_is_as_asked",
        "the kernel shows the other firmware",
        'there=$(ls -d /sys/firmware/efi); mount -t tmpfs none /sys/firmware; [ "$there" ] || mkdir /sys/firmware/efi',
    ),
    Defect(
        "L14",
        "test_a_verb_in_the_wrong_state_changes_nothing",
        "the guest takes every look at its boot for another boot",
        "mount --bind /proc/sys/kernel/random/uuid /proc/sys/kernel/random/boot_id",
    ),
)

# Needs a lab that lets a disk of its host run full; ``test_planted_full_disk.py`` has one.
FULL_DISK = Defect(
    "L15",
    "test_a_full_host_disk_holds_a_guest_and_harms_it_not",
    "a part of what the guest wrote is overwritten by somebody else",
    """systemd-run --quiet sh -c 'until [ -b /dev/vdb ]; do sleep 0.05; done
        while sleep 0.05; do dd if=/dev/urandom of=/dev/vdb bs=4096 seek=1 count=1 conv=fsync status=none; done'""",
)
