"""Defects that checks must catch: in the image that a guest boots, or in a running guest just before the check.

They are changes that a person could make inside of a guest, or that a broken driver, daemon or image would come to.
The harness and the suites are what they always are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ImageDefect:
    """One thing that is wrong with an image.

    Args:
        checks: the numbers of the checks that share its cause: these fail, and no other of the tests that run.
        words: what is wrong, for the table in the documentation.
        kernel_arguments: added to the kernel's command line.
        files: content by path.
        tests: the test functions that run; empty: those that only read.
    """

    checks: frozenset[str]
    words: str
    kernel_arguments: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict)
    tests: tuple[str, ...] = ()


@dataclass(frozen=True)
class Defect:
    """One thing that is wrong with a guest.

    Args:
        check: the number of the check that must fail.
        test: the name of its test function.
        words: what is wrong, for the table in the documentation.
        script: makes it so: a shell script that root runs in the guest before the check begins.
        host: the host of the local lab on which the check runs.
        plan: what the twin of that host does wrong meanwhile (``harness/twins/hyperv/plan.py``).
    """

    check: str
    test: str
    words: str
    script: str
    host: str = "kvm"
    plan: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class RecordedDefect:
    """One thing that is wrong with what a guest showed, where no host here can show it at all.

    Args:
        check: the number of the check that must fail.
        words: what is wrong, for the table in the documentation.
        shows: what the recorded guest shows in place of what a sound one does.
        said: a regular expression that the failure's message holds.
        also: the numbers of other checks that share its cause.
    """

    check: str
    words: str
    shows: Mapping[str, Any]
    said: str
    also: frozenset[str] = frozenset()

    @property
    def shared(self) -> frozenset[str]:
        """Every check that must fail."""
        return self.also | {self.check}


def instead(program: str, text: str) -> str:
    """A script that puts a shell script in the place of a program, for all who ask for it by its name or path."""
    lines = ("cat > /root/instead <<'EOF'", "#!/bin/sh", text, "EOF", "chmod 755 /root/instead")
    return "\n".join([*lines, f"mount --bind /root/instead {program}"])


# A file of the kernel that shows for ever what it shows now, but for a change by sed(1).
FROZEN = "sed '{change}' {path} > /run/interop-frozen && mount --bind /run/interop-frozen {path}"

# The monotonic clock that shells read, ten times too fast: another mount of /proc shows the true one.
FAST = r"""
mkdir -p /run/interop-proc && mount -t proc proc /run/interop-proc
tell() { awk 'NR == 3 { printf "now at %020.0f nsecs\n", 10 * $3; exit } { print }' /run/interop-proc/timer_list; }
tell > /run/interop-timers && mount --bind /run/interop-timers /proc/timer_list
( while sleep 0.02; do tell | dd of=/run/interop-timers bs=4096 conv=notrunc status=none; done ) \
    </dev/null >/dev/null 2>&1 &
"""

# ADJ_TICK of adjtimex(2): the clock gains 100 us in each tick of 10 ms.
HASTY = """
python3 - <<'EOF'
import ctypes, struct
timex = ctypes.create_string_buffer(256)
struct.pack_into("=I", timex, 0, 0x4000)
struct.pack_into("=q", timex, 88, 10100)
raise SystemExit(ctypes.CDLL(None).adjtimex(timex) < 0)
EOF
"""

# Sets the clock as soon as the clocksource is another one.
JUMPY = """
source=/sys/devices/system/clocksource/clocksource0/current_clocksource
first=$(cat $source)
( while [ "$(cat $source)" = "$first" ]; do sleep 0.1; done; date -s '+0.4 seconds' ) </dev/null >/dev/null 2>&1 &
"""


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


def drop_in(unit: str, settings: str) -> str:
    """A script that changes settings of a service, and starts it anew with them."""
    folder = f"/run/systemd/system/{unit}.d"
    lines = ("set -e", f"mkdir -p {folder}", f"cat >{folder}/defect.conf <<'EOF'", "[Service]", settings, "EOF")
    return "\n".join([*lines, "systemctl daemon-reload", f"systemctl restart {unit}"])


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

# By systemd.resource-control(5); the period is short beside what the check measures.
TAKE_TURNS = """set -e
for slice in system.slice user.slice; do
    systemctl set-property --runtime $slice CPUQuota=100% CPUQuotaPeriodSec=10ms
