from collections.abc import Callable
from datetime import timedelta
from functools import partial
from time import monotonic

import pytest
from interop_fixtures import Capability, Expectations, Guest

from harness.backends.protocol import Checkpointed, Pausable, Savable, ServiceSwitch
from harness.backends.verbs import able, dropping
from harness.core import Deadline, Pending, wait_for
from harness.core.waiting import pause
from harness.guest.clock import Offset
from harness.guest.clock_gaps import Gap
from harness.lab.limits import Limit

Verb = Callable[[Deadline], None]

BEHIND = 10.0
"""By how many seconds a clock is set back whose host has no say in it."""


def stop_and_go(guest: Guest, expect: Expectations, stop: Verb, go: Verb, span: timedelta) -> Gap:
    """Let the machine stand still for a while, and tell what its monotonic clock made of that."""
    probes = expect.count("T09.probes")
    before = guest.clock.against_controller(probes, monotonic=True).best
    boot = guest.boot_id
    with guest.kernel.undisturbed(expect.noise):
        guest.disconnect()
        asked = monotonic()
        stop(expect.deadline("host.state"))
        stopped = monotonic()
        pause(span)
        going = monotonic()
        go(expect.deadline("host.state"))
        gone = monotonic()
        guest.wait_back(expect.deadline("guest.back"))
        assert guest.boot_id == boot, "the guest booted anew instead of going on"
    after = guest.clock.against_controller(probes, monotonic=True).best
    return Gap.between(before, after, at_least=going - stopped, at_most=gone - asked)


def assert_as_its_kind(gap: Gap, limit: Limit, wanted: tuple[str, ...]) -> None:
    """The clock of programs that count seconds did what guests of this kind are known to do."""
    assert limit.at_most is not None, f"how wide a gap may miss needs at_most: {limit}"
    if gap.uncertainty >= limit.at_most:
        pytest.skip(f"the gap can only be told to ± {gap.uncertainty:.3f} s here, and the limit is {limit}")
    assert gap.at_least > 2 * limit.at_most, f"{gap}: too short to be told from none, give or take {limit}"
    assert gap.passing(limit.at_most) in wanted, f"{gap}; expected: it {' or '.join(wanted)}, {limit}"


def wait_until_right(guest: Guest, expect: Expectations, deadline: Deadline) -> Offset:
    """Wait until the guest's clock agrees with its host's as T06 asks; nobody but its time service may see to that."""
    limit = expect.limit("T06.offset")

    def right() -> Offset | Pending:
        seen = guest.clock.offset(probes=expect.count("T13.probes"))
        # However coarse it is, a reading may show beyond doubt that the clock is not right yet.
        if limit.at_most is not None and seen.uncertainty >= max(limit.at_most, abs(seen.seconds) - limit.at_most):
            pytest.skip(f"the offset can only be told to ± {seen.uncertainty:.3f} s here, and the limit is {limit}")
        return seen if limit.keeps(abs(seen.seconds)) else Pending(f"guest minus host is {seen}, not {limit}")

    return wait_for(f"the clock of {guest.name} to be right", right, deadline, every=1, fault=AssertionError)


@pytest.mark.check("T09", part="monotonic")
@pytest.mark.needs(Capability.PAUSE)
@pytest.mark.changes_guest
@pytest.mark.smoke
def test_a_pause_is_no_time_inside_or_all_of_it(guest: Guest, expect: Expectations) -> None:
    """Programs that count seconds know what a pause is to them: their clock stands, or goes on, but does no third."""
    machine = able(guest.machine, Pausable)
    gap = stop_and_go(guest, expect, machine.pause, machine.resume, expect.duration("T09.absence"))
    assert_as_its_kind(gap, expect.limit("T09.gap"), expect.words("T09.monotonic"))


@pytest.mark.check("T10", part="monotonic")
@pytest.mark.needs(Capability.SAVE)
@pytest.mark.changes_guest
@pytest.mark.smoke
def test_being_saved_is_no_time_inside_or_all_of_it(guest: Guest, expect: Expectations) -> None:
    """Programs that count seconds know what a save is to them: their clock stands, or goes on, but does no third."""
    machine = able(guest.machine, Savable)
    gap = stop_and_go(guest, expect, machine.save, machine.restore, expect.duration("T10.absence"))
    assert_as_its_kind(gap, expect.limit("T10.gap"), expect.words("T10.monotonic"))


