"""What is told of a vSphere machine: its console, its description, and the host's record with every move."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

pytest.importorskip("pyVmomi")

from pyVmomi import vim

from harness.backends import protocol
from harness.backends.protocol import Refused
from harness.backends.views import MOVED
from harness.backends.vsphere import collector, history, tasks
from harness.backends.vsphere.refs import Ref
from tests.unit import vsphere_access
from tests.unit.vsphere_access import view, within

host, machine, running = vsphere_access.host, vsphere_access.machine, vsphere_access.running


def test_the_console_is_a_file_that_is_read_by_range(host, machine):
    """Reading consumes nothing, and beyond the end there is nothing."""
    console = machine.console()
    assert isinstance(console, protocol.Console)
    assert console.read(0, 100) == b""
    log = host.folder / "log"
    log.write_bytes(bytes(range(256)) * 4)
    host.access.store.put(log, f"{machine._files}/serial.log", within())
    assert console.read(10, 5) == console.read(10, 5) == bytes(range(10, 15))
    assert console.read(1000, 4096) == (bytes(range(256)) * 4)[1000:]
    assert console.read(1 << 40, 4096) == b""
    with pytest.raises(Refused):
        console.write(b"x")


def test_the_hosts_record_tells_what_happened_oldest_first(running):
    running.stop(within())
    events = running.events(within())
    kinds = [event.kind for event in events]
    assert kinds.index("created") < kinds.index("powered-on") < kinds.index("powered-off")
    assert [event.at for event in events] == sorted(event.at for event in events)
    assert all(event.message and event.at.tzinfo for event in events)
    assert all(running.spec.name in event.message for event in events if event.kind.startswith("powered"))


def test_a_record_is_asked_for_again_when_the_vcenter_was_away(host, running):
    """It only reads, and without it a test's result would be unknown."""
    for trouble in (host.front.refusing, host.front.cutting):
        trouble["QueryEvents"] = 2
        assert "powered-on" in {event.kind for event in running.events(within())}
        assert trouble["QueryEvents"] == 0


def test_the_description_names_the_machine_and_its_nics(machine):
    raw = view(machine).raw
    assert machine.spec.name in raw
    assert machine.spec.nics[0].mac in raw
    assert "null" not in raw


def test_a_machine_that_was_taken_to_another_esxi_says_so(host, running):
    """By the host's own record: what was measured meanwhile means nothing."""
    others = collector.children(host.session, host.session.root, "HostSystem", ["name"], within())
    other = next(ref for ref, values in others.items() if values["name"] == "DC0_C0_H1")
    assert MOVED not in {event.kind for event in running.events(within())}
    machine = Ref("VirtualMachine", running.id)
    where = vim.vm.RelocateSpec(host=other.managed)
    tasks.run(host.session, "move", machine, "RelocateVM_Task", within(), where, "defaultPriority")
    moved = [event for event in running.events(within()) if event.kind == MOVED]
    assert moved
    assert all("igrat" in event.message for event in moved), moved


@pytest.mark.parametrize(
    ("event", "moved"),
    [
        (vim.event.DrsVmMigratedEvent, True),
        (vim.event.VmDasBeingResetWithScreenshotEvent, True),
        (vim.event.VmRestartedOnAlternateHostEvent, True),
        (vim.event.VmResettingEvent, False),
        (vim.event.VmPoweredOnEvent, False),
    ],
)
def test_what_the_cluster_did_is_told_from_what_was_asked(event, moved):
    made = event(key=1, createdTime=datetime.now(UTC), fullFormattedMessage="something happened")
    assert (history.told(made).kind == MOVED) is moved


def test_the_end_of_the_machines_own_log_is_part_of_its_record(host, machine):
    """With the times of its lines; either form."""
    where = host.raw(machine, "config.files.logDirectory")["config.files.logDirectory"]
    folder = where.partition("] ")[2]
    log = host.folder / "vmware.log"
    log.write_text(
        "2024-05-01T12:00:00.123Z In(05) vmx - first\n\tmore of it\n2024-05-01T14:00:01.5+02:00| vcpu-0| W115: later\n"
    )
    host.access.store.put(log, f"{folder}/vmware.log", within())
    events = [event for event in machine.events(within()) if event.kind == "vmware-log"]
    assert [event.message for event in events] == ["In(05) vmx - first", "more of it", "vcpu-0| W115: later"]
    assert [event.at.second for event in events] == [0, 0, 1]
    assert {event.at.hour for event in events} == {12}


def test_a_restart_by_ha_is_a_move_though_it_has_no_class_of_its_own():
    made = vim.event.EventEx(
        key=1, createdTime=datetime.now(UTC), eventTypeId="com.vmware.vc.ha.VmRestartedByHAEvent", message="x"
    )
    assert history.told(made).kind == MOVED
