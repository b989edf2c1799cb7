"""Checkpoints: what was changed afterwards is undone, on disk and in memory, as the guest sees it."""

from __future__ import annotations

import re

import pytest

from harness.backends.capabilities import Capability
from harness.backends.model import PowerState
from harness.backends.protocol import GuestIgnored, Refused, WrongState
from tests.contract.test_contract_power import KERNEL_BANNER, await_console, console_text


@pytest.mark.proves(Capability.CHECKPOINT)
def test_checkpoints_of_disks_are_listed_oldest_first_and_dropped_by_name(site, machine):
    """Of a machine that is off."""
    files = len(machine.checkpoint_files(site.deadline()))
    for name in ("one", "two", "three"):
        machine.checkpoint(name, site.deadline(), memory=False)
    assert len(machine.checkpoint_files(site.deadline())) > files
    assert machine.checkpoints(site.deadline()) == ("one", "two", "three")
    machine.drop_checkpoint("two", site.deadline())
    assert machine.checkpoints(site.deadline()) == ("one", "three")
    with pytest.raises(WrongState):
        machine.revert("two", site.deadline())
    machine.revert("one", site.deadline())
    assert site.view(machine).state is PowerState.OFF
    assert "one" in machine.checkpoints(site.deadline())
    for name in ("one", "three"):
        machine.drop_checkpoint(name, site.deadline())
    assert len(machine.checkpoint_files(site.deadline())) == files


@pytest.mark.proves(Capability.CHECKPOINT)
def test_a_name_is_taken_once(site, machine):
    """The first checkpoint of that name stays."""
    machine.checkpoint("one", site.deadline(), memory=False)
    with pytest.raises((Refused, WrongState)):
        machine.checkpoint("one", site.deadline(), memory=False)
    assert machine.checkpoints(site.deadline()) == ("one",)


@pytest.mark.proves(Capability.CHECKPOINT)
def test_going_back_to_a_checkpoint_of_disks_undoes_what_was_written(site, spoilt):
    """The guest's file is gone after the next boot, and the machine is off in between."""
    machine = spoilt.machine
    spoilt.files.write("/root/after-the-checkpoint", b"this must go")
    spoilt.run(["sync"])
    boot = spoilt.boot_id
    machine.revert("contract-blank", site.deadline())
    assert site.view(machine).state is PowerState.OFF
    site.meet_again(spoilt, start=True)
    assert spoilt.boot_id != boot
    assert not spoilt.files.exists("/root/after-the-checkpoint")


@pytest.mark.proves(Capability.CHECKPOINT_WITH_MEMORY)
def test_going_back_to_a_checkpoint_with_memory_undoes_disk_and_memory(site, each):
    """Files on disk and in memory are what they were, a process of then runs again, and it is the same boot."""
    machine = each.machine
    boot = each.boot_id
    each.files.write("/root/on-disk", b"then")
    each.files.write("/run/in-memory", b"then")
    pid = each.shell("nohup sleep 100000 >/dev/null 2>&1 & echo $!").text.strip()
    files = machine.checkpoint_files(site.deadline())
    machine.checkpoint("then", site.deadline(), memory=True)
    kept = machine.checkpoint_files(site.deadline())
    assert set(kept) - set(files), f"nothing shows that there is another one: {files}, then {kept}"
    if not site.host.twin:  # the twin of Hyper-V shows one differencing disk a drive, however many there are
        assert len(kept) > len(files), f"{files}, then {kept}"
    assert site.view(machine).state is PowerState.RUNNING
    site.meet_again(each)
    for round_ in (b"first", b"second"):
        each.files.write("/root/on-disk", round_)
        each.files.write("/run/in-memory", round_)
        each.run(["kill", pid], check=False)
        each.run(["sync"])
        machine.revert("then", site.deadline())
        assert site.view(machine).state is PowerState.RUNNING
        site.meet_again(each)
        assert each.files.read("/root/on-disk") == b"then"
        assert each.files.read("/run/in-memory") == b"then"
        assert each.files.read(f"/proc/{pid}/comm") == b"sleep\n"
        assert each.boot_id == boot
    assert machine.checkpoints(site.deadline())[-1] == "then"
    machine.drop_checkpoint("then", site.deadline())
    assert "then" not in machine.checkpoints(site.deadline())
    # A disk that was gone back to is another file.
    assert len(machine.checkpoint_files(site.deadline())) == len(files)


