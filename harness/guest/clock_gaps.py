"""What a guest's monotonic clock makes of a time in which its machine stood still."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from harness.guest.clock import Sample


class Passing(StrEnum):
    """What the monotonic clock did while its machine stood still: words of expectation files."""

    STANDS = "stands"
    """It stood as well: nothing of the gap is seen inside."""
    GOES_ON = "goes on"
    """It went on, as that of a machine that merely was not looked at."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A machine stood still: as the controller saw it, and as the guest's monotonic clock did. All in seconds.

    Args:
        at_least: it surely stood still for so long: between the end of the verb that stopped it and the begin of the
            one that let it go on.
        at_most: it cannot have stood still for longer: both verbs included.
        missed: by how much the guest's monotonic clock advanced less than the controller's clock.
        uncertainty: the true value lies within this much of ``missed``.
    """

    at_least: float
    at_most: float
    missed: float
    uncertainty: float

    @classmethod
    def between(cls, before: Sample, after: Sample, *, at_least: float, at_most: float) -> Gap:
        """The gap between two readings of the monotonic clock beside the same other clock.

        Raises:
            ValueError: a reading is without the monotonic clock.
        """
        if before.monotonic is None or after.monotonic is None:
            raise ValueError("the monotonic clock was not read")
        missed = (after.at - before.at) - (after.monotonic - before.monotonic)
        return cls(at_least, at_most, missed, before.uncertainty + after.uncertainty)

    def passing(self, tolerance: float) -> Passing | None:
        """What the clock did, give or take ``tolerance`` seconds; None where it did neither."""
        if abs(self.missed) <= tolerance:
            return Passing.GOES_ON
        if self.at_least - tolerance <= self.missed <= self.at_most + tolerance:
            return Passing.STANDS
        return None

    def __str__(self) -> str:
        return (
            f"the machine stood still for {self.at_least:.2f} to {self.at_most:.2f} s, of which the guest's monotonic "
            f"clock missed {self.missed:.2f} ± {self.uncertainty:.2f} s"
        )
