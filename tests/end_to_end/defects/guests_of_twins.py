"""Defects in the other columns of the local lab: of guests behind twins, or of what the twins do."""

from __future__ import annotations

from tests.end_to_end.defects.model import Defect, drop_in
from tests.end_to_end.defects.network import DEAF_ETHTOOL

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
# In this boot and in those to come.
_TELLS_NO_CRASH = "echo 'install pvpanic-mmio /bin/false' > /etc/modprobe.d/defect.conf; modprobe -r pvpanic-mmio; sync"

_USUAL_SECTORS = ({"do": "overlook", "on": "New-VHD", "parameter": "LogicalSectorSizeBytes", "times": None},)
_NOTHING_OFF = ({"do": "idle", "on": "Disable-VMIntegrationService", "times": None},)

IN_GUESTS_OF_TWINS: tuple[Defect, ...] = (
    Defect(
        "N11",
        "test_offloads_change_nothing_but_the_work",
        "an offload is switched without a word and stays as it was (on twins)",
        DEAF_ETHTOOL.format(options="--features"),
        "vsphere",
    ),
    Defect(
        "I05",
        "test_a_data_disk_with_sectors_of_4096_bytes_gives_back_what_it_took",
        "the host is asked for sectors of 4096 bytes, and makes a disk with the usual ones (on twins)",
        "",
        "hyperv",
        _USUAL_SECTORS,
        apart={"memory": "1028 MiB"},
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
    Defect(
        "L11",
        "test_the_host_records_a_crash_and_no_boot_as_one",
        "the guest's kernel has no driver by which it tells its host of a crash (on twins)",
        _TELLS_NO_CRASH,
        "hyperv",
    ),
    Defect(
        "N10",
        "test_a_trunk_carries_the_vlans_it_allows",
        "a trunk takes the list of VLANs that it allows, and lets every other pass as well (on twins)",
        "",
        "hyperv",
        ({"do": "open", "on": "Set-VMNetworkAdapterVlan", "times": None},),
        firmware="uefi",  # generation 1 takes no NIC while it runs
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
)
"""As :data:`ALL`, of checks that no guest under libvirt can be asked here."""
