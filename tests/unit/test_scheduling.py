"""The rules by which groups reach workers, played through without a clock."""

import os
from functools import cache
from itertools import combinations
from pathlib import Path
from random import Random

import pytest

from harness.plugin.scheduling import (
    Dispatcher,
    Group,
    Member,
    Plan,
    Task,
    lower_bound,
    makespan,
    plan,
    record,
    simulate,
)

RECORDED = Path(__file__).parents[1] / "recorded" / "nights" / "local.json"
SMALL = [(seed, 4) for seed in range(100, 106)]
if os.environ.get("INTEROP_SCHEDULES") == "all":  # up to a minute of solving each
    SMALL += [(seed, 5) for seed in range(200, 220)]


def group(name: str, *seconds: float, host: str = "kvm", domain: str = "here", quiet: tuple[float, ...] = ()) -> Group:
    """Tests of these seconds, and after them some that measure."""
    loud = [Task(f"{name}{number}", each) for number, each in enumerate(seconds)]
    measuring = [Task(f"{name}q{number}", each, quiet=True) for number, each in enumerate(quiet)]
    return Group(name, (Member(host, domain),), (*loud, *measuring))


def small_night(seed: int, groups: int) -> list[Group]:
    """A few groups of a few tests, some of which measure."""
    random = Random(seed)

    def some(most: int, counts: list[int]) -> tuple[int, ...]:
        return tuple(random.randint(1, most) for _ in range(random.choice(counts)))

    return [
        group(f"{number}.", *some(20, [1, 2, 3]), host=random.choice("abc"), quiet=some(8, [0, 0, 0, 1, 2]))
        for number in range(groups)
    ]


def begun(orders: list) -> list[str]:
    return [order.task.name for order in orders if order.task]


def dispatcher(*groups: Group, workers: int = 2, spread: bool = False) -> Dispatcher:
    made = Dispatcher(groups, spread=spread)
    for number in range(workers):
        made.join(f"gw{number}", number)
    return made


# --- the bound -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("groups", "bound"),
    [
        ([group("a", 3), group("b", 5)], 5),
        ([group("a", 4), group("b", 4), group("c", 4)], 6),
        ([group("a", 4, quiet=(3,)), group("b", 6)], 9),
        ([group("a", quiet=(5,)), group("b", quiet=(5,))], 10),
        ([group("a", quiet=(5,)), group("b", quiet=(5,), domain="there")], 5),
        ([], 0),
    ],
    ids=[
        "the longest group",
        "its share of the work",
        "who measures stops all others",
        "two measure one after the other",
        "two domains measure at once",
        "nothing",
    ],
)
def test_no_schedule_on_two_workers_is_shorter(groups, bound):
    assert lower_bound(groups, 2) == bound


@pytest.mark.parametrize("seed", range(4))
def test_the_bound_is_never_above_the_exact_optimum(seed):
    optimum = pytest.importorskip("tests.optimum").optimum
    night = small_night(seed, 3)
    assert lower_bound(night, 2) <= optimum(night, 2) + 1e-3


# --- the rules -------------------------------------------------------------------------------------------------------


def test_a_worker_is_told_the_next_test_when_it_may_begin_one():
    rules = dispatcher(group("a", 1, 1, 1), workers=1)
    assert begun(rules.orders(0)) == ["a0", "a1"]
    assert rules.orders(0.5) == []
    rules.done("gw0")
    assert begun(rules.orders(1)) == ["a2"]
    rules.done("gw0")
    assert [order.task for order in rules.orders(2)] == [None]


def test_each_worker_gets_a_group_before_any_gets_a_second():
    rules = dispatcher(group("a", 1), group("b", 1))
    assert begun(rules.orders(0)) == ["a0", "b0"]


