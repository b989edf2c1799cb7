"""What of ours is on a host, and how it is taken away: the part that is the same wherever machines have folders."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from harness.backends.protocol import Refused
from harness.backends.views import Owned, ResourceKind
from harness.core import Deadline


class Belongings(Protocol):
    """A host's machines, images and folders that carry our mark."""

    def all(self, deadline: Deadline) -> Iterable[Owned]:
        """Everything there is, of every run."""

    def remove_machine(self, thing: Owned, deadline: Deadline) -> None:
        """A machine with its disks."""

    def remove_folder(self, thing: Owned, deadline: Deadline) -> None:
        """Files of a machine that is not there."""

    def remove_image(self, thing: Owned, deadline: Deadline) -> None:
        """A published image, or half of one."""


def of_run(things: Iterable[Owned], run: str | None) -> list[Owned]:
    """Those of one run; of all runs where it is None."""
    return [thing for thing in things if run is None or (thing.owner and thing.owner.run == run)]


def remove(
    belongings: Belongings,
    thing: Owned,
    deadline: Deadline,
    *,
    host: str,
    drop_checkpoint: Callable[[str, str], None],
) -> None:
    """Take one thing away, looked up afresh.

    Args:
        belongings: the host's.
        thing: what.
        deadline: when to give up.
        host: the lab's name of the host, for the error.
        drop_checkpoint: removes a checkpoint; given the machine's id and the checkpoint's name.

    Raises:
        Refused: the host makes no such things.
    """
    match thing.kind:
        case ResourceKind.MACHINE:
            belongings.remove_machine(thing, deadline)
        case ResourceKind.FOLDER:
            belongings.remove_folder(thing, deadline)
        case ResourceKind.IMAGE:
            belongings.remove_image(thing, deadline)
        case ResourceKind.CHECKPOINT:
            machine, _, name = thing.handle.partition("/")
            if any(one.handle == machine for one in belongings.all(deadline)):
                drop_checkpoint(machine, name)
        case _:
            raise Refused(f"a {thing.kind.value} is nothing this host makes", host=host, operation="remove")
