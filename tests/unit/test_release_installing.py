"""Installing releases: real packages and a real dpkg in a folder; what is wrong with one is told, and is no pass."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.core import Deadline, GuestError
from harness.core.config import parse_yaml
from harness.lab.releases import (
    InstallFailed,
    Prepared,
    Release,
    Traces,
    Unchanged,
    Which,
    install,
    left_behind,
    prepare,
    remove,
)
from harness.lab.releases.installing import bring
from harness.lab.releases.pinning import write_pins
from harness.lab.releases.preparing import pins
from harness.lab.releases.seen import see
from harness.plugin.releasing import ReleaseUnderTest
from suites.integration import test_release as i31
from tests.unit.local_guest import LocalGuest, Package

needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg is not on this machine")
OLD, NEW = Package("1.0", program="exec sleep 1"), Package("2.0", program="exec sleep 2")


def soon() -> Deadline:
    return Deadline.after(60)


@pytest.fixture
def guest(tmp_path):
    return LocalGuest(tmp_path / "guest")


@pytest.fixture
def prepared(tmp_path):
    """Makes a release of two packages, pinned, and has it ready."""

    def make(baseline: Package = OLD, candidate: Package = NEW, which=Which.CANDIDATE) -> Prepared:
        built = [baseline.build(tmp_path / "old"), candidate.build(tmp_path / "new")]
        return ready(tmp_path, *(f"{{files: [{{path: {file}}}]}}" for file in built), which=which)

    return make


def ready(folder: Path, baseline: str, candidate: str, *, which=Which.CANDIDATE, change="packages: [acme-agent]"):
    file = folder / "acme.yaml"
    file.write_text(
        f"hosts: [kvm]\nservices: [acme-agent.service]\nbaseline: {baseline}\ncandidate: {candidate}\n"
        f"must_change: {{{change}, services: [acme-agent.service]}}\n"
    )
    release = Release.load(file)
    write_pins(release, pins(release, soon()))
    return prepare(Release.load(file), which)


@needs_dpkg
def test_a_candidate_is_installed_over_its_baseline_and_both_are_seen(guest, prepared):
    """What was there before, in between and after stands in the record."""
    seen = bring(guest, prepared(), soon())
    assert (seen.release, seen.side) == ("acme", "candidate")
    told = [each["package acme-agent"] for each in (seen.before, seen.baseline, seen.after)]
    assert told == ["none", "1.0", "2.0"]
    assert len({each["service acme-agent.service"] for each in (seen.before, seen.baseline, seen.after)}) == 3


@needs_dpkg
def test_a_baseline_is_installed_alone(guest, prepared):
    """``--release NAME@baseline``."""
    seen = bring(guest, prepared(which=Which.BASELINE), soon())
    assert (seen.release, seen.side, seen.after["package acme-agent"]) == ("acme@baseline", "baseline", "1.0")
    assert not seen.baseline


@needs_dpkg
def test_nothing_that_was_carried_stays(guest, prepared):
    """Not where it works, and not where it fails."""
    bring(guest, prepared(), soon())
    with pytest.raises(InstallFailed):
        install(guest, prepared(candidate=Package("3", postinst="exit 3")), Which.CANDIDATE, soon())
    assert not (guest.root / "var/tmp/interop-release").exists()


@needs_dpkg
def test_a_package_that_fails_says_what_it_said(guest, prepared):
    """Its own words reach the reader, and it is the guest's error: the candidate's alone fails a sign-off."""
    broken = prepared(candidate=Package("2.0", postinst="echo the dog ate it >&2; exit 3"))
    with pytest.raises(InstallFailed, match="the dog ate it") as told:
        bring(guest, broken, soon())
    assert isinstance(told.value, GuestError)


@needs_dpkg
def test_a_relabelled_package_is_refused(guest, prepared):
    """Another version on the label, the same program inside: it would be compared with itself."""
    with pytest.raises(Unchanged, match=r"acme.yaml: .*service acme-agent.service is file \w+ on both sides"):
        bring(guest, prepared(candidate=Package("2.0", program=OLD.program)), soon())


@needs_dpkg
def test_a_package_of_the_same_version_is_refused(guest, prepared):
    """Whatever its file is called."""
    with pytest.raises(Unchanged, match=r"package acme-agent is 1\.0 on both sides"):
        bring(guest, prepared(candidate=Package("1.0", program="exec sleep 9", files=("etc/new",))), soon())


@needs_dpkg
def test_what_must_change_and_is_nowhere_is_unchanged(guest, tmp_path):
    """A slip in its name must not make everything pass."""
    sides = [f"{{files: [{{path: {each.build(tmp_path)}}}]}}" for each in (OLD, NEW)]
    with pytest.raises(Unchanged, match="package acme-agnet is none on both sides"):
        bring(guest, ready(tmp_path, *sides, change="packages: [acme-agnet]"), soon())


@needs_dpkg
def test_a_file_that_arrives_changed_is_not_installed(guest, prepared):
    """The hash is taken in the guest once more."""
    guest.spoils = True
    with pytest.raises(GuestError, match="arrived with sha256"):
        bring(guest, prepared(), soon())
    assert guest.version("acme-agent") is None


@pytest.fixture
def running(guest):
    """Starts a copy of a program as the service's, or a script; what is installed later takes its file's place."""
    started = []

    def start(script: str = "") -> None:
        unit, program = guest.root / "lib/systemd/system/acme-agent.service", guest.root / "usr/lib/acme/agent"
        for file in (unit, program):
            file.parent.mkdir(parents=True, exist_ok=True)
        unit.write_text("ExecStart=/usr/lib/acme/agent\n")
        program.unlink(missing_ok=True)
        if script:
            program.write_text(script)
            program.chmod(0o755)
        else:
            shutil.copy(shutil.which("sleep"), program)
        started.append(subprocess.Popen([program, *([] if script else ["60"])], stdin=subprocess.PIPE))
        (guest.root / "pid-of-acme-agent.service").write_text(str(started[-1].pid))

    yield start
    for process in started:
        process.kill()
        process.communicate()


def service(guest, release) -> str:
    return see(guest, release.release)["service acme-agent.service"]


def test_a_service_that_was_not_started_again_is_the_old_one(guest, running, tmp_path):
    """Its file is new, its process is not: nothing would be compared."""
    (tmp_path / "a.deb").write_bytes(b"a")
    (tmp_path / "b.deb").write_bytes(b"b")
    release = ready(tmp_path, "{files: [{path: a.deb}]}", "{files: [{path: b.deb}]}")
    running()
    before = service(guest, release)
    program = guest.root / "usr/lib/acme/agent"
    program.unlink()
    program.write_bytes(Path(shutil.which("sleep")).read_bytes() + b"newer")
    program.chmod(0o755)
    assert before.startswith("program ")
    assert service(guest, release) == before
    (guest.root / "pid-of-acme-agent.service").write_text("0")
    assert service(guest, release).startswith("file ")
    assert service(guest, release)[-16:] != before[-16:]


def test_a_service_that_is_a_script_counts_by_it(guest, running, tmp_path):
    """The program that runs is the shell's, on both sides."""
    (tmp_path / "a.deb").write_bytes(b"a")
    (tmp_path / "b.deb").write_bytes(b"b")
    release = ready(tmp_path, "{files: [{path: a.deb}]}", "{files: [{path: b.deb}]}")
    running("#!/bin/sh\nread line\n")
    before = service(guest, release)
    assert before.startswith("script ")
    running("#!/bin/sh\nread word\n")
    after = service(guest, release)
    assert after != before
    assert after.partition(" run by ")[2] == before.partition(" run by ")[2]


