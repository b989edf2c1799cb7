"""Packages of an archive: apt believes a signature and a hash, and nothing else."""

from __future__ import annotations

import gzip
import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.core import Deadline, LabError, UsageError
from harness.image import debian_sources
from harness.lab.releases import Release, Which, prepare
from harness.lab.releases.archive import Archive, NotThere, parse_madison
from tests.unit.local_guest import Package

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("apt-get", "dpkg-deb", "gpg"))), reason="apt, dpkg or gpg is not on this machine"
)


def soon() -> Deadline:
    return Deadline.after(60)


class Mirror:
    """An archive with one suite in a folder, signed by a key of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.suite = folder / "debian", "bookworm"
        self.keys = folder / "keys"
        self.keys.mkdir(mode=0o700)
        self.pool = self.folder / "pool"
        self.pool.mkdir(parents=True)
        spec = "Key-Type: EDDSA\nKey-Curve: ed25519\nName-Real: archive\nExpire-Date: 0\n%no-protection\n%commit\n"
        self._gpg("--gen-key", stdin=spec.encode())
        self.keyring = folder / "archive.gpg"
        self.keyring.write_bytes(self._gpg("--export"))

    def publish(self, *packages: Package) -> None:
        index = ""
        for package in packages:
            built = package.build(self.pool.parent.parent / f"build-{package.version}")
            kept = shutil.copy(built, self.pool)
            data = Path(kept).read_bytes()
            index += (
                f"Package: {package.name}\nVersion: {package.version}\nArchitecture: all\nMaintainer: a\n"
                f"Description: a\nFilename: pool/{built.name}\nSize: {len(data)}\n"
                f"SHA256: {hashlib.sha256(data).hexdigest()}\n\n"
            )
        lists = self.folder / "dists" / self.suite
        (lists / "main/binary-amd64").mkdir(parents=True, exist_ok=True)
        zipped = gzip.compress(index.encode(), mtime=0)
        (lists / "main/binary-amd64/Packages.gz").write_bytes(zipped)
        (lists / "Release").write_text(
            f"Codename: {self.suite}\nSuite: {self.suite}\nArchitectures: amd64\nComponents: main\n"
            "Date: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n"
            f" {hashlib.sha256(index.encode()).hexdigest()} {len(index)} main/binary-amd64/Packages\n"
            f" {hashlib.sha256(zipped).hexdigest()} {len(zipped)} main/binary-amd64/Packages.gz\n"
        )
        signed = self._gpg("--clearsign", "--output", "-", str(lists / "Release"))
        (lists / "InRelease").write_bytes(signed)
        (lists / "Release").unlink()

    def _gpg(self, *words: str, stdin: bytes = b"") -> bytes:
        argv = ["gpg", "--homedir", str(self.keys), "--batch", "--yes", "--quiet", *words]
        return subprocess.run(argv, input=stdin, capture_output=True, check=True).stdout


@pytest.fixture(scope="module")
def signed(tmp_path_factory):
    """One key for all: making one costs a second."""
    mirror = Mirror(tmp_path_factory.mktemp("mirror"))
    yield mirror
    agent = ["gpgconf", "--homedir", str(mirror.keys), "--kill", "gpg-agent"]
    subprocess.run(agent, check=False, capture_output=True)


@pytest.fixture
def mirror(signed, tmp_path, monkeypatch):
    """The archive of this machine's apt."""
    monkeypatch.setenv("INTEROP_CACHE", str(tmp_path / "cache"))
    for left in ("pool", "dists"):
        shutil.rmtree(signed.folder / left, ignore_errors=True)
    signed.pool.mkdir()
    signed.publish(Package("1.0"), Package("2.0"))
    text = f"Types: deb\nURIs: file:{signed.folder}\nSuites: bookworm\nComponents: main\nSigned-By: {signed.keyring}\n"
    (tmp_path / "etc/sources.list.d").mkdir(parents=True)
    (tmp_path / "etc/sources.list.d/test.sources").write_text(text)
    real = debian_sources.sources_of
    monkeypatch.setattr(debian_sources, "sources_of", lambda suite: real(suite, tmp_path / "etc"))
    return signed


