"""Suites bite: a guest with a defect fails exactly the checks that look for it, and no other.

Defects are planted in the image that the guest boots, never in the harness.
"""

from pathlib import Path

import pytest

from harness.image.variant import variant
from tests.end_to_end.readers import READERS

SUITES = Path(__file__).resolve().parents[2] / "suites"

# A drop-in of a unit that every boot starts early: system clock and RTC (ioctl RTC_SET_TIME, rtc(4)) go 90 s ahead.
WRONG_CLOCK = b"""[Service]
ExecStartPre=/bin/date --set=+90seconds
ExecStartPre=/usr/bin/python3 /usr/local/sbin/wrong-rtc
"""
WRONG_RTC = b"""import fcntl, struct, time
t = time.gmtime()
fields = (t.tm_sec, t.tm_min, t.tm_hour, t.tm_mday, t.tm_mon - 1, t.tm_year - 1900, 0, 0, 0)
with open("/dev/rtc0", "rb") as rtc:
    fcntl.ioctl(rtc, 0x4024700A, struct.pack("9i", *fields))
"""
DROP_IN = "/etc/systemd/system/systemd-sysctl.service.d/wrong-clock.conf"


def select(run, image, *names: str):
    words = " or ".join(f"({name})" for name in names)
    return run(str(SUITES), "--rootdir", str(SUITES.parent), "--image", image.digest, "-k", words)


def test_a_guest_without_defects_passes(run, image):
    """The control: nothing fails that was not broken."""
    done = select(run, image, *READERS)
    assert done.checks("failed", "broken") == set(), done.output
    assert done.checks("passed") >= {"C01", "C06", "I01", "I02", "T01", "L01", "L13"}


def test_one_cpu_where_two_were_asked_for(run, image):
    """``maxcpus=1``: whoever counts CPUs or gives them work notices; nobody else does."""
    done = select(run, variant(image, kernel_arguments="maxcpus=1"), *READERS)
    assert done.checks("failed", "broken") == {"C01", "C06"}, done.output


def test_a_driver_that_does_not_load_and_a_foreign_clocksource(run, image):
    """Two causes, two checks."""
    broken = variant(image, kernel_arguments="clocksource=acpi_pm module_blacklist=virtio_rng")
    done = select(run, broken, *READERS)
    assert done.checks("failed", "broken") == {"T01", "I02"}, done.output


def test_a_clock_that_starts_wrong(run, image):
    """90 s ahead from early boot on: the offset to the host and the first stamps show it."""
    broken = variant(image, {DROP_IN: WRONG_CLOCK, "/usr/local/sbin/wrong-rtc": WRONG_RTC})
    done = select(run, broken, "test_the_guests_clock_agrees", "test_the_clock_is_right_from")
    assert done.checks("failed", "broken") == {"T06", "T14"}, done.output


@pytest.mark.parametrize("words", ["--image nosuch", "--image deadbeefdeadbeef"])
def test_an_image_that_is_not_there_is_said_once(run, words):
    """Bad input is one message; no guest is started for it."""
    done = run(*words.split(), str(SUITES), "--rootdir", str(SUITES.parent), "-k", "test_the_clocksource_is")
    assert done.status != pytest.ExitCode.OK
    assert not done.checks("passed", "failed")
