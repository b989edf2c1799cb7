"""Accepting a host: what the contract saw becomes a masked file and a page that is honest about what was seen."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.backends import hyperv
from harness.backends.hyperv.errors import NoRight
from harness.backends.protocol import WrongState
from harness.backends.vsphere.errors import Gone
from harness.cli import accept as cli
from harness.core import LabError, UsageError
from harness.lab import accept, acceptance
from harness.lab.load import load_lab
from tests.contract.observing import kind_of

RAW = {
    "run": "0123456789",
    "host": {
        "product": "QEMU/libvirt",
        "version": "7.2.22",
        "build": "QEMU 7.2.22, libvirt 9.0.0",
        "accelerated": "kvm",
        "twin": False,
        "backend": "kvm",
        "details": {"kernel": "6.1", "host name": "kvm7", "uri": "qemu+ssh://root@kvm7.lab.example/system"},
    },
    "capabilities": ["PAUSE", "BIOS"],
    "verbs": {
        "start": {"calls": 3, "worked": 2, "median_seconds": 0.41, "longest_seconds": 1.0, "raised": {"WrongState": 1}},
        "nmi": {"calls": 1, "worked": 0, "median_seconds": None, "longest_seconds": None, "raised": {"OSError": 1}},
    },
    "tests": {
        "test_contract_power.py::test_a_new_machine_is_off[kvm]": {"outcome": "passed", "seconds": 0.1},
        "test_contract_power.py::test_uefi[kvm]": {"outcome": "skipped", "seconds": 0.0, "why": "no UEFI"},
        "test_contract_power.py::test_nmi[kvm]": {
            "outcome": "failed",
            "seconds": 0.1,
            "why": "kvm7.lab.example refused root at 192.0.2.7 with hunter2secret",
        },
    },
}


@pytest.fixture
def seen():
    """What the contract saw of one host."""
    return accept.told(RAW, [], "2026-01-02")


def test_outcomes_are_counted_and_failures_are_surprises(seen):
    """So is what a verb should never raise; what the contract provokes is none."""
    assert seen.tests == {"passed": 1, "failed": 1, "skipped": 1}
    assert seen.skipped == {"uefi[kvm]": "no UEFI"}
    assert len(seen.surprises) == 2
    assert seen.surprises[0].startswith("nmi[kvm]: ")
    assert seen.surprises[1] == "nmi raised OSError (1 of 1 calls)"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (WrongState("off"), "WrongState"),
        (Gone("no such machine"), "LabError"),
        (NoRight("not yours"), "LabError"),
        (OSError("broken"), "OSError"),
    ],
)
def test_a_backends_own_errors_are_what_the_protocol_calls_them(error, kind):
    assert kind_of(error) == kind


def test_what_was_left_behind_is_a_surprise():
    """Though it was reaped."""
    told = accept.told(RAW, ["machine contract-1"], "2026-01-02")
    assert told.surprises[-1] == "left behind and reaped: machine contract-1"


def test_a_build_that_is_a_bare_number_is_told_with_its_product(seen):
    """Else nobody knew what it is a build of."""
    esxi = replace(seen, host=seen.host | {"product": "VMware ESXi", "version": "8.0.3", "build": "24022510"})
    assert esxi.build == "VMware ESXi 8.0.3 build 24022510, kvm"


def test_a_file_is_read_back_as_it_was_written(seen, tmp_path):
    """Nothing is lost on the way."""
    path = tmp_path / seen.file_name
    path.write_text(seen.text())
    assert acceptance.read(path) == seen


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1}', '{"format": 99}'])
def test_a_file_of_another_kind_is_refused(text, tmp_path):
    """It is named."""
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"other\.json"):
        acceptance.read(path)


def test_the_page_tells_apart_what_was_seen_where(seen):
    """A verb that only failed was not seen; one seen on twins alone is said to be so."""
    twin = replace(seen, host=seen.host | {"build": "stand-in", "twin": True})
    text = acceptance.page([seen, twin])
    assert "| `start` | 0.41 s | 0.41 s |  |" in text
    assert "| `NmiInjector.nmi` | - | - | not seen yet |" in text
    assert "| `start` | 0.41 s | twin only |" in acceptance.page([twin])
    assert "nmi raised OSError" in text


def test_the_page_has_a_row_for_every_verb_of_the_protocol():
    """Those of the ledger and of the console are no verbs of a host."""
    shown = {name for _, names in acceptance.verbs() for name, _ in names}
    assert {"create", "start", "Pausable.pause", "HostClock.clock", "FileCopy.copy_file"} <= shown
    assert not {name for name in shown if name.startswith(("Ledger", "Creation", "Console"))}


def test_without_a_file_the_page_claims_nothing():
    """Every verb is there, and was seen nowhere."""
    text = acceptance.page([])
    assert "No build has been accepted yet." in text
    assert "| `start` | not seen yet |" in text


def test_the_page_in_the_documentation_is_that_of_the_files_kept():
    """`make docs` writes it."""
    docs = Path(__file__).resolve().parents[2] / "docs"
    kept = acceptance.kept(docs / "accepted")
    assert kept
    assert (docs / "seen-on.md").read_text() == acceptance.page(kept)


def test_secrets_names_and_addresses_do_not_reach_the_file(seen, tmp_path, monkeypatch):
    """Neither from the lab file nor from what a failure says; versions stay."""
    lab_file = tmp_path / "lab.yaml"
    lab_file.write_text(
        "hosts:\n  far:\n    backend: kvm\n    uri: qemu+ssh://root@kvm7.lab.example/system\n"
        "networks:\n  management:\n    kind: network\n    source: default\n    subnet: 192.0.2.0/24\n"
    )
    monkeypatch.setattr(accept, "accept", lambda *_, **__: seen)
    done = CliRunner().invoke(cli.command, [str(lab_file), "far", "--output", str(tmp_path / "out")])
    assert done.exit_code == 1, done.output
    (path,) = (tmp_path / "out").glob("*.json")
    text = path.read_text()
    for word in ("kvm7", "lab.example", "192.0.2.7", str(tmp_path)):
        assert word not in text
    assert json.loads(text)["host"]["version"] == "7.2.22"


@pytest.mark.parametrize(
    ("settings", "masked", "kept"),
    [
        ({"endpoint": "Win1.Lab.Example", "user": "alice"}, ["Win1.Lab.Example", "alice"], ["ntlm", "interop"]),
        ({"endpoint": "win1:5986", "user": "LAB\\bob"}, ["win1", "LAB", "bob"], ["5986", "inline"]),
        ({"endpoint": "win1", "user": "bob@LAB.EXAMPLE"}, ["bob", "LAB.EXAMPLE", "lab.example"], []),
        ({"endpoint": "win1", "spn": "HTTP/win7.lab.example", "auth": "kerberos"}, ["win7.lab.example"], ["HTTP"]),
    ],
)
def test_a_name_that_stands_alone_in_a_lab_file_is_masked(seen, settings, masked, kept):
    """Of a host or of an account; words that name nobody stay."""
    lab = load_lab("local")
    made = hyperv.Settings(**{"user": "alice", "password": "env:NO_SUCH_PASSWORD", **settings})
    host = replace(lab.hosts["kvm"], backend="hyperv", settings=made)
    redactor = cli.redactor_of(lab, host, seen)
    for word in masked:
        assert word not in redactor.text(f"of {word}, and {word} alone")
    for word in kept:
        assert redactor.text(f"the {word} of it") == f"the {word} of it"


def test_a_host_that_surprised_nobody_is_accepted(seen, tmp_path, monkeypatch):
    """Exit status 0, and the file's name says what it is about."""
    monkeypatch.setattr(accept, "accept", lambda *_, **__: replace(seen, surprises=[]))
    done = CliRunner().invoke(cli.command, ["local", "kvm", "--output", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert [path.name for path in tmp_path.glob("*.json")] == ["kvm-qemu-7.2.22-libvirt-9.0.0-kvm.json"]


def test_an_unknown_host_is_named_with_the_nearest():
    """Before anything is opened."""
    done = CliRunner().invoke(cli.command, ["local", "kvn"])
    assert isinstance(done.exception, UsageError)
    assert "kvm" in str(done.exception)


def test_a_wheel_without_tests_says_so(monkeypatch):
    """And where they are."""
    monkeypatch.setattr(accept, "__file__", "/usr/lib/python3/site-packages/harness/lab/accept.py")
    with pytest.raises(UsageError, match="not of the wheel") as caught:
        accept.accept(load_lab("local"), load_lab("local").hosts["kvm"], "debian12")
    assert "clone" in str(caught.value.hint)


@pytest.mark.parametrize(("status", "error"), [(2, LabError), (3, LabError), (4, UsageError), (5, LabError)])
def test_a_contract_that_was_not_run_to_its_end_is_no_acceptance(status, error, tmp_path):
    """Interrupted, broken, not understood, or empty."""
    import sys

    with pytest.raises(error, match=str(status)):
        accept._run([sys.executable, "-c", f"raise SystemExit({status})"], tmp_path)


def test_what_was_found_out_is_kept_masked_and_shown(tmp_path, monkeypatch):
    """Numbers stay numbers; an address in a note is no more told than one in a surprise."""
    notes = {"an uploader that stalls": {"after_seconds": 300.5, "ended": True, "fault": "Timedout at 192.0.2.7"}}
    seen = accept.told(RAW | {"notes": notes}, [], "2026-01-02")
    assert accept.told(RAW, [], "2026-01-02").notes == {}
    monkeypatch.setattr(accept, "accept", lambda *_, **__: seen)
    CliRunner().invoke(cli.command, ["local", "kvm", "--output", str(tmp_path)])
    (path,) = tmp_path.glob("*.json")
    kept = acceptance.read(path)
    assert kept.notes["an uploader that stalls"]["after_seconds"] == 300.5
    assert "192.0.2.7" not in path.read_text()
    page = acceptance.page([kept])
    assert "- after seconds: 300.5\n- ended: yes\n- fault: Timedout at (address)" in page
    assert "## Found out" not in acceptance.page([accept.told(RAW, [], "2026-01-02")])
