"""The ``measure`` fixture: named numbers kept beside the result they belong to."""

from __future__ import annotations

from collections.abc import Iterable

from harness.measure import Better, Measurement
from harness.report import attachments


class Measure:
    """Keeps measurements of one test on one host.

    Args:
        host: the lab's name of the host.
        nodeid: the test.
    """

    def __init__(self, host: str, nodeid: str) -> None:
        self._host = host
        self._nodeid = nodeid
        self.taken: list[Measurement] = []

    def __call__(
        self,
        name: str,
        value: float,
        *,
        unit: str = "",
        better: str | Better = Better.HIGHER,
        samples: Iterable[float] = (),
    ) -> Measurement:
        """Keep one figure: attached to the result as JSON, raw samples included.

        Args:
            name: what was measured, unique within the test.
            value: the figure.
            unit: ``s``, ``MiB/s``; empty for a ratio.
            better: ``higher`` or ``lower``.
            samples: the raw values it was made from.

        Raises:
            UsageError: the name was used before, or a number is not finite.
        """
        measurement = Measurement(name, float(value), unit, Better(better), tuple(float(sample) for sample in samples))
        self.taken.append(measurement)
        attachments.attach_json(
            f"measurement {measurement}", measurement.plain() | {"host": self._host, "test": self._nodeid}
        )
        return measurement
