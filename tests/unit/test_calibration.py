"""A lab's own limits and sizes: which section counts, what is refused and where, and what is written."""

from datetime import date
from pathlib import Path

import pytest

from harness.backends.model import Firmware
from harness.backends.views import HostFacts
from harness.core import GiB, UsageError
from harness.lab.calibration import OwnLimit, load_calibration
from harness.lab.expectations import Expectations
from harness.lab.keeping import keep
from harness.lab.load import read_lab

LAB = """
hosts:
  left: {backend: kvm, pool: pair}
  right: {backend: kvm, pool: pair}
  alone: {backend: kvm}
networks:
  management: {kind: user}
"""
SHIPS = """
rules:
  - sizes: {X01.rounds: 10, X01.watch: 10 s, X01.data: 1 GiB}
    limits:
      X01.boot: {at_most: 120, unit: s, calibrated: false, source: us}
      X01.share: {at_least: 0.9, unit: of N, calibrated: false, source: us}
      X01.lost: {at_most: 0, unit: pings, source: us}
"""
OWN = """
hosts:
  "*":
    as_shipped: {"X01.s*": enough for us}
    limits: {X01.boot: {at_most: 60, unit: s, reason: all are fast}}
  pair:
    limits: {X01.boot: {at_most: 50, unit: s, reason: new storage, date: 2026-02-03, samples: 24}}
    sizes: {X01.data: {value: 64 MiB, reason: the line is slow}}
  left:
    limits: {X01.boot: {at_most: 70, unit: s, reason: a slow disk}}
"""


@pytest.fixture
def lab(tmp_path):
    return read_lab(LAB, tmp_path / "lab.yaml")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "ships").mkdir()
    (tmp_path / "ships" / "kvm.yaml").write_text(SHIPS)
    return tmp_path / "ships"


@pytest.fixture
def read(tmp_path, lab, folder):
    def read(text: str):
        path = tmp_path / "own.yaml"
        path.write_text(text)
        return load_calibration(path, lab, folder=folder)

    return read


@pytest.fixture
def ships(folder):
    return Expectations.for_host(
        "kvm", HostFacts("QEMU/libvirt", "9", "9", "kvm", 2, GiB, 8), Firmware.BIOS, folder=folder
    )


@pytest.mark.parametrize(
    ("pool", "host", "most"), [("pair", "left", 70), ("pair", "right", 50), ("alone", "alone", 60)]
)
def test_a_host_goes_before_its_pool_and_that_before_all(read, ships, pool, host, most):
    assert read(OWN).amend(ships, pool, host).limit("X01.boot").at_most == most


def test_an_own_limit_is_hard_and_says_why_since_when_and_of_how_many_samples(read, ships):
    own = read(OWN).amend(ships, "pair", "right").limit("X01.boot")
    assert str(own) == "at most 50 s (new storage, 2026-02-03, 24 samples)"
    assert not own.allows(51)


def test_a_first_choice_may_be_confirmed_as_it_ships(read, ships):
    own = read(OWN).amend(ships, "alone", "alone")
    assert str(own.limit("X01.share")) == "at least 0.9 of N (us; holds here: enough for us)"
    assert own.limits["X01.share"].calibrated
    assert own.limits["X01.lost"] == ships.limits["X01.lost"]


def test_sizes_are_the_labs_as_well_and_the_report_counts_them(read, ships):
    calibration = read(OWN)
    assert calibration.amend(ships, "pair", "right").sizes["X01.data"] == "64 MiB"
    assert calibration.amend(ships, "pair", "right").of_sizes().startswith("1 of 3 other than usual")
    assert calibration.amend(ships, "alone", "alone").of_sizes() == "as usual"


def test_a_labs_own_checks_bring_their_own_limits(read, ships):
    own = read("hosts: {pair: {limits: {ACME-001.late: {at_most: 3, unit: ms, reason: ours}}}}")
    assert own.amend(ships, "pair", "left").limit("ACME-001.late").at_most == 3


