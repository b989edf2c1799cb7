"""What a machine's host or guest does not do in time, and how the driver says so."""

from dataclasses import replace

import pytest

from harness.backends.model import PowerState
from harness.backends.protocol import GuestIgnored
from harness.core import LabError
from harness.twins.hyperv.emulated import power
from harness.twins.hyperv.plan import Effect, Planned
from tests.twins.hyperv_driver import host, image, machine, spec, twin
from tests.unit.powershell import soon

__all__ = ["host", "image", "machine", "spec", "twin"]  # fixtures: tests ask for them by name


def _shells(twin):
    """One an agent: another means that consoles were not pumped for a while."""
    return {shell.shell_id for shell in twin.host.shells.present()}


class TestWaits:
    """What the host or the guest does not do in time is told of them, by the same agent as before."""

    @pytest.mark.parametrize("verb", ["start", "stop", "view", "destroy"])
    def test_a_machine_that_does_not_leave_a_state_is_said_to_be_stuck(self, machine, twin, verb):
        """With what frees it."""
        machine.start(soon())
        before = _shells(twin)
        vm = twin.world.by_id(machine.id)
        vm.state = "Stopping"
        try:
            with pytest.raises(LabError, match="last seen") as caught:
                getattr(machine, verb)(soon(1))
        finally:
            vm.state = "Running"
        assert (caught.value.host, caught.value.operation) == ("win1", verb)
        assert "vmwp.exe" in caught.value.hint
        assert _shells(twin) == before

    @pytest.mark.parametrize(
        ("verb", "cmdlet"),
        [("view", "Get-VMHardDiskDrive"), ("services", "Get-VMIntegrationService"), ("events", "Get-WinEvent")],
    )
    def test_a_host_that_reads_slowly_is_heard_out(self, machine, twin, verb, cmdlet):
        """An agent that is ended for being late takes the consoles with it that it pumps."""
        machine.start(soon())
        before = _shells(twin)
        twin.host.plan.replace([Planned(Effect.SLOW, on=cmdlet, seconds=2)])
        assert getattr(machine, verb)(soon(1))
        assert _shells(twin) == before

    def test_a_guest_that_is_asked_to_shut_down_and_stays_up_ignores_it(self, machine, twin, monkeypatch):
        """It is the guest's fault, not the lab's."""
        machine.start(soon())
        before, asked = _shells(twin), []
        monkeypatch.setattr(power, "ask_to_shut_down", lambda vm, *_, **__: asked.append(vm.name))
        with pytest.raises(GuestIgnored, match="it is Running"):
            machine.shutdown(soon(3))
        assert len(asked) == 1
        assert machine.view(soon()).state is PowerState.RUNNING
        assert _shells(twin) == before

    def test_disks_that_are_merged_for_too_long_are_said_to_be(self, machine, twin):
        """Forgetting a checkpoint ends when the host is done with it."""
        machine.checkpoint("one", soon(), memory=False)
        before = _shells(twin)
        vm = twin.world.by_id(machine.id)
        slow = replace(twin.world.settings, merge_seconds=600)
        was, twin.world.settings = twin.world.settings, slow
        try:
            with pytest.raises(LabError, match="merging disks"):
                machine.drop_checkpoint("one", soon(1))
        finally:
            twin.world.settings = was
            vm.merging_until = 0.0
        assert _shells(twin) == before
