"""Faults in the middle of a run: each is one clear message on the right side, and nothing done before is lost."""

import contextlib
import fcntl
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.core import Deadline, Pending, paths, wait_for
from harness.image.variant import variant
from harness.report.ran import read as ran_in

MISBEHAVING = """
    import contextlib
    import os
    import signal
    from pathlib import Path

    import pytest

    @pytest.mark.check("ACME-010")
    @pytest.mark.changes_guest
    def test_loses_its_network(guest):
        guest.shell("nohup sh -c 'sleep 1; ip link set eth0 down' >/dev/null 2>&1 &")
        guest.run(["sleep", "60"])

    @pytest.mark.check("ACME-011")
    @pytest.mark.changes_guest
    def test_fills_its_disk(guest):
        guest.shell("fallocate -l $(df --output=avail -B1 / | tail -1) /fill")
        full = guest.run(["cp", "/etc/passwd", "/one-more"], check=False)
        assert b"No space left" in full.stderr
        assert guest.run(["true"]).status == 0
        assert False, "evidence is wanted"

    @pytest.mark.check("ACME-012")
    @pytest.mark.changes_guest
    def test_prints_rubbish(guest):
        guest.shell("head -c 3000000 /dev/urandom > /dev/ttyS0")
        assert guest.run(["head", "-c", "1000", "/dev/urandom"]).text is not None
        assert False, "evidence is wanted"

    @pytest.mark.check("ACME-013")
    @pytest.mark.changes_guest
    def test_panics(guest):
        guest.shell("nohup sh -c 'sleep 1; echo c > /proc/sysrq-trigger' >/dev/null 2>&1 &")
        guest.run(["sleep", "60"])

    @pytest.mark.check("ACME-015")
    @pytest.mark.changes_guest
    def test_its_qemu_is_killed(guest):
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):  # a process that ended meanwhile
                words = entry.read_bytes().decode(errors="replace")
                if "qemu-system" in words and guest.machine.id in words:
                    os.kill(int(entry.parent.name), signal.SIGKILL)
        guest.run(["sleep", "60"])

    @pytest.mark.check("ACME-016")
    @pytest.mark.changes_guest
    def test_the_one_after_that_is_fine(guest):
        assert guest.run(["true"]).status == 0

    @pytest.mark.check("ACME-014")
    def test_the_next_one_is_fine(guest):
        assert guest.run(["true"]).status == 0
"""

PATIENT = """
    import pytest

    @pytest.mark.check("ACME-020")
    def test_done_before(guest):
        assert guest.run(["true"]).status == 0

    @pytest.mark.check("ACME-021")
    def test_takes_long(guest):
        print("ready to be interrupted", flush=True)
        guest.run(["sleep", "120"])

    @pytest.mark.check("ACME-022")
    def test_never_reached(guest):
        assert guest.run(["true"]).status == 0
"""


def test_a_guest_that_misbehaves_spoils_only_its_own_test(run):
    """A dead network is the product's failure, a panic or the end of its QEMU the guest's; the next test has a guest
    that works, no result is lost, and no QEMU is left.
    """
    before = qemus()
    done = run(source=MISBEHAVING)
    assert len(done.results) == 7, done.output
    found = {done.number(result): result for result in done.results}
    fault = {
        check: next((label["value"] for label in result["labels"] if label["name"] == "fault"), "none")
        for check, result in found.items()
    }
    assert fault == {
        "ACME-010": "product",
        "ACME-011": "product",
        "ACME-012": "product",
        "ACME-013": "guest",
        "ACME-014": "none",
        "ACME-015": "guest",
        "ACME-016": "none",
    }, done.output
    lives = {ran.check: ran.guests for ran in ran_in(done.folder)}
    assert "ACME-015" in [*lives][: [*lives].index("ACME-016")], "the one after it came before"
    assert lives["ACME-015"] != lives["ACME-016"], "a guest whose QEMU is gone was lent again"
    assert "machine is off" in found["ACME-015"]["statusDetails"]["message"]
    assert done.of("ACME-016") == ["passed"]
    assert "network" in found["ACME-010"]["statusDetails"]["message"]
    assert "sysrq triggered crash" in found["ACME-013"]["statusDetails"]["message"]
    for path in done.folder.rglob("*-attachment.txt"):
        assert path.stat().st_size <= 5 << 20, "evidence is bounded"
        assert "\0" not in path.read_text(encoding="utf-8")
    gone(before)


