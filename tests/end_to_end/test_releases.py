"""Releases in real guests: a sound one passes I31, one with a planted regression fails it, a mislabelled one nothing.

The agent of QEMU as Debian's archive has it, built anew by dpkg-deb with another version and something planted. They
take an hour on an emulated CPU: by night alone (``INTEROP_DEFECTS=all``).
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from harness.core import Deadline
from harness.lab.releases.archive import Archive
from tests.end_to_end.releasing import i31, pinned, validate
from tests.end_to_end.telling import EVERY, SUITES

pytestmark = pytest.mark.skipif(not EVERY, reason="by night: INTEROP_DEFECTS=all")
AGENT = "qemu-guest-agent"


@dataclass(frozen=True)
class Plant:
    """A candidate that is not what it should be.

    Args:
        words: what is wrong with it.
        catches: the part of I31 that must fail.
        status: how.
        because: what it must say.
        change: does it, in the unpacked package.
    """

    words: str
    catches: str
    status: str
    because: str
    change: Callable[[Path], object] = field(repr=False)

    def __str__(self) -> str:
        return self.words


def postinst(line: str) -> Callable[[Path], object]:
    """A line at the beginning of the package's own script."""

    def change(tree: Path) -> None:
        script = tree / "DEBIAN/postinst"
        head, _, rest = script.read_text().partition("\n")
        script.write_text(f"{head}\n{line}\n{rest}")

    return change


def unit(before: str, after: str) -> Callable[[Path], object]:
    """Something else in the service's unit."""

    def change(tree: Path) -> None:
        (file,) = tree.rglob(f"{AGENT}.service")
        text, count = re.subn(before, after, file.read_text())
        assert count == 1, text
        file.write_text(text)

    return change


PLANTS = (
    Plant(
        "its service does not start",
        catches="upgraded",
        status="failed",
        because="to run once it is installed",
        change=unit("(?m)^ExecStart=.*", "ExecStart=/bin/false"),
    ),
    Plant(
        "a file stays behind",
        catches="removed",
        status="failed",
        because="left behind: file: /etc/forgotten",
        change=postinst("touch /etc/forgotten"),
    ),
    Plant(
        "its script fails",
        catches="installed",
        status="broken",
        because="the disk is made of cheese",
        change=postinst("echo the disk is made of cheese; exit 3"),
    ),
)


@pytest.fixture(scope="session")
def agent(tmp_path_factory) -> Path:
    """The package as the archive has it today."""
    folder = tmp_path_factory.mktemp("agent")
    archive, soon = Archive("bookworm", folder / "apt"), Deadline.after(300)
    return archive.fetch(AGENT, archive.versions(AGENT, soon)[0], folder, soon)


@pytest.fixture
def release(agent, tmp_path) -> Callable[..., Path]:
    """Makes the file of a release: the archive's package, and one that is built anew of it; ``more`` ends the file."""

    def make(change: Callable[[Path], object] | None, *, program: bool = True, more: str = "") -> Path:
        tree = tmp_path / "tree"
        subprocess.run(["dpkg-deb", "--raw-extract", agent, tree], check=True)
        control = tree / "DEBIAN/control"
        control.write_text(re.sub(r"(?m)^Version: (.*)$", r"Version: \1+planted1", control.read_text()))
        if program:
            with (tree / "usr/sbin/qemu-ga").open("ab") as file:
                file.write(b"another build")  # behind the last section: it runs as it did
        if change:
            change(tree)
        subprocess.run(
            ["dpkg-deb", "--root-owner-group", "--build", tree, tmp_path / "new.deb"], check=True, capture_output=True
        )
        file = tmp_path / "planted.yaml"
        file.write_text(
            f"hosts: [kvm]\nservices: [{AGENT}.service]\nbaseline: {{files: [{{path: {agent}}}]}}\n"
            f"candidate: {{files: [{{path: new.deb}}]}}\n"
            f"must_change: {{packages: [{AGENT}], services: [{AGENT}.service]}}\n{more}"
        )
        return pinned(file)

    return make


def test_a_sound_release_passes_i31(run, release):
    """Installed, upgraded, downgraded and removed."""
    done = i31(run, release(None))
    assert done.of("I31") == ["passed"] * 4, done.output


