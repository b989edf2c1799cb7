"""Defects of a running guest that the checks of vCPUs must catch."""

from __future__ import annotations

from tests.end_to_end.defects.model import FROZEN, Defect

# By systemd.resource-control(5); the period is short beside what the check measures.
TAKE_TURNS = """set -e
for slice in system.slice user.slice; do
    systemctl set-property --runtime $slice CPUQuota=100% CPUQuotaPeriodSec=10ms
done
"""

# The only disk of the shape's size; whatever is written next is past the kernel's cache.
MEDDLED_DISK = """systemd-run --quiet sh -c '
    disk=$(lsblk --nodeps --noheadings --raw --bytes --output NAME,SIZE | sed -n "s/ 1073741824$//p")
    until [ "$(cat /sys/devices/system/cpu/cpu1/online)" = 0 ]; do sleep 0.02; done
    while :; do for at in 0 1 2 3 4 5 6 7; do
        dd if=/dev/urandom of=/dev/$disk bs=4096 count=1 seek=$((at * 256)) oflag=direct conv=notrunc
    done; done'"""

VCPU = (
    Defect(
        "C03",
        "test_topology_is_as_asked",
        "a CPU is told that it sits in another socket",
        "echo 1 > /run/socket && mount --bind /run/socket /sys/devices/system/cpu/cpu0/topology/physical_package_id",
    ),
    Defect(
        "C05",
        "test_numa_nodes_are_as_asked",
        "a node lists the CPUs of another as its own",
        "echo 0-3 > /run/cpus && mount --bind /run/cpus /sys/devices/system/node/node1/cpulist",
    ),
    Defect(
        "C04",
        "test_last_level_caches_follow_the_sockets",
        "a CPU is told that its level 3 cache is another's alone",
        "echo 0 > /run/l3 && mount --bind /run/l3 /sys/devices/system/cpu/cpu1/cache/index3/shared_cpu_list",
    ),
    Defect(
        "C07",
        "test_vcpus_run_in_parallel",
        "all programs together may use as much of the CPUs as one of them has to give",
        TAKE_TURNS,
    ),
    # TAKE_TURNS tells nothing here: that part knows no limit, and would measure the quota faithfully.
    Defect(
        "C07",
        "test_work_grows_with_vcpus",
        "a CPU is out of service, so that the work of fewer would stand for that of all",
        "echo 0 > /sys/devices/system/cpu/cpu1/online",
    ),
    Defect(
        "C08",
        "test_a_cpu_goes_offline_and_comes_back",
        "the file that takes a CPU out of service takes any answer and does nothing",
        "echo 1 > /run/online && mount --bind /run/online /sys/devices/system/cpu/cpu1/online",
    ),
    Defect(
        "C08",
        "test_cpus_go_and_come_back_under_load",
        "since a CPU was out of service, what a disk holds is not what was written to it",
        MEDDLED_DISK,
    ),
    Defect(
        "C09",
        "test_vcpus_are_added_while_running",
        "CPUs that come stay out of service, whatever the guest was told to do with them",
        FROZEN.format(change="", path="/sys/devices/system/cpu/online"),
    ),
    Defect(
        "C11",
        "test_vcpus_that_cannot_be_added_are_refused",
        "a CPU that the host counts is out of service",
        "echo 0 > /sys/devices/system/cpu/cpu1/online",
    ),
    Defect(
        "C12",
        "test_cpus_that_are_merely_possible_never_run",
        "the kernel takes CPUs that could be added one day for some that are there",
        "echo 0-7 > /run/present && mount --bind /run/present /sys/devices/system/cpu/present",
    ),
    Defect(
        "C14",
        "test_interrupts_reach_every_cpu",
        "timers no longer interrupt any CPU, as far as the kernel counts",
        FROZEN.format(change="", path="/proc/interrupts"),
    ),
    Defect(
        "C14",
        "test_cpus_wake_each_other_up",
        "no CPU interrupts another, as far as the kernel counts",
        FROZEN.format(change="", path="/proc/interrupts"),
    ),
    Defect(
        "C16",
        "test_an_nmi_arrives",
        "an NMI reaches no CPU, as far as the kernel counts",
        FROZEN.format(change="", path="/proc/interrupts"),
    ),
)
