"""A file of known issues: what it may say, and which tests its entries fit."""

import datetime as dt
from dataclasses import replace
from types import SimpleNamespace

import jsonschema
import pytest

from harness.core import GuestError, UsageError
from harness.core.config import parse_yaml
from harness.lab.known_issues import (
    KnownIssues,
    Subject,
    find_known_issues,
    known_issues_schema,
    load_known_issues,
)
from harness.lab.load import load_lab, read_lab
from harness.plugin import known

ALWAYS = "tracker: https://bugs.test/1, reason: it is so, expires: 2027-01-31"
SEEN = Subject(
    check="I05",
    part="kvp",
    params={"vcpus": "8", "fast": "True"},
    pool="ws2019-a",
    host="hv1",
    backend="hyperv",
    product="Microsoft Hyper-V",
    version="10.0.17763",
    build="17763.5329",
    accelerated="hyperv",
    image="debian12",
    digest="ab12cd34" * 8,
    distribution="Debian GNU/Linux 12 (bookworm)",
    kernel="6.1.0-35-amd64",
    services={"hyperv-daemons": "6.1.90-1"},
)


@pytest.fixture
def load(tmp_path):
    """Reads entries, each on a line of its own."""

    def load(*entries: str) -> KnownIssues:
        file = tmp_path / "known.yaml"
        file.write_text("known:\n" + "".join(f"  - {{{entry}}}\n" for entry in entries))
        return load_known_issues(file)

    return load


@pytest.fixture
def fits(load):
    """Whether an entry with these keys fits the test above, or one that differs from it."""

    def fits(keys: str, **others) -> bool:
        return bool(load(f"check: I05, {keys}, {ALWAYS}").of(replace(SEEN, **others))[0])

    return fits


@pytest.mark.parametrize(
    "keys",
    [
        "part: kvp",
        "params: {vcpus: 8, fast: true}",
        "host: {pool: 'ws2019*', backend: hyperv, name: hv1}",
        "host: {product: 'microsoft hyper-v', version: '>=10', build: '>=17763, <17763.6000'}",
        "host: {accelerated: hyperv, twin: false}",
        "guest: {image: 'debian*'}",
        "guest: {image: ab12cd34}",
        "guest: {distribution: 'Debian GNU/Linux 12*'}",
        "guest: {kernel: '>=6.1.0-20, <6.1.0-40'}",
        "guest: {services: {hyperv-daemons: '<6.1.100'}}",
    ],
)
def test_an_entry_fits_where_everything_it_names_agrees(fits, keys):
    assert fits(keys)


@pytest.mark.parametrize(
    "keys",
    [
        "part: vss",
        "params: {vcpus: 4}",
        "params: {memory: 8}",
        "host: {pool: 'ws2022*'}",
        "host: {backend: kvm}",
        "host: {name: hv2}",
        "host: {product: QEMU*}",
        "host: {build: '<17763.5329'}",
        "host: {twin: true}",
        "guest: {image: debian13}",
        "guest: {image: ab12}",
        "guest: {distribution: '*SUSE*'}",
        "guest: {kernel: '<6.1.0-35'}",
        "guest: {services: {hyperv-daemons: '<6.1.100', open-vm-tools: '>1'}}",
    ],
)
def test_one_thing_that_differs_is_enough_to_not_fit(fits, keys):
    assert not fits(keys)


def test_what_nobody_knows_of_a_test_agrees_with_nothing(fits):
    assert not fits("guest: {kernel: '>=1'}", kernel="")
    assert not fits("host: {build: '>=1'}", build="")


def test_another_check_is_never_fitted(load):
    assert load(f"check: I06, {ALWAYS}").of(SEEN) == ([], {})


def test_an_entry_about_the_test_that_does_not_fit_says_why(load):
    fitting, others = load(f"check: I05, guest: {{kernel: '<6.1.0-30'}}, {ALWAYS}").of(SEEN)
    assert (fitting, others) == ([], {0: "kernel 6.1.0-35-amd64 is not <6.1.0-30"})


def test_an_entry_expires_on_its_day(load):
    (issue,) = load(f"check: I05, {ALWAYS}").issues
    assert not issue.expired(dt.date(2027, 1, 30))
    assert issue.expired(dt.date(2027, 1, 31))


def test_a_message_tells_one_failure_from_another(load):
    (issue,) = load(f"check: I05, message: 'timed out after \\d+ s', {ALWAYS}").issues
    assert issue.explains("AssertionError: timed out after 30 s\nassert False")
    assert not issue.explains("AssertionError: no pairs")


