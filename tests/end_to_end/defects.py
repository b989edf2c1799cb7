"""Defects that checks must catch: in the image that a guest boots, or in a running guest just before the check.

They are changes that a person could make inside of a guest, or that a broken driver, daemon or image would come to.
The harness and the suites are what they always are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


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
    """

    check: str
    test: str
    words: str
    script: str


def instead(program: str, text: str) -> str:
    """A script that puts a shell script in the place of a program, for all who ask for it by its name or path."""
    lines = ("cat > /root/instead <<'EOF'", "#!/bin/sh", text, "EOF", "chmod 755 /root/instead")
    return "\n".join([*lines, f"mount --bind /root/instead {program}"])


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
_DROP_IN = "/etc/systemd/system/systemd-sysctl.service.d/wrong-clock.conf"
IN_IMAGES = (
    ImageDefect(frozenset({"C01", "C06"}), "the kernel starts one CPU alone (`maxcpus=1`)", "maxcpus=1"),
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
)
ON_TWINS = ImageDefect(
    frozenset({"C01", "C06", "T01", "I08"}),
    "one CPU, a foreign clocksource, and the guest's service of its hypervisor is masked (on twins)",
    "maxcpus=1 clocksource=acpi_pm",
)

ALL: tuple[Defect, ...] = (*VCPU, *INTEGRATION, *CLOCK, *NETWORK, *LIFECYCLE)
