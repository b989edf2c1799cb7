"""T04, T05 and T18 on recorded guests: no host here has a PTP clock, and no twin all of VMware's channels."""

import json
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest

from harness.backends.model import Firmware
from harness.backends.views import HostFacts
from harness.core import GiB, GuestError
from harness.guest.chrony import Chrony, parse_sources, parse_tracking
from harness.guest.clock import Clock
from harness.guest.inside import program
from harness.guest.other_clocks import Beside, Ptp, parse_clocks, parse_phc, parse_tools_time
from harness.guest.probe import Probe
from harness.guest.result import Result
from harness.guest.ssh import Stamp
from harness.lab.expectations import Expectations
from suites.clock import test_host_time as suite
from tests.end_to_end.defects import RECORDED, RecordedDefect
from tests.unit.fake_machine import ClocklessHost

HOSTS = {
    "kvm": HostFacts("QEMU/libvirt", "9.0.0", "9.0.0", "kvm", 2, GiB, 8),
    "hyperv": HostFacts("Microsoft Hyper-V", "10.0.20348", "20348", "hyperv", 2, GiB, 8),
    "vsphere": HostFacts("VMware ESXi", "8.0.3", "24022510", "vmware", 2, GiB, 8),
}
# As their drivers call them (Linux, drivers/ptp/ptp_kvm_common.c, drivers/hv/hv_util.c, drivers/ptp/ptp_vmw.c). The
# NIC of the second guest has a clock as well.
NAMES = {"kvm": ("KVM virtual PTP",), "hyperv": ("52:54:00:12:34:56", "hyperv"), "vsphere": ("ptp_vmw",)}
NOW = 1_700_000_000.0


@dataclass(frozen=True)
class Shown:
    """What a recorded guest shows; clocks in seconds ahead of the host's.

    Args:
        names: of its PTP clocks.
        own: the guest's wall clock.
        ptp: the PTP clock.
        tools: the host's time as the tools tell it, in whole seconds; None: they tell nothing.
        refused: why the device of the PTP clock cannot be read.
        doubt: half a round trip to the guest.
        sources: ``chronyc -c sources`` of chrony 4.3, a minute after chronyd was told of a PTP clock.
        tracking: ``chronyc -c tracking`` then.
    """

    names: tuple[str, ...] = NAMES["kvm"]
    own: float = 0.7
    ptp: float = 0.0004
    tools: float | None = 0.0
    refused: str = ""
    doubt: float = 0.0005
    sources: str = "#,*,PHC0,0,3,377,6,-0.000000213,-0.000000260,0.000001234\n"
    tracking: str = (
        "50484330,PHC0,1,1700000000.123456789,0.000000012,-0.000000021,0.000000100,"
        "-12.345,0.001,0.010,0.000000001,0.000010000,8.0,Normal\n"
    )


class Recorded:
    """A guest of which that was recorded."""

    def __init__(self, shown: Shown) -> None:
        self.shown, self.name, self.hypervisor = shown, "recorded", ClocklessHost()
        self.services = SimpleNamespace(active=lambda _name: False)
        self.asked: list[list[str]] = []
        whole: Any = self
        self.clock, self.ptp, self.chrony = Clock(whole), Ptp(whole), Chrony(whole)

    def read(self, probe: Probe[Any]) -> Any:
        return probe.value(self.run(list(probe.argv)), self.name)

    def run(self, argv: list[str], **_: Any) -> Result:
        self.asked.append(argv)
        return Result(tuple(argv), 0, self._says(argv).encode(), b"")

    def _says(self, argv: list[str]) -> str:
        shown = self.shown
        if argv[0] == "chronyc":
            return {"sources": shown.sources, "tracking": shown.tracking}[argv[-1]]
        if argv[-1] == "hosttime":
            if shown.tools is None:
                return json.dumps({"before": NOW, "after": NOW, "said": "", "refused": "status 1: not in a VM"})
            said = time.strftime("%d %b %Y %H:%M:%S", time.gmtime(NOW + shown.tools - shown.own))
            return json.dumps({"before": NOW - 0.1, "after": NOW + 0.1, "said": said})
        if argv[0] == "python3":
            told = NOW + shown.ptp - shown.own
            probes = [{"before": NOW - wide, "told": told, "after": NOW + wide} for wide in (9.0, 1e-5, 1.0)]
            return "\n".join(map(json.dumps, [{"refused": shown.refused}] if shown.refused else probes))
        if "/sys/class/ptp" in argv[-1]:
            return "".join(f"/sys/class/ptp/ptp{at}/clock_name\0{name}\n" for at, name in enumerate(shown.names))
        return "/usr/sbin/chronyd\n"

    def converse(self, _argv: Any, questions: int, _deadline: Any) -> tuple[Stamp, ...]:
        def stamp(at: float) -> Stamp:
            return Stamp(at - self.shown.doubt, at + self.shown.doubt, f"{at + self.shown.own:.6f}".encode())

        return tuple(stamp(NOW + number) for number in range(questions))


