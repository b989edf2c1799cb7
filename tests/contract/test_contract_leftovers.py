"""Nothing stays behind: not after many rounds, not after a ``kill -9`` at any instant; and nothing else is touched."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.backends import protocol
from harness.backends.capabilities import Capability
from harness.backends.model import DiskSpec, PowerState
from harness.core import MiB, Size
from harness.lab.connect import scratch
from harness.lab.journal import entries
from harness.lab.judge import Fate, Wish
from harness.lab.liveness import Liveness
from harness.lab.reaper import Reaper
from tests.contract.doomed import STAGES

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 20


def open_files():
    """How many file descriptors this process holds."""
    return len(list(Path("/proc/self/fd").iterdir()))


def test_many_rounds_of_making_and_destroying_leave_nothing(site):
    """On the host, in the journal, in this process, and in the cache of this controller."""
    site.destroy(site.create())  # whatever is made once and kept is made now
    owned, noted, files = site.handles(), site.run.leftovers(), open_files()
    words = []
    for number in range(ROUNDS):
        made = site.create()
        words += [made.id, made.spec.name]
        if number % 4 == 1 and isinstance(made, protocol.DiskPlug):
            made.attach_disk(DiskSpec("extra", Size(8 * MiB)), site.deadline())
        if number % 4 == 2 and isinstance(made, protocol.Checkpointed):
            made.checkpoint("extra", site.deadline(), memory=False)
        site.destroy(made)
    assert site.handles() == owned
    assert site.run.leftovers() == noted
    assert open_files() <= files + 2
    left = [str(path) for path in scratch(site.host).rglob("*") if any(word in path.name for word in words)]
    assert left == []


@dataclass(frozen=True)
class Killed:
    """What a process that was killed leaves in the parent's hands."""

    run: str
    machine: str | None


@pytest.fixture
def killed(site, tmp_path, request):
    """Kill a process of its own run at the stage the test names."""
    argv = [sys.executable, "-m", "tests.contract.doomed", str(site.lab.path), site.host.name, site.image.digest]
    argv += [request.param, str(tmp_path)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False, env=os.environ)
    assert done.returncode == -9, done.stdout + done.stderr
    words = done.stdout.split()
    return Killed(words[0], words[1] if len(words) > 1 else None)


@pytest.fixture
def bystander(site):
    """A machine of this run, which lives: it must not be touched."""
    made = site.create()
    made.start(site.deadline())
    yield made
    site.destroy(made)


def reap(site, run):
    """What the reaper did about a run; as if its host had had the time to make what was asked for last."""
    reaper = Reaper(site.lab, site.run.store, Liveness(), Wish(run=run))
    findings = list(reaper.reap(site.deadline(300)))
    if any(finding.fate is Fate.MAKING for finding in findings):
        with site.run.store.write() as rows:
            rows.run("UPDATE journal SET intended = 0 WHERE run = ?", run)
        findings = list(reaper.reap(site.deadline(300)))
    return findings


@pytest.mark.parametrize("killed", STAGES, indirect=True)
def test_what_a_killed_process_left_is_reaped_and_nothing_else(site, bystander, killed):
    """Whatever it was doing: between intent and creation, before the note, while its machine runs."""
    known = entries(site.run.store, run=killed.run)
    assert known, "the intent was not on disk before the host was asked"
    if killed.machine and site.sees_processes and killed.machine:
        assert killed.machine in {thing.handle for thing in site.hypervisor.owned(site.deadline(), killed.run)}
    findings = reap(site, killed.run)
    assert not [finding for finding in findings if finding.fate is Fate.FAILED], findings
    assert list(site.hypervisor.owned(site.deadline(), killed.run)) == []
    assert entries(site.run.store, run=killed.run) == []
    if killed.machine and site.sees_processes:
        assert site.processes(killed.machine) == []
    assert site.view(bystander).state is PowerState.RUNNING
    assert bystander.id in site.handles()
    # Warm slots of earlier runs may be there: they are told, and left. None is the killed one's: it had none.
    left = reap(site, killed.run)
    assert [found for found in left if found.fate is not Fate.WARM or killed.run in str(found.thing.owner)] == []


@pytest.mark.parametrize("killed", ["noted"], indirect=True)
def test_a_foreign_machine_outlives_the_reaper(site, killed):
    """It has no mark, so it is nobody's business."""
    if site.column.foreign is None:
        pytest.skip("no way to make a foreign machine on this backend")
    with site.column.foreign(site) as foreign:
        findings = reap(site, killed.run)
        assert [finding.thing.handle for finding in findings if finding.fate is Fate.REMOVED] == [killed.machine]
        assert site.column.present(site, foreign)


@pytest.mark.proves(Capability.CHECKPOINT_WITH_MEMORY)
def test_a_destroyed_guest_frees_where_it_was_reached(site):
    """Another machine can have the same MAC, address and forward at once."""
    spec, _ = site.order()
    for _ in range(2):
        made = site.hypervisor.create(spec, site.deadline())
        made.start(site.deadline())
        assert site.view(made).state is PowerState.RUNNING
        made.destroy(site.deadline())
    site.forget(spec)
