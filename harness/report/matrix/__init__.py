"""Hypervisors side by side on one static page: tests x pools, with state, value, difference and the last runs."""

from harness.report.matrix.model import Table
from harness.report.matrix.page import NAME, write
from harness.report.matrix.table import table

__all__ = ["NAME", "Table", "table", "write"]
