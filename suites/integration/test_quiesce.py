import re
from functools import partial

import pytest
from interop_fixtures import Capability, Expectations, Guest

from harness.backends.model import PowerState
from harness.backends.protocol import Checkpointed, Quiescing, Services
from harness.backends.verbs import able, dropping
from harness.core import Pending, wait_for
from harness.guest.freezes import FREEZE, THAW, freeze_log

NAME = "I20"
BEFORE, LATER = "/var/tmp/interop-before", "/var/tmp/interop-later"

# What file systems say that were in use when the disk was cut off; one that was frozen has an empty journal.
REPLAYED = re.compile(r"EXT4-fs.*(recovery complete|recovering journal)|XFS.*Starting recovery|BTRFS.*log replay")


@pytest.mark.check("I20")
@pytest.mark.needs(Capability.QUIESCE, Capability.HEARTBEAT)
@pytest.mark.changes_guest
def test_a_quiesced_checkpoint_holds_whole_file_systems(guest: Guest, expect: Expectations) -> None:
    """Whoever backs up a running guest gets disks as after a shutdown: services are told before, and go on after."""
    machine, log = able(guest.machine, Checkpointed), freeze_log(guest, expect.word("freeze_log"))
    log.begin()
    services_answer(guest, expect)
    first = guest.boot_id
    guest.files.write(BEFORE, b"before")  # nobody syncs it: freezing does
    with dropping(machine, NAME, deadline=partial(expect.deadline, "host.state")):
        with guest.kernel.undisturbed(expect.noise):
            able(guest.machine, Quiescing).quiesced_checkpoint(NAME, expect.deadline("host.state"))
            guest.wait_back(expect.deadline("guest.back"))
            asked, told = (FREEZE, THAW), log.told()
            assert told == asked, f"asked of the host once {asked}, told by the guest's service {told}"
            assert guest.boot_id == first, "the guest booted anew while it was to be still for a moment"
            guest.files.write(LATER, b"later")
            guest.run(["sync"])
        seen = machine.checkpoints(expect.deadline("host.verb"))
        assert NAME in seen, f"checkpoints: asked of the host {NAME}, seen by the host {seen}"

        guest.disconnect()
        guest.machine.stop(expect.deadline("host.verb"))
        machine.revert(NAME, expect.deadline("host.state"))
        state = guest.machine.view(expect.deadline("host.verb")).state
        assert state is PowerState.OFF, f"a quiesced checkpoint holds disks alone, and the host says {state}"
        guest.machine.start(expect.deadline("host.verb"))
        guest.reboot_seen(first, expect.deadline("guest.boot"))
        kept = guest.files.read(BEFORE) if guest.files.exists(BEFORE) else None
        assert kept == b"before", f"before the checkpoint {BEFORE} held b'before', after going back {kept!r}"
        assert not guest.files.exists(LATER), "a file from after the checkpoint is still there"
        replayed = [str(message) for message in guest.kernel.log() if REPLAYED.search(message.text)]
        assert not replayed, f"the checkpoint was taken of file systems in use: {replayed}"


def services_answer(guest: Guest, expect: Expectations) -> None:
    """Wait until the host hears the guest's services."""

    def healthy() -> bool | Pending:
        seen = {one.name: one for one in able(guest.machine, Services).services(expect.deadline("host.verb"))}
        heart = seen.get("heartbeat")
        return True if heart and heart.healthy else Pending(f"the host sees {heart or sorted(seen)}")

    wait_for("the host to hear the guest's services", healthy, expect.deadline("I08.heartbeat"), fault=AssertionError)
