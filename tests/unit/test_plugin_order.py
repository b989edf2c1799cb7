"""Tests are ordered so that boots are fewest."""

from types import SimpleNamespace

import pytest

from harness.backends.model import Shape
from harness.plugin import order
from harness.plugin.demand import Demand
from harness.plugin.order import Place


def place(column="kvm", *, vcpus=2, changes=False, untouched=False, fixtures=("guest",)):
    asked = Demand(None, "", Shape(vcpus=vcpus), (), quiet=False, changes_guest=changes, untouched_clock=untouched)
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


def test_strangers_stay_first_and_as_they_were():
    spots = {"ours": place(), "x": None, "y": None}
    assert in_order(spots) == ["x", "y", "ours"]


def test_tests_that_share_a_guest_share_a_group():
    assert place().group == place(changes=True).group
    assert place().group != place(vcpus=4).group
    assert place().group != place("esxi").group
    assert place().group != place(fixtures=("guests",)).group


def test_groups_reach_the_scheduler_through_a_file(tmp_path):
    spots = {"a::t1": place(), "b::t2": place(), "c::t3": place(vcpus=4)}
    items = [Item(name) for name in spots]
    order.save_groups(tmp_path / "groups.json", items, {item: spots[item.nodeid] for item in items})
    assert order.columns(tmp_path / "groups.json") == {"kvm"}
    pytest.importorskip("xdist")
    config = SimpleNamespace(
        getvalue=lambda _: ["popen", "popen"], option=SimpleNamespace(loadscopereorder=False), getoption=lambda _: False
    )
    made = order.scheduler(config, SimpleNamespace(loadscopesched=None), tmp_path / "groups.json")
    assert made._split_scope("a::t1") == made._split_scope("b::t2") != made._split_scope("c::t3")
