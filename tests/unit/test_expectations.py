"""What hypervisors must show is data: rules by host, the particular over the general, and clear words when it lacks."""

import ast
import re
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest

from harness.backends.model import Firmware
from harness.backends.views import HostFacts
from harness.core import GiB, LabError, Size, UsageError
from harness.lab.expectations import Expectations
from harness.lab.rules import rules_of, within

FILE = """
rules:
  - shows: {virt: [kvm], drivers: [virtio_net, virtio_blk], line: []}
    sizes: {X01.rounds: 10, X01.watch: 1.5 min, X01.data: 1 GiB}
    limits:
      X01.boot: {at_most: 120, unit: s, source: us}
      X01.share: {at_least: 0.9, unit: '%', calibrated: false, source: us}
    unsupported: {X02: has no such thing, X04.fast: is slow}
  - when: {accelerated: tcg}
    shows: {virt: [qemu]}
    limits: {X01.boot: {at_most: 300, unit: s, source: emulation}}
    unsupported: {X03: emulated}
  - when: {accelerated: tcg, firmware: uefi}
    shows: {virt: [qemu, efi]}
  - when: {version: '>=9,<10', build: '>=9.0.2'}
    unsupported: {X02: null}
  - when: {kernel: '>=6.12'}
    sizes: {X01.rounds: 20}
"""


def facts(accelerated: str = "kvm", version: str = "8.2.0", build: str = "8.2.0") -> HostFacts:
    return HostFacts("QEMU/libvirt", version, build, accelerated, 2, GiB, 8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "kvm.yaml").write_text(FILE)
    return tmp_path


@pytest.fixture
def ours(folder: Path) -> Expectations:
    return Expectations.for_host("kvm", facts(), Firmware.BIOS, folder=folder)


def test_a_general_rule_holds_for_every_host(ours: Expectations) -> None:
    assert (ours.word("virt"), ours.words("drivers"), ours.words("line")) == ("kvm", ("virtio_net", "virtio_blk"), ())
    assert ours.count("X01.rounds") == 10
    assert ours.duration("X01.watch") == timedelta(seconds=90)
    assert ours.size("X01.data") == Size(1 << 30)
    assert ours.unsupported("X02") == "has no such thing"
    assert ours.unsupported("X03") is None


def test_a_part_of_a_check_may_be_what_a_host_cannot_show(ours: Expectations) -> None:
    assert ours.unsupported("X04", "fast") == "is slow"
    assert ours.unsupported("X04", "slow") is None
    assert ours.unsupported("X04") is None
    assert ours.unsupported("X02", "fast") == "has no such thing"


def test_a_later_rule_that_fits_replaces_just_its_keys(folder: Path) -> None:
    emulated = Expectations.for_host("kvm", facts("tcg"), Firmware.BIOS, folder=folder)
    assert emulated.word("virt") == "qemu"
    assert emulated.limit("X01.boot").at_most == 300
    assert emulated.words("drivers") == ("virtio_net", "virtio_blk")
    assert {"X02", "X03", "X04.fast"} == set(emulated.reasons)


def test_everything_a_rule_names_must_agree(folder: Path) -> None:
    assert Expectations.for_host("kvm", facts("tcg"), Firmware.UEFI, folder=folder).words("virt") == ("qemu", "efi")
    assert Expectations.for_host("kvm", facts("kvm"), Firmware.UEFI, folder=folder).words("virt") == ("kvm",)


@pytest.mark.parametrize(
    ("version", "build", "reason"), [("9.1", "9.0.2", None), ("9.1", "9.0.1", "has no such thing")]
)
def test_null_takes_a_reason_back(folder: Path, version: str, build: str, reason: str | None) -> None:
    found = Expectations.for_host("kvm", facts("kvm", version, build), Firmware.BIOS, folder=folder)
    assert found.unsupported("X02") == reason


