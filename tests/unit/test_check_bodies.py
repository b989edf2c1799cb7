"""Parts of checks that no guest is needed for: what they make of a host that lies or leaves something behind."""

from __future__ import annotations

import importlib
import json
import math
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from harness.backends.model import Firmware
from harness.backends.views import HostFacts
from harness.core import Deadline, GiB
from harness.guest.cpus import CpuMasks
from harness.guest.mailbox import parse_guestinfo
from harness.guest.nics import Nic, Traffic
from harness.guest.pings import Pings
from harness.guest.probe import Probe
from harness.guest.result import Result
from harness.lab.expectations import Expectations


def expecting(**words: Any) -> Any:
    """Expectations whose every deadline is near."""
    return SimpleNamespace(deadline=lambda _: Deadline.after(0.2), **words)


class Keeps:
    """A machine whose host takes its time to merge delta disks, or for ever."""

    def __init__(self, *answers: tuple[str, ...]) -> None:
        self.answers = list(answers)

    def checkpoint_files(self, _: Deadline) -> tuple[str, ...]:
        """The next answer, and the last one for ever."""
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def test_a_delta_that_stays_is_found_and_one_that_is_merged_late_is_none() -> None:
    """A disk that was gone back to may be another file, but there may be no more of them."""
    none_left = importlib.import_module("suites.lifecycle.test_checkpoints").assert_none_left
    none_left(Keeps(("a-2.avhdx", "a-1.avhdx"), ("a-2.avhdx",)), ("a-1.avhdx",), expecting())
    with pytest.raises(AssertionError, match=r"as before: none; last seen: 1: a-2\.avhdx"):
        none_left(Keeps(("a-2.avhdx",)), (), expecting())


class Wired:
    """A guest with one NIC in a network of some MTU; its own kernel sends nothing that is larger than the NIC's."""

    name, nic = "guest-1", "eth1"

    def __init__(self, network: int) -> None:
        self.nics, self.network, self.mtu, self.sent = self, network, 9000, 0

    def set_mtu(self, _: str, mtu: int) -> None:
        """As asked."""
        self.mtu = mtu

    def wait_carrier(self, *_: Any) -> None:
        """It is there."""

    def by_mac(self, mac: str) -> Nic:
        """What was sent so far."""
        return Nic("eth1", mac, None, True, True, self.mtu, 65535, (), Traffic(0, 0, 0, 0), Traffic(0, self.sent, 0, 0))

    def ping(self, _: str, *, by: str, count: int, whole: int) -> Pings:
        """Each is answered that the network carries."""
        del by
        if whole + 28 > self.mtu:
            return Pings(1, 0)
        self.sent += count * (whole + 42)
        return Pings(count, count if whole + 28 <= self.network else 0)


def test_it_is_the_network_that_has_to_stop_a_frame_that_is_too_large() -> None:
    """Not the sender's own kernel, which asks nobody."""
    stops = importlib.import_module("suites.network.test_frames").stops_larger_frames
    expect = expecting(count=lambda _: 20)
    stops(Wired(9000), "10.0.0.2", "m", 9000, expect)
    with pytest.raises(AssertionError, match="MTU 9000: 20 of 20 frames of 9001 bytes passed"):
        stops(Wired(9216), "10.0.0.2", "m", 9000, expect)
    silent = Wired(9000)
    silent.set_mtu = lambda *_: None  # type: ignore[method-assign]
    with pytest.raises(AssertionError, match="9001 was asked for as MTU, eth1 of guest-1 shows 9000"):
        stops(silent, "10.0.0.2", "m", 9000, expect)


