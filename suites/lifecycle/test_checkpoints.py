from functools import partial

import pytest
from interop_fixtures import Capability, Expectations, Guest

from harness.backends.model import PowerState
from harness.backends.protocol import Checkpointed
from harness.backends.verbs import able, dropping
from harness.core import Pending, wait_for

KEPT, LATER = "/var/tmp/interop-kept", "/var/tmp/interop-later"


def write(guest: Guest, path: str, content: bytes) -> None:
    """Write a file so that it is on the disk, whatever happens next."""
    guest.files.write(path, content)
    guest.run(["sync"])


def boot(guest: Guest, old: str, expect: Expectations) -> None:
    """Start the machine, and see another boot than ``old``."""
    guest.machine.start(expect.deadline("host.verb"))
    guest.reboot_seen(old, expect.deadline("guest.boot"))


def on_disk(guest: Guest, path: str) -> bytes | None:
    """What the disk holds at ``path``, not what the kernel remembers of it; None: nothing."""
    guest.shell("sync && echo 3 > /proc/sys/vm/drop_caches")
    return guest.files.read(path) if guest.files.exists(path) else None


@pytest.mark.check("L08")
@pytest.mark.needs(Capability.CHECKPOINT)
@pytest.mark.changes_guest
def test_a_checkpoint_of_the_disk_brings_files_back(guest: Guest, expect: Expectations) -> None:
    """Going back to a checkpoint of a machine that was off gives the files of then, and a new boot."""
    machine, first = able(guest.machine, Checkpointed), guest.boot_id
    write(guest, KEPT, b"then")
    guest.machine.stop(expect.deadline("host.verb"))
    machine.checkpoint("L08", expect.deadline("host.state"), memory=False)
    with dropping(machine, "L08", deadline=partial(expect.deadline, "host.state")):
        boot(guest, first, expect)
        second = guest.boot_id
        write(guest, KEPT, b"changed")
        write(guest, LATER, b"later")

        guest.disconnect()
        guest.machine.stop(expect.deadline("host.verb"))
        machine.revert("L08", expect.deadline("host.state"))
        state = guest.machine.view(expect.deadline("host.verb")).state
        assert state is PowerState.OFF, f"a checkpoint of the disk alone leaves a machine off, the host says {state}"
        boot(guest, second, expect)
        assert guest.boot_id not in {first, second}, f"the boot {guest.boot_id} is one of before"
        kept = on_disk(guest, KEPT)
        assert kept == b"then", f"at the checkpoint {KEPT} held b'then', now it holds {kept!r}"
        assert on_disk(guest, LATER) is None, "a file from after the checkpoint is still there"
        problems = guest.kernel.problems(ignore=expect.noise)
        assert not problems, f"after going back the kernel complains: {problems}"


@pytest.mark.check("L09")
@pytest.mark.needs(Capability.CHECKPOINT, Capability.CHECKPOINT_WITH_MEMORY)
@pytest.mark.changes_guest
def test_a_chain_of_checkpoints_comes_apart_without_loss(guest: Guest, expect: Expectations) -> None:
    """Of three checkpoints any can be gone back to and any forgotten, in any order: the disk stays right."""
    machine, first = able(guest.machine, Checkpointed), guest.boot_id
    others = machine.checkpoints(expect.deadline("host.verb"))
    left = machine.checkpoint_files(expect.deadline("host.verb"))
    chain = ("L09-one", "L09-two", "L09-three")
    with dropping(machine, *chain, deadline=partial(expect.deadline, "host.state")):
        for name in chain:
            write(guest, KEPT, name.encode())
            write(guest, f"{LATER}-{name}", name.encode())
            machine.checkpoint(name, expect.deadline("host.state"), memory=True)
            guest.wait_back(expect.deadline("guest.back"))
        kept = machine.checkpoint_files(expect.deadline("host.verb"))
        assert len(kept) > len(left), f"before three checkpoints the host kept {left} for such, and with them {kept}"
        seen = machine.checkpoints(expect.deadline("host.verb"))
        assert seen == (*others, *chain), f"checkpoints: asked of the host {(*others, *chain)}, seen by the host {seen}"

        guest.disconnect()
        machine.revert("L09-two", expect.deadline("host.state"))
        guest.wait_back(expect.deadline("guest.back"))
        assert guest.boot_id == first, "the guest booted anew instead of going back"
        look(guest, "after going back to the middle")
        # The newest first, which nothing stands on any more; then the oldest, below the others; then the one in use.
        for name in ("L09-three", "L09-one", "L09-two"):
            machine.drop_checkpoint(name, expect.deadline("host.state"))
            look(guest, f"without {name}")

    seen = machine.checkpoints(expect.deadline("host.verb"))
    assert seen == others, f"checkpoints: {others} were there before, and now {seen}"
    assert_none_left(machine, left, expect)
    guest.disconnect()
    guest.machine.stop(expect.deadline("host.verb"))
    boot(guest, first, expect)
    look(guest, "after a power cut")
    problems = guest.kernel.problems(ignore=expect.noise)
    assert not problems, f"after the chain was taken apart the kernel complains: {problems}"


def look(guest: Guest, when: str) -> None:
    """The disk is that of the checkpoint in the middle."""
    kept = on_disk(guest, KEPT)
    assert kept == b"L09-two", f"{when}: {KEPT} held b'L09-two' at the middle checkpoint, now it holds {kept!r}"
    for name, wanted in (("L09-one", True), ("L09-two", True), ("L09-three", False)):
        there = on_disk(guest, f"{LATER}-{name}") is not None
        assert there is wanted, f"{when}: the file of {name} is {'there' if there else 'missing'}"


def assert_none_left(machine: Checkpointed, before: tuple[str, ...], expect: Expectations) -> None:
    """The host keeps no more for checkpoints than before; disks that were gone back to are other files by now."""

    def merged() -> bool | Pending:
        now = machine.checkpoint_files(expect.deadline("host.verb"))
        return True if len(now) == len(before) else Pending(f"{len(now)}: {', '.join(now)}")

    what = f"the host to keep {len(before)} files or snapshots of checkpoints as before: {', '.join(before) or 'none'}"
    wait_for(what, merged, expect.deadline("host.state"), every=0.5, fault=AssertionError)