done
"""

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
    Defect(
        "C08",
        "test_a_cpu_goes_offline_and_comes_back",
        "the file that takes a CPU out of service takes any answer and does nothing",
        "echo 1 > /run/online && mount --bind /run/online /sys/devices/system/cpu/cpu1/online",
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
CLOCK: tuple[Defect, ...] = (
    Defect(
        "T01",
        "test_the_clocksource_is_the_hypervisors",
        "the guest tells the time by a source that merely works",
        "echo acpi_pm > /sys/devices/system/clocksource/clocksource0/current_clocksource",
    ),
    Defect(
        "T02",
        "test_every_cpu_has_the_hypervisors_clock_event_device",
        "a CPU has no clock event device of its own",
        FROZEN.format(
            change="/^Per CPU device: 1/,/^Clock Event/s/Device: .*/Device: <NULL>/", path="/proc/timer_list"
        ),
    ),
    Defect(
        "T03",
        "test_the_clock_goes_on_by_another_source",
        "the time jumps when the clocksource changes",
        JUMPY,
    ),
    Defect(
        "T07",
        "test_the_guests_clock_keeps_pace_with_its_hosts",
        "the guest's clock goes one percent too fast",
        HASTY,
    ),
    Defect(
        "T08",
        "test_time_never_runs_backwards",
        "the kernel has lost its trust in a clock",
        "echo \"clocksource: Marking clocksource 'tsc' unstable\" > /dev/kmsg",
    ),
    Defect(
        "T09",
        "test_a_pause_is_no_time_inside_or_all_of_it",
        "the monotonic clock makes up for what it missed",
        FAST,
    ),
    Defect(
        "T10",
        "test_being_saved_is_no_time_inside_or_all_of_it",
        "the monotonic clock makes up for what it missed",
        FAST,
    ),
    Defect(
        "T17",
        "test_timers_fire_on_time",
        "the kernel may let programs sleep a fifth of a second too long",
        "for task in $(pidof sshd); do echo 200000000 > /proc/$task/timerslack_ns; done",
    ),
)

# The third NIC comes while the check runs, and goes.
DOWN_WITH_THE_THIRD = """systemd-run --quiet sh -c '
    until [ -e /sys/class/net/eth2 ]; do sleep 0.1; done
    while [ -e /sys/class/net/eth2 ]; do sleep 0.05; done
    ip link set eth1 down'
"""

# The program that answers in the guest is ended as soon as it has heard anything.
END_WHO_HEARD = """systemd-run --quiet sh -c '
    until ss -HOtnpi state established | grep python3 | grep -q bytes_received; do sleep 0.1; done
    pkill -f "python3 - echo"'
"""

# Programs ask by name, and are told nothing of what they want changed.
DEAF_ETHTOOL = "cp /usr/sbin/ethtool /root/ethtool; " + instead(
    "/usr/sbin/ethtool", 'case "$1" in {options}) ;; *) exec /root/ethtool "$@" ;; esac'
)

# Another driver's link in the place of the NIC in sysfs, with all that lies below.
FOREIGN_DRIVER = """set -e
device=$(readlink -f /sys/class/net/eth0/device)
mkdir /run/below
mount --bind "$device/net" /run/below
mount -t tmpfs none "$device"
mkdir "$device/net"
mount --bind /run/below "$device/net"
ln -s /sys/bus/pci/drivers/igb "$device/driver"
"""

# As a daemon would that gives up on a NIC when its cable is pulled.
DOWN_WITH_ITS_CABLE = """systemd-run --quiet sh -c '
    until [ "$(cat /sys/class/net/eth1/carrier)" = 0 ]; do sleep 0.05; done
    ip link set eth1 down'
"""

# For NICs that come while the check runs.
DEAF_WHEN_IT_COMES = """systemd-run --quiet sh -c '
    until [ -e /sys/class/net/{nic} ]; do sleep 0.05; done
    tc qdisc add dev {nic} root netem loss 100%'
"""

# By order, as if the third and the fourth had been found the other way round.
CROSSED = """set -e
third=$(ip -4 -o addr show dev eth2 | awk '{print $4}')
fourth=$(ip -4 -o addr show dev eth3 | awk '{print $4}')
ip -4 addr flush dev eth2
ip -4 addr flush dev eth3
ip addr add "$fourth" dev eth2
ip addr add "$third" dev eth3
"""

# Half of all source ports, and half of all ports spoken to: a path among several that swallows what goes by it.
SWALLOWS_FLOWS = """set -e
tc qdisc add dev eth1 clsact
for word in sport dport; do
    tc filter add dev eth1 egress protocol ip u32 match ip protocol 6 0xff match ip $word 2 2 action drop
