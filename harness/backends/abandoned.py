"""Machines whose process died, on hosts where each is in the hands of one process: for the reaper, not for tests."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from harness.core import Deadline


@runtime_checkable
class AbandonedMachines(Protocol):
    """Of a hypervisor that does not reach the machines of other processes by ``open``."""

    def reaches(self, machine_id: str) -> bool:
        """Whether ``open`` would find it: it is in no other process's part of the host.

        Args:
            machine_id: as for ``open``.
        """

    def halt(self, machine_id: str, deadline: Deadline) -> bool:
        """Switch off a machine that is not reached, should its process have died.

        Args:
            machine_id: as for ``open``.
            deadline: when to give up.

        Returns:
            False where nothing was to be done: the machine is off, or its process lives.

        Raises:
            LabError: it could not be switched off.
        """