def test_a_guest_that_never_boots_is_the_guests_fault(run, image):
    """A kernel without an init panics: the message says so, long before a boot's deadline."""
    broken = variant(image, kernel_arguments="init=/nonexistent rdinit=/nonexistent panic=0")
    done = run("--image", broken.digest, source="def test_it(guest): ...")
    assert done.checks("broken"), done.output
    assert any("panic" in result["statusDetails"]["message"].lower() for result in done.results), done.output
    assert "1 guest" in done.output


@pytest.mark.parametrize(
    ("signals", "codes", "neighbours"),
    [
        # The second one may reach pytest after the teardown: then Python ends by the signal itself.
        ((signal.SIGINT,), {pytest.ExitCode.INTERRUPTED}, 0),
        ((signal.SIGINT, signal.SIGINT), {pytest.ExitCode.INTERRUPTED, -signal.SIGINT}, 0),
        ((signal.SIGKILL,), {-signal.SIGKILL}, 0),
        ((signal.SIGKILL,), {-signal.SIGKILL}, 1),
    ],
    ids=["once", "twice", "killed", "killed beside another"],
)
def test_an_interrupted_run_leaves_nothing_or_tells_the_reaper(pytester, signals, codes, neighbours):
    """Ctrl-C once finishes cleanly, with the results so far; twice leaves at once, as a kill does, and the reaper knows
    the rest: a warm slot stays, and does not run, also where another run was there first and the reaper is not in the
    dead run's place.
    """
    pytester.makepyfile(PATIENT)
    before = qemus()
    command = [sys.executable, "-m", "pytest", "-s", "-p", "no:cacheprovider", "--host", "kvm", "--report-dir", "out"]
    with (
        occupied(neighbours),
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process,
    ):
        said = []
        # A second Ctrl-C is meant for the teardown: one that hits pytest within its report may be lost in there.
        for moment, sent in zip(("ready to be interrupted", "a second Ctrl-C leaves at once"), signals, strict=False):
            for line in process.stdout:
                said.append(line)
                if moment in line:
                    break
            assert process.poll() is None, "what it is to be interrupted in came when it was over"
            process.send_signal(sent)
        output = "".join(said) + process.communicate(timeout=120)[0]
    assert process.returncode in codes, output
    done = list((pytester.path / "out").glob("*/results/*-result.json"))
    assert any("ACME-020" in path.read_text() for path in done), output
    reaped = subprocess.run([sys.executable, "-m", "harness.cli", "reap"], capture_output=True, text=True, check=False)
    assert reaped.returncode == 0, reaped.stdout + reaped.stderr

    gone(before)


def gone(before: set[int]) -> None:
    """Wait for every QEMU of a run to be gone."""

    def look() -> bool | Pending:
        left = qemus() - before
        return Pending(f"processes {sorted(left)}") if left else True

    wait_for("every QEMU of the run to be gone", look, Deadline.after(30), fault=AssertionError)


@contextlib.contextmanager
def occupied(number: int) -> Iterator[None]:
    """The first free roots of our cache's embedded hosts, as if so many other runs had them."""
    with contextlib.ExitStack() as held:
        for pool in paths.cache().glob("hosts/*/roots"):
            taken, place = 0, 0
            while taken < number:
                lock = held.enter_context((pool / f"{place}.lock").open("w"))
                place += 1
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    taken += 1
        yield


def qemus() -> set[int]:
    """The process ids of all QEMUs that run a guest of libvirt's embedded driver, below our cache.

    Not those of twins, which other tests have meanwhile: libvirt alone asks for names of threads.
    """
    found = set()
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().decode(errors="replace")
        except OSError:
            continue  # it ended meanwhile
        if "qemu-system" in words and ",debug-threads=on" in words and str(paths.cache()) in words:
            found.add(int(entry.parent.name))
    return found