done
"""

# Each request is one byte: when a hundred of them were acknowledged, no more get out.
SILENT_AFTER_A_WHILE = """set -e
tc qdisc add dev eth1 clsact
systemd-run --quiet sh -c '
    until ss -HOtni state established src 10.77.0.0/24 | grep -Eq "bytes_acked:[0-9]{3}"; do sleep 0.02; done
    tc filter add dev eth1 egress protocol ip u32 match ip protocol 6 0xff action drop'
"""

# Neighbour advertisements (RFC 4861) are dropped where they come in.
NO_NEIGHBOURS = """set -e
tc qdisc add dev eth1 clsact
tc filter add dev eth1 ingress protocol ipv6 u32 match ip6 protocol 58 0xff match u8 136 0xff at 40 action drop
"""

NETWORK = (
    Defect(
        "N01",
        "test_the_nic_is_the_hypervisors_own_and_carries_packets",
        "the NIC is driven as if it were real hardware",
        FOREIGN_DRIVER,
    ),
    Defect(
        "N02",
        "test_guests_talk",
        "a NIC loses a fifth of what it sends",
        "tc qdisc add dev eth1 root netem loss 20%",
    ),
    Defect(
        "N03",
        "test_a_nic_is_added_while_running",
        "the kernel finds a new NIC and gives it no driver",
        "echo 0 > /sys/bus/virtio/drivers_autoprobe",
    ),
    Defect(
        "N04",
        "test_a_nic_is_removed_while_running",
        "when a NIC goes, the one beside it goes down",
        DOWN_WITH_THE_THIRD,
    ),
    Defect(
        "N05",
        "test_nics_are_added_until_there_are_eight",
        "of the NICs that come, one is connected to nothing",
        DEAF_WHEN_IT_COMES.format(nic="eth3"),
    ),
    Defect(
        "N05",
        "test_a_guest_boots_with_eight_nics",
        "two of the NICs were set up by their order and not by their MACs",
        CROSSED,
    ),
    Defect(
        "N07",
        "test_a_pulled_cable_is_seen_and_a_plugged_one_works",
        "a NIC whose cable was pulled is switched off and stays off",
        DOWN_WITH_ITS_CABLE,
    ),
    Defect(
        "N08",
        "test_an_interface_that_went_down_comes_back",
        "an interface that went down has lost its address when it comes up again",
        """set -e
        systemctl stop systemd-networkd.socket systemd-networkd.service
        systemd-run --quiet sh -c '
            until grep -q down /sys/class/net/eth0/operstate; do sleep 0.1; done
            ip -4 address flush dev eth0'
        """,
    ),
    Defect(
        "N09",
        "test_jumbo_frames_pass_whole",
        "another MTU is taken without a word and never set",
        "cp /usr/bin/ip /root/ip; " + instead("/usr/bin/ip", 'case "$*" in *mtu*) ;; *) exec /root/ip "$@" ;; esac'),
    ),
    Defect(
        "N10",
        "test_a_vlan_separates_guests",
        "an echo comes back from where nobody can be",
        instead("/usr/bin/ping", "seq -f '64 bytes from it: icmp_seq=%g ttl=64' 100; echo 100 packets transmitted"),
    ),
    Defect(
        "N12",
        "test_rings_take_any_size_up_to_the_largest",
        "another size of a ring is taken without a word and never set",
        DEAF_ETHTOOL.format(options="--set-ring"),
    ),
    Defect(
        "N14",
        "test_streams_fill_the_network_and_all_of_it_arrives",
        "of the paths that streams are spread over, one swallows them",
        SWALLOWS_FLOWS,
    ),
    Defect(
        "N14",
        "test_requests_are_answered_one_by_one",
        "a connection falls silent after some hundred requests",
        SILENT_AFTER_A_WHILE,
    ),
    Defect(
        "N15",
        "test_the_host_knows_every_address",
        "the agent that tells the host of the guest's addresses has ended",
        "systemctl stop qemu-guest-agent",
    ),
    Defect(
        "N16",
        "test_a_connection_outlives_a_pause",
        "the guest ends connections that were used once",
        END_WHO_HEARD,
    ),
    Defect(
        "N16",
        "test_a_connection_outlives_a_save",
        "the guest ends connections that were used once",
        END_WHO_HEARD,
    ),
    Defect(
        "N17",
        "test_guests_talk_ipv6",
        "what neighbours answer does not come in",
        NO_NEIGHBOURS,
    ),
    Defect(
        "N18",
        "test_an_emulated_nic_is_what_it_imitates_and_carries_packets",
        "one of two emulated NICs has no driver",
        "basename $(readlink -f /sys/class/net/eth1/device) > /sys/class/net/eth1/device/driver/unbind",
    ),
    Defect(
        "N18",
        "test_an_emulated_nic_is_added_while_running",
        "the emulated NIC that comes is connected to nothing",
        DEAF_WHEN_IT_COMES.format(nic="eth2"),
    ),
)
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

# A drop-in of a unit that every boot starts early: system clock and RTC (ioctl RTC_SET_TIME, rtc(4)) go 90 s ahead.
_WRONG_CLOCK = b"""[Service]
ExecStartPre=/bin/date --set=+90seconds
ExecStartPre=/usr/bin/python3 /usr/local/sbin/wrong-rtc
"""
_WRONG_RTC = b"""import fcntl, struct, time
t = time.gmtime()
fields = (t.tm_sec, t.tm_min, t.tm_hour, t.tm_mday, t.tm_mon - 1, t.tm_year - 1900, 0, 0, 0)
with open("/dev/rtc0", "rb") as rtc:
    fcntl.ioctl(rtc, 0x4024700A, struct.pack("9i", *fields))