def test_an_empty_file_changes_nothing(read, ships):
    assert read("# nothing yet\n").amend(ships, "pair", "left") == ships


ONE = "hosts:\n  pair:\n    limits:\n      "


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (OWN.replace("pair", "pear"), r"own\.yaml:6:3 hosts\.pear: the lab 'lab' has no pool .*did you mean 'pair'"),
        (f"{ONE}X01.bot: {{at_most: 1, unit: s, reason: yes it is}}", r"own\.yaml:4:7 .*did you mean 'X01\.boot'"),
        (f"{ONE}X01.boot: {{at_most: 1, unit: ms, reason: yes it is}}", r"own\.yaml:4:7 .*its unit is s, not ms"),
        (
            f"{ONE}X01.boot: {{at_least: 1, unit: s, reason: yes it is}}",
            r"no limit of the kind at_least; it ships as at",
        ),
        (f"{ONE}X01.boot: {{at_least: 1, unit: s, reason: yes it is}}", r"at_most is left out"),
        (
            f"{ONE}X01.boot: {{at_most: 1, unit: s}}",
            r"own\.yaml:4:7 hosts\.pair\.limits\.X01\.boot\.reason: .*required",
        ),
        (
            f"{ONE}X01.boot: {{at_most: 1, unit: s, reason: yes, sample: 3}}",
            r"own\.yaml:4:\d+ .*did you mean 'samples'",
        ),
        ("hosts: {pair: {as_shipped: {X2*: it is}}}", r"own\.yaml:1:\d+ .*no limit is called so"),
        ("hosts: {pair: {sizes: {X01.watch: {value: 3, reason: it is}}}}", r"3 is no duration, as '10 s' is"),
        ("hosts: {pair: {sizes: {X01.rounds: {value: 1 s, reason: it is}}}}", r"'1 s' is no count, as 10 is"),
        ("hosts: {pair: {sizes: {X01.round: {value: 1, reason: it is}}}}", r"no size is called so; did you mean"),
    ],
)
def test_a_mistake_is_refused_with_its_place(read, text, message):
    with pytest.raises(UsageError, match=message):
        read(text)


def test_a_lab_file_names_the_file_beside_itself(tmp_path):
    lab = read_lab(LAB + "calibration: own/night.yaml\n", tmp_path / "lab.yaml")
    assert lab.calibration == tmp_path / "own" / "night.yaml"
    assert read_lab(LAB, tmp_path / "lab.yaml").calibration is None


MADE = OwnLimit(at_most=30, unit="s", reason="seen", date=date(2026, 3, 1), samples=20, nights=4, spread="x", margin=5)


def test_what_is_written_is_read_again(tmp_path, lab, folder):
    path = tmp_path / "new" / "own.yaml"
    assert keep(path, {("pair", "X01.boot"): MADE}) == []
    assert load_calibration(path, lab, folder=folder).said.hosts["pair"].limits == {"X01.boot": MADE}
    assert path.read_text().startswith("# Limits and sizes of this lab's own")
    assert list(path.parent.iterdir()) == [path]


def test_what_somebody_decided_stays_and_what_was_calibrated_is_made_anew(tmp_path, lab, folder):
    path = tmp_path / "own.yaml"
    path.write_text(OWN.replace("  left:", "  # kept\n  left:"))
    again = {("pair", "X01.boot"): MADE, ("left", "X01.boot"): MADE, ("alone", "X01.boot"): MADE}
    assert keep(path, again) == [("left", "X01.boot")]
    hosts = load_calibration(path, lab, folder=folder).said.hosts
    assert {name: hosts[name].limits["X01.boot"].at_most for name in ("pair", "left", "alone", "*")} == {
        "pair": 30,
        "left": 70,
        "alone": 30,
        "*": 60,
    }
    assert "# kept" in path.read_text()
    assert hosts["pair"].sizes, "the sizes beside it were lost"


def test_the_shipped_example_of_a_lab_without_one_has_none():
    assert read_lab(Path("configs/labs/local.yaml").read_text(), Path("configs/labs/local.yaml")).calibration is None
