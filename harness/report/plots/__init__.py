"""Charts that people look at, as inline SVG with the same data as a table: scaling, clocks, boots, latencies."""

from harness.report.plots.chart import Drawing
from harness.report.plots.figures import drawings
from harness.report.plots.page import NAME, write

__all__ = ["NAME", "Drawing", "drawings", "write"]