"""
_SAME = b"""[Unit]
After=cloud-init-local.service
Before=ssh.service
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'echo 0123456789abcdef0123456789abcdef >/etc/machine-id; exit 1'
"""
_DROP_IN = "/etc/systemd/system/systemd-sysctl.service.d/wrong-clock.conf"
# A program of every boot; once there is work for four processors for five seconds, it sets the clock.
_TIRED = b"""busy=0
while sleep 1; do
    read -r _ _ _ running _ </proc/loadavg
    [ "${running%%/*}" -ge 4 ] && busy=$((busy + 1)) || busy=0
    if [ $busy -ge 5 ]; then date --set '-3 seconds'; busy=-600; fi
done
"""
IN_IMAGES = (
    ImageDefect(frozenset({"C01", "C06"}), "the kernel starts one CPU alone (`maxcpus=1`)", "maxcpus=1"),
    ImageDefect(
        frozenset({"C02", "C13"}),
        "the kernel takes two CPUs and 1 GiB, however much there is (`maxcpus=2 mem=1G`)",
        "maxcpus=2 mem=1G",
        tests=("test_the_largest_machine_boots and bios", "test_a_machine_that_is_off_takes"),
    ),
    ImageDefect(
        frozenset({"L02", "L10"}),
        "a unit of every boot gives all guests the same machine id, and fails",
        files={
            "/etc/systemd/system/same.service": _SAME,
            "/etc/systemd/system/ssh.service.d/same.conf": b"[Unit]\nWants=same.service\n",
        },
        tests=("test_it_boots", "test_clones_do_not_meet"),
    ),
    ImageDefect(
        frozenset({"I02", "T01"}),
        "a paravirtual driver is not loaded, and a foreign clocksource is chosen on the kernel's command line",
        "clocksource=acpi_pm module_blacklist=virtio_rng",
    ),
    ImageDefect(
        frozenset({"T06", "T14"}),
        "system clock and RTC go 90 s ahead early in the boot",
        files={_DROP_IN: _WRONG_CLOCK, "/usr/local/sbin/wrong-rtc": _WRONG_RTC},
        tests=("test_the_guests_clock_agrees", "test_the_clock_is_right_from"),
    ),
    ImageDefect(
        frozenset({"N06"}),
        "the kernel looks for devices at boot alone (`acpiphp.disable=1`)",
        "acpiphp.disable=1",
        tests=("test_a_guest_without_a_nic_gets_one",),
    ),
    ImageDefect(
        frozenset({"T15"}),
        "the system clock loses three seconds when all CPUs are busy",
        files={
            "/usr/local/sbin/tired": _TIRED,
            "/etc/systemd/system/tired.service": b"[Service]\nExecStart=/bin/sh /usr/local/sbin/tired\n",
            "/etc/systemd/system/ssh.service.d/tired.conf": b"[Unit]\nWants=tired.service\n",
        },
        tests=("test_the_clock_stays_right_under_load",),
    ),
    ImageDefect(
        frozenset({"I29"}),
        "nobody answers on the serial console, and the kernel is told to be quiet (`quiet`)",
        "quiet",
        files={"/etc/systemd/system/serial-getty@ttyS0.service": b""},  # masked: systemd.unit(5)
        tests=("test_the_serial_console",),
    ),
    ImageDefect(
        frozenset({"I12"}),
        "the guest dies while it boots, whatever it is asked",
        "init=/nonexistent rdinit=/nonexistent panic=0",
        tests=("test_a_shutdown_asked_too_early",),
    ),
)
ON_TWINS = ImageDefect(
    frozenset({"C01", "C06", "T01", "I08"}),
    "one CPU, a foreign clocksource, and the guest's service of its hypervisor is masked (on twins)",
    "maxcpus=1 clocksource=acpi_pm",
)

# A service of the guest's that its hypervisor's tools, or daemons, are: the twin asks for it.
_MASKED = "systemctl mask --runtime {unit}"

# The guest's own program keeps its clock, whatever anybody else wants: the RTC counts on by itself.
_BY_THE_RTC = """systemd-run --quiet sh -c '
    while sleep 2; do date --set @$(cat /sys/class/rtc/rtc0/since_epoch); done'"""