@pytest.mark.check("T09", part="corrected")
@pytest.mark.needs(Capability.PAUSE, Capability.HOST_CLOCK)
@pytest.mark.expects("time_service")
@pytest.mark.untouched_clock
@pytest.mark.changes_guest
def test_the_clock_is_right_again_after_a_pause(guest: Guest, expect: Expectations) -> None:
    """A guest that was paused soon shows the time of its host again, without anybody's help."""
    machine = able(guest.machine, Pausable)
    stop_and_go(guest, expect, machine.pause, machine.resume, expect.duration("T09.absence"))
    wait_until_right(guest, expect, expect.deadline("T09.corrected"))


@pytest.mark.check("T10", part="corrected")
@pytest.mark.needs(Capability.SAVE, Capability.HOST_CLOCK)
@pytest.mark.expects("time_service")
@pytest.mark.untouched_clock
@pytest.mark.changes_guest
def test_the_clock_is_right_again_after_a_restore(guest: Guest, expect: Expectations) -> None:
    """A guest that slept on its host's disk soon shows the time of its host again, without anybody's help."""
    machine = able(guest.machine, Savable)
    stop_and_go(guest, expect, machine.save, machine.restore, expect.duration("T10.absence"))
    wait_until_right(guest, expect, expect.deadline("T10.corrected"))


@pytest.mark.check("T11")
@pytest.mark.needs(Capability.CHECKPOINT_WITH_MEMORY, Capability.HOST_CLOCK)
@pytest.mark.expects("time_service")
@pytest.mark.untouched_clock
@pytest.mark.changes_guest
def test_the_clock_is_right_again_after_a_revert(guest: Guest, expect: Expectations) -> None:
    """A guest that went back to a checkpoint of its memory soon shows its host's time, not that of the checkpoint."""
    machine, boot = able(guest.machine, Checkpointed), guest.boot_id
    machine.checkpoint("T11", expect.deadline("host.state"), memory=True)
    with dropping(machine, "T11", deadline=partial(expect.deadline, "host.state")):
        guest.files.write("/run/interop-after", b"after")
        pause(expect.duration("T11.absence"))
        guest.disconnect()
        machine.revert("T11", expect.deadline("host.state"))
        guest.wait_back(expect.deadline("guest.back"))
        assert guest.boot_id == boot, "the guest booted anew instead of going back"
        assert not guest.files.exists("/run/interop-after"), "what was written after the checkpoint is still in memory"
        wait_until_right(guest, expect, expect.deadline("T11.corrected"))


@pytest.mark.check("T12")
@pytest.mark.needs(Capability.SERVICE_TOGGLE, Capability.HOST_CLOCK)
@pytest.mark.untouched_clock
@pytest.mark.changes_guest
def test_a_clock_is_its_hosts_while_that_is_switched_on(guest: Guest, expect: Expectations) -> None:
    """Who wants a guest's clock apart from its host's switches time synchronisation off, and on to have it back."""
    switch, limit, probes = able(guest.machine, ServiceSwitch), expect.limit("T12.apart"), expect.count("T13.probes")
    switch.toggle("timesync", False, expect.deadline("host.verb"))
    guest.chrony.stop()
    before = guest.clock.offset(probes)
    if before.uncertainty >= BEHIND / 10:
        pytest.skip(f"the offset can only be told to ± {before.uncertainty:.3f} s here, too coarse for {BEHIND:g} s")
    guest.run(["date", "--set", f"{-(BEHIND + before.seconds):+.6f} seconds"])
    pause(expect.duration("T12.off"))
    apart = guest.clock.offset(probes)
    assert limit.allows(apart.seconds), (
        f"time synchronisation is off, and the guest's clock was set {BEHIND:g} s behind its host's; "
        f"{expect.duration('T12.off')} later guest minus host is {apart}, not {limit}"
    )
    switch.toggle("timesync", True, expect.deadline("host.verb"))
    wait_until_right(guest, expect, expect.deadline("T12.corrected"))


@pytest.mark.check("T13")
@pytest.mark.needs(Capability.HOST_CLOCK)
@pytest.mark.expects("time_service")
@pytest.mark.untouched_clock
@pytest.mark.changes_guest
@pytest.mark.slow
def test_a_clock_that_is_days_wrong_is_put_right(guest: Guest, expect: Expectations) -> None:
    """A clock that somebody set two days back is found and put right, however often that happens."""
    if isinstance(guest.machine, ServiceSwitch):  # some hosts keep clocks only when told to
        guest.machine.toggle("timesync", True, expect.deadline("host.verb"))
    for _ in range(expect.count("T13.rounds")):
        there, back = map(int, guest.shell("set -e; date +%s; date --set '-2 days' +%s").text.split())
        assert back - there < -86400, f"the clock could not be set back: from {there} s to {back} s"
        wait_until_right(guest, expect, expect.deadline("T13.corrected"))
