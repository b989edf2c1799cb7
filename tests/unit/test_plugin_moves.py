"""A host that moves a machine in the middle of a test: nothing is known then, whatever the test says."""

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from harness.backends.model import MOVED, HostEvent
from harness.backends.protocol import Moved
from harness.core import LabError
from harness.plugin.evidence import Loan, moves_of

MOVE = HostEvent(datetime.now(UTC), MOVED, "migrated: from esx1 to esx2")
START = HostEvent(datetime.now(UTC), "powered-on", "it was powered on")


class Machine:
    """A machine whose host tells what happened to it."""

    def __init__(self, *events, fault=None):
        self.told = list(events)
        self.fault = fault

    def events(self, deadline):
        if self.fault:
            raise self.fault
        return tuple(self.told)


def guest(machine):
    return SimpleNamespace(machine=machine, hypervisor=SimpleNamespace(name="esx1"))


def test_a_move_during_a_test_makes_its_result_unknown():
    machine = Machine(MOVE, START)
    loan = Loan(guest(machine), 0, 0.0, moves=1)
    loan.stayed()  # the move before the loan is no news
    machine.told += [START, MOVE]
    with pytest.raises(Moved, match=r"esx1: unknown: moved: migrated: from esx1 to esx2"):
        loan.stayed()


def test_a_host_that_tells_nothing_spoils_nothing():
    assert moves_of(guest(SimpleNamespace())) == []
    assert moves_of(guest(Machine(MOVE, fault=LabError("no answer")))) == []
