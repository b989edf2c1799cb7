"""Hartigan's dip: how far the samples' distribution is from the nearest one with a single mode.

J. A. Hartigan, P. M. Hartigan: The dip test of unimodality, Annals of Statistics 13, 1985. Of all distributions with
one mode the uniform one dips most often, so that critical values of uniform samples are safe for every other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from harness.measure.signed_rank import Floats

CRITICAL = (
    *((12, 0.5165), (16, 0.5318), (20, 0.5432), (24, 0.5497), (32, 0.5575), (48, 0.5714), (64, 0.5753), (96, 0.5872)),
    *((128, 0.5978), (256, 0.6034), (512, 0.6124)),
)
"""Samples, and ``sqrt(samples)`` times the dip that 1 in 100 uniform draws exceeds. From 40,000 draws each (10,000
from 256 on); `tests/unit/test_dip.py` draws anew."""
FEWEST = CRITICAL[0][0]
"""Fewer samples are never said to have two modes."""


def dip(samples: Sequence[float] | Floats) -> float:
    """The greatest difference between the samples' distribution function and the nearest unimodal one.

    Returns:
        From ``1 / (2 * samples)``, one mode, to 1/4, two equal spikes.
    """
    places, counts = np.unique(np.asarray(samples, dtype=float), return_counts=True)
    upper = np.cumsum(counts) / counts.sum()
    lower = upper - counts / counts.sum()
    if len(places) == 1:
        return 0.5 / len(samples)
    found = 1.0 / len(samples)
    first, last = 0, len(places) - 1
    while True:
        # Greatest convex minorant and least concave majorant between the ends of what may be the modal interval.
        here = slice(first, last + 1)
        convex = _hull(places[here], lower[here], 1)
        concave = _hull(places[here], upper[here], -1)
        under = np.interp(places[here], places[here][convex], lower[here][convex])
        over = np.interp(places[here], places[here][concave], upper[here][concave])
        gap_convex, gap_concave = (over - under)[convex], (over - under)[concave]
        if gap_concave.max() > gap_convex.max():
            distance = gap_concave.max()
            right = concave[np.flatnonzero(gap_concave == distance)[-1]]
            left = convex[convex <= right][-1]
        else:
            distance = gap_convex.max()
            left = convex[np.flatnonzero(gap_convex == distance)[0]]
            right = concave[concave >= left][0]
        if distance <= found:
            return float(found / 2)
        off = max(
            (upper[here] - under)[: left + 1].max(),
            (over - lower[here])[right:].max(),
        )
        found = max(found, off)
        if (left, right) == (0, last - first):
            return float(found / 2)
        first, last = first + left, first + right


def two_modes(samples: Sequence[float] | Floats) -> bool:
    """Whether the samples dip more than 1 in 100 uniform draws do: those of normal noise do so far more rarely."""
    count = len(samples)
    if count < FEWEST:
        return False
    counts, critical = zip(*CRITICAL, strict=True)
    return math.sqrt(count) * dip(_without_ticks(np.asarray(samples, dtype=float))) > float(
        np.interp(count, counts, critical)
    )


def _without_ticks(samples: Floats) -> Floats:
    """Samples of a coarse clock, each spread evenly over its tick: neighbouring ticks are no two modes."""
    places = np.unique(samples)
    if len(places) in (1, len(samples)):
        return samples
    tick = float(np.diff(places).min())
    spread: Floats = samples + np.random.default_rng(len(samples)).uniform(-tick / 2, tick / 2, len(samples))
    return spread


def _hull(x: Floats, y: Floats, way: int) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Places of the corners of the greatest convex minorant (``way`` 1) or the least concave majorant (-1)."""
    corners: list[int] = []
    heights, places = (way * y).tolist(), x.tolist()
    for at, (place, height) in enumerate(zip(places, heights, strict=True)):
        while len(corners) > 1:
            a, b = corners[-2], corners[-1]
            if (heights[b] - heights[a]) * (place - places[a]) < (height - heights[a]) * (places[b] - places[a]):
                break
            corners.pop()
        corners.append(at)
    return np.array(corners)
