"""The report on dependencies: all are pinned, what is known is told, and that nobody could be asked is no good news."""

import json
import shutil
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from audit import sources
from audit.__main__ import command
from audit.locks import read
from audit.sources import Answer

ROOT = Path(__file__).resolve().parents[2]
LOCK = """\
nice==1.0 \\
    --hash=sha256:{0} \\
    --hash=sha256:{0}
    # via us
other==2.0 ; python_version < '4' \\
    --hash=sha256:{0}
"""
INNER = {"version": "3.0", "integrity": "sha512-x", "license": "MIT"}
NPM = {"packages": {"": {}, "node_modules/a/node_modules/@b/c": INNER}}
NICE, OTHER = ({"name": name, "version": "1.0", "vulns": []} for name in ("nice", "other"))
SKIPPED = {"dependencies": [{"name": "nice", "skip_reason": "not found"}]}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A checkout with small locks, and PATH with programs of ours alone, which say what they are told to."""
    (tmp_path / "requirements.txt").write_text(LOCK.format("0" * 64))
    (tmp_path / "package-lock.json").write_text(json.dumps(NPM))
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    program(tmp_path, "pip-audit", json.dumps({"dependencies": [NICE, OTHER]}))
    program(tmp_path, "npm", json.dumps({"vulnerabilities": {}}))
    return tmp_path


def program(place, name, said="", complaint="", status=0, *, outdated="{}"):
    """One that says this, whatever it is asked; but for what is newer."""
    source = f"#!{sys.executable}\nimport sys\nif 'outdated' in sys.argv:\n    sys.exit(print({outdated!r}))\n"
    source += f"print({said!r})\nsys.stderr.write({complaint!r})\nsys.exit({status})\n"
    (place / "bin" / name).write_text(source)
    (place / "bin" / name).chmod(0o755)


def report(place, *words):
    """Exit status and what it said; pip is not asked here: an index is no test's business."""
    done = CliRunner().invoke(command, ["--root", str(place), *words], catch_exceptions=False)
    return done.exit_code, done.output


@pytest.fixture(autouse=True)
def no_index(monkeypatch):
    monkeypatch.setattr(sources, "newer_python", lambda: Answer("newer Python packages", {}))


def test_everything_that_is_locked_here_is_pinned_by_a_hash_of_its_content():
    """Python's, npm's and Go's; and the report of it can be had without a network."""
    locked = read(ROOT)
    assert [one for one in locked if not one.pinned] == []
    counts = {kind: sum(one.kind == kind for one in locked) for kind in ("python", "npm", "go")}
    assert counts["python"] > 60
    assert counts["npm"] > 100
    assert counts["go"] >= 2
    status, said = report(ROOT, "--offline")
    assert status == 0
    assert "not known: newer versions and vulnerabilities: nobody was asked" in said


def test_every_lock_is_read_whole():
    """A pin that is written otherwise would be missed in silence."""
    for lock in ROOT.glob("requirements*.txt"):
        names = [line for line in lock.read_text().splitlines() if "==" in line and not line.startswith((" ", "#"))]
        assert len([one for one in read(ROOT) if one.lock == lock.name]) == len(names) > 0


def test_what_has_no_hash_fails(place):
    (place / "requirements.txt").write_text(LOCK.format("0" * 64) + "loose==3.0\n    # via nobody\n")
    status, said = report(place, "--offline")
    assert status == 1
    assert "not pinned by a hash: loose" in said


def test_where_everybody_answers_and_knows_nothing_bad_it_passes(place):
    status, said = report(place, "--strict")
    assert (status, "not known" in said) == (0, False), said
    assert "3 dependencies: 2 in requirements.txt, 1 in package-lock.json" in said


def test_a_known_vulnerability_fails_and_is_named(place):
    bad = NICE | {"vulns": [{"id": "CVE-1"}, {"id": "CVE-2"}]}
    program(place, "pip-audit", json.dumps({"dependencies": [bad]}), "Found 2 known vulnerabilities\n", 1)
    status, said = report(place)
    assert status == 1
    assert "vulnerabilities of requirements.txt: nice: CVE-1, CVE-2" in said
    program(place, "npm", json.dumps({"vulnerabilities": {"@b/c": {"severity": "high"}}}), status=1)
    assert "vulnerabilities of package-lock.json: @b/c: high" in report(place)[1]


@pytest.mark.parametrize(
    ("name", "said", "complaint", "told"),
    [
        ("pip-audit", "", "Traceback:\nConnectionError: no route\n", "requirements.txt: ConnectionError: no route"),
        ("pip-audit", SKIPPED, "No known vulnerabilities\n", "1 of 1 were not looked at: not found"),
        ("npm", {"message": "405 Not Allowed", "error": {}}, "npm error\n", "package-lock.json: 405 Not Allowed"),
        ("npm", "", "", "package-lock.json: npm ended with 1"),
    ],
)
def test_a_source_that_cannot_be_reached_is_told_in_a_line_and_never_passes_for_good_news(
    place, name, said, complaint, told
):
    """pip-audit ends well where it skipped everything."""
    program(place, name, json.dumps(said) if said else "", complaint, 0 if "dependencies" in said else 1)
    status, output = report(place)
    [line] = [line for line in output.splitlines() if line.startswith("not known: vulnerabilities")]
    assert line.endswith(told)
    assert status == 0
    assert report(place, "--strict")[0] == 1


def test_a_program_that_is_not_installed_is_told(place):
    (place / "bin" / "pip-audit").unlink()
    assert "not known: vulnerabilities of requirements.txt: pip-audit is not installed" in report(place)[1]


def test_go_is_told_of_what_it_calls(place):
    folder = place / "harness" / "twins" / "vsphere" / "go"
    folder.mkdir(parents=True)
    for name in ("go.mod", "go.sum"):
        shutil.copy(ROOT / "harness/twins/vsphere/go" / name, folder)
    finding = {"finding": {"osv": "GO-1", "trace": [{"module": "github.com/google/uuid"}]}}
    program(place, "govulncheck", json.dumps({"config": {}}, indent=1) + "\n" + json.dumps(finding, indent=1))
    status, said = report(place)
    assert status == 1
    assert "vulnerabilities of go/go.mod: github.com/google/uuid: GO-1" in said


def test_the_report_is_data_as_well(place):
    program(place, "npm", json.dumps({"vulnerabilities": {}}), outdated=json.dumps({"@b/c": {"latest": "4.0"}}))
    status, said = report(place, "--json")
    read_back = json.loads(said)
    assert status == 0
    assert [one["name"] for one in read_back["locked"]] == ["nice", "other", "@b/c"]
    assert read_back["locked"][2]["newer"] == "4.0"
