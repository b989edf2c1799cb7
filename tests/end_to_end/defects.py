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

NETWORK = (
    Defect(
        "N02",
        "test_guests_talk",
        "a NIC loses a fifth of what it sends",
        "tc qdisc add dev eth1 root netem loss 20%",
    ),
    Defect(
        "N04",
        "test_a_nic_is_removed_while_running",
        "when a NIC goes, the one beside it goes down",
        DOWN_WITH_THE_THIRD,
    ),
    Defect(
        "N08",
        "test_an_interface_that_went_down_comes_back",
        "an interface that comes up again makes itself no address",
        "sysctl --write net.ipv6.conf.eth0.addr_gen_mode=1",
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
        instead("/usr/bin/ping", "echo '100 packets transmitted, 100 received, 0% packet loss'"),
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
)
LIFECYCLE = (
    Defect(
        "L03",
        "test_it_reboots_time_and_again",
        "a service that runs is not started at the next boot",
        "systemctl mask qemu-guest-agent",
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
)

ALL: tuple[Defect, ...] = (*VCPU, *INTEGRATION, *CLOCK, *NETWORK, *LIFECYCLE)
