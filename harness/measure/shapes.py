"""What is odd about samples that a single figure stands for: two modes, a machine that drifts.

Told, and no more: the verdict's test holds for any noise. How often either is said of samples that have nothing odd is
counted in docs/verdicts.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import kendalltau

from harness.measure.dip import two_modes
from harness.measure.signed_rank import Floats

if TYPE_CHECKING:
    from harness.measure.gains import Gains
    from harness.measure.judge import Series

TWO_MODES, DRIFTS = "two modes", "drifts"
_FEWEST = 8
_TREND = 1e-4


def shape(series: Series, gains: Gains, gain: float) -> str:
    """Everything odd about a series, joined by commas; empty: nothing.

    Modes are looked for on each side, and on both together once the candidate's gain is taken back: twice the samples.

    Args:
        series: with its pairs.
        gains: of it.
        gain: by how much the candidate is better, as estimated.
    """
    together = [*series.baseline, *(gains.without(value, gain) for value in series.candidate)]
    modes = any(map(two_modes, (series.baseline, series.candidate, together)))
    seen = {DRIFTS: drifts(series.baseline, series.candidate), TWO_MODES: modes}
    return ", ".join(name for name, odd in seen.items() if odd)


def drifts(baseline: Sequence[float] | Floats, candidate: Sequence[float] | Floats) -> bool:
    """Whether the level of rounds rose or fell during the run.

    By Kendall's rank correlation with time (M. G. Kendall, Biometrika 30, 1938; H. B. Mann, Econometrica 13, 1945), at
    1 in 10,000. It takes rounds to be independent, so that a machine with a memory is called drifting more often.
    """
    if len(baseline) < _FEWEST:
        return False
    levels = np.add(baseline, candidate)
    if (levels == levels[0]).all():
        return False
    return bool(kendalltau(np.arange(len(levels)), levels).pvalue < _TREND)