def expected(backend: str) -> Expectations:
    """What ships, with limits that are hard, and a wait that ends at once: what was recorded does not change."""
    ships = Expectations.for_host(backend, HOSTS[backend], Firmware.BIOS)
    hard = {key: limit.model_copy(update={"calibrated": True}) for key, limit in ships.limits.items()}
    hard["T05.followed"] = hard["T05.followed"].model_copy(update={"at_most": 0.0})
    return replace(ships, limits=hard)


def check(number: str, shown: Shown, backend: str = "kvm") -> list[tuple[Any, ...]]:
    """Run a check on a recorded guest; what it measured, or what the guest was asked to run."""
    guest: Any = Recorded(shown)
    if number == "T05":
        suite.test_chrony_follows_the_ptp_clock(guest, expected(backend))
        return [tuple(argv) for argv in guest.asked]
    measured: list[tuple[Any, ...]] = []
    measure: Any = lambda *said, **_: measured.append(said)  # noqa: E731
    if number == "T18":
        suite.test_the_tools_tell_the_hosts_time(guest, expected("vsphere"), measure)
        return measured
    suite.test_the_ptp_clock_shows_the_hosts_time(guest, expected(backend), measure)
    return measured


@pytest.mark.recorded
@pytest.mark.parametrize("backend", HOSTS)
def test_a_ptp_clock_that_shows_the_hosts_time_passes(backend: str) -> None:
    ((name, off),) = check("T04", Shown(names=NAMES[backend]), backend)
    assert name == "ptp_offset"
    assert off == pytest.approx(0.0004, abs=1e-5)


@pytest.mark.recorded
@pytest.mark.parametrize("backend", HOSTS)
def test_a_guest_whose_chrony_follows_its_ptp_clock_passes(backend: str) -> None:
    asked = check("T05", Shown(names=NAMES[backend]), backend)
    (started,) = [argv for argv in asked if argv[0] == "systemd-run"]
    device = f"/dev/ptp{len(NAMES[backend]) - 1}"
    assert started[started.index("/usr/sbin/chronyd") + 1 :][:1] == ("-n",)
    assert any(word.startswith(f"refclock PHC {device} poll ") for word in started), started


@pytest.mark.recorded
@pytest.mark.parametrize("own", [-90.0, 0.0, 90.0])
def test_tools_that_tell_the_hosts_time_pass_whatever_the_guests_clock_shows(own: float) -> None:
    ((name, off),) = check("T18", Shown(own=own))
    assert name == "tools_time_offset"
    assert off <= 0.6


@pytest.mark.recorded
@pytest.mark.parametrize("defect", RECORDED, ids=lambda defect: f"{defect.check}-{defect.words}")
def test_a_defect_is_caught_and_the_other_check_does_not_mind(defect: RecordedDefect) -> None:
    """A guest without the right clock fails both; what is wrong with the clock's time, or with chrony, only one."""
    shown = replace(Shown(), **defect.shows)
    with pytest.raises(AssertionError, match=defect.said):
        check(defect.check, shown)
    for other in {"T04", "T05", "T18"} - defect.shared:
        check(other, shown)


@pytest.mark.recorded
def test_an_offset_that_cannot_be_told_well_enough_is_skipped() -> None:
    with pytest.raises(pytest.skip.Exception, match="can only be told to"):
        check("T04", Shown(doubt=0.02))


