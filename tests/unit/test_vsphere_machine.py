"""All verbs of a vSphere machine: none without its lease, none on a lost ESXi, and each in few round trips."""

from __future__ import annotations

import pytest

pytest.importorskip("pyVmomi")

from harness.backends.model import DiskSpec, PowerState
from harness.backends.protocol import LeaseLost
from harness.backends.vsphere import tasks
from harness.backends.vsphere.refs import Ref
from harness.core import InteropError, MiB, Size
from tests.unit import vsphere_access
from tests.unit.vsphere_access import view, within

host, machine, running = vsphere_access.host, vsphere_access.machine, vsphere_access.running
RUNNING = PowerState.RUNNING
SMALL = Size(16 * MiB)


def test_without_its_lease_nothing_is_changed(host, running):
    """Neither made nor switched nor taken away."""
    host.ledger.lost = True
    try:
        for verb in (
            host.create,
            lambda: running.stop(within()),
            lambda: running.reset(within()),
            lambda: running.save(within()),
            lambda: running.shutdown(within()),
            lambda: running.checkpoint("x", within(), memory=True),
            lambda: running.link("00:50:56:00:00:01", False, within()),
            lambda: running.resize(within(), vcpus=3),
            lambda: running.attach_disk(DiskSpec("x", SMALL), within()),
            lambda: running.destroy(within()),
        ):
            with pytest.raises(LeaseLost):
                verb()
    finally:
        host.ledger.lost = False
    seen = view(running)
    assert (seen.state, seen.vcpus, len(seen.disks), running.checkpoints(within())) == (RUNNING, 2, 1, ())


def test_a_machine_on_a_lost_esxi_is_the_labs_fault(host, machine):
    """Its state is not known, and is not guessed."""
    other = host.access.session
    esx = Ref("HostSystem", host.access.place.host.id)
    tasks.run(other, "disconnect", esx, "DisconnectHost_Task", within())
    try:
        seen = host.raw(machine, "runtime.connectionState")["runtime.connectionState"]
        if seen == "connected":
            pytest.skip("this vcsim keeps machines connected")
        with pytest.raises(InteropError, match="disconnected"):
            machine.start(within())
    finally:
        tasks.run(other, "reconnect", esx, "ReconnectHost_Task", within(), None, None)


@pytest.mark.parametrize(
    ("verb", "most"),
    [
        (lambda m: m.view(within()), 1),
        (lambda m: m.events(within()), 2),
        (lambda m: m.services(within()), 1),
        (lambda m: m.addresses(within()), 1),
        (lambda m: m.checkpoints(within()), 1),
        (lambda m: m.disk_names(within()), 1),
        (lambda m: m.link("00:50:56:00:00:01", True, within()), 1),
        (lambda m: m.resize(within(), vcpus=3), 5),
        (lambda m: m.checkpoint("c", within(), memory=True), 5),
        (lambda m: m.reset(within()), 5),
    ],
)
def test_a_verb_takes_as_few_round_trips_as_the_protocol_allows(host, running, verb, most):
    """A read is one; a task is one more, and three to wait for it, besides what it waits longer for."""
    before = host.session.trips
    verb(running)
    spent = host.session.trips - before
    spent["WaitForUpdatesEx"] = min(spent["WaitForUpdatesEx"], 1)
    assert spent.total() <= most, spent
