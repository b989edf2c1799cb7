"""A guest agent that its own shutdown ended has begun it; any other complaint of it stands."""

import pytest

from harness.backends.kvm.going_down import going_down
from harness.core import Deadline, LabError

SAID = "internal error: unable to execute QEMU agent command 'guest-shutdown': child process has terminated abnormally"


def test_an_agent_that_goes_with_its_guest_has_obeyed() -> None:
    channel = iter([True, True, False])
    with going_down(lambda: next(channel), Deadline.after(5)):
        raise LabError(SAID, host="here", operation="reboot")
    assert next(channel, "asked until it was closed") == "asked until it was closed"


def test_an_agent_that_stays_has_failed() -> None:
    wanted = pytest.raises(LabError, match=r"here: reboot: .*abnormally; .*its channel is open")
    with wanted, going_down(lambda: True, Deadline.after(0)):
        raise LabError(SAID, host="here", operation="reboot")


def test_any_other_complaint_stands() -> None:
    with pytest.raises(LabError, match="has failed to shutdown"), going_down(pytest.fail, Deadline.after(5)):
        raise LabError("child process has failed to shutdown")


def test_nobody_looks_where_all_went_well() -> None:
    with going_down(pytest.fail, Deadline.after(5)):
        pass
