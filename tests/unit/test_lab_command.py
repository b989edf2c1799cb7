"""`interop lab` and `interop reap`, as typed; the shipped labs; the generated page."""

import json
import sys
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner

from harness.cli import interop, main
from harness.core.config import read_yaml
from harness.lab.load import labs, load_lab
from harness.lab.reference import reference
from tests.unit.announcing import announce

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = sorted((ROOT / "configs/labs").glob("*.yaml"))


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    """State and cache of this test alone."""
    monkeypatch.setenv("INTEROP_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("INTEROP_CACHE", str(tmp_path / "cache"))


def typed(*words: str) -> str:
    done = CliRunner().invoke(interop, words)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_lab_loads_and_fits_the_printed_schema(path):
    assert load_lab(path).hosts
    jsonschema.validate(read_yaml(path), json.loads(typed("lab", "schema")))


def test_the_default_lab_needs_nothing_but_this_machine():
    lab = load_lab()
    assert all(host.embedded or host.twin for host in lab.hosts.values())
    assert {host.domain for host in lab.hosts.values()} == {"this-machine"}
    assert not any(network.gateway or network.dns for network in lab.networks.values())
    assert "needs" not in typed("lab", "check")


def test_shipped_labs_are_found_by_name_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert {"local", "example"} <= set(labs())


def test_check_shows_hosts_pools_networks_and_needs():
    shown = typed("lab", "check", "example")
    for word in ("rhel9-a", "rhel9-kvm", "64 GiB", "192.0.2.100-192.0.2.199", "needs ssh to interop@jump.example:22"):
        assert word in shown


LIMITS = "hosts: {one: {limits: {L02.boot: {at_most: 9, unit: s, reason: our disks are fast}}}}"


@pytest.mark.parametrize(
    ("limits", "status", "said"),
    [
        (LIMITS, 0, "the lab has limits of its own for one"),
        (LIMITS.replace("L02.boot", "L02.bot"), 1, "own.yaml:1:24 hosts.one.limits.L02.bot: no limit is called so"),
        (None, 1, "own.yaml: cannot be read"),
    ],
)
def test_check_looks_at_the_labs_own_limits(tmp_path, limits, status, said):
    lab = tmp_path / "lab.yaml"
    lab.write_text("hosts: {one: {backend: kvm}}\nnetworks: {management: {kind: user}}\ncalibration: own.yaml\n")
    if limits is not None:
        (tmp_path / "own.yaml").write_text(limits)
    done = CliRunner().invoke(interop, ["lab", "check", str(lab)])
    assert done.exit_code == status
    assert said in f"{done.output}{done.exception}"


@pytest.mark.parametrize(
    ("issues", "status", "said"),
    [
        ("", 0, "the lab has 0 known issues"),
        ("known: [{check: I5}]", 1, "own.yaml:1:17 known.0.check: 'I5' is not a check's number"),
        (None, 1, "own.yaml: cannot be read"),
    ],
)
def test_check_looks_at_the_labs_known_issues(tmp_path, issues, status, said):
    lab = tmp_path / "lab.yaml"
    lab.write_text("hosts: {one: {backend: kvm}}\nnetworks: {management: {kind: user}}\nknown_issues: own.yaml\n")
    if issues is not None:
        (tmp_path / "own.yaml").write_text(issues)
    done = CliRunner().invoke(interop, ["lab", "check", str(lab)])
    assert done.exit_code == status
    assert said in f"{done.output}{done.exception}"


def test_check_tells_every_mistake_and_fails(tmp_path, capsys):
    path = tmp_path / "lab.yaml"
    path.write_text("hosts:\n  a:\n    backend: kvn\nnetworks:\n  management: {kind: usr}\n")
    with pytest.raises(SystemExit) as end:
        main(["lab", "check", str(path)])
    told = capsys.readouterr().err.splitlines()
    assert end.value.code == 1
    assert told[0] == f"interop: {path}:3:14 hosts.a.backend: no backend is called 'kvn'; did you mean 'kvm'?"
    assert told[1].startswith(f"{path}:5:22 networks.management.kind: 'usr' is not one of")


@pytest.fixture
def vault(tmp_path, monkeypatch):
    """A lab whose one host needs a secret, and refuses every connection."""
    (tmp_path / "interop_vault.py").write_text(
        "from harness.backends.registry import HostSettings\n"
        "from harness.core import LabError\n"
        "from harness.core.secrets import Secret\n"
        "class Settings(HostSettings):\n"
        "    password: Secret\n"
        "def connect(settings, context):\n"
        "    raise LabError('connection refused', operation='connect', hint='is it switched on?')\n"
    )
    announce(tmp_path, "interop-vault", "[interop.backends]\nvault = interop_vault\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "interop_vault", raising=False)
    path = tmp_path / "lab.yaml"
    path.write_text(
        "hosts: {a: {backend: vault, password: 'env:VAULT_PASSWORD'}}\nnetworks: {management: {kind: user}}\n"
    )
    return str(path)


def test_a_secret_is_a_need_that_names_its_place_alone(vault, monkeypatch):
    monkeypatch.delenv("VAULT_PASSWORD", raising=False)
    assert "a needs the secret env:VAULT_PASSWORD (missing:" in typed("lab", "check", vault)
    monkeypatch.setenv("VAULT_PASSWORD", "hunter2")
    shown = typed("lab", "check", vault)
    assert "a needs the secret env:VAULT_PASSWORD (there)" in shown
    assert "hunter2" not in shown


def test_a_host_that_cannot_be_opened_is_one_clear_error(vault):
    done = CliRunner().invoke(interop, ["lab", "check", "--connect", vault])
    assert done.exit_code == 1
    assert "a: connect: connection refused\n  hint: is it switched on?" in done.output


def test_reaping_a_host_that_cannot_be_opened_fails_with_one_line(vault):
    done = CliRunner().invoke(interop, ["reap", "--lab", vault])
    assert done.exit_code == 1
    assert "a: connect: connection refused" in done.output


def test_the_page_about_lab_files_is_current():
    """Else run: interop lab reference > docs/lab-file.md."""
    assert (ROOT / "docs/lab-file.md").read_text() == reference()


def test_reaping_an_unknown_run_is_told(capsys):
    with pytest.raises(SystemExit) as end:
        main(["reap", "--run", "0000000000"])
    assert end.value.code == 1
    assert capsys.readouterr().err == "interop: no run is called '0000000000' in this controller's journal\n"
