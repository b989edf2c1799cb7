"""Defects that are planted into a running guest just before a check looks at it: each must be caught by its check.

They are changes that a person could make inside of a guest, or that a broken driver, daemon or image would come to.
The harness and the suites are what they always are.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Defect:
    """One thing that is wrong with a guest.

    Args:
        check: the number of the check that must fail.
        test: the name of its test function.
        words: what is wrong, for the table in the documentation.
        script: makes it so: a shell script that root runs in the guest before the check begins.
    """

    check: str
    test: str
    words: str
    script: str


def instead(program: str, text: str) -> str:
    """A script that puts a shell script in the place of a program, for all who ask for it by its name or path."""
    lines = ("cat > /root/instead <<'EOF'", "#!/bin/sh", text, "EOF", "chmod 755 /root/instead")
    return "\n".join([*lines, f"mount --bind /root/instead {program}"])


def drop_in(unit: str, settings: str) -> str:
    """A script that changes settings of a service, and starts it anew with them."""
    folder = f"/run/systemd/system/{unit}.d"
    lines = ("set -e", f"mkdir -p {folder}", f"cat >{folder}/defect.conf <<'EOF'", "[Service]", settings, "EOF")
    return "\n".join([*lines, "systemctl daemon-reload", f"systemctl restart {unit}"])


VCPU = (
    Defect(
        "C08",
        "test_a_cpu_goes_offline_and_comes_back",
        "the file that takes a CPU out of service takes any answer and does nothing",
        "echo 1 > /run/online && mount --bind /run/online /sys/devices/system/cpu/cpu1/online",
    ),
)
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
        "I09",
        "test_the_host_misses_the_heartbeat_of_a_guest_that_crashed",
        "the guest is told to crash, lives on, and its heart with it",
        "touch /run/trigger && mount --bind /run/trigger /proc/sysrq-trigger",
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
        "I24",
        "test_a_quiet_host_leaves_its_guests_their_memory",
        "the kernel counts 100 MiB that the balloon took",
        """set -e
        sed 's/^balloon_inflate .*/balloon_inflate 25600/' /proc/vmstat >/run/vmstat
        mount --bind /run/vmstat /proc/vmstat
        """,
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
)
CLOCK: tuple[Defect, ...] = (
    Defect(
        "T01",
        "test_the_clocksource_is_the_hypervisors",
        "the guest tells the time by a source that merely works",
        "echo acpi_pm > /sys/devices/system/clocksource/clocksource0/current_clocksource",
    ),
)
NETWORK: tuple[Defect, ...] = ()
LIFECYCLE: tuple[Defect, ...] = ()

ALL: tuple[Defect, ...] = (*VCPU, *INTEGRATION, *CLOCK, *NETWORK, *LIFECYCLE)
