"""Release files: what is right is read as it stands, and what is wrong is told with line, column and what is right."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner

from harness.cli import interop
from harness.core import Deadline, UsageError
from harness.core.config import parse_yaml
from harness.lab.releases import Release, Which, prepare, release_schema, releases
from harness.lab.releases.pinning import write_pins
from harness.lab.releases.preparing import pins

SHIPPED = sorted((Path(__file__).resolve().parents[2] / "configs" / "releases").glob("*.yaml"))
GOOD = """\
hosts: [kvm]
services: [qemu-guest-agent.service]
baseline:
  files:
    - path: old.deb
      sha256: OLD
candidate:
  files:
    - path: new.deb
      sha256: NEW
must_change:
  packages: [qemu-guest-agent]
measure: {"C07.*": 2 %, N14.latency: 0.1}
"""
OLD = "4dd01ab9aaf38b2d2b23b5d4d8f3fb5b1ca5e6b6a4c2d1e9a6a0a9b1c2d3e4f5"
IN = Path("acme.yaml")


def read(text: str) -> Release:
    return Release.read(text.replace("OLD", OLD).replace("NEW", OLD[::-1]), IN)


def wrong(before: str, after: str) -> str:
    """What is said of the good file with something changed."""
    assert before in GOOD
    with pytest.raises(UsageError) as told:
        read(GOOD.replace(before, after))
    return str(told.value)


@pytest.fixture
def file(tmp_path):
    """A release file beside the two files that it names, pinned to other hashes."""
    (tmp_path / "old.deb").write_bytes(b"old")
    (tmp_path / "new.deb").write_bytes(b"new")
    path = tmp_path / "acme.yaml"
    path.write_text(GOOD.replace("OLD", OLD).replace("NEW", OLD[::-1]))
    return path


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_releases_that_ship_are_sound_and_pinned(path):
    """Whoever names one gets the very bytes that its author meant."""
    release = Release.load(path)
    for side in (release.baseline, release.candidate):
        assert side.packages
        assert all(package.sha256 for package in side.packages)
    jsonschema.validate(parse_yaml(path.read_text(), path.name), release_schema())


def test_a_release_can_be_named():
    """Those that ship, from anywhere."""
    assert {path.stem for path in SHIPPED} <= set(releases())
    assert Release.load(SHIPPED[0].stem).name == SHIPPED[0].stem
    with pytest.raises(UsageError, match="no release is called 'qemu-guest-agent-backprt'; did you mean"):
        Release.load("qemu-guest-agent-backprt")


def test_a_side_is_asked_for_by_name():
    """The candidate, where nothing is said."""
    name = SHIPPED[0].stem
    assert Release.asked(name)[1] is Which.CANDIDATE
    release, which = Release.asked(f"{name}@baseline")
    assert which is Which.BASELINE
    assert release.word(which) == f"{name}@baseline"
    assert Release.asked(release.option(which)) == (release, which)
    with pytest.raises(UsageError, match="has no side 'basline'; did you mean 'baseline'"):
        Release.asked(f"{name}@basline")


def test_what_a_file_says_is_typed():
    """Shares as percentages or as fractions."""
    release = read(GOOD)
    assert release.name == "acme"
    assert release.measure == {"C07.*": 0.02, "N14.latency": 0.1}
    assert release.must_change.packages == ("qemu-guest-agent",)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("must_change:", "must_chang:", "acme.yaml:11:1 must_chang: unknown key; did you mean 'must_change'?"),
        ("hosts: [kvm]", "hosts: [kmv]", "acme.yaml:1:9 hosts.0: no backend is called 'kmv'; did you mean 'kvm'?"),
        ("new.deb", "new.zip", "acme.yaml:9:13 candidate.files.0.path: 'new.zip' is no package"),
        ("sha256: NEW", "sha256: a12", "acme.yaml:10:15 candidate.files.0.sha256: must be a sha256 in hex"),
        ("candidate:\n", "candidate:\n  image: {name: x}\n", "acme.yaml:7:1 candidate: needs exactly one of packages"),
        ("baseline:\n", "baseline:\n  suite: bookworm\n", "baseline: a suite is of use to packages alone"),
        ("  packages: [qemu-guest-agent]\n", "  {}\n", "must_change must name something"),
        ("0.1}", "3 km}", "measure.N14.latency: a share is written as 2 % or 0.02"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(before, after, said):
    """And with the nearest word that is right."""
    assert said in wrong(before, after)


def test_a_release_of_one_side_is_none():
    """It would be compared with itself."""
    assert "baseline and candidate are the same" in wrong(GOOD[GOOD.index("cand") : GOOD.index("must")], "candidate:\n"
        "  files: [{path: old.deb, sha256: OLD}]\n")  # fmt: skip


def test_an_image_is_held_against_an_image():
    """Installing over what another image has would compare two things at once."""
    other = GOOD[GOOD.index("cand") : GOOD.index("must")]
    assert "only be held against another image" in wrong(other, "candidate: {image: {name: debian13}}\n")


def test_guests_are_told_apart_by_what_is_installed():
    """By pins, versions and commands; not by where files lie, comments or what a sign-off asks for."""
    plain = read(GOOD)
    moved = read("# moved\n" + GOOD.replace("new.deb", "else/where.deb").replace("2 %", "3 %"))
    repinned = read(GOOD.replace("NEW", "NEW"[::-1]).replace("WEN", OLD[1:] + "0"))
    for which in Which:
        assert plain.digest(which) == moved.digest(which)
    assert plain.digest(Which.BASELINE) != plain.digest(Which.CANDIDATE)
    assert plain.digest(Which.CANDIDATE) != repinned.digest(Which.CANDIDATE)
    assert plain.digest(Which.BASELINE) == repinned.digest(Which.BASELINE)


def test_a_wrong_hash_is_told_with_the_right_one(file):
    """On the line where it belongs; nothing is installed."""
    with pytest.raises(UsageError) as told:
        prepare(Release.load(file), Which.CANDIDATE)
    assert "acme.yaml:6:15 baseline.files.0.sha256: is not the hash of what is there" in str(told.value)
    assert "acme.yaml:10:15 candidate.files.0.sha256: is not the hash of what is there" in str(told.value)
    assert "write sha256: 11507a0e2f5e69d5dfa40a62a1bd7b6ee57e6bcd85c67c9b8431b36fff21c437" in str(told.value)


def test_a_missing_hash_is_told_with_the_right_one(file):
    """There is no trust at first use."""
    file.write_text(file.read_text().replace(f"      sha256: {OLD[::-1]}\n", ""))
    with pytest.raises(
        UsageError, match=r"acme.yaml:9:7 candidate.files.0.sha256: no hash is pinned; .* write sha256: 1"
    ):
        prepare(Release.load(file), Which.CANDIDATE)


def test_a_file_that_is_not_there_is_told(file):
    """By its whole path."""
    (file.parent / "new.deb").unlink()
    with pytest.raises(UsageError, match=r"acme.yaml:9:13 candidate.files.0.path: /.*/new.deb is not there"):
        prepare(Release.load(file), Which.CANDIDATE)


def test_wrong_pins_are_replaced_on_demand_alone(file):
    """What is there may be what somebody slipped in."""
    release = Release.load(file)
    before = file.read_text()
    with pytest.raises(UsageError, match="is not the hash of what is there"):
        write_pins(release, pins(release, Deadline.after(9)))
    assert file.read_text() == before
    assert len(write_pins(release, pins(release, Deadline.after(9)), replace=True)) == 2
    prepared = prepare(Release.load(file), Which.CANDIDATE)
    assert [payload.path.read_bytes() for payload in prepared.payloads[Which.CANDIDATE]] == [b"new"]
    (file.parent / "new.deb").write_bytes(b"slipped in")
    with pytest.raises(UsageError, match="is not the hash of what is there"):
        prepare(Release.load(file), Which.CANDIDATE)


def test_the_command_tells_what_the_file_says(file):
    """`interop release check`, `pin`, `show`, `fetch` and `list`."""

    def told(*words: str) -> str:
        done = CliRunner().invoke(interop, ["release", *words])
        return done.output + str(done.exception or "")

    assert "acme.yaml:6:15" in told("check", str(file))
    assert "is not the hash" in told("pin", str(file))
    assert "candidate.files.0.sha256: 1150" in told("pin", "--replace", str(file))
    assert "is as its file says" in told("check", str(file))
    assert "every hash is pinned" in told("pin", str(file))
    shown = told("show", str(file))
    assert "must change: package qemu-guest-agent" in shown
    assert "--release acme@baseline" in shown
    assert "new.deb" in told("fetch", str(file))
    assert "qemu-guest-agent-backport" in told("list")
    assert '"candidate"' in told("schema")