class Cabled:
    """A guest with a cable to its peer, and the machine that it is in: ``dead`` says what of it heeds no cable."""

    name = "guest-1"

    def __init__(self, dead: str = "") -> None:
        self.nics, self.machine, self.dead = self, self, dead
        self.host = self.carrier = self.passes = True
        nic = SimpleNamespace(mac="m", address="10.77.0.9/24")
        self.identity = SimpleNamespace(nics=(None, nic))

    def link(self, _: str, up: bool, __: Deadline) -> None:
        """All of it follows that can."""
        for what in {"host", "carrier", "passes"} - {self.dead}:
            setattr(self, what, up)
        if self.dead == "after" and up:
            self.passes = False

    def view(self, _: Deadline) -> Any:
        """What the host says."""
        return SimpleNamespace(nics=[SimpleNamespace(mac="m", connected=self.host)])

    def wait_carrier(self, _: str, up: bool, __: Deadline) -> None:
        """What the guest sees."""
        assert self.carrier is up, f"carrier {self.carrier}"

    def ping(self, _: str, *, by: str, count: int) -> Pings:
        """Whether frames pass."""
        del by
        return Pings(count, count if self.passes else 0)

    def wait_reply(self, target: str, by: str, _: Deadline) -> None:
        """Whether they do in the end."""
        assert self.ping(target, by=by, count=1).received, "no reply"


@pytest.mark.parametrize(
    ("dead", "says"),
    [
        ("carrier", "carrier True"),
        ("host", "the guest has no carrier, and the host sees it connected"),
        ("passes", "3 of 3 pings were answered over a cable that is pulled"),
        ("after", "no reply"),
    ],
)
def test_a_cable_that_only_looks_pulled_is_found(dead: str, says: str) -> None:
    """On whichever side it is, and one that carries nothing when it is in again."""
    heeds = importlib.import_module("suites.network.test_peer").heeds_its_cable
    expect = expecting(count=lambda _: 3)
    heeds(Cabled(), Cabled(), expect)
    with pytest.raises(AssertionError, match=says):
        heeds(Cabled(dead), Cabled(), expect)


class Rebooted:
    """A guest of a distribution of its own, which reboots; a service may not outlive that."""

    name = "guest-1"

    def __init__(self, *units: str, lost: str = "") -> None:
        self.services, self.system, self.kernel = self, self, self
        self.units, self.lost, self.boots = units, lost, 1

    @property
    def boot_id(self) -> str:
        """Another in each boot."""
        return f"boot {self.boots}"

    def first(self, names: list[str]) -> Any:
        """The one that it has."""
        return SimpleNamespace(name=next(name for name in names if name in self.units))

    def active(self, name: str) -> bool:
        """All that it has, but for the lost one after a reboot."""
        return name in self.units and not (self.boots > 1 and name == self.lost)

    def reboot_seen(self, *_: Any) -> None:
        """It is back."""
        self.boots += 1

    def run(self, _: list[str]) -> None:
        """Whatever."""

    def boot_times(self, _: Deadline) -> None:
        """It has booted."""

    def failed(self) -> tuple[str, ...]:
        """No unit."""
        return ()

    def problems(self, **_: Any) -> tuple[str, ...]:
        """None."""
        return ()


@pytest.mark.parametrize(
    "units",
    [
        ("ssh.service", "systemd-networkd.service", "qemu-guest-agent.service"),
        ("sshd.service", "NetworkManager.service", "systemd-networkd.service", "qemu-guest-agent.service"),
        ("sshd.service", "wicked.service", "qemu-ga.service"),
    ],
    ids=["Debian", "RHEL", "SLES"],
)
def test_services_come_back_by_whatever_name_a_distribution_gives_them(units: tuple[str, ...]) -> None:
    """And each of them is missed when it does not."""
    check = importlib.import_module("suites.lifecycle.test_boot").test_it_reboots_time_and_again
    facts = HostFacts("QEMU/libvirt", "9", "9", "kvm", 2, GiB, 8)
    expect = Expectations.for_host("kvm", facts, Firmware.BIOS)
    check(Rebooted(*units), expect)
    for lost in (units[0], units[1], units[-1]):
        with pytest.raises(AssertionError, match=rf"did not come back in reboot 1 of 10: \['{lost}'\]"):
            check(Rebooted(*units, lost=lost), expect)