def _nobody_sets_the_clock(host: str, unit: str, *tests: tuple[str, str]) -> tuple[Defect, ...]:
    """What of a hypervisor's sets the clock of guests is masked in the guest."""
    words = f"what would set the clock is masked (`{unit}`, on twins)"
    return tuple(Defect(check, test, words, _MASKED.format(unit=unit), host) for check, test in tests)


AFTER_A_PAUSE = ("T09", "test_the_clock_is_right_again_after_a_pause")
AFTER_A_RESTORE = ("T10", "test_the_clock_is_right_again_after_a_restore")
AFTER_A_REVERT = ("T11", "test_the_clock_is_right_again_after_a_revert")
SWITCHED = ("T12", "test_a_clock_is_its_hosts_while_that_is_switched_on")
DAYS_WRONG = ("T13", "test_a_clock_that_is_days_wrong_is_put_right")

# The agent does what the daemon would, in a folder of its own.
_OWN_POOLS = drop_in("qemu-guest-agent-serial.service", "TemporaryFileSystem=/var/lib/hyperv")
_NOTHING_OFF = ({"do": "idle", "on": "Disable-VMIntegrationService", "times": None},)

IN_GUESTS_OF_TWINS: tuple[Defect, ...] = (
    Defect(
        "N11",
        "test_offloads_change_nothing_but_the_work",
        "an offload is switched without a word and stays as it was (on twins)",
        DEAF_ETHTOOL.format(options="--features"),
        "vsphere",
    ),
    *(
        Defect(check, test, "the host is told to switch a service off, and does nothing (on twins)", "", "hyperv", plan)
        for check, test, plan in (
            ("I10", "test_the_heartbeat_is_switched_off_and_on", _NOTHING_OFF),
            ("I13", "test_shutdown_is_switched_off_and_on", _NOTHING_OFF),
        )
    ),
    *(
        Defect(check, test, "what keeps the host's pairs has a folder of its own (on twins)", _OWN_POOLS, "hyperv")
        for check, test in (
            ("I17", "test_mistakes_with_key_value_pairs_change_nothing"),
            ("I18", "test_exchange_outlives_being_switched_off_and_on"),
        )
    ),
    *_nobody_sets_the_clock("vsphere", "open-vm-tools.service", AFTER_A_RESTORE, AFTER_A_REVERT, DAYS_WRONG),
    *_nobody_sets_the_clock(
        "hyperv", "hv-kvp-daemon.service", AFTER_A_PAUSE, AFTER_A_RESTORE, AFTER_A_REVERT, SWITCHED
    ),
    Defect(*SWITCHED, "a program of the guest's own keeps setting the clock by the RTC", _BY_THE_RTC, "vsphere"),
    Defect(
        "T16",
        "test_reading_the_time_stays_in_user_space",
        "the guest tells the time by a source that programs cannot read (on twins)",
        "echo acpi_pm > /sys/devices/system/clocksource/clocksource0/current_clocksource",
        "vsphere",
    ),
    Defect(
        "T18",
        "test_the_tools_tell_the_hosts_time",
        "the tools tell what time it is in five seconds (on twins)",
        instead("/usr/bin/vmware-toolbox-cmd", "date --date '5 seconds' '+%d %b %Y %H:%M:%S'"),
        "vsphere",
    ),
)
"""As :data:`ALL`, of checks that no guest under libvirt can be asked here."""

