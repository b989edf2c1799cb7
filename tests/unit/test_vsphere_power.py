"""A vSphere machine goes through its power states, and refuses what its state does not allow."""

from __future__ import annotations

import pytest

pytest.importorskip("pyVmomi")

from harness.backends.model import PowerState
from harness.backends.protocol import WrongState
from harness.core import Pending, wait_for
from tests.unit import vsphere_access
from tests.unit.vsphere_access import view, within

host, machine, running = vsphere_access.host, vsphere_access.machine, vsphere_access.running
OFF, RUNNING, SAVED = PowerState.OFF, PowerState.RUNNING, PowerState.SAVED


def test_power_goes_through_all_its_states(machine):
    for verb, state in (
        (machine.start, RUNNING),
        (machine.reset, RUNNING),
        (machine.save, SAVED),
        (machine.restore, RUNNING),
        (machine.save, SAVED),
        (machine.start, RUNNING),
        (machine.save, SAVED),
        (machine.stop, OFF),
        (machine.stop, OFF),
        (machine.start, RUNNING),
        (machine.shutdown, OFF),
    ):
        verb(within())
        assert view(machine).state is state


def test_a_guest_that_was_asked_to_stand_by_is_saved_and_continues(host, running):
    """Asked once; the host suspends it when the guest has agreed."""
    before = host.session.trips["StandbyGuest"]
    running.standby(within())
    assert host.session.trips["StandbyGuest"] == before + 1
    wait_for("the guest to stand by", lambda: view(running).state is SAVED or Pending("not yet"), within())
    running.restore(within())
    assert view(running).state is RUNNING


@pytest.mark.parametrize("verb", ["reset", "save", "restore", "shutdown", "reboot", "standby", "screenshot", "nmi"])
def test_a_machine_that_is_off_refuses_what_needs_it_running(machine, verb):
    with pytest.raises(WrongState, match="is off") as caught:
        getattr(machine, verb)(within())
    assert (caught.value.host, caught.value.operation) == ("esx1", verb)