class Torn:
    """A guest's mailbox that is just being written when it is looked at first, and perhaps ever after."""

    def __init__(self, *files: bytes) -> None:
        self.files = list(files)

    def guest_reads(self, _: str) -> str | None:
        """What lies there now."""
        data = self.files.pop(0) if len(self.files) > 1 else self.files[0]
        found = Probe("the pool", (), parse_guestinfo).value(Result((), 0, data, b""), "guest-1")
        return found.get("a")


def test_half_a_value_is_not_there_yet_and_garbage_never_comes() -> None:
    """A daemon writes in place; what stays half is the product's failure."""
    reaches = importlib.import_module("suites.integration.test_exchange").reaches_guest
    reaches(Torn(b'{"a": "on', b'{"a": "one"}'), "a", "one", expecting())
    with pytest.raises(AssertionError, match=r"for a to reach the guest; last seen: guest-1: the pool does not read"):
        reaches(Torn(b'{"a": "on'), "a", "one", expecting())


class Announced:
    """A guest whose firmware announces CPUs; the host may put one of them in later, unasked."""

    def __init__(self, possible: int, *, comes: bool = False) -> None:
        self.cpus = self.machine = self
        self.shape = SimpleNamespace(vcpus=2)
        self.hypervisor = SimpleNamespace(name="win1")
        self.possible, self.comes, self.there = possible, comes, 2

    def view(self, _: Deadline) -> Any:
        """What the host counts."""
        return SimpleNamespace(vcpus=2)

    def masks(self) -> CpuMasks:
        """As the kernel has them."""
        present = frozenset(range(self.there))
        return CpuMasks(frozenset(range(self.possible)), present, present)

    def bring_up(self) -> frozenset[int]:
        """All that are there, and one more."""
        self.there += self.comes
        return self.masks().online


def test_cpus_that_nobody_announces_prove_nothing() -> None:
    """Where some are announced, none of them may come."""
    check = importlib.import_module("suites.vcpu.test_maps").test_cpus_that_are_merely_possible_never_run
    check(Announced(8), expecting())
    with pytest.raises(AssertionError, match="after all were put in service"):
        check(Announced(8, comes=True), expecting())
    with pytest.raises(pytest.skip.Exception, match="win1 announces no CPU beyond the 2 that are there"):
        check(Announced(2), expecting())


class Dozes:
    """A guest whose every sleep is late by as much, in seconds."""

    name = "guest-1"

    def __init__(self, late: float) -> None:
        self.late = late

    def run(self, argv: list[str], **_: Any) -> Result:
        """As many sleeps as fit into the time that they are given."""
        count, span, within = int(argv[2]), float(argv[3]), float(argv[4])
        slept = [self.late] * min(count, math.ceil(within / (span + self.late)))
        return Result(tuple(argv), 0, json.dumps({"overshoots": slept}).encode(), b"")


def test_sleeps_that_keep_their_limit_fit_into_the_time_they_are_given() -> None:
    """However close to it they all are."""
    check = importlib.import_module("suites.clock.test_events").test_timers_fire_on_time
    facts = HostFacts("QEMU/libvirt", "9", "9", "tcg", 2, GiB, 8)
    expect = Expectations.for_host("kvm", facts, Firmware.BIOS)
    assert (expect.count("T17.sleeps"), expect.limit("T17.late").at_most) == (1000, 50)
    measured: dict[str, float] = {}
    check(Dozes(0.049), expect, lambda name, value, **_: measured.update({name: value}))
    assert measured["timer_late_most"] == pytest.approx(49)
    assert not expect.readings.warnings()
    check(Dozes(0.2), expect, lambda *_, **__: None)
    assert "T17.late is 200 ms, not at most 50 ms" in str(expect.readings.warnings())