def test_the_probe_of_a_ptp_clock_with_the_least_round_trip_counts() -> None:
    probes = [{"before": 10.0, "told": 12.0, "after": 11.0}, {"before": 20.0, "told": 22.0, "after": 20.002}]
    seen = parse_phc("\n".join(map(json.dumps, probes)).encode())
    assert (seen.seconds, seen.uncertainty) == (pytest.approx(1.999), pytest.approx(0.001))


def test_a_file_that_is_no_clock_cannot_be_read_and_says_why() -> None:
    argv = [sys.executable, "-", "/dev/null", "3"]
    said = subprocess.run(argv, input=program("phc"), capture_output=True, check=True).stdout
    assert "Invalid argument" in parse_phc(said).refused
    argv[2] = "/dev/interop-no-such-clock"
    said = subprocess.run(argv, input=program("phc"), capture_output=True, check=True).stdout
    assert "No such file" in parse_phc(said).refused


def test_ptp_clocks_come_in_the_order_of_their_numbers() -> None:
    files = {f"/sys/class/ptp/ptp{number}/clock_name": b"clock %d\n" % number for number in (10, 2, 0)}
    assert [(clock.name, clock.device) for clock in parse_clocks(files)] == [
        ("clock 0", "/dev/ptp0"),
        ("clock 2", "/dev/ptp2"),
        ("clock 10", "/dev/ptp10"),
    ]
    with pytest.raises(ValueError, match="no file of a PTP clock"):
        parse_clocks({"/sys/class/ptp/ptp0/max_adjustment": b"0\n"})


def tell(script: str) -> Beside:
    """What is made of a program that tells the time so."""
    argv = [sys.executable, "-", "sh", "-c", script]
    return parse_tools_time(subprocess.run(argv, input=program("tools_time"), capture_output=True, check=True).stdout)


@pytest.mark.parametrize("ahead", [-3600, 0, 5])
def test_the_time_that_tools_tell_is_known_to_a_second_either_way(ahead: int) -> None:
    """They print local time of the zone that they are told, which is UTC, in whole seconds."""
    seen = tell(f"date -d '{ahead} seconds' '+%d %b %Y %H:%M:%S'")
    assert 0.5 <= seen.uncertainty < 5
    assert abs(seen.seconds - ahead) <= seen.uncertainty


@pytest.mark.parametrize(
    ("script", "why"), [("echo not in a VM >&2; exit 1", "status 1: not in a VM"), ("exit 75", "75")]
)
def test_tools_that_refuse_say_why(script: str, why: str) -> None:
    assert why in tell(script).refused


def test_what_tells_no_time_is_refused_by_name() -> None:
    probe = Probe("host time", ("tools",), parse_tools_time)
    said = json.dumps({"before": time.time(), "after": time.time(), "said": "soon"}).encode()
    with pytest.raises(GuestError, match="host time does not read as expected"):
        probe.value(Result(probe.argv, 0, said, b""), "guest")


def test_a_source_answered_all_polls_or_is_not_followed_yet() -> None:
    rows = (
        b"#,*,PHC0,0,3,377,6,-0.000000213,-0.000000260,0.000001234\n"
        b"#,*,PHC1,0,3,177,6,-0.000000213,-0.000000260,0.000001234\n"
        b"^,+,10.0.2.2,2,6,377,4294967295,0.000000000,0.000000000,0.000000000\n"
    )
    first, young, server = parse_sources(rows)
    assert [each.followed for each in (first, young, server)] == [True, False, False]
    assert [each.from_network for each in (first, young, server)] == [False, False, True]
    assert str(young) == "#* PHC1 reach 177 -0.000000 s ± 0.000001 s"
    assert parse_sources(b"") == ()


@pytest.mark.parametrize("text", [b"506 Cannot talk to daemon\n", b"#*,PHC0,0,3,377,6,0,0,0,0\n"])
def test_what_is_no_source_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match="no source"):
        parse_sources(text)


@pytest.mark.parametrize("text", [b"", b"506 Cannot talk to daemon\n", b"a,b\nc,d\n"])
def test_what_tells_of_no_tracking_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError):
        parse_tracking(text)
