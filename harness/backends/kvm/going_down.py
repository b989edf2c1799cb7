"""What the guest agent says when the shutdown that it began has ended the agent itself."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from harness.core import Deadline, LabError, Pending, wait_for

# A signal ended shutdown(8) (QEMU's ``ga_wait_child`` and ``qmp_guest_shutdown``, qga/commands-posix.c). systemd
# stops the agent's service, with every process of its control group, as soon as the shutdown is in its queue; it may
# do so before shutdown(8) has heard that it is.
_ENDED_BY_IT = "child process has terminated abnormally"


@contextlib.contextmanager
def going_down(connected: Callable[[], bool], deadline: Deadline) -> Iterator[None]:
    """Around the asking: take that answer for a yes where the agent's channel closes after it.

    Args:
        connected: whether something in the guest holds the agent's channel open.
        deadline: until when it must have closed.

    Raises:
        LabError: what the block raised, when it was anything else, or the agent stayed.
    """
    try:
        yield
    except LabError as error:
        said = error
        if _ENDED_BY_IT not in said.message:
            raise
        wait_for(
            "the guest agent to end with its guest",
            lambda: Pending("its channel is open") if connected() else True,
            deadline,
            every=0.2,
            fault=lambda message: LabError(f"{said.message}; {message}", host=said.host, operation=said.operation),
        )
