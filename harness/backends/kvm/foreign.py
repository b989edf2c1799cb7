"""Machines in roots that another process left behind.

A process can open one embed root in its lifetime, so a machine of another root is removed by a child process that
takes that root for a moment. A root whose owner lives is locked and left alone.
"""

from __future__ import annotations

import sys
from pathlib import Path

from harness.backends.kvm.roots import Root, all_of
from harness.core import Deadline, InteropError, LabError
from harness.core.process import run


def holding(own: Root, machine: str) -> Root | None:
    """The other root that has this machine."""
    found = (root for root in all_of(own.path.parent) if (root.machines / machine).is_dir())
    return next((root for root in found if root.path != own.path), None)


def remove(root: Root, machine: str, host: str, deadline: Deadline) -> None:
    """Remove one machine there, with all it has.

    Raises:
        LabError: the root's owner is alive, or the removal failed.
    """
    try:
        run([sys.executable, "-m", "harness.backends.kvm.foreign", root.path, machine], deadline)
    except LabError as error:
        raise LabError(error.message, host=host, operation="remove", hint=error.hint) from error


def main(path: Path, machine: str) -> None:
    """The child process."""
    from harness.backends.kvm import roots  # noqa: PLC0415 - libvirt is loaded here alone
    from harness.backends.kvm.connection import Connection  # noqa: PLC0415
    from harness.backends.kvm.files import Files  # noqa: PLC0415
    from harness.backends.kvm.machine import undefine  # noqa: PLC0415

    deadline = Deadline.after(120)
    root = roots.take(path.parent, only=path)
    connection = Connection(root.uri, "embedded")
    connection.call("remove", lambda opened: undefine(opened, machine), deadline)
    Files(root, path.parent.parent / "base", "embedded", None).clear(machine, deadline)
    connection.close()


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), sys.argv[2])
    except InteropError as error:
        sys.exit(str(error))