RECORDED = (
    RecordedDefect(
        "T04",
        "the guest's only PTP clock is its NIC's",
        {"names": ("52:54:00:12:34:56",)},
        r"expected a PTP clock called KVM virtual PTP; the guest has '52:54:00:12:34:56' \(/dev/ptp0\)",
        also=frozenset({"T05"}),
    ),
    RecordedDefect("T04", "the PTP clock's device cannot be read", {"refused": "No such device"}, "cannot be read"),
    RecordedDefect(
        "T04",
        "the PTP clock is 20 ms behind the host's clock",
        {"ptp": -0.02},
        r"minus the host's clock is -20\.000 ms ± 0\.\d+ ms, not at most 0\.01 s",
    ),
    RecordedDefect(
        "T04",
        "the PTP clock is an hour ahead of the host's clock, and the guest's with it",
        {"ptp": 3600.0, "own": 3600.0},
        r"minus the host's clock is \+3600000\.000 ms",
    ),
    RecordedDefect("T18", "the tools find no host to ask", {"tools": None}, "do not tell the host's time: status 1"),
    RecordedDefect("T18", "the tools tell what time it is in four seconds", {"tools": 4.0}, "not at most 2 s"),
    RecordedDefect("T18", "the tools tell what time it was four seconds ago", {"tools": -4.0}, "not at most 2 s"),
    RecordedDefect(
        "T05",
        "the PTP clock answers chrony only at times",
        {"sources": "#,*,PHC0,0,3,125,14,-0.000000213,-0.000000260,0.000001234\n"},
        r"last seen: #\* PHC0 reach 125",
    ),
    RecordedDefect(
        "T05",
        "chrony takes the PTP clock for wrong",
        {"sources": "#,x,PHC0,0,3,377,6,-36.998213000,-36.998213000,0.000001234\n"},
        r"last seen: #x PHC0 reach 377",
    ),
    RecordedDefect(
        "T05",
        "chrony follows a server of the network besides",
        {
            "sources": "#,*,PHC0,0,3,377,6,-0.000000213,-0.000000260,0.000001234\n"
            "^,-,203.0.113.5,2,6,377,12,0.000400000,0.000400000,0.020000000\n"
        },
        r"sources by network: \['\^- 203\.0\.113\.5",
    ),
    RecordedDefect(
        "T05",
        "chrony has chosen the PTP clock and does not set the guest's by it",
        {"tracking": f"00000000,,0,{'0.000,' * 7}1.000000000,1.000000000,0.0,Not synchronised\n"},
        "and says .*Not synchronised",
    ),
)
"""What the checks must find that run nowhere here: on what guests wrote, by ``tests/unit``."""
# Of C15, recorded: no host here tells its guests of steal. By what is wrong, what is counted otherwise for a busy CPU
# that another guest's has half the time of; ``tests/unit/test_recorded_steal.py`` has the rest.
STOLEN: Mapping[str, Mapping[str, int]] = {
    "a guest that is kept waiting counts all of that as its own time": {"user": 997, "steal": 0},
    "a guest that is kept waiting is told of the least part of it": {"user": 917, "steal": 80},
}

# Of C10, recorded: no emulated CPU ever goes. By what is wrong, what the kernel shows when two of four were taken away.
UNPLUGGED: Mapping[str, Mapping[str, bytes]] = {
    "a CPU that was taken away stays plugged in": {"present": b"0-2\n"},
    "CPUs that were taken away run on": {"present": b"0-3\n", "online": b"0-3\n"},
    "one CPU more than was taken away is out of service": {"online": b"0\n"},
}

ALL: tuple[Defect, ...] = (*VCPU, *INTEGRATION, *CLOCK, *NETWORK, *LIFECYCLE)
