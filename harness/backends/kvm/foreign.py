"""Machines in roots that another process left behind.

A process can open one embed root in its lifetime, so a machine of another root is switched off or removed by a child
process that takes that root for a moment. A root whose owner lives is locked and left alone.
"""

from __future__ import annotations

import sys
from pathlib import Path

from harness.backends.kvm.roots import Root, all_of, is_taken
from harness.core import Deadline, InteropError, LabError
from harness.core.process import run

_WAS_ON = b"was on"


def holding(own: Root, machine: str) -> Root | None:
    """The other root that has this machine."""
    found = (root for root in all_of(own.path.parent) if (root.machines / machine).is_dir())
    return next((root for root in found if root.path != own.path), None)


def halt(root: Root, machine: str, host: str, deadline: Deadline) -> bool:
    """Switch off one machine there; False where the root's owner lives, or no QEMU of the root was left running.

    Raises:
        LabError: it could not be switched off.
    """
    # libvirt keeps the status of a domain here while its QEMU runs: most roots need no child process.
    if is_taken(root.path) or not any((root.path / "run" / "qemu").glob("*.xml")):
        return False
    return _in_child("halt", root, machine, host, deadline) == _WAS_ON


def remove(root: Root, machine: str, host: str, deadline: Deadline) -> None:
    """Remove one machine there, with all it has.

    Raises:
        LabError: the root's owner is alive, or the removal failed.
    """
    _in_child("remove", root, machine, host, deadline)


def _in_child(verb: str, root: Root, machine: str, host: str, deadline: Deadline) -> bytes:
    try:
        return run([sys.executable, "-m", "harness.backends.kvm.foreign", verb, root.path, machine], deadline)
    except LabError as error:
        raise LabError(error.message, host=host, operation=verb, hint=error.hint) from error


def main(verb: str, path: Path, machine: str) -> None:
    """The child process."""
    from harness.backends.kvm import roots  # noqa: PLC0415 - libvirt is loaded here alone
    from harness.backends.kvm.connection import Connection  # noqa: PLC0415
    from harness.backends.kvm.files import Files  # noqa: PLC0415
    from harness.backends.kvm.machine import power_off, undefine  # noqa: PLC0415

    deadline = Deadline.after(120)
    try:
        root = roots.take(path.parent, only=path)
    except LabError:
        if verb == "halt" and is_taken(path):  # by a run that has just begun: it has its machines in its own hands
            return
        raise
    connection = Connection(root.uri, "embedded")
    if verb == "halt":
        was_on = connection.call(verb, lambda opened: power_off(opened, machine), deadline)
        sys.stdout.write(_WAS_ON.decode() if was_on else "")
    else:
        connection.call(verb, lambda opened: undefine(opened, machine), deadline)
        Files(root, path.parent.parent / "base", "embedded", None).clear(machine, deadline)
    connection.close()


if __name__ == "__main__":
    try:
        main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
    except InteropError as error:
        sys.exit(str(error))
