"""What a host can tell about its own fitness before a run: asked by ``interop lab check --connect``.

Optional: a backend whose hosts have rights, quotas or named parts that may be missing implements :class:`Examined`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from harness.backends.model import NetworkSpec
from harness.core import Deadline


@dataclass(frozen=True, slots=True)
class Remark:
    """One thing that was looked at.

    Args:
        subject: what it is about, in a word or two.
        text: what was seen.
        fine: whether a run can do with it; None: it can, but not fully, or it could not be found out.
        hint: what to do about it.
    """

    subject: str
    text: str
    fine: bool | None = True
    hint: str = ""


@runtime_checkable
class Examined(Protocol):
    """A hypervisor that looks at itself."""

    def examine(self, networks: Iterable[NetworkSpec], deadline: Deadline) -> tuple[Remark, ...]:
        """Look, change nothing that stays, and tell; ``networks`` are those that the lab plugs guests into."""
