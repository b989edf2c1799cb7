"""Optional verbs are asked for by their Protocol; a host that lacks them is the lab's matter."""

import pytest

from harness.backends.protocol import NmiInjector
from harness.backends.verbs import able, dropping
from harness.core import Deadline, LabError


class WithNmi:
    def nmi(self, deadline: Deadline) -> None:
        """Inject nothing."""


def test_a_thing_with_the_verbs_is_handed_back() -> None:
    thing = WithNmi()
    assert able(thing, NmiInjector) is thing


def test_a_thing_without_the_verbs_is_the_labs_fault() -> None:
    with pytest.raises(LabError, match="object has not got the verbs of NmiInjector"):
        able(object(), NmiInjector)


class Chain:
    """A machine that drops checkpoints, but for one."""

    def __init__(self, *, stuck: str | None) -> None:
        self.stuck = stuck
        self.dropped: list[str] = []

    def drop_checkpoint(self, name: str, deadline: Deadline) -> None:
        """Drop it, or fail."""
        assert not deadline.expired
        if name == self.stuck:
            raise LabError("the chain is broken")
        self.dropped.append(name)


def soon() -> Deadline:
    return Deadline.after(60)


def test_a_finding_is_not_taken_for_the_labs_fault_when_its_checkpoint_stays() -> None:
    """The others are dropped, and the report tells of the one that is not."""
    machine = Chain(stuck="one")
    with pytest.raises(AssertionError, match="files are lost") as told, dropping(machine, "one", "two", deadline=soon):  # type: ignore[arg-type]
        raise AssertionError("files are lost")
    assert machine.dropped == ["two"]
    assert told.value.__notes__ == ["checkpoint one could not be dropped then: the chain is broken"]


def test_a_checkpoint_that_stays_after_a_test_that_found_nothing_is_the_labs_fault() -> None:
    with pytest.raises(LabError, match="the chain is broken"), dropping(Chain(stuck="one"), "one", deadline=soon):  # type: ignore[arg-type]
        pass
