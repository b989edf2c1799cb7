"""Verbs from several threads: the driver serialises, nothing is torn, nothing is done twice."""

from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.backends import protocol
from harness.backends.capabilities import Capability
from harness.backends.model import DiskSpec, PowerState
from harness.backends.protocol import WrongState
from harness.core import MiB, Size


def together(*calls):
    """Run the calls at once; what each returned or raised, in their order."""

    def outcome(call):
        try:
            return call()
        except protocol.InteropError as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(outcome, calls))


def test_machines_are_made_and_destroyed_at_once(site):
    """Each is its own, and all are gone afterwards."""
    before = site.handles()
    machines = together(*[site.create] * 4)
    assert len({machine.id for machine in machines}) == 4
    assert {machine.id for machine in machines} <= site.handles()
    assert together(*[lambda made=made: site.destroy(made) for made in machines]) == [None] * 4
    assert site.handles() == before


def test_a_machine_is_started_once(site, machine):
    """Of four that start it, one does; the others hear that it runs."""
    outcomes = together(*[lambda: machine.start(site.deadline())] * 4)
    assert outcomes.count(None) == 1
    assert all(isinstance(outcome, WrongState) for outcome in outcomes if outcome is not None), outcomes
    assert site.view(machine).state is PowerState.RUNNING


@pytest.mark.proves(Capability.PAUSE)
def test_a_machine_is_paused_once(site, machine):
    """By two handles of it, as two processes of a run would have."""
    machine.start(site.deadline())
    again = site.hypervisor.open(machine.id, site.deadline())
    outcomes = together(*[lambda handle=handle: handle.pause(site.deadline()) for handle in (machine, again)])
    assert outcomes.count(None) >= 1
    assert all(isinstance(outcome, WrongState) for outcome in outcomes if outcome is not None), outcomes
    assert site.view(machine).state is PowerState.PAUSED


def test_looking_is_possible_while_something_is_done(site, machine):
    """Every view is whole: a state the machine has been in, with all its NICs."""

    def look():
        return [site.view(machine) for _ in range(10)]

    def act():
        for _ in range(3):
            machine.start(site.deadline())
            machine.stop(site.deadline())

    *views, done = together(look, look, act)
    assert done is None, done
    assert not [some for some in views if isinstance(some, BaseException)], views
    for view in [view for some in views for view in some]:
        assert view.state in {PowerState.OFF, PowerState.RUNNING, PowerState.PAUSED}  # some hosts start by a pause
        assert {nic.mac for nic in view.nics} == {nic.mac for nic in machine.spec.nics}


def test_two_guests_are_published_to_at_once(site):
    """The same image, one handle."""
    first, second = together(*[lambda: site.hypervisor.publish(site.image, site.deadline(1800))] * 2)
    assert first == second == site.published


@pytest.mark.proves(Capability.DISK_HOT_ADD)
def test_disks_come_at_once(site, machine):
    """All of them, each under its serial."""
    serials, size = [f"disk-{number}" for number in range(3)], Size(8 * MiB)
    calls = [lambda serial=serial: machine.attach_disk(DiskSpec(serial, size), site.deadline()) for serial in serials]
    outcomes = together(*calls)
    assert not [outcome for outcome in outcomes if isinstance(outcome, Exception)], outcomes
    assert sorted(disk.serial for disk in site.view(machine).disks) == serials


@pytest.mark.proves(Capability.EXCHANGE)
def test_the_guests_services_serve_several_at_once(site, guest, tmp_path):
    """Questions, while a file is copied where the host can; each answer belongs to its question."""
    from tests.contract.test_contract_services import await_heartbeat

    guest.run(["systemctl", "start", site.service])
    await_heartbeat(site, guest, healthy=True)
    source = tmp_path / "file"
    source.write_bytes(secrets.token_bytes(600_000))

    def ask():
        return [guest.machine.exchange(site.column.question, site.deadline(120)) for _ in range(5)]

    def copy():
        guest.machine.copy_file(source, "/var/tmp/contract-threads", site.deadline(240))

    copies = [copy] if site.can(Capability.FILE_COPY, guest.shape) else []
    first, second, *copied = together(ask, ask, *copies)
    assert not [outcome for outcome in (first, second, *copied) if isinstance(outcome, Exception)]
    assert all(site.column.answered(answer, guest) for answer in [*first, *second])
    if not copies:
        return
    assert len(guest.files.read("/var/tmp/contract-threads")) == 600_000
    guest.files.remove("/var/tmp/contract-threads")
