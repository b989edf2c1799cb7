from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from secrets import token_bytes
from time import monotonic

import pytest
from interop_fixtures import Capability, Expectations, Guest

from harness.backends.model import PowerState
from harness.backends.protocol import Checkpointed, HostEvents, Machine, Pausable, Savable, ShutdownRequest, WrongState
from harness.backends.verbs import able, dropping
from harness.backends.views import HostEvent
from harness.core import Deadline, GuestError, Pending, wait_for
from harness.core.waiting import pause
from harness.guest.ticker import Ticker

Verb = tuple[str, Callable[[Deadline], object]]


def state_of(guest: Guest, expect: Expectations) -> PowerState:
    """What the host says the machine does now."""
    return guest.machine.view(expect.deadline("host.verb")).state


@pytest.mark.check("L05")
@pytest.mark.needs(Capability.PAUSE)
@pytest.mark.smoke
@pytest.mark.changes_guest
def test_a_paused_guest_stands_still_and_goes_on(guest: Guest, expect: Expectations) -> None:
    """Paused means that nothing runs, and resumed that nothing was lost."""
    machine, ticker, boot = able(guest.machine, Pausable), Ticker(guest), guest.boot_id
    ticker.start(expect.deadline("guest.tick"))
    span, limit = expect.duration("L05.pause"), expect.limit("L05.ticks")
    with guest.kernel.undisturbed(expect.noise):
        began, before = monotonic(), ticker.count()
        machine.pause(expect.deadline("host.verb"))
        assert state_of(guest, expect) is PowerState.PAUSED
        stood = monotonic()
        pause(span)
        stood = monotonic() - stood
        machine.resume(expect.deadline("host.verb"))
        after = ticker.count()
        # Once a second at most while it ran: a busy controller may be long in asking.
        ran = monotonic() - began - stood
        moved = max(0.0, after - before - ran)
        assert limit.allows(moved), f"{moved:.0f} ticks in a pause of {span.total_seconds():g} s, not {limit}"
        ticker.wait_beyond(after, expect.deadline("guest.tick"))
    assert state_of(guest, expect) is PowerState.RUNNING
    assert guest.boot_id == boot, "the guest booted anew instead of going on"


@pytest.mark.check("L06")
@pytest.mark.needs(Capability.SAVE)
@pytest.mark.smoke
@pytest.mark.changes_guest
def test_a_saved_guest_goes_on_where_it_was(guest: Guest, expect: Expectations) -> None:
    """A host can be rebooted under its guests: their memory waits on disk, and they go on as if nothing had been."""
    machine, boot = able(guest.machine, Savable), guest.boot_id
    guest.files.write("/run/interop-in-memory", token_bytes(expect.size("L06.size")))
    kept = guest.files.sha256("/run/interop-in-memory")
    with guest.kernel.undisturbed(expect.noise):
        guest.disconnect()
        machine.save(expect.deadline("host.state"))
        assert state_of(guest, expect) is PowerState.SAVED
        machine.restore(expect.deadline("host.state"))
        guest.wait_back(expect.deadline("guest.back"))
        assert state_of(guest, expect) is PowerState.RUNNING
        assert guest.boot_id == boot, "the guest booted anew instead of going on"
        assert guest.files.sha256("/run/interop-in-memory") == kept, "a file in memory came back different"


@pytest.mark.check("L07")
@pytest.mark.needs(Capability.CHECKPOINT_WITH_MEMORY)
@pytest.mark.smoke
@pytest.mark.changes_guest
def test_a_checkpoint_brings_memory_and_disk_back(guest: Guest, expect: Expectations) -> None:
    """Going back means going back: memory, running programs and files are those of the checkpoint."""
    machine, ticker, boot = able(guest.machine, Checkpointed), Ticker(guest), guest.boot_id
    ticker.start(expect.deadline("guest.tick"))
    guest.files.write("/var/tmp/interop-before", b"before")
    machine.checkpoint("L07", expect.deadline("host.state"), memory=True)
    with dropping(machine, "L07", deadline=partial(expect.deadline, "host.state")):
        kept = ticker.count()
        guest.files.write("/var/tmp/interop-after", b"after")
        guest.files.write("/var/tmp/interop-before", b"changed")
        # Far more than pass until the guest is asked again, however busy its host.
        later = ticker.put_forward(expect.count("L07.ticks"))
        assert later > kept, f"the counter of a guest that runs stood at {kept} and stands at {later}"

        guest.disconnect()
        machine.revert("L07", expect.deadline("host.state"))
        guest.wait_back(expect.deadline("guest.back"))
        assert guest.boot_id == boot, "the guest booted anew instead of going back"
        back = ticker.count()
        assert back < later, f"the counter stood at {kept} at the checkpoint and {later} before the revert; now {back}"
        assert not guest.files.exists("/var/tmp/interop-after"), "a file from after the checkpoint is still there"
        content = guest.files.read("/var/tmp/interop-before")
        assert content == b"before", f"the file of the checkpoint now holds {content!r}"
        ticker.wait_beyond(back, expect.deadline("guest.tick"))