class Booted:
    """A guest of an image that was made elsewhere: it carries no build id, and its root has a UUID."""

    name = "guest-1"

    def __init__(self, root: str, *marks: str) -> None:
        self.image = SimpleNamespace(name="vendor", digest="d", build_id=None, file_systems=marks)
        self.disks = SimpleNamespace(root_uuid=lambda: root)


def test_an_image_made_elsewhere_is_the_very_one_by_its_root() -> None:
    """Whoever booted another one, or one that nothing tells from others, is told so."""
    check = importlib.import_module("suites.lifecycle.test_boot").test_the_guest_runs_the_very_image
    proven = {"d": ["qcow2: proven"]}
    check(Booted("aa", "esp", "aa"), proven)
    with pytest.raises(AssertionError, match="the image's own mark is aa or esp, the guest says bb"):
        check(Booted("bb", "esp", "aa"), proven)
    with pytest.raises(AssertionError, match="nothing tells the image vendor from others"):
        check(Booted("aa"), proven)


def worked(alone: list[float], together: list[float]) -> Any:
    """A guest of two CPUs that do this much in each trial, alone and together."""
    by_name = {"alone": alone, "together": together}
    rates = {name: dict.fromkeys("01", trials) for name, trials in by_name.items()}
    told = json.dumps({**rates, "ran_on": {"0": [0], "1": [1]}})
    return SimpleNamespace(
        name="guest-1",
        shape=SimpleNamespace(vcpus=2),
        cpus=SimpleNamespace(online=lambda: {0, 1}),
        run=lambda argv, **_: Result(tuple(argv), 0, told.encode(), b""),
    )


def test_unsteady_work_proves_nothing_unless_no_foreign_load_could_leave_so_little() -> None:
    """C07: programs that draw on one budget are unsteady too, and do less together than beside any foreign load."""
    check = importlib.import_module("suites.vcpu.test_work").test_vcpus_run_in_parallel
    facts = HostFacts("QEMU/libvirt", "9", "9", "tcg", 2, GiB, 8)
    expect = Expectations.for_host("kvm", facts, Firmware.BIOS)

    def judged(alone: list[float], together: list[float]) -> None:
        check(worked(alone, together), expect, lambda *_, **__: None)

    judged([10.0] * 5, [10.0] * 5)
    assert not expect.readings.warnings()
    with pytest.raises(pytest.skip.Exception, match="somebody else uses the host's processors"):
        judged([10.0, 4, 10, 4, 7], [7.0, 4, 7, 4, 7])
    judged([10.0, 8, 9, 7, 10], [5.0, 3, 4, 4, 2])
    assert "C07.share is 0.4" in str(expect.readings.warnings())


def test_the_work_of_fewer_cpus_does_not_stand_for_that_of_all() -> None:
    """The part of C07 that knows no limit: a CPU that is out of service would look as one that adds nothing."""
    grows = importlib.import_module("suites.vcpu.test_work").test_work_grows_with_vcpus
    expect = SimpleNamespace(duration=lambda _: timedelta(seconds=1), count=lambda _: 2)
    measured: list[Any] = []

    def with_cpus(online: int) -> Any:
        cpus = {str(cpu): [5.0, 5.0] for cpu in range(online)}
        told = json.dumps({"alone": cpus, "together": cpus, "ran_on": {cpu: [int(cpu)] for cpu in cpus}})
        return SimpleNamespace(
            name="guest-1",
            cpus=SimpleNamespace(online=lambda: set(range(online))),
            run=lambda argv, **_: Result(tuple(argv), 0, told.encode(), b""),
        )

    grows(with_cpus(4), expect, lambda *told, **_: measured.append(told), vcpus=4)
    assert measured == [("speed_up", 4.0)]
    with pytest.raises(AssertionError, match="asked for 4 vCPUs, 3 could be pinned to"):
        grows(with_cpus(3), expect, lambda *told, **_: measured.append(told), vcpus=4)
    assert len(measured) == 1