def test_an_entry_knows_its_line(load):
    assert load(f"check: I05, {ALWAYS}", f"check: I06, {ALWAYS}").issues[1].where.endswith("known.yaml:3")


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (f"check: I5, {ALWAYS}", r":2:13 known.0.check: 'I5' is not a check's number; write C01 or ACME-001"),
        ("check: I05, reason: it is so, expires: 2027-01-31", r"known.0.tracker: this key is required"),
        ("check: I05, tracker: https://b.test/1, reason: it is so", r"known.0.expires: this key is required"),
        ("check: I05, tracker: BUG-1, reason: it is so, expires: 2027-01-31", r"no address that opens in a browser"),
        (f"check: I05, {ALWAYS.replace('01-31', '02-30')}", r"known.yaml:2:\d+ is not YAML: day is out of range"),
        (f"check: I05, hosts: {{}}, {ALWAYS}", r"known.0.hosts: unknown key; did you mean 'host'\?"),
        (f"check: I05, guest: {{kernel: '6.1'}}, {ALWAYS}", r"known.0.guest.kernel: '6.1' is no bound of versions"),
        (f"check: I05, message: '(', {ALWAYS}", r"known.0.message: not a regular expression"),
    ],
)
def test_a_mistake_is_told_with_its_place(load, entry, said):
    with pytest.raises(UsageError, match=said):
        load(entry)


def test_a_file_in_which_everything_is_a_comment_knows_nothing(tmp_path):
    (tmp_path / "known.yaml").write_text("# nothing yet\n")
    assert load_known_issues(tmp_path / "known.yaml").issues == ()


def test_the_file_that_ships_knows_nothing_and_its_example_is_right(tmp_path):
    """An entry that ships would hide failures of labs that never heard of it."""
    shipped = find_known_issues(None, None)
    assert load_known_issues(shipped).issues == ()
    lines = shipped.read_text().splitlines()
    begin = lines.index("# known:")
    example = "\n".join(line[2:] for line in lines[begin:] if line.startswith("# "))
    (tmp_path / "known.yaml").write_text(example)
    (issue,) = load_known_issues(tmp_path / "known.yaml").issues
    assert issue.entry.model_fields_set >= {"part", "params", "host", "guest", "message"}


def test_the_schema_takes_what_the_file_may_say():
    schema = known_issues_schema()
    entry = {"check": "I05", "tracker": "https://b.test/1", "reason": "it is so", "expires": "2027-01-31"}
    jsonschema.validate({"known": [entry | {"host": {"pool": "x"}, "params": {"vcpus": 8}}]}, schema)
    for wrong in (entry | {"check": "I5"}, entry | {"hosts": {}}, {"check": "I05"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({"known": [wrong]}, schema)


def test_a_lab_names_its_own_file(tmp_path):
    """Relative to the lab file, wherever the run is started."""
    text = load_lab("local").text + "\nknown_issues: issues/ours.yaml\n"
    parse_yaml(text, "lab")
    lab = read_lab(text, tmp_path / "lab.yaml")
    assert lab.known_issues == tmp_path / "issues" / "ours.yaml"
    assert find_known_issues(None, lab.known_issues) == lab.known_issues
    assert find_known_issues(tmp_path / "asked.yaml", lab.known_issues) == tmp_path / "asked.yaml"


def test_the_working_directorys_file_goes_before_the_one_that_ships(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "known-issues.yaml").write_text("known: []\n")
    assert find_known_issues(None, None).resolve().is_relative_to(tmp_path)


class Asked:
    """A run's state whose lender lends two guests, the first of which cannot tell what it is."""

    def __init__(self, issues, **seen):
        self.known_issues = issues
        self.lent = SimpleNamespace(seen=seen, loans=[SimpleNamespace(guest=name) for name in ("dead", "alive")])
        self.lent.look_at = self._look_at
        self.asked = []
        self.places = {"test": SimpleNamespace(demand=SimpleNamespace(check="I05"))}

    def lender(self, item):
        return self.lent

    def _look_at(self, guest):
        self.asked.append(guest)
        if guest == "dead":
            raise GuestError("no answer")


@pytest.mark.parametrize(
    ("keys", "seen", "asked"),
    [
        ("guest: {kernel: '>=1'}", {}, ["dead", "alive"]),
        ("guest: {services: {open-vm-tools: '>=1'}}", {}, ["dead", "alive"]),
        ("guest: {kernel: '>=1'}", {"kernel": "6.1"}, []),
        ("host: {build: '>=1'}", {}, []),
    ],
)
def test_a_guest_is_asked_what_it_is_if_an_issue_depends_on_it_and_nobody_knows(load, keys, seen, asked):
    state = Asked(load(f"check: I05, {keys}, {ALWAYS}"), **seen)
    known.look(state, "test")
    assert state.asked == asked


def test_no_guest_is_asked_for_an_issue_of_another_check(load):
    state = Asked(load(f"check: I06, guest: {{kernel: '>=1'}}, {ALWAYS}"))
    known.look(state, "test")
    assert state.asked == []
