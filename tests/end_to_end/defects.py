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

VCPU = (
    Defect(
        "C04",
        "test_last_level_caches_follow_the_sockets",
        "a CPU is told that its level 3 cache is another's alone",
        "echo 0 > /run/l3 && mount --bind /run/l3 /sys/devices/system/cpu/cpu1/cache/index3/shared_cpu_list",
    ),
    Defect(
        "C08",
        "test_a_cpu_goes_offline_and_comes_back",
        "the file that takes a CPU out of service takes any answer and does nothing",
        "echo 1 > /run/online && mount --bind /run/online /sys/devices/system/cpu/cpu1/online",
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
)
INTEGRATION = (
    Defect(
        "I01",
        "test_the_hypervisor_is_recognised",
        "systemd takes the guest for a machine of another hypervisor",
        instead("/usr/bin/systemd-detect-virt", "echo oracle"),
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
NETWORK: tuple[Defect, ...] = ()
LIFECYCLE: tuple[Defect, ...] = ()

ALL: tuple[Defect, ...] = (*VCPU, *INTEGRATION, *CLOCK, *NETWORK, *LIFECYCLE)