def test_a_tarball_installs_and_removes_itself(guest, tmp_path):
    """By the commands that the file names, run in the one folder that it holds."""
    sides = []
    for version in ("1", "2"):
        tree = tmp_path / f"acme-{version}"
        tree.mkdir()
        root = guest.root
        (tree / "agent").write_text(f"#!/bin/sh\nexec sleep {version}\n")
        (tree / "agent").chmod(0o755)
        unit = f"{root}/lib/systemd/system"
        (tree / "install.sh").write_text(
            f'set -e\nmkdir -p {unit} {root}/usr/lib/acme\ncp agent {root}/usr/lib/acme/\n[ "$1" = --default ]\n'
            f'echo "ExecStart=/usr/lib/acme/agent" >{unit}/acme-agent.service\n'
        )
        (tree / "remove.sh").write_text(f"rm -r {root}/usr/lib/acme {unit}/acme-agent.service\n")
        with tarfile.open(tmp_path / f"acme-{version}.tar.gz", "w:gz") as tar:
            tar.add(tree, arcname=tree.name)
        commands = "install: [sh, install.sh, --default], remove: [sh, remove.sh]"
        sides.append(f"{{tarball: {{path: acme-{version}.tar.gz, {commands}}}}}")
    release = ready(tmp_path, *sides, change="kernel: false")
    seen = bring(guest, release, soon())
    assert seen.after["service acme-agent.service"] != seen.baseline["service acme-agent.service"]
    remove(guest, release, Which.CANDIDATE, soon())
    assert not (guest.root / "usr/lib/acme").exists()


@needs_dpkg
def test_a_kernel_that_is_not_the_one_that_boots_is_refused(guest, tmp_path):
    """The package is installed, the guest was booted, and uname tells: the boot loader took another."""
    sides = [f"{{files: [{{path: {each.build(tmp_path)}}}], reboot: true{more}}}" for each, more in _kernels()]
    release = ready(tmp_path, *sides)
    guest.kernels = ["6.1.0-1", "6.1.0-1", "6.1.0-1"]
    release.payloads.pop(Which.BASELINE)
    with pytest.raises(InstallFailed, match=r"there is no /boot/vmlinuz-6\.12\.0-acme"):
        install(guest, release, Which.CANDIDATE, soon())


def _kernels():
    return ((OLD, ""), (NEW, ", kernel: 6.12.0-acme"))