@pytest.mark.parametrize(("kernel", "rounds"), [(None, 10), ("6.1.0-18-amd64", 10), ("6.12.3", 20)])
def test_a_rule_for_kernels_fits_only_a_known_kernel(folder: Path, kernel: str | None, rounds: int) -> None:
    found = Expectations.for_host("kvm", facts(), Firmware.BIOS, kernel=kernel, folder=folder)
    assert found.count("X01.rounds") == rounds


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (
            lambda e: e.words("vrit"),
            r"kvm\.yaml: shows\.vrit is not set for QEMU/libvirt 8\.2\.0 .*did you mean 'virt'",
        ),
        (lambda e: e.limit("X09.boot"), r"limits\.X09\.boot is not set"),
        (lambda e: e.word("drivers"), r"shows\.drivers: one word is needed .*, 2 are there"),
        (lambda e: e.deadline("X01.share"), r"limits\.X01\.share: a deadline needs `at_most` in `unit: s`"),
        (lambda e: e.count("X01.watch"), r"sizes\.X01\.watch: '1\.5 min' is not a whole number"),
        (lambda e: e.duration("X01.rounds"), r"sizes\.X01\.rounds: 10 is not a duration"),
        (lambda e: e.size("X01.watch"), r"sizes\.X01\.watch: .* is not a size"),
    ],
)
def test_what_is_not_there_is_the_labs_fault_and_named(ours: Expectations, read: object, message: str) -> None:
    with pytest.raises(LabError, match=message):
        read(ours)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rules:\n  - when: {acceleration: tcg}\n", r"kvm\.yaml:2:12 .*unknown key; did you mean 'accelerated'"),
        ("rules:\n  - when: {version: 9}\n", r"kvm\.yaml:2:\d+ rules\.0\.when\.version"),
        ("rules:\n  - when: {version: new}\n", r"not a range of versions"),
        ("rules:\n  - limits: {A: {unit: s, source: us}}\n", r"a limit needs at_least, at_most or both"),
        ("rules:\n  - limits: {A: {at_least: 2, at_most: 1, unit: s, source: us}}\n", r"nothing lies between"),
    ],
)
def test_a_file_with_a_mistake_is_refused_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "kvm.yaml").write_text(text)
    with pytest.raises(UsageError, match=message):
        Expectations.for_host("kvm", facts(), Firmware.BIOS, folder=tmp_path)


@pytest.mark.parametrize(
    ("day", "known"), [(date(2027, 1, 1), True), (date(2027, 1, 2), False), (date(2030, 1, 1), False)]
)
def test_a_known_message_counts_again_once_it_expires(folder: Path, day: date, known: bool) -> None:
    (folder / "kernel-messages.yaml").write_text(
        "known:\n  - {pattern: 'unstable .* clock', reason: emulation, expires: 2027-01-02}\n"
    )
    noise = Expectations.for_host("kvm", facts(), Firmware.BIOS, folder=folder, today=day).noise
    assert any(pattern.search("an unstable old clock") for pattern in noise) == known


@pytest.mark.parametrize(
    ("version", "wanted", "inside"),
    [
        ("6.1.0-18-amd64", ">=6.1", True),
        ("6.1", "==6.1.0", True),
        ("6.10", ">6.9", True),
        ("10.0.17763.1", ">=10.0.14393,<10.0.20348", True),
        ("10.0.20348", ">=10.0.14393,<10.0.20348", False),
        ("unknown", ">=0", False),
    ],
)
def test_versions_compare_as_numbers(version: str, wanted: str, inside: bool) -> None:
    assert within(version, wanted) == inside


ESXI = HostFacts("VMware ESXi", "8.0.3", "24022510", "vmware", 2, GiB, 8)
WINDOWS = HostFacts("Microsoft Hyper-V", "10.0.20348", "20348", "hyperv", 2, GiB, 8)
SHIPPED = {
    "kvm": ("kvm", facts()),
    "kvm, emulated": ("kvm", facts("tcg")),
    "vsphere": ("vsphere", ESXI),
    "vsphere, twin": ("vsphere", replace(ESXI, twin=True, accelerated="tcg")),
    "hyperv": ("hyperv", WINDOWS),
    "hyperv, twin": ("hyperv", replace(WINDOWS, twin=True, accelerated="tcg")),
}


@pytest.fixture(params=SHIPPED, ids=str)
def shipped(request: pytest.FixtureRequest) -> Expectations:
    backend, host = SHIPPED[request.param]
    return Expectations.for_host(backend, host, Firmware.BIOS)


def test_the_files_that_ship_can_be_read() -> None:
    for backend, host in SHIPPED.values():
        for firmware in Firmware:
            assert Expectations.for_host(backend, host, firmware).words("virt")