@pytest.mark.check("L11")
@pytest.mark.smoke
@pytest.mark.changes_guest
def test_a_panic_is_explained(guest: Guest, expect: Expectations) -> None:
    """Whoever waits for a guest that panicked is told so at once, in the kernel's own words."""
    limit, began = expect.limit("L11.panic"), monotonic()
    with pytest.raises(GuestError, match="Kernel panic - not syncing: sysrq triggered crash"):
        guest.run(["tee", "/proc/sysrq-trigger"], stdin=b"c\n", timeout=expect.duration("L11.crash"))
    took = monotonic() - began
    assert limit.allows(took), f"the panic was explained after {took:.0f} s, not {limit}"


@pytest.mark.check("L11", part="record")
@pytest.mark.needs(Capability.HOST_EVENTS)
@pytest.mark.slow
@pytest.mark.changes_guest
def test_the_host_records_a_crash_and_no_boot_as_one(guest: Guest, expect: Expectations) -> None:
    """Who looks on the host for what befell a guest finds its crash, and finds none where it merely booted anew."""
    machine, told, never = able(guest.machine, HostEvents), expect.words("crash_events"), expect.words("L11.never")
    assert told, "no event is expected here, and so none was looked for"
    before = set(machine.events(expect.deadline("host.verb")))

    def since(kinds: tuple[str, ...]) -> list[HostEvent]:
        return [one for one in machine.events(expect.deadline("host.verb")) if one.kind in kinds and one not in before]

    for _ in range(expect.count("L11.boots")):
        last = guest.boot_id
        guest.run(["systemctl", "--no-block", "reboot"])
        guest.reboot_seen(last, expect.deadline("guest.boot"))
    wrong = since(never)
    assert not wrong, f"the guest booted anew {expect.count('L11.boots')} times, and the host recorded a crash: {wrong}"

    with suppress(GuestError):  # nobody is left to answer
        guest.run(["tee", "/proc/sysrq-trigger"], stdin=b"c\n", timeout=expect.duration("L11.crash"))
    wait_for(
        f"the host to record one of {told} of a guest that was told to crash",
        lambda: bool(since(told)) or Pending(f"since it crashed the host's record has {since(told)}"),
        expect.deadline("L11.told"),
        fault=AssertionError,
    )


def wrong_when_running(machine: Machine) -> Iterator[Verb]:
    """Verbs that make no sense for a machine that runs."""
    yield "start", machine.start
    if isinstance(machine, Pausable):
        yield "resume", machine.resume
    if isinstance(machine, Savable):
        yield "restore", machine.restore
    if isinstance(machine, Checkpointed):
        yield "revert to a checkpoint that does not exist", lambda deadline: machine.revert("no-such", deadline)


def wrong_when_off(machine: Machine) -> Iterator[Verb]:
    """Verbs that make no sense for a machine that is off."""
    yield "reset", machine.reset
    if isinstance(machine, Pausable):
        yield "pause", machine.pause
        yield "resume", machine.resume
    if isinstance(machine, Savable):
        yield "save", machine.save
        yield "restore", machine.restore
    if isinstance(machine, ShutdownRequest):
        yield "shutdown", machine.shutdown


@pytest.mark.check("L14")
@pytest.mark.smoke
@pytest.mark.changes_guest
def test_a_verb_in_the_wrong_state_changes_nothing(guest: Guest, expect: Expectations) -> None:
    """A mistaken request is refused by name and harms nobody: the guest runs on, the machine stays off."""
    machine, boot = guest.machine, guest.boot_id
    for name, verb in wrong_when_running(machine):
        with pytest.raises(WrongState):
            verb(expect.deadline("host.verb"))
        assert state_of(guest, expect) is PowerState.RUNNING, f"after {name}"
    assert guest.boot_id == boot, "the guest booted anew"
    if isinstance(machine, Pausable):
        machine.pause(expect.deadline("host.verb"))
        with pytest.raises(WrongState):
            machine.pause(expect.deadline("host.verb"))
        assert state_of(guest, expect) is PowerState.PAUSED
    machine.stop(expect.deadline("host.verb"))
    machine.stop(expect.deadline("host.verb"))
    for name, verb in wrong_when_off(machine):
        with pytest.raises(WrongState):
            verb(expect.deadline("host.verb"))
        assert state_of(guest, expect) is PowerState.OFF, f"after {name}"
