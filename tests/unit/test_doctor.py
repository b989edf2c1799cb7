"""``interop doctor`` names what is missing and what to do about it."""

import json
import os
import pwd
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.cli import checkup
from harness.cli.checkup import State
from harness.cli.doctor import command


@pytest.fixture
def bare_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine whose PATH holds an empty folder only, and that folder."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def test_a_missing_browser_alone_does_not_make_a_machine_unfit(bare_machine):
    """What only the harness's own tests need is named, but a run goes without it."""
    result = CliRunner().invoke(command, ["--json"])
    chromium = next(one for one in json.loads(result.output) if one["name"] == "chromium")
    assert chromium["state"] == "missing"
    assert "Debian package chromium" in chromium["remedy"]
    essential = [one for one in json.loads(result.output) if one["purpose"] in ("controller", "kvm", "image")]
    assert result.exit_code == any(one["state"] == "missing" for one in essential)


def test_a_purpose_asked_for_is_essential(bare_machine):
    """`interop doctor tests` fails where a browser is missing."""
    result = CliRunner().invoke(command, ["tests"])
    assert result.exit_code == 1
    assert "missing: chromium" in result.output


def test_a_tool_that_does_not_run_is_missing(bare_machine):
    """A file on PATH is not enough: its version is asked for."""
    (bare_machine / "node").write_text("#!/bin/sh\nexit 3\n")
    (bare_machine / "node").chmod(0o755)
    node = next(finding for finding in checkup.report() if finding.name == "node")
    assert node.state is State.MISSING
    assert "does not run" in node.seen


def test_the_version_of_a_tool_is_what_it_says_itself(bare_machine):
    """The first line that it prints."""
    (bare_machine / "node").write_text("#!/bin/sh\necho v99.1.2\necho more\n")
    (bare_machine / "node").chmod(0o755)
    node = next(finding for finding in checkup.report() if finding.name == "node")
    assert (node.state, node.seen) == (State.OK, "v99.1.2")


def test_a_cache_that_cannot_be_made_is_named_with_its_remedy(monkeypatch, tmp_path):
    """A file stands where the folder should be."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("INTEROP_CACHE", str(tmp_path / "file" / "cache"))
    cache = next(finding for finding in checkup.controller() if finding.name == "cache")
    assert cache.state is State.MISSING
    assert "INTEROP_CACHE" in str(cache.remedy)


def test_without_an_accessible_device_guests_are_emulated_and_the_run_goes_on(monkeypatch):
    """No KVM is a drawback, not a defect."""
    monkeypatch.setattr(os, "access", lambda *_: False)
    acceleration = next(finding for finding in checkup.kvm() if finding.name == "acceleration")
    assert acceleration.state is State.NOTE
    assert "TCG" in acceleration.seen


def test_a_probe_that_hung_is_told_with_its_reason(monkeypatch, tmp_path):
    """/dev/kvm can be opened and still not work."""
    monkeypatch.setattr(os, "access", lambda *_: True)
    monkeypatch.setattr(Path, "exists", lambda self: True)
    monkeypatch.setenv("INTEROP_CACHE", str(tmp_path))
    verdict = {"accel": "tcg", "reason": "a probe boot under KVM did not reach a shell", "seconds": 25.0}
    (tmp_path / "acceleration.json").write_text(json.dumps({"key": verdict}))
    acceleration = next(finding for finding in checkup.kvm() if finding.name == "acceleration")
    assert acceleration.state is State.NOTE
    assert "did not reach a shell" in acceleration.seen


def test_as_root_the_account_of_libvirts_driver_must_exist(monkeypatch):
    """The driver looks it up before it reads that guests run as root; for other users it does not matter."""
    monkeypatch.setattr(pwd, "getpwall", list)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    account = next(finding for finding in checkup.kvm() if finding.name == "account")
    assert account.state is State.MISSING
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "account" not in {finding.name for finding in checkup.kvm()}


def test_an_unknown_purpose_is_refused_with_the_known_ones():
    """Bad input gets one clear message."""
    result = CliRunner().invoke(command, ["surgery"])
    assert result.exit_code == 2
    assert "'controller', 'kvm', 'twins', 'image', 'report', 'tests'" in result.output


@pytest.mark.parametrize(("said", "state"), [("go1.19.8", State.MISSING), ("go1.23.0", State.OK), ("", State.MISSING)])
def test_a_go_that_is_too_old_is_told_with_what_to_do(bare_machine, monkeypatch, said, state):
    """Debian 12 has one that cannot build the vSphere twin."""
    (bare_machine / "go").write_text(f"#!/bin/sh\necho {said}\n")
    (bare_machine / "go").chmod(0o755)
    monkeypatch.setattr("harness.twins.vsphere.build._candidates", lambda: iter([bare_machine / "go"]))
    found = next(finding for finding in checkup.twins() if finding.name == "go")
    assert found.state is state
    assert (found.remedy is None) == (state is State.OK)


def test_a_library_whose_package_is_missing_is_a_finding(monkeypatch):
    """And no traceback."""
    found = checkup._module("no_such_package.part", "part", "install it")
    assert found.state is State.MISSING


def test_a_machine_without_what_twins_need_is_fit_for_runs(bare_machine):
    """Labs without twins need none of it."""
    done = CliRunner().invoke(command, ["--json"])
    assert any(one["purpose"] == "twins" and one["state"] == "missing" for one in json.loads(done.output))
    essential = [one for one in json.loads(done.output) if one["purpose"] in ("controller", "kvm", "image")]
    assert done.exit_code == any(one["state"] == "missing" for one in essential)
