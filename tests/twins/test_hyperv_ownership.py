"""Whose a machine is by its mark: what is left of ours, and what somebody else did to it."""

import json
from dataclasses import replace

import pytest

from harness.backends.hyperv.errors import Gone
from harness.backends.hyperv.steps import Ref, Step
from harness.backends.model import Ownership, PowerState
from harness.backends.protocol import LeaseLost, Refused
from harness.backends.views import Owned, ResourceKind
from harness.core import GiB, LabError
from tests.twins.hyperv_driver import OWNER, PEERS, host, image, machine, spec, twin
from tests.unit.powershell import soon

__all__ = ["host", "image", "machine", "spec", "twin"]  # fixtures: tests ask for them by name


class TestOwnership:
    """What is ours, and what of it can be taken away."""

    def test_nothing_is_left_of_a_machine(self, host, spec, twin):
        """And destroying it again is no error."""
        machine = host.create(spec, soon())
        assert [thing.handle for thing in host.owned(soon(), "run-1a")] == [machine.id]
        machine.start(soon())
        machine.checkpoint("warm", soon(), memory=True)
        machine.destroy(soon())
        machine.destroy(soon())
        assert list(host.owned(soon())) == []
        assert [path.name for path in (twin.store / "machines").iterdir()] == []

    def test_a_folder_without_a_machine_is_ours_by_its_name(self, host, spec, twin):
        """The process died between two cmdlets."""
        folder = twin.store / "machines" / f"g1~run-1a~t0k3n~{int(OWNER.expiry.timestamp())}"
        folder.mkdir(parents=True)
        (folder / "system.vhdx").write_bytes(b"x")
        (twin.store / "machines" / "somebody's").mkdir()
        thing = next(iter(host.owned(soon())))
        assert (thing.kind, thing.name) == (ResourceKind.FOLDER, "g1")
        with pytest.raises(Refused, match="carries the mark"):
            host.remove(Owned(thing.kind, thing.handle, Ownership("run-1a", "other", OWNER.expiry)), soon())
        host.remove(thing, soon())
        host.remove(thing, soon())
        assert [path.name for path in (twin.store / "machines").iterdir()] == ["somebody's"]
        (twin.store / "machines" / "somebody's").rmdir()

    def test_a_machine_of_somebody_else_is_not_touched(self, host):
        """Whatever its name."""
        make = Step("New-VM", {"Name": "g1~x", "NoVHD": True, "MemoryStartupBytes": GiB}, get=("Id",))
        identity = host.agents.run("make", [make], soon())[0][0]["Id"]
        assert list(host.owned(soon())) == []
        with pytest.raises(Refused, match="not ours"):
            host.remove(Owned(ResourceKind.MACHINE, identity, None), soon())
        with pytest.raises(LabError, match="not ours"):
            host.open(identity, soon())
        remove = [Step("Get-VM", {"Id": identity}, name="vm"), Step("Remove-VM", {"Name": "g1~x", "Force": True})]
        host.agents.run("remove", remove, soon())

    def test_a_machine_that_somebody_else_removed_is_the_labs_fault(self, host, machine, twin):
        """Whatever verb finds out. Its files are still ours, and go."""
        find = Step("Get-VM", {"Id": machine.id}, name="vm")
        host.agents.run("theirs", [find, Step("Remove-VM", {"VM": Ref("vm"), "Force": True})], soon())
        verbs = {
            "view": lambda: machine.view(soon()),
            "start": lambda: machine.start(soon()),
            "stop": lambda: machine.stop(soon()),
            "shutdown": lambda: machine.shutdown(soon()),
            "services": lambda: machine.services(soon()),
            "checkpoints": lambda: machine.checkpoints(soon()),
            "resize": lambda: machine.resize(soon(), vcpus=1),
            "console": lambda: machine.console().read(0, 100),
        }
        for verb, work in verbs.items():
            with pytest.raises(Gone) as caught:
                work()
            assert (caught.value.host, caught.value.operation) == ("win1", verb)
            assert "somebody else removed it" in caught.value.hint
        assert list((twin.store / "machines").iterdir()) != []
        machine.destroy(soon())
        assert list((twin.store / "machines").iterdir()) == []

    def test_a_machine_that_somebody_else_renamed_is_still_ours(self, host, machine, twin):
        """Found by its id, its files by its mark."""
        find = Step("Get-VM", {"Id": machine.id}, name="vm")
        host.agents.run("theirs", [find, Step("Rename-VM", {"VM": Ref("vm"), "NewName": "theirs"})], soon())
        machine.start(soon())
        view = host.open(machine.id, soon()).view(soon())
        assert (view.state, json.loads(view.raw)["vm"]["Name"]) == (PowerState.RUNNING, "theirs")
        assert [(thing.handle, thing.owner.run) for thing in host.owned(soon())] == [(machine.id, "run-1a")]
        machine.destroy(soon())
        assert list(host.owned(soon())) == []
        assert machine.id not in [str(vm.id) for vm in twin.world.all()]
        assert list((twin.store / "machines").iterdir()) == []

    def test_a_creation_that_fails_leaves_nothing(self, host, spec, twin):
        """Here: a switch that is not there."""
        nowhere = replace(spec.nics[0], network=replace(PEERS, source="nowhere"))
        with pytest.raises((LabError, Refused), match="nowhere"):
            host.create(replace(spec, nics=(nowhere, spec.nics[1])), soon())
        assert list(host.owned(soon())) == []
        assert list((twin.store / "machines").iterdir()) == []

    def test_a_run_without_its_lease_does_nothing(self, machine, monkeypatch):
        """Mutating verbs ask first."""

        def lost():
            raise LeaseLost("gone")

        with monkeypatch.context() as patched:
            patched.setattr(machine._host.ledger, "check", lost)
            with pytest.raises(LeaseLost):
                machine.start(soon())
        assert machine.view(soon()).state is PowerState.OFF
