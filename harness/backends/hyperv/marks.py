"""Our mark on things: a machine's notes, and names that carry the owner where nothing else can.

``New-VM`` takes no notes and a file carries no tag, so the name of every machine, folder and half upload tells whose it
is from the moment it exists, also when the process died before the next cmdlet. Anybody can write such a name or note:
it counts where its token was made with the lab's key, and is nobody's business else.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from harness.backends import codec
from harness.backends.model import MachineSpec, Ownership

_HEAD = "interop:"
_NAME = re.compile(r"(?P<name>[^~]+)~(?P<run>[^~]+)~(?P<token>[^~.]+)~(?P<expiry>\d+)")


@dataclass(frozen=True, slots=True)
class Mark:
    """Whose a machine is, what was asked, and what is called after it.

    Args:
        owner: run, token and expiry.
        spec: what was asked for.
        folder: the name of its folder below the store, which is its own name as well.
        pipe: the named pipe of its serial port.
    """

    owner: Ownership
    spec: MachineSpec
    folder: str
    pipe: str


def written(mark: Mark) -> str:
    """The notes: a line for people and filters, and all of it for later processes."""
    return f"{_HEAD}{mark.owner.run}:{int(mark.owner.expiry.timestamp())}\n{codec.dumps(mark)}"


def read(notes: str | None, ours: Callable[[Ownership], bool]) -> Mark | None:
    """The mark in a machine's notes; None where there is none, another release's, or one that is not ``ours``."""
    head, _, rest = (notes or "").partition("\n")
    if not head.startswith(_HEAD):
        return None
    try:
        mark = codec.loads(Mark, rest)
    except ValueError:
        return None
    return mark if ours(mark.owner) else None


def name(first: str, owner: Ownership) -> str:
    """A name that tells whose a thing is."""
    return f"{first}~{owner.run}~{owner.token}~{int(owner.expiry.timestamp())}"


def named(text: str, ours: Callable[[Ownership], bool]) -> tuple[str, Ownership] | None:
    """The first part of such a name, and the owner; None when it is none, or none that is ``ours``."""
    found = _NAME.fullmatch(text)
    if found is None:
        return None
    try:
        expiry = datetime.fromtimestamp(int(found["expiry"]), UTC)
    except (OverflowError, ValueError, OSError):  # a year that no calendar has
        return None
    owner = Ownership(found["run"], found["token"], expiry)
    return (found["name"], owner) if ours(owner) else None
