import pytest
from interop_fixtures import Expectations, Guest, Measure

from harness.guest.cpu_interrupts import INTERRUPTS, ping_pong
from harness.guest.cpu_speed import side_by_side


@pytest.mark.check("C07")
@pytest.mark.quiet
@pytest.mark.smoke
def test_vcpus_run_in_parallel(guest: Guest, expect: Expectations, measure: Measure) -> None:
    """Who pays for N vCPUs gets N times the work of one done, as long as the host has nothing else to do."""
    limit, vcpus = expect.limit("C07.share"), guest.shape.vcpus
    done = side_by_side(guest, expect.duration("C07.span"), expect.count("C07.trials"))
    assert len(done.together) == vcpus >= 2, f"asked for {vcpus} vCPUs, {len(done.together)} could be pinned to"
    astray = {cpu: sorted(ran) for cpu, ran in done.ran_on.items() if ran != {cpu}}
    assert not astray, f"programs pinned to one CPU ran on others: {astray}"
    measure("speed_up", done.speed_up, unit="x", better="higher", samples=done.speed_ups)
    beyond_others = done.at_best < done.left_by_others and not limit.keeps(done.at_best / vcpus)
    if not expect.limit("C07.unrest").keeps(done.unrest) and not beyond_others:
        pytest.skip(
            f"somebody else uses the host's processors: trials vary by {done.unrest:.2f} of their median, not "
            f"{expect.limit('C07.unrest')}; the speed-up came to {done.speed_up:.2f}"
        )
    assert limit.allows(done.speed_up / vcpus), (
        f"{vcpus} vCPUs together do {done.speed_up:.2f} times the work of one: {done.speed_up / vcpus:.2f} of {vcpus}, "
        f"not {limit}"
    )


@pytest.mark.check("C07", part="scaling")
@pytest.mark.quiet
@pytest.mark.slow
@pytest.mark.parametrize("vcpus", [pytest.param(size, marks=pytest.mark.shape(vcpus=size)) for size in (2, 4, 8)])
def test_work_grows_with_vcpus(guest: Guest, expect: Expectations, measure: Measure, vcpus: int) -> None:
    """How much more many vCPUs do than one is known, and where more of them do less.

    Whether that is enough, a comparison of two sides says; the report fits a law to it.
    """
    done = side_by_side(guest, expect.duration("C07.span"), expect.count("C07.trials"))
    assert len(done.together) == vcpus, f"asked for {vcpus} vCPUs, {len(done.together)} could be pinned to"
    astray = {cpu: sorted(ran) for cpu, ran in done.ran_on.items() if ran != {cpu}}
    assert not astray, f"programs pinned to one CPU ran on others: {astray}"
    measure("speed_up", done.speed_up, unit="x", better="higher", samples=done.speed_ups)


@pytest.mark.check("C14")
@pytest.mark.smoke
def test_interrupts_reach_every_cpu(guest: Guest, expect: Expectations) -> None:
    """Every CPU has its own timer and can be woken up by the others: none lives on what another hands on.

    Timers must tick now. Where the hypervisor's own interrupts went is counted since the guest booted, for devices that
    rest send none meanwhile; those that must never come, came never.
    """
    before = guest.read(INTERRUPTS)
    assert len(before.cpus) == guest.shape.vcpus, f"asked for {guest.shape.vcpus} vCPUs, online: {sorted(before.cpus)}"
    busy = guest.cpus.work(expect.duration("C14.busy"))
    after = guest.read(INTERRUPTS)
    assert all(work.rounds > 0 for work in busy.values()), f"some CPUs do no work: {busy}"
    for line in expect.words("C14.timer"):
        grown = after.since(before, line)
        assert all(count > 0 for count in grown.values()), (
            f"timer interrupts ({line}) while each CPU was busy for a while, by CPU: {grown}; some got none"
        )
    for line in expect.words("C14.hypervisor"):
        reached = [cpu for cpu, count in after.counts.get(line, {}).items() if count > 0]
        wanted = min(guest.shape.vcpus, expect.count("C14.hypervisor_cpus"))
        assert len(reached) >= wanted, (
            f"{line} ({after.words.get(line)}) reached the CPUs {reached}, not {wanted} of them"
        )
    for line in expect.words("C14.never"):
        found = {cpu: count for cpu, count in after.counts.get(line, {}).items() if count}
        assert not found, f"{line} ({after.words.get(line)}) must not happen; by CPU: {found}"


@pytest.mark.check("C14", part="wake-up")
@pytest.mark.smoke
def test_cpus_wake_each_other_up(guest: Guest, expect: Expectations) -> None:
    """A CPU that sleeps is woken up at once by work that another has for it."""
    rounds, lines = expect.count("C14.rounds"), expect.words("C14.wake_up")
    first, *others = sorted(guest.cpus.online())
    assert others, f"{guest.shape.vcpus} vCPU: nobody to wake up"
    for other in others:
        before = guest.read(INTERRUPTS)
        played = ping_pong(guest, (first, other), rounds)
        after = guest.read(INTERRUPTS)
        assert played.ran_on == (first, other), f"pinned to the CPUs {(first, other)}, they ran on {played.ran_on}"
        assert played.rounds == rounds, f"{rounds} rounds were asked for, {played.rounds} were played"
        for cpu in (first, other):
            grown = after.total(lines, before, [cpu])
            assert grown > 0, (
                f"{rounds} times CPU {cpu} was given work, and got no interrupt for it ({', '.join(lines)})"
            )
