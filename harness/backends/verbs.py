"""From a machine or host to the optional verbs that it also has."""

from __future__ import annotations

from typing import TypeVar

from harness.core import LabError

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