@pytest.mark.parametrize(
    ("name", "host", "found"),
    [
        ("linux", "kvm", ["passed"] * 4),
        # On a twin no integration service has a channel to its host: what is removed is all that can be asked there.
        ("open-vm-tools", "vsphere", ["passed"] + ["skipped"] * 3),
        ("hyperv-daemons", "hyperv", ["passed"] + ["skipped"] * 3),
    ],
)
def test_the_archives_backports_pass_i31(run, name, host, found):
    """Over the distribution's own and back; a kernel is booted each time, and the image's own runs at last."""
    done = i31(run, SUITES.parent / f"configs/releases/{name}-backport.yaml", host=host)
    assert done.of("I31") == found, done.output


@pytest.mark.parametrize("plant", PLANTS, ids=str)
def test_i31_finds_what_was_planted(run, release, plant):
    """On the part that it is there for, with the reason."""
    words = {"installed": "installs", "upgraded": "upgraded", "removed": "removed"}[plant.catches]
    done = i31(run, release(plant.change), words)
    assert done.of("I31") == [plant.status], done.output
    assert plant.because in done.output


def test_a_relabelled_release_passes_nothing(run, release):
    """Another version on the same program: no test passes, and it is said why, once for all of them."""
    source = """
        import pytest

        @pytest.mark.check("ACME-001")
        @pytest.mark.parametrize("turn", [1, 2])
        def test_the_agent_runs(guest, turn):
            assert guest.services.active("qemu-guest-agent.service")
    """
    done = run("--release", str(release(None, program=False)), source=source)
    assert done.of("ACME-001") == ["broken", "broken"], done.output
    assert f"service {AGENT}.service is program" in done.output
    assert "on both sides" in done.output


def test_a_run_has_its_release_and_says_so(run, release):
    """The version, the program that runs, and the record of what there was before."""
    source = """
        import pytest

        @pytest.mark.check("ACME-001")
        def test_the_agent_is_the_candidate_s(guest):
            assert guest.services.version("qemu-guest-agent").endswith("+planted1")
            assert guest.services.active("qemu-guest-agent.service")

        @pytest.mark.check("ACME-002")
        def test_a_bare_guest_is_as_the_image(guests):
            assert "planted" not in guests.bare().services.version("qemu-guest-agent")
    """
    done = run("--release", str(release(None)), source=source)
    assert done.of("ACME-001") == done.of("ACME-002") == ["passed"], done.output
    assert "+planted1; baseline: " in (done.folder / "results/environment.properties").read_text()


def late_shell(seconds: float) -> Callable[[Path], object]:
    """What the package does in each boot, before anybody can log in: the last thing, which nothing else hides."""

    def change(tree: Path) -> None:
        more = tree / "etc/systemd/system/ssh.service.d/late.conf"
        more.parent.mkdir(parents=True)
        more.write_text(f"[Service]\nExecStartPre=/bin/sleep {seconds:.2f}\n")

    return change


def test_a_boot_that_takes_a_tenth_longer_fails_a_validation(run, release, tmp_path):
    """Over real guests: the baseline's boots against those of a candidate that keeps the first shell waiting."""
    once = run(str(SUITES / "lifecycle"), "--rootdir", str(SUITES.parent), "-k", "test_it_boots", timeout=1200)
    (boot,) = [float(one["value"]) for one in measurements(once.folder) if one["name"] == "boot"]
    file = release(late_shell(boot / 10), more="required: [{checks: [L02], pools: [kvm]}]\nmeasure: {'*': 5 %}\n")
    budget = ("--budget", "20")  # pairs of boots, each of some three minutes
    done = validate(file, tmp_path / "out", *budget, hours=2)
    assert done.returncode == 1, done.stdout
    told = json.loads((tmp_path / "out/verdict.json").read_text())
    verdicts = {one["name"]: one["verdict"] for one in told["measurements"]}
    assert verdicts["boot"] == "worse", told["reasons"]
    assert verdicts["boot_kernel"] != "worse", "what was planted comes after the kernel"


def measurements(folder: Path) -> list[dict]:
    """What a run measured."""
    return [json.loads(path.read_text()) for path in (folder / "results/measurements").glob("*.json")]
