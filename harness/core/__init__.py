"""What every room needs and no room owns: errors, deadlines, units, strict configuration, subprocesses."""

from harness.core.errors import GuestError, InteropError, LabError, UsageError
from harness.core.values import GiB, MiB, Size
from harness.core.waiting import Deadline, Pending, wait_for

__all__ = [
    "Deadline",
    "GiB",
    "GuestError",
    "InteropError",
    "LabError",
    "MiB",
    "Pending",
    "Size",
    "UsageError",
    "wait_for",
]
