"""A guest that is asked to go down and does not: what the driver makes of a libvirt that waits for it."""

from types import SimpleNamespace

import pytest

from harness.backends.kvm.connection import Overrun
from harness.backends.kvm.power import Power
from harness.backends.model import PowerState
from harness.backends.protocol import GuestIgnored
from harness.core import Deadline, LabError

SILENT = GuestIgnored("Guest agent is not responding: guest agent didn't respond to command within '60' seconds")


class Guest(Power):
    """A machine whose agent is there, and whose libvirt says of a request what it is told to.

    Args:
        ping: what it says of ``guest-ping``; None: the agent answers.
        said: what it says of the request; None: the guest went down.
        state: what it says of the machine's state.
    """

    def __init__(self, *, ping=None, said=None, state=PowerState.RUNNING):
        super().__init__(SimpleNamespace(name="kvm"), "uuid", SimpleNamespace(name="guest"))
        self.ping, self.said, self.state = ping, said, state
        self.asked = []

    def _require(self, verb, deadline, *states):
        return PowerState.RUNNING

    def _agent_connected(self, deadline):
        return True

    def _agent(self, request, deadline):
        self.asked.append(request["execute"])
        if self.ping:
            raise self.ping

    def _act(self, operation, work, deadline):
        self.asked.append(operation)
        if self.said:
            raise self.said

    def _state(self, deadline):
        self.asked.append("state")
        if isinstance(self.state, Exception):
            raise self.state
        return self.state


@pytest.mark.parametrize(
    "said", [SILENT, Overrun("libvirt did not answer in time"), None], ids=["given up", "late", "gone"]
)
def test_a_guest_whose_agent_took_a_request_was_asked(said):
    """Whether it boots anew is for others to see."""
    guest = Guest(said=said)
    guest.reboot(Deadline.after(1))
    assert guest.asked[:2] == ["guest-ping", "reboot"]


def test_a_libvirt_that_does_not_answer_either_is_the_hosts_fault():
    guest = Guest(said=Overrun("late"), state=LabError("libvirt did not answer in time"))
    with pytest.raises(LabError, match="libvirt did not answer"):
        guest.reboot(Deadline.after(1))


@pytest.mark.parametrize("verb", ["reboot", "shutdown"])
def test_an_agent_that_is_silent_is_asked_for_nothing(verb):
    """Nobody could tell whether it heard."""
    guest = Guest(ping=SILENT)
    with pytest.raises(GuestIgnored):
        getattr(guest, verb)(Deadline.after(1))
    assert guest.asked == ["guest-ping"]


def test_a_guest_that_stays_up_ignored_the_request():
    with pytest.raises(GuestIgnored, match="it is running"):
        Guest(said=SILENT).shutdown(Deadline.after(0))
