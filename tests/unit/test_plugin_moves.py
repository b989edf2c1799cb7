"""A host that moves a machine in the middle of a test: nothing is known then, whatever the test says."""

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from harness.backends.hyperv.machine import HypervMachine
from harness.backends.protocol import LeaseLost, Moved, Refused, Unwatched
from harness.backends.views import HELD, MOVED, HostEvent
from harness.core import LabError
from harness.plugin.evidence import Loan, record_of

MOVE = HostEvent(datetime.now(UTC), MOVED, "migrated: from esx1 to esx2")
HOLD = HostEvent(datetime.now(UTC), HELD, "the machine asks 'There is no more space' (Retry, Cancel)")
START = HostEvent(datetime.now(UTC), "powered-on", "it was powered on")


class Machine:
    """A machine whose host tells what happened to it, and whose console is empty."""

    def __init__(self, *events, fault=None):
        self.told = list(events)
        self.fault = fault

    def events(self, deadline):
        if self.fault:
            raise self.fault
        return tuple(self.told)

    def console(self):
        return SimpleNamespace(read=lambda offset, limit: b"")


def guest(machine):
    identity = SimpleNamespace(name="slot-1")
    return SimpleNamespace(machine=machine, hypervisor=SimpleNamespace(name="esx1"), identity=identity)


def test_a_move_during_a_test_makes_its_result_unknown():
    machine = Machine(MOVE, START)
    loan = Loan(guest(machine), 0, 0.0, moves=1)
    loan.stayed()  # the move before the loan is no news
    machine.told += [START, MOVE]
    with pytest.raises(Moved, match=r"esx1: unknown: moved: migrated: from esx1 to esx2"):
        loan.stayed()


def test_a_move_before_a_guest_is_lent_is_no_news():
    machine = Machine(MOVE, START, MOVE)
    loan = Loan.of(guest(machine))
    loan.stayed()
    machine.told.append(MOVE)
    with pytest.raises(Moved):
        loan.stayed()


def test_a_machine_that_its_host_holds_is_the_labs_fault():
    """Whatever the guest did not do meanwhile."""
    machine = Machine(START)
    loan = Loan.of(guest(machine))
    machine.told.append(HOLD)
    with pytest.raises(LabError, match=r"esx1: .*no more space") as caught:
        loan.stayed()
    assert "see to what it asks about" in caught.value.hint
    machine.told.append(MOVE)
    with pytest.raises(Moved):
        loan.stayed()


def test_a_record_says_by_itself_what_to_do_about_it():
    machine = Machine(fault=LabError("no answer", hint="start vmms"))
    with pytest.raises(LabError) as caught:
        record_of(guest(machine))
    assert caught.value.hint == "start vmms"


def test_a_run_that_is_over_is_not_taken_for_a_record_that_cannot_be_read():
    with pytest.raises(LeaseLost, match="reaped"):
        record_of(guest(Machine(fault=LeaseLost("reaped"))))


def test_a_record_that_tells_of_no_moves_need_not_be_readable():
    """Its host is not even asked: whatever it said, nothing would follow from it."""

    class Plain(Machine, Unwatched):
        """On a host such as Hyper-V's."""

    machine = Plain(fault=LabError("not you"))
    Loan.of(guest(machine)).stayed()
    assert issubclass(HypervMachine, Unwatched)


def test_a_host_without_a_record_spoils_nothing():
    assert record_of(guest(SimpleNamespace())) == ()
    Loan(guest(SimpleNamespace()), 0, 0.0).stayed()


@pytest.mark.parametrize("fault", [LabError("no answer"), Refused("not you"), AssertionError("dead")])
def test_a_record_that_cannot_be_read_leaves_it_unknown_whether_the_machine_was_moved(fault):
    """Neither before a test nor after it is that taken for a machine that stayed where it was."""
    machine = Machine(MOVE)
    loan = Loan.of(guest(machine))
    machine.fault = fault
    for look in (loan.stayed, lambda: Loan.of(guest(machine))):
        with pytest.raises(LabError, match=rf"esx1: .*unknown whether slot-1 was moved: .*{fault}"):
            look()