def test_a_version_is_fetched_whole(mirror, tmp_path):
    """The very file that the archive has."""
    fetched = Archive("bookworm").fetch("acme-agent", "1.0", tmp_path, soon())
    assert fetched.read_bytes() == (mirror.pool / "acme-agent_1.0_all.deb").read_bytes()


def test_a_version_that_is_not_there_is_told_with_those_that_are(mirror, tmp_path):
    """An archive moves on."""
    with pytest.raises(NotThere, match=r"bookworm has no acme-agent 3\.0; it has 2\.0, 1\.0"):
        Archive("bookworm").fetch("acme-agent", "3.0", tmp_path, soon())
    with pytest.raises(NotThere, match="it has none at all"):
        Archive("bookworm").fetch("acme-agnet", "3.0", tmp_path, soon())


def test_lists_that_nobody_signed_are_refused(mirror, tmp_path):
    """One letter of them is another."""
    lists = mirror.folder / "dists/bookworm/InRelease"
    lists.write_text(lists.read_text().replace("Components: main", "Components: mian"))
    with pytest.raises(LabError, match="ended with 100"):
        Archive("bookworm").fetch("acme-agent", "1.0", tmp_path, soon())


def test_a_package_that_is_not_the_listed_one_is_refused(mirror, tmp_path):
    """Its hash stands in the signed lists."""
    with (mirror.pool / "acme-agent_1.0_all.deb").open("r+b") as file:
        file.seek(200)
        file.write(b"evil")
    with pytest.raises(LabError, match="ended with 100"):
        Archive("bookworm").fetch("acme-agent", "1.0", tmp_path, soon())


def test_a_pinned_version_outlives_the_archives(mirror, tmp_path):
    """What was fetched once installs again when the archive has dropped it."""
    file = tmp_path / "acme.yaml"
    sides = "".join(
        f"{side}:\n  suite: bookworm\n  packages:\n    - name: acme-agent\n      version: '{version}'\n"
        f"      sha256: {hashlib.sha256((mirror.pool / f'acme-agent_{version}_all.deb').read_bytes()).hexdigest()}\n"
        for side, version in (("baseline", "1.0"), ("candidate", "2.0"))
    )
    file.write_text(f"hosts: [kvm]\n{sides}must_change: {{packages: [acme-agent]}}\n")
    prepare(Release.load(file), Which.CANDIDATE)
    mirror.publish(Package("3.0"))
    assert len(prepare(Release.load(file), Which.CANDIDATE).payloads) == 2
    text = file.read_text()
    file.write_text(text.replace("'2.0'", "'2.5'").replace(text.split("sha256: ")[2][:64], "a" * 64))
    with pytest.raises(
        UsageError, match=r"acme.yaml:12:16 candidate.packages.0.version: bookworm has no acme-agent 2.5"
    ):
        prepare(Release.load(file), Which.CANDIDATE)


def test_a_suite_that_this_machine_does_not_use_is_beside_those_it_does(tmp_path):
    """With the same keys, and without a mark that it is trusted unseen."""
    (tmp_path / "sources.list").write_text(
        "deb [signed-by=/k.gpg trusted=yes] http://mirror.example/debian bookworm main\n"
        "deb [signed-by=/k.gpg] http://mirror.example/debian-security bookworm-security main\n"
    )
    text = debian_sources.sources_of("bookworm-backports", tmp_path)
    assert dict(line.split(": ") for line in text.splitlines() if line) == {
        "Types": "deb",
        "Uris": "http://mirror.example/debian",
        "Suites": "bookworm-backports",
        "Components": "main",
        "Signed-By": "/k.gpg",
    }
    assert "mirror.example/debian-security\nSuites: bookworm-security" in debian_sources.sources_of(
        "bookworm-security", tmp_path
    )


def test_madison_tells_versions():
    """Sources and other packages do not count."""
    said = " acme | 2 | http://a bookworm/main amd64 Packages\n acme | 1 | http://a bookworm/main Sources\n b | 9 | x\n"
    assert parse_madison(said, "acme") == ["2"]


def test_a_machine_that_knows_no_mirror_is_told_to_name_one(tmp_path):
    with pytest.raises(LabError, match=r"no mirror of Debian is known here, and bookworm-backports is wanted"):
        debian_sources.sources_of("bookworm-backports", tmp_path)