def test_a_group_that_another_worker_will_be_free_for_sooner_is_left_to_it():
    rules = dispatcher(group("a", 10), group("b", 9), group("c", 5))
    told = {(order.worker, order.task.name if order.task else None) for order in rules.orders(0)}
    assert told == {("gw0", "a0"), ("gw0", None), ("gw1", "b0"), ("gw1", "c0")}


def test_who_measures_waits_for_what_runs_and_nobody_begins_meanwhile():
    rules = dispatcher(group("a", 1, quiet=(5,)), group("b", 3, 3, 3))
    rules.orders(0)
    rules.done("gw0")
    assert rules.orders(1) == []
    rules.done("gw1")
    assert [order.worker for order in rules.orders(3)] == ["gw0"]
    rules.done("gw0")
    assert [order.worker for order in rules.orders(8)] == ["gw1"]


def test_meanwhile_a_test_begins_that_is_over_before_those_that_run():
    rules = dispatcher(group("a", 1, quiet=(5,)), group("b", 9, 9), group("c", 2, 3, 3), workers=3)
    rules.orders(0)
    rules.done("gw0")
    assert rules.orders(1) == []
    rules.done("gw2")
    assert begun(rules.orders(2)) == ["c2"]
    rules.done("gw2")
    assert rules.orders(7) == []


def test_where_another_is_to_measure_next_a_group_s_own_measuring_comes_next_as_well():
    rules = dispatcher(group("a", 2, quiet=(5,)), group("b", 1, 1, 1, quiet=(5,)))
    assert begun(rules.orders(0)) == ["a0", "b0", "aq0", "bq0"]


def test_a_group_goes_on_in_its_order_where_another_measures_elsewhere():
    rules = dispatcher(group("a", 2, quiet=(5,)), group("b", 1, 1, 1, quiet=(5,), domain="there"))
    assert begun(rules.orders(0)) == ["a0", "b0", "aq0", "b1"]


def test_who_measures_elsewhere_stops_nobody_here():
    rules = dispatcher(group("a", quiet=(5, 5)), group("b", 3, 3, 3, domain="there"))
    rules.orders(0)
    rules.done("gw1")
    assert begun(rules.orders(3)) == ["b2"]


def test_a_stranger_s_test_waits_for_nobody():
    rules = dispatcher(group("a", quiet=(5, 5)), Group("module", (), (Task("x0", 1), Task("x1", 1))))
    assert begun(rules.orders(0)) == ["aq0", "x0", "aq1", "x1"]


def test_the_member_of_a_pool_follows_from_the_worker():
    members = (Member("one", "1"), Member("two", "2"))
    assert [Group("a", members, ()).member(number).host for number in range(3)] == ["one", "two", "one"]


def test_another_host_s_group_goes_before_a_longer_one_of_a_host_that_is_busy():
    groups = group("a", 9), group("b", 8), group("c", 1, host="esxi")
    told = [order.task.name for order in dispatcher(*groups, spread=True).orders(0) if order.task]
    assert told[:2] == ["a0", "c0"]


def test_what_a_dead_worker_had_not_begun_goes_to_the_next_that_is_free():
    rules = dispatcher(group("a", 1, 1, 1), group("b", 5, 5))
    rules.orders(0)
    assert rules.running("gw0").name == "a0"
    rules.leave("gw0")
    rules.join("gw2", 2)
    assert begun(rules.orders(0.5)) == ["a1", "a2"]


def test_a_test_that_never_began_is_run_by_another():
    rules = dispatcher(group("a", 1, 1, 1), workers=1)
    rules.orders(0)
    rules.leave("gw0", began=False)
    rules.join("gw1", 1)
    rules.orders(1)
    assert rules.running("gw1").name == "a0"


def test_a_worker_that_is_told_to_end_ends_what_it_was_told_of_and_others_get_the_rest():
    rules = dispatcher(group("a", 1, 1, 1, 1), workers=1)
    rules.orders(0)
    rules.close("gw0")
    rules.done("gw0")
    assert rules.orders(1) == []
    assert rules.running("gw0").name == "a1"
    assert [task.name for left in rules.waiting for task in left.tasks] == ["a2", "a3"]