@pytest.mark.proves(Capability.CHECKPOINT_WITH_MEMORY)
def test_a_machine_that_is_off_goes_back_to_running(site, machine):
    """The state it is in does not matter: that of the checkpoint comes back."""
    machine.start(site.deadline())
    await_console(machine, KERNEL_BANNER)
    machine.checkpoint("running", site.deadline(), memory=True)
    machine.stop(site.deadline())
    machine.revert("running", site.deadline())
    assert site.view(machine).state is PowerState.RUNNING
    end = len(console_text(machine))
    await_console(machine, r"\S", since=end)
    assert not re.search(KERNEL_BANNER, console_text(machine)[end:])


@pytest.mark.proves(Capability.CHECKPOINT_WITH_MEMORY, Capability.PAUSE)
def test_a_paused_machine_can_be_checkpointed_and_stays_paused(site, machine):
    """Taking one does not let it run."""
    machine.start(site.deadline())
    machine.pause(site.deadline())
    machine.checkpoint("paused", site.deadline(), memory=True)
    assert site.view(machine).state is PowerState.PAUSED


@pytest.mark.proves(Capability.QUIESCE)
def test_a_quiesced_checkpoint_holds_what_nobody_synced_and_lets_the_guest_go_on(site, each):
    """Its service froze the file systems for it, and thawed them; going back leaves the machine off."""
    if not site.can(Capability.QUIESCE, each.shape):
        pytest.skip(f"{site.host.name} cannot quiesce such a machine")
    machine, boot = each.machine, each.boot_id
    before = machine.checkpoints(site.deadline())
    each.files.write("/root/unsynced", b"then")
    machine.quiesced_checkpoint("still", site.deadline())
    assert site.view(machine).state is PowerState.RUNNING
    assert machine.checkpoints(site.deadline()) == (*before, "still")
    with pytest.raises(Refused):
        machine.quiesced_checkpoint("still", site.deadline())
    each.files.write("/root/later", b"this must go")
    each.run(["sync"])
    assert each.boot_id == boot

    machine.revert("still", site.deadline())
    assert site.view(machine).state is PowerState.OFF
    site.meet_again(each, start=True)
    assert each.boot_id != boot
    assert each.files.read("/root/unsynced") == b"then"
    assert not each.files.exists("/root/later")
    assert not [line for line in each.kernel.log() if "recovery complete" in line.text]
    machine.drop_checkpoint("still", site.deadline())
    assert machine.checkpoints(site.deadline()) == before
    each.run(["touch", "/root/works"])


@pytest.mark.proves(Capability.QUIESCE)
def test_a_guest_that_nobody_can_quiet_is_told_of_and_nothing_is_left(site, machine):
    """It has hardly begun to boot: no service of it listens."""
    machine.start(site.deadline())
    with pytest.raises(GuestIgnored):
        machine.quiesced_checkpoint("still", site.deadline(10))  # some hosts wait for a service as long as they may
    assert machine.checkpoints(site.deadline()) == ()
    assert site.view(machine).state is PowerState.RUNNING
    if site.can(Capability.CHECKPOINT_WITH_MEMORY):
        machine.checkpoint("with-memory", site.deadline(), memory=True)
        machine.revert("with-memory", site.deadline())
        assert site.view(machine).state is PowerState.RUNNING


@pytest.mark.proves(Capability.CHECKPOINT)
def test_destroying_a_machine_takes_its_checkpoints_along(site):
    """Nothing of it is owned any more."""
    made = site.create()
    made.checkpoint("one", site.deadline(), memory=False)
    before = site.handles()
    site.destroy(made)
    left = site.handles()
    assert made.id in before
    assert not {handle for handle in left if made.id in handle}
