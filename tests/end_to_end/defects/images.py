"""Defects of the image that a guest boots."""

from __future__ import annotations

from tests.end_to_end.defects.model import ImageDefect

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
