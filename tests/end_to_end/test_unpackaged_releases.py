"""Releases that are no packages, in real guests: a tarball with scripts of its own, and a whole image.

By night alone (``INTEROP_DEFECTS=all``).
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.image.variant import variant
from tests.end_to_end.releasing import i31, pinned, validate
from tests.end_to_end.telling import EVERY

pytestmark = pytest.mark.skipif(not EVERY, reason="by night: INTEROP_DEFECTS=all")
SERVICE = """[Service]
ExecStart={program}
[Install]
WantedBy=multi-user.target
"""
PROGRAM = "#!/bin/sh\n# {version}\nexec sleep infinity\n"
INSTALL = """#!/bin/sh -e
install -m 755 acme-agent /usr/local/sbin/acme-agent
install -m 644 acme-agent.service /etc/systemd/system/acme-agent.service
systemctl daemon-reload
systemctl enable --quiet acme-agent
systemctl restart acme-agent
"""
REMOVE = """#!/bin/sh -e
systemctl disable --quiet --now acme-agent
rm /usr/local/sbin/acme-agent
rm /etc/systemd/system/acme-agent.service
systemctl daemon-reload
"""


@pytest.fixture
def tarballs(tmp_path) -> Callable[..., Path]:
    """Makes the file of a release from 1.0 to 1.1, each a tarball."""

    def pack(version: str, install: str, remove: str) -> None:
        with tarfile.open(tmp_path / f"acme-{version}.tar.gz", "w:gz") as packed:
            for name, text in {
                "acme-agent": PROGRAM.format(version=version),
                "acme-agent.service": SERVICE.format(program="/usr/local/sbin/acme-agent"),
                "install.sh": install,
                "remove.sh": remove,
            }.items():
                member = tarfile.TarInfo(f"acme-{version}/{name}")
                member.size = len(text)
                packed.addfile(member, io.BytesIO(text.encode()))

    def make(install: str = INSTALL, remove: str = REMOVE) -> Path:
        pack("1.0", INSTALL, REMOVE)
        pack("1.1", install, remove)
        scripts = "install: [sh, install.sh], remove: [sh, remove.sh]"
        file = tmp_path / "acme.yaml"
        file.write_text(
            "hosts: [kvm]\nservices: [acme-agent.service]\n"
            f"baseline: {{tarball: {{path: acme-1.0.tar.gz, {scripts}}}}}\n"
            f"candidate: {{tarball: {{path: acme-1.1.tar.gz, {scripts}}}}}\n"
            "must_change: {services: [acme-agent.service]}\n"
        )
        return pinned(file)

    return make


def test_a_sound_tarball_passes_i31(run, tarballs):
    """Installed, upgraded, downgraded and removed by its own scripts."""
    done = i31(run, tarballs())
    assert done.of("I31") == ["passed"] * 4, done.output


def test_what_a_tarballs_script_forgets_is_found(run, tarballs):
    """Nobody keeps books of what a script wrote."""
    done = i31(run, tarballs(remove=REMOVE.replace("rm /usr/local/sbin/acme-agent\n", "")), "removed")
    assert done.of("I31") == ["failed"], done.output
    assert "left behind: file: /usr/local/sbin/acme-agent" in done.output


def test_a_tarball_whose_script_fails_is_said_to(run, tarballs):
    """With what the script said."""
    done = i31(run, tarballs(install="echo no such moon phase >&2; exit 3\n"), "installs")
    assert done.of("I31") == ["broken"], done.output
    assert "no such moon phase" in done.output


@pytest.fixture
def images(image, tmp_path) -> Callable[..., Path]:
    """Makes the file of a release from one whole image to another: the same, with a service of these versions."""

    def build(version: str, more: str) -> str:
        unit = "/etc/systemd/system/acme-agent.service"
        started = "/etc/systemd/system/multi-user.target.wants/acme-agent.service"
        text = SERVICE.format(program="/usr/local/sbin/acme-agent")
        files = {"/usr/local/sbin/acme-agent": PROGRAM.format(version=version), unit: text, started: text}
        files["/etc/acme-release"] = more
        made = {path: words.encode() for path, words in files.items()}
        return variant(image, made, executable=["/usr/local/sbin/acme-agent"]).digest

    def make(version: str) -> Path:
        file = tmp_path / "acme.yaml"
        file.write_text(
            "hosts: [kvm]\nservices: [acme-agent.service]\n"
            f"baseline: {{image: {{name: '{build('1.0', 'the old one')}'}}}}\n"
            f"candidate: {{image: {{name: '{build(version, 'the new one')}'}}}}\n"
            "must_change: {services: [acme-agent.service]}\n"
            "required: [{checks: [I01], pools: [kvm]}]\n"
        )
        return pinned(file)

    return make


def test_a_run_of_an_image_boots_it(run, images):
    """The candidate's guests have what is in it, and no baseline."""
    source = """
        import pytest

        @pytest.mark.check("ACME-001")
        def test_it_is_the_new_one(guest):
            assert guest.files.read("/etc/acme-release") == b"the new one"
    """
    done = run("--release", str(images("1.1")), source=source)
    assert done.of("ACME-001") == ["passed"], done.output


@pytest.mark.parametrize(("version", "status", "words"), [("1.1", 0, "PASS"), ("1.0", 2, "nothing was compared")])
def test_two_images_are_told_apart_by_what_must_change(images, tmp_path, version, status, words):
    """One that has another service passes; one that is only another disk was compared with itself."""
    done = validate(images(version), tmp_path / "out")
    assert done.returncode == status, done.stdout
    assert words in done.stdout
    if status == 0:
        assert json.loads((tmp_path / "out/verdict.json").read_text())["reasons"] == []
