"""File systems that were frozen for a checkpoint thaw, whatever went wrong."""

import pytest

from harness.backends.kvm.quiesce import still
from harness.backends.protocol import GuestIgnored, Refused
from harness.core import LabError


class Agent:
    """One that remembers what it was told, and fails as it is told."""

    def __init__(self, fails: Exception | None = None) -> None:
        self.fails = fails
        self.heard: list[str] = []

    def freeze(self) -> None:
        self.heard.append("freeze")
        if self.fails:
            raise self.fails

    def thaw(self) -> None:
        self.heard.append("thaw")


def test_they_are_frozen_before_and_thawed_after() -> None:
    agent = Agent()
    with still(agent.freeze, agent.thaw):
        agent.heard.append("snapshot")
    assert agent.heard == ["freeze", "snapshot", "thaw"]


def test_they_thaw_where_the_snapshot_failed() -> None:
    agent = Agent()
    with pytest.raises(LabError, match="no space"), still(agent.freeze, agent.thaw):
        raise LabError("no space")
    assert agent.heard == ["freeze", "thaw"]


@pytest.mark.parametrize("fails", [GuestIgnored("no answer in time"), LabError("libvirt is gone")])
def test_they_thaw_where_nobody_knows_whether_they_froze(fails: Exception) -> None:
    agent = Agent(fails)
    with pytest.raises(type(fails), match=str(fails)), still(agent.freeze, agent.thaw):
        raise AssertionError("nothing may be done then")
    assert agent.heard == ["freeze", "thaw"]


def test_a_guest_that_refuses_is_a_finding_about_it() -> None:
    agent = Agent(Refused("the command is disabled", host="here"))
    with pytest.raises(GuestIgnored, match=r"did not freeze .*disabled"), still(agent.freeze, agent.thaw):
        raise AssertionError("nothing may be done then")
    assert agent.heard == ["freeze"]
