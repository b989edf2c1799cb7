"""What is odd about samples that a single figure stands for: two modes, a machine that drifts.

Told, and no more: the verdict's test holds for any noise.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import kendalltau

from harness.measure.signed_rank import Floats

if TYPE_CHECKING:
    from harness.measure.judge import Series

TWO_MODES, DRIFTS = "two modes", "drifts"
_FEWEST = 12
_TREND = 1e-4
"""Of Kendall's test, which takes rounds to be independent: with autocorrelated ones false calls are more frequent than
this, and less than 1 in 100 (docs/verdicts.md)."""


def shape(series: Series) -> str:
    """Everything odd about a series, joined by commas; empty: nothing."""
    return ", ".join(
        name
        for name, seen in (
            (DRIFTS, drifts(series.baseline, series.candidate)),
            (TWO_MODES, two_modes(series.baseline) or two_modes(series.candidate)),
        )
        if seen
    )
