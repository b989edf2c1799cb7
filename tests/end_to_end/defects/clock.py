"""Defects of a running guest that the checks of its clock must catch."""

from __future__ import annotations

from tests.end_to_end.defects.model import FROZEN, Defect

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