def test_what_a_twin_cannot_show_is_expected_of_twins_alone() -> None:
    real, twin = (Expectations.for_host(*SHIPPED[name], Firmware.BIOS) for name in ("vsphere", "vsphere, twin"))
    assert twin.words("may_fail") == ("open-vm-tools.service",)
    assert real.words("may_fail") == ()


def test_the_twin_of_hyperv_says_what_needs_vmbus_instead_of_passing_for_it() -> None:
    real, twin = (Expectations.for_host(*SHIPPED[name], Firmware.BIOS) for name in ("hyperv", "hyperv, twin"))
    assert set(real.words("paravirtual_drivers")) == {"hv_netvsc", "hv_storvsc"}
    assert not {*twin.words("paravirtual_drivers"), *twin.words("nic_drivers")} & {"hv_netvsc", "hv_storvsc"}
    for check in ("I02", "I06", "I07", "I14", "N01"):
        assert real.unsupported(check) is None
        assert "no VMBus" in (twin.unsupported(check) or "")


def test_a_daemon_that_hyperv_wakes_for_a_file_alone_need_not_run_before() -> None:
    """Its device is there once the host has switched the Guest Service Interface on."""
    real = Expectations.for_host(*SHIPPED["hyperv"], Firmware.UEFI)
    assert len(real.words("daemons")) == 2
    assert not set(real.words("daemons")) & set(real.words("file_copy_daemon"))


@pytest.mark.parametrize(("build", "tsc"), [("14393", False), ("17763", False), ("20348", True), ("26100", True)])
def test_hyperv_hosts_that_scale_the_counter_may_show_it(build: str, tsc: bool) -> None:
    host = replace(WINDOWS, version=f"10.0.{build}", build=build)
    words = Expectations.for_host("hyperv", host, Firmware.UEFI).words("clocksources")
    assert ("hyperv_clocksource_tsc_page" in words, "tsc" in words) == (True, tsc)


USED = re.compile(r"""expect\.(words?|limit|deadline|count|duration|size)\(\s*"([^"]+)"\s*\)""")


def test_what_the_suites_ask_for_is_in_the_files_that_ship(shipped: Expectations) -> None:
    suites = Path(__file__).resolve().parents[2] / "suites"
    asked = {found for file in suites.rglob("*.py") for found in USED.findall(file.read_text())}
    assert len(asked) > 30, "the suites are not where they should be, or ask in another way"
    for method, key in asked:
        getattr(shipped, method)(key)


def test_nothing_ships_that_no_suite_asks_for(shipped: Expectations) -> None:
    suites = Path(__file__).resolve().parents[2] / "suites"
    asked = {key for file in suites.rglob("*.py") for _, key in USED.findall(file.read_text())}
    needed = {key for file in suites.rglob("*.py") for key in re.findall(r'mark\.expects\("(.+?)"\)', file.read_text())}
    assert needed <= set(shipped.shows)
    spoken_for = asked | needed | {"host.never"}
    assert {*shipped.shows, *shipped.sizes, *shipped.limits} <= spoken_for


def test_a_verdict_is_asserted_and_a_question_on_the_way_is_none() -> None:
    """`allows` is true of all that only warns: a wait that asked it would end at once. `keeps` is for that."""
    suites = Path(__file__).resolve().parents[2] / "suites"
    for file in suites.rglob("*.py"):
        tree = ast.parse(file.read_text())
        asserted = {id(node) for found in ast.walk(tree) if isinstance(found, ast.Assert) for node in ast.walk(found)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr == "allows":
                assert id(node) in asserted, f"{file}:{node.lineno}: assert what allows() says, or ask keeps()"


@pytest.mark.parametrize("backend", ["kvm", "vsphere", "hyperv"])
def test_a_first_choice_is_one_for_every_kind_of_host(backend: str) -> None:
    """An emulated host's larger number is no better founded than the number that it replaces."""
    said = [item for rule in rules_of(backend).rules for item in rule.limits.items()]
    warn = {key for key, limit in said if not limit.calibrated}
    assert {"L02.boot", "T17.late", "C06.busy", "I11.off"} <= warn
    hard = {key for key, limit in said if limit.calibrated}
    assert not warn & hard


def test_what_the_peers_checks_say_is_hard(shipped: Expectations) -> None:
    for key in ("C09.present", "L05.ticks", "N02.lost", "N15.seen", "T06.offset", "T13.corrected"):
        assert shipped.limits[key].calibrated, key
