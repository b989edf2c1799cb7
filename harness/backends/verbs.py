"""From a machine or host to the optional verbs that it also has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from harness.backends.protocol import Checkpointed
from harness.core import Deadline, InteropError, LabError

P = TypeVar("P")


def able(thing: object, protocol: type[P]) -> P:
    """``thing`` as something with the verbs of an optional protocol: ``able(guest.machine, Pausable).pause(...)``.

    A test that needs them declares the capability, so that it is skipped where they are absent.

    Raises:
        LabError: it has not got them, though the capability that goes with them was declared.
    """
    if not isinstance(thing, protocol):
        raise LabError(
            f"{type(thing).__name__} has not got the verbs of {protocol.__name__}",
            hint="mark the test with needs(Capability...) for what it uses",
        )
    return thing


@contextmanager
def dropping(machine: Checkpointed, *names: str, deadline: Callable[[], Deadline]) -> Iterator[None]:
    """Forget a machine's checkpoints at the end of the block, those of ``names`` that were made.

    What the block raises is what the test found: where the host then fails to drop one, that is added as a note, and
    does not take its place.

    Args:
        machine: whose checkpoints.
        names: what they are called.
        deadline: gives each its own.

    Raises:
        LabError: the block ended well, and the host failed.
    """
    try:
        yield
    except BaseException as finding:
        for name in names:
            try:
                machine.drop_checkpoint(name, deadline())
            except InteropError as error:
                finding.add_note(f"checkpoint {name} could not be dropped then: {error.message}")
        raise
    for name in names:
        machine.drop_checkpoint(name, deadline())
