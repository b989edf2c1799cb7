"""Tests are ordered so that boots are fewest."""

from types import SimpleNamespace

from harness.backends.model import Shape
from harness.plugin import order, spread
from harness.plugin.demand import Demand
from harness.plugin.order import Place
from harness.report.identity import Identity


def place(column="kvm", *, vcpus=2, quiet=False, changes=False, untouched=False, fixtures=("guest",)):
    asked = Demand(None, "", Shape(vcpus=vcpus), (), quiet=quiet, changes_guest=changes, untouched_clock=untouched)
    return Place(column, asked, frozenset(fixtures))


class Item:
    def __init__(self, nodeid):
        self.nodeid = nodeid


def in_order(spots):
    items = [Item(name) for name in spots]
    order.sort(items, {item: spots[item.nodeid] for item in items if spots[item.nodeid]})
    return [item.nodeid for item in items]


def test_one_shape_after_the_other():
    spots = {"a": place(vcpus=2), "b": place(vcpus=4), "c": place(vcpus=2), "d": place(vcpus=4)}
    assert in_order(spots) == ["a", "c", "b", "d"]


def test_readers_before_changers():
    spots = {"changes": place(changes=True), "reads": place(), "reads too": place()}
    assert in_order(spots) == ["reads", "reads too", "changes"]


def test_one_column_after_the_other():
    spots = {"a": place("kvm"), "b": place("esxi"), "c": place("kvm")}
    assert in_order(spots) == ["a", "c", "b"]


def test_tests_with_guests_of_their_own_come_last():
    spots = {"own": place(fixtures=("guests",)), "clock": place(untouched=True), "shared": place()}
    assert in_order(spots) == ["shared", "own", "clock"]


def test_who_may_leave_a_booted_guest_comes_before_those_that_look_at_its_clock():
    spots = {"clock": place(untouched=True, quiet=True), "boots": place(fixtures=("guests",), quiet=True)}
    assert in_order(spots) == ["boots", "clock"]


def test_strangers_stay_first_and_as_they_were():
    spots = {"ours": place(), "x": None, "y": None}
    assert in_order(spots) == ["x", "y", "ours"]


def test_tests_that_share_a_guest_share_a_group():
    assert place().group == place(changes=True).group
    assert place().group != place(vcpus=4).group
    assert place().group != place("esxi").group
    assert place().group != place(fixtures=("guests",)).group


def test_who_measures_stands_between_readers_and_changers():
    spots = {
        "changes": place(changes=True),
        "measures": place(quiet=True),
        "changes and measures": place(changes=True, quiet=True),
        "reads": place(),
    }
    assert in_order(spots) == ["reads", "measures", "changes and measures", "changes"]


def test_groups_reach_the_scheduler_through_a_file(tmp_path):
    spots = {"a::t1": place(quiet=True), "b::t2": place(), "c::t3": place(vcpus=4), "x": None}
    items = [Item(name) for name in spots]
    state = SimpleNamespace(
        places={item: spots[item.nodeid] for item in items if spots[item.nodeid]},
        identity=lambda item: Identity("T01", "it", "clock", "kvm", part=item.nodeid, parameters=(("much", "1"),)),
    )
    spread.save(tmp_path / "groups.json", spread.works(state, items))
    assert spread.columns(tmp_path / "groups.json") == {"kvm"}
    known = spread.load(tmp_path / "groups.json")
    assert list(known) == ["a::t1", "b::t2", "c::t3"]
    assert known["a::t1"].group == known["b::t2"].group != known["c::t3"].group
    assert [work.quiet for work in known.values()] == [True, False, False]
    assert known["a::t1"].test == "T01 a::t1: it (much=1)"


def test_there_are_no_groups_where_no_test_asks_for_a_host(tmp_path):
    assert spread.columns(tmp_path / "groups.json") == frozenset()