# --- whole nights ----------------------------------------------------------------------------------------------------


def check_night(groups: list[Group], spans: list) -> None:
    """Every test once; a group on one worker, in its order; who measures alone."""
    home = {task.name: each for each in groups for task in each.tasks}
    assert sorted(home) == sorted(span.task.name for span in spans)
    for one, other in combinations(spans, 2):
        apart = one.stop <= other.start + 1e-9 or other.stop <= one.start + 1e-9
        first, second = home[one.task.name], home[other.task.name]
        if first is second:
            assert one.worker == other.worker
        if one.worker == other.worker:
            assert apart
        if first.members == second.members and (one.task.quiet or other.task.quiet):
            assert apart


@pytest.mark.parametrize("workers", [2, 3])
@pytest.mark.parametrize("seed", range(10))
def test_whatever_tests_really_take_each_runs_once_and_who_measures_is_alone(seed, workers):
    night = [Group(each.name, (Member("kvm", "here"),), each.tasks) for each in small_night(seed, 12)]
    random = Random(seed)
    took = {task.name: task.seconds * random.uniform(0.1, 5) for each in night for task in each.tasks}
    check_night(night, simulate(night, workers, spread=bool(seed % 2), took=took))


@pytest.mark.parametrize("seed", range(10))
def test_whenever_workers_die_every_test_runs_and_none_twice(seed):
    night = small_night(seed, 8)
    random = Random(seed)
    deaths = {f"gw{number}": random.uniform(0, 40) for number in range(5)}
    spans = simulate(night, 3, spread=True, deaths=deaths)
    assert sorted(span.task.name for span in spans) == sorted(task.name for each in night for task in each.tasks)


def test_the_same_groups_give_the_same_plan():
    night = small_night(1, 9)
    assert plan(night, 3) == plan(night, 3)


@pytest.mark.parametrize("workers", [2, 3])
@pytest.mark.parametrize(("seed", "groups"), SMALL)
def test_small_nights_take_at_most_a_tenth_more_than_the_exact_optimum(seed, groups, workers):
    optimum = pytest.importorskip("tests.optimum").optimum
    night = small_night(seed, groups)
    shortest = optimum(night, workers, at_least=lower_bound(night, workers))
    if shortest is None:
        pytest.skip("no schedule is proven to be the shortest within a minute")
    assert shortest - 1e-3 <= plan(night, workers).expected <= 1.1 * shortest


@cache
def recorded(workers: int) -> tuple[list[Group], Plan]:
    """The recorded night, and how it is planned."""
    night = record.read(RECORDED)
    return night, plan(night, workers)


@pytest.mark.parametrize("workers", [2, 3])
def test_a_recorded_night_takes_at_most_a_tenth_more_than_the_least_possible(workers):
    night, planned = recorded(workers)
    assert len(night) >= 10 * workers
    spans = simulate(planned.order, workers, spread=planned.spread)
    check_night(night, spans)
    assert makespan(spans) == planned.expected
    assert planned.bound == lower_bound(night, workers)
    assert planned.expected <= 1.1 * planned.bound


@pytest.mark.parametrize("workers", [2, 3])
@pytest.mark.parametrize("seed", range(5))
def test_so_it_does_when_tests_take_a_fifth_more_or_less_than_the_last_time(seed, workers):
    night, planned = recorded(workers)
    random = Random(seed)
    took = {task.name: task.seconds * random.uniform(0.8, 1.2) for each in night for task in each.tasks}
    really = [
        Group(each.name, each.members, tuple(Task(task.name, took[task.name], task.quiet) for task in each.tasks))
        for each in night
    ]
    spans = simulate(planned.order, workers, spread=planned.spread, took=took)
    assert makespan(spans) <= 1.1 * lower_bound(really, workers)