@needs_dpkg
def test_a_side_that_asks_for_a_reboot_is_booted_again(guest, tmp_path):
    """From within, and another boot id proves it."""
    sides = [f"{{files: [{{path: {each.build(tmp_path)}}}], reboot: true}}" for each in (OLD, NEW)]
    bring(guest, ready(tmp_path, *sides), soon())
    assert guest.boots == 3


# Check I31, on releases with a planted regression each.


@pytest.fixture
def judged(guest, prepared):
    """Runs one part of I31 on a release."""

    def judge(check, candidate: Package, baseline: Package = OLD) -> None:
        release = ReleaseUnderTest(prepared(baseline, candidate))
        expect = SimpleNamespace(noise=(), deadline=lambda _: Deadline.after(0))
        check(SimpleNamespace(bare=lambda: guest), release, expect)

    return judge


INSTALLED = i31.test_a_release_installs_and_its_services_run_from_the_next_boot_on
UPGRADED = i31.test_a_release_is_upgraded_from_its_baseline
DOWNGRADED = i31.test_a_release_is_downgraded_to_its_baseline
REMOVED = i31.test_a_release_that_is_removed_leaves_nothing_behind


@needs_dpkg
@pytest.mark.parametrize("check", [INSTALLED, UPGRADED, DOWNGRADED, REMOVED])
def test_a_sound_release_passes_i31(judged, check):
    """All four parts, with nothing planted."""
    judged(check, NEW)


@needs_dpkg
@pytest.mark.parametrize("check", [INSTALLED, UPGRADED])
def test_i31_finds_a_service_that_does_not_start(judged, check):
    """Its unit names a program that the package forgot."""
    with pytest.raises(AssertionError, match=r"acme-agent.service to run once it is installed; last seen: .*failed"):
        judged(check, Package("2.0", program=None))


@needs_dpkg
def test_i31_finds_what_a_release_leaves_behind(judged):
    """Its script makes a file that no package owns."""
    with pytest.raises(AssertionError, match=r"left behind: file: \S+/etc/forgotten"):
        judged(REMOVED, Package("2.0", program="exec sleep 2", postinst='touch "$DPKG_ROOT/etc/forgotten"'))


@needs_dpkg
@pytest.mark.parametrize("check", [INSTALLED, UPGRADED, DOWNGRADED, REMOVED])
def test_i31_finds_a_release_that_does_not_install(judged, check):
    """It is the guest's error, with the package's own words."""
    with pytest.raises(InstallFailed, match="no such thing"):
        judged(check, Package("2.0", postinst="echo no such thing; exit 1"))


@needs_dpkg
def test_i31_finds_an_upgrade_that_changes_nothing(judged):
    """Another label on the same program."""
    with pytest.raises(AssertionError, match=r"service acme-agent\.service is file .* on both sides"):
        judged(UPGRADED, Package("2.0", program=OLD.program))


@needs_dpkg
def test_i31_finds_a_downgrade_that_is_refused(judged):
    """A candidate whose old settings keep the baseline from being installed."""
    refusing = Package("1.0", program=OLD.program, postinst='test -e "$DPKG_ROOT/etc/new" && exit 7; exit 0')
    judged(INSTALLED, NEW, refusing)
    with pytest.raises(InstallFailed, match="ended with 1"):
        judged(DOWNGRADED, Package("2.0", program="exec sleep 2", postinst='touch "$DPKG_ROOT/etc/new"'), refusing)


@needs_dpkg
def test_what_is_left_is_told_by_kind(guest):
    """A few names each, and how many more."""
    before = Traces.of(guest)
    assert left_behind(guest, before, Deadline.after(0)) == []
    (guest.root / "etc/one").touch()
    assert left_behind(guest, before, Deadline.after(0)) == [f"file {guest.root}/etc/one"]
    assert i31.told([f"file /{each}" for each in range(25)]).endswith("and 5 more")


def test_programs_whose_file_is_gone_are_of_the_past():
    """Linux says so of /proc/PID/exe: proc(5)."""
    traces = Traces(frozenset({"process /usr/sbin/agent (deleted)", "process /usr/bin/sh", "file /etc/x (deleted)"}))
    assert traces.replaced() == ["process /usr/sbin/agent (deleted)"]


def test_pins_that_are_written_keep_what_else_stands_there(tmp_path):
    """Comments, order and quotes are the owner's."""
    (tmp_path / "a.deb").write_bytes(b"a")
    (tmp_path / "b.deb").write_bytes(b"b")
    file = tmp_path / "mine.yaml"
    file.write_text(
        "# ours\nhosts: [kvm]  # here\nbaseline:\n  files:\n    - path: 'a.deb'\n"
        "candidate:\n  files:\n    - path: b.deb\nmust_change: {packages: [acme]}\n"
    )
    release = Release.load(file)
    assert len(write_pins(release, pins(release, soon()))) == 2
    text = file.read_text()
    assert text.startswith(
        "# ours\nhosts: [kvm]  # here\nbaseline:\n  files:\n    - path: 'a.deb'\n      sha256: ca978112"
    )
    assert parse_yaml(text, "mine.yaml")["candidate"]["files"][0]["sha256"].startswith("3e23e816")
