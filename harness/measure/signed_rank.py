"""Wilcoxon's signed-rank test and the interval that belongs to it, for many series at once.

Why this test: in each round both sides run, and a coin says which first. Whatever the machine does meanwhile (drift,
autocorrelation, heavy tails), under the hypothesis that both sides are equal only the coin gives a pair's difference
its sign. So the distribution of the statistic over the coins is exact, with no assumption on the noise
(R. A. Fisher, The Design of Experiments, 1935, 21; P. R. Rosenbaum, Observational Studies, 2nd ed., 2002, 2.4).
The estimate and the interval come from turning the same test round (J. L. Hodges, E. L. Lehmann, Annals of
Mathematical Statistics 34, 1963; M. Hollander, D. A. Wolfe, Nonparametric Statistical Methods, 3rd ed., 3.2 and 3.3).
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

Floats = npt.NDArray[np.float64]

_EXACT = 300
"""Pairs up to which the distribution is counted out. Beyond, the normal one errs on the safe side: its tails are
heavier, since a signed rank sum is bounded."""
_SEED = 20150
"""Ties are broken by a fixed draw, so that the same samples always get the same verdict."""


@cache
def below(pairs: int) -> Floats:
    """The chance that a sum of ranks with fair signs is at most 0, 1, 2, ... ``pairs * (pairs + 1) / 2``."""
    top = pairs * (pairs + 1) // 2
    if pairs > _EXACT:
        spread = math.sqrt(pairs * (pairs + 1) * (2 * pairs + 1) / 24)
        normal: Floats = ndtr((np.arange(top + 1) + 0.5 - top / 2) / spread)
        return normal
    chance = np.zeros(top + 1)
    chance[0] = 1.0
    for rank in range(1, pairs + 1):
        without = chance / 2
        without[rank:] += chance[:-rank] / 2
        chance = without
    counted: Floats = np.cumsum(chance)
    return counted


def statistic(differences: Floats) -> npt.NDArray[np.intp]:
    """The sum of the ranks of the positive ones, along the last axis; there are no ties (:func:`untied`)."""
    order = np.argsort(np.abs(differences), axis=-1)
    positive = np.take_along_axis(differences, order, axis=-1) > 0
    ranks = np.arange(1, differences.shape[-1] + 1, dtype=np.float64)
    return np.rint(positive.astype(np.float64) @ ranks).astype(np.intp)


def p_above(differences: Floats) -> Floats:
    """How likely so large a statistic is where the middle of the differences is 0 or less; along the last axis."""
    pairs = differences.shape[-1]
    top = pairs * (pairs + 1) // 2
    chance: Floats = below(pairs)[top - statistic(differences)]
    return chance


def p_two_sided(differences: Floats) -> tuple[Floats, Floats]:
    """How likely a statistic so far from the middle is where the sides are equal, and which way it went (+1, -1, 0)."""
    pairs = differences.shape[-1]
    top = pairs * (pairs + 1) // 2
    seen = statistic(differences)
    nearer = np.minimum(seen, top - seen)
    return np.minimum(1.0, 2 * below(pairs)[nearer]), np.sign(seen - top / 2)


def middle_above(differences: Floats, at: Floats) -> npt.NDArray[np.bool_]:
    """Whether the Hodges-Lehmann estimate of each series lies above ``at``, told without making the estimate.

    False where as many of the averages that it is the middle of lie below as above.
    """
    pairs = differences.shape[-1]
    above: npt.NDArray[np.bool_] = statistic(differences - at[..., None]) > pairs * (pairs + 1) / 4
    return above


def untied(differences: Floats) -> Floats:
    """The same but for parts in a milliard, drawn symmetrically: no two are equal in size, and none is 0.

    A draw that favours neither sign leaves the test exact, where the usual handling of ties and zeros only approaches
    it. Coarse values (a timer that ticks in milliseconds) are therefore no special case.
    """
    scale = np.abs(differences).max(axis=-1, keepdims=True)
    draw = np.random.default_rng(_SEED).uniform(-1, 1, size=differences.shape)
    shaken: Floats = differences + draw * np.where(scale > 0, scale, 1e-3) * 1e-9
    return shaken


def estimate(differences: Floats, error: float) -> tuple[float, float, float]:
    """Hodges-Lehmann estimate of one series' shift, and its interval.

    Args:
        differences: of one series.
        error: how likely the interval may be to miss the truth, on either side.

    Returns:
        The estimate, lower end, upper end; ends are infinite where so few pairs give no interval.
    """
    pairs = len(differences)
    first, second = np.triu_indices(pairs)
    averages = np.sort((differences[first] + differences[second]) / 2)
    outside = int(np.searchsorted(below(pairs), error, side="right"))
    middle = float(np.median(averages))
    if outside == 0:
        return middle, -math.inf, math.inf
    return middle, float(averages[outside - 1]), float(averages[-outside])


def quantile(chance: float) -> float:
    """How many standard deviations a normal value exceeds with this chance."""
    return float(-ndtri(chance))
