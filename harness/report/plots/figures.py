"""All charts that the results of runs and their history are good for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from harness.report.cells import RunCells
from harness.report.history import Night
from harness.report.measured import Measurements
from harness.report.plots.boot import boots
from harness.report.plots.chart import Drawing
from harness.report.plots.clock import clocks
from harness.report.plots.latency import Samples, latencies
from harness.report.plots.scaling import scaling
from harness.report.plots.series import colours, where

_MEDIAN = "_p50"
"""How the measurement of a distribution's median is called, which carries all its samples."""


def drawings(
    runs: Sequence[RunCells], nights: Sequence[Night], taken: Mapping[str, Measurements] | None = None
) -> list[Drawing]:
    """The charts, each where there is something to draw.

    Args:
        runs: the runs that the report is of: raw samples come from them.
        nights: these and earlier runs, oldest first; those of ``runs`` must be among them. Where there are ``runs``,
            only those of their labs, images and releases are drawn.
        taken: what was measured, by the folder of the run's results, where that was read already.
    """
    known = taken or {}
    measurements = [(run, known.get(str(run.results)) or Measurements(run.results)) for run in runs]
    of_run = {(night.lab, night.run): night for night in nights}
    kinds = {of_run[run.lab, run.run].kind for run in runs}
    nights = [night for night in nights if not kinds or night.kind in kinds]
    found: dict[tuple[str, str], Samples] = {}
    for run, measured in sorted(measurements, key=lambda pair: (pair[0].start, pair[0].run)):
        for cell in run.cells:
            for name, one in measured.of(cell).items():
                if name.endswith(_MEDIAN) and one.samples:
                    params = [f"{one}={value}" for one, value in cell.params]
                    key = (" ".join(filter(None, (cell.check, cell.part, *params))), name)
                    whose = where(of_run[run.lab, run.run], cell.pool)
                    before = found.get(key)
                    found[key] = Samples(
                        re.sub("[^a-z0-9]+", "-", f"{key[0]}-{name.removesuffix(_MEDIAN)}".lower()),
                        f"{name.removesuffix(_MEDIAN).replace('_', ' ')} ({key[0]}: {cell.title})",
                        one.unit,
                        {**(before.values if before else {}), whose: one.samples},
                    )
    chosen = colours(nights)
    return [
        *scaling(nights, chosen),
        *clocks(nights, chosen),
        *boots(nights),
        *latencies([found[key] for key in sorted(found)], chosen),
    ]
