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

ALL: tuple[Defect, ...] = (*VCPU, *INTEGRATION, *CLOCK, *NETWORK, *LIFECYCLE)
