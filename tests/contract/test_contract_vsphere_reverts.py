"""Going back to a memory snapshot of vSphere: the guest's clock, and the events and tasks that tell of it."""

from __future__ import annotations

import time
from collections import Counter
from datetime import timedelta

import pytest

from harness.backends.capabilities import Capability
from harness.core.waiting import pause
from tests.contract import vsphere
from tests.contract.vsphere import Watch, raw, vim_fault

service = vsphere.service


@pytest.mark.proves(Capability.CHECKPOINT_WITH_MEMORY)
def test_going_back_to_memory_takes_the_guests_clock_along_and_is_told_of(site, seen, service, spoilt):
    """How far its clock is behind then, and which events and tasks appear."""
    machine, mine = spoilt.machine, raw(service, spoilt.machine)
    before = ahead(spoilt)
    machine.checkpoint("contract-clock", site.deadline(600), memory=True)
    since = Watch()
    pause(timedelta(seconds=5))
    known = {event.key for event in events(service, mine)}
    took = Watch()
    machine.revert("contract-clock", site.deadline(600))
    reverted = took.seconds
    site.meet_again(spoilt)
    elapsed = since.seconds
    after = ahead(spoilt)
    pause(timedelta(seconds=5))
    later = ahead(spoilt)
    found = Counter(
        type(event).__name__.rpartition(".")[2] for event in events(service, mine) if event.key not in known
    )
    tasks = [task.info.descriptionId for task in mine.recentTask if not gone(task)]
    seen.tell(
        "a memory snapshot that is gone back to",
        revert_seconds=reverted,
        since_snapshot_seconds=elapsed,
        clock_behind_seconds=round(before - after, 3),
        clock_behind_after_five_more_seconds=round(before - later, 3),
        events=[f"{kind} x{count}" for kind, count in sorted(found.items())],
        tasks=sorted(set(tasks)),
    )
    assert -1 < before - after <= elapsed + 5


def ahead(guest):
    """How far the guest's clock is ahead of ours, in seconds."""
    asked = time.time()
    told = float(guest.run(["date", "+%s.%N"]).text)
    return told - (asked + time.time()) / 2


def events(service, mine):
    """What the host remembers of a machine."""
    from pyVmomi import vim

    only = vim.event.EventFilterSpec.ByEntity(entity=mine, recursion="self")
    return service.eventManager.QueryEvents(vim.event.EventFilterSpec(entity=only, maxCount=1000)) or []


def gone(task):
    """Whether the host has forgotten a task."""
    try:
        return task.info is None
    except vim_fault():
        return True
