"""One fact, three views of it: what was asked, what the host says, what the guest sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True, repr=False)
class Views(Generic[T]):
    """Use as ``assert views.agree, views``: a guest is never compared with itself alone.

    Args:
        what: the fact, as a reader calls it.
        asked: what the test asked of the hypervisor.
        host: what the hypervisor says there is.
        guest: what the Linux inside sees.
    """

    what: str
    asked: T
    host: T
    guest: T

    @property
    def agree(self) -> bool:
        """Whether all three are equal."""
        return self.asked == self.host == self.guest

    def __str__(self) -> str:
        return (
            f"{self.what}: asked of the host {self.asked}, seen by the host {self.host}, seen by the guest {self.guest}"
        )

    __repr__ = __str__  # what an assertion shows
