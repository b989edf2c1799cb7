"""The ``measure`` fixture: named numbers kept beside the result they belong to, and as a file each."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from harness.core import UsageError
from harness.lab.models import THIS_MACHINE
from harness.measure import Better, Measurement
from harness.measure.records import Circumstances, Recorded
from harness.report import attachments

if TYPE_CHECKING:
    from harness.plugin.host_under_test import HostUnderTest
    from harness.plugin.state import State


class Measure:
    """Keeps measurements of one test on one host.

    Args:
        host: the lab's name of the host.
        nodeid: the test.
        keep: has it written to a file of its own.
    """

    def __init__(self, host: str, nodeid: str, keep: Callable[[Measurement], object]) -> None:
        self._host = host
        self._nodeid = nodeid
        self._keep = keep
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
        """Keep one figure: at once in a file of its own, and attached to the result; raw samples included.

        Args:
            name: what was measured, unique within the test.
            value: the figure.
            unit: ``s``, ``MiB/s``; empty for a ratio.
            better: ``higher`` or ``lower``.
            samples: the raw values it was made from.

        Raises:
            UsageError: the name was used before, or a number is not finite.
        """
        if any(known.name == name for known in self.taken):
            raise UsageError(f"{self._nodeid}: a measurement {name!r} was taken before in this test")
        measurement = Measurement(name, float(value), unit, Better(better), tuple(float(sample) for sample in samples))
        self.taken.append(measurement)
        self._keep(measurement)
        attachments.attach_json(
            f"measurement {measurement}", measurement.plain() | {"host": self._host, "test": self._nodeid}
        )
        return measurement


def keeper(state: State, item: pytest.Item, host: HostUnderTest) -> Callable[[Measurement], object]:
    """What writes measurements of a running test to the run's results, with all that is known about them.

    Args:
        state: the run.
        item: the test.
        host: the host it runs on.
    """

    def keep(measurement: Measurement) -> None:
        identity = state.identity(item)
        if state.results is None or identity is None:
            return
        if state.running is not None:
            figure = {"value": measurement.value, "unit": measurement.unit, "better": measurement.better.value}
            state.running.figures.append({"name": measurement.name} | figure)
        state.results.measured(
            Recorded(
                measurement,
                check=identity.check or "",
                part=identity.part,
                title=identity.title,
                test=item.nodeid,
                params=identity.parameters,
                pool=identity.pool,
                host=host.name,
                backend=host.backend,
                run=state.named,
                at=datetime.now(UTC),
                circumstances=circumstances(state, host),
                history=identity.history_id,
                attempt=state.running.attempt if state.running else 1,
            )
        )

    return keep


def circumstances(state: State, host: HostUnderTest) -> Circumstances:
    """Under what a measurement is taken now."""
    leases, domain = state.run.leases, host.settings.domain
    here = domain == THIS_MACHINE
    watch = state.watch
    foreign = watch.so_far() if watch is not None else None
    limit = watch.limit if watch is not None else None
    return Circumstances(
        accel=host.facts.accelerated,
        twin=host.facts.twin,
        quiet=leases.is_quiet(domain),
        neighbours=leases.neighbours(domain),
        load=os.getloadavg()[0] if here else None,
        processors=len(os.sched_getaffinity(0)) if here else None,
        foreign=foreign.mean if foreign is not None else None,
        foreign_worst=foreign.worst if foreign is not None else None,
        foreign_limit=limit / 100 if limit is not None else None,
    )
