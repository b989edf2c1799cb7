"""How work grows with processors: the Universal Scalability Law, fitted to speed-ups.

    C(N) = N / (1 + sigma (N - 1) + kappa N (N - 1))

``sigma`` is contention, what has to be done one after the other; ``kappa`` is coherency, what each pair of processors
costs to keep in step, and the reason that speed-ups fall again beyond a peak (N. J. Gunther, A Simple Capacity Model of
Massively Parallel Transaction Systems, CMG 1993; Guerrilla Capacity Planning, Springer 2007, chapters 4 and 5).

Fitted in plain Python: the page is made where the extra with scipy is missing, too; two parameters need no library; and
the same points give the same digits everywhere, which a linear-algebra library does not promise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_STEPS = 200
_SETTLED = 1e-12
_HARDER, _EASIER = 4.0, 3.0
"""By how much damping grows after a step that made it worse, and shrinks after one that helped."""


@dataclass(frozen=True, slots=True)
class Fit:
    """The law as it fits some points best.

    Args:
        sigma: contention, 0 for none, 1 for processors that take turns.
        kappa: coherency, 0 for none.
        residuals: measured minus fitted speed-up of each point, in the order of the points.
    """

    sigma: float
    kappa: float
    residuals: tuple[float, ...]

    def __call__(self, processors: float) -> float:
        """The speed-up of so many processors over one."""
        return _law(processors, self.sigma, self.kappa)

    @property
    def error(self) -> float:
        """Root mean square of the residuals, for the two parameters that were taken from the points."""
        return math.sqrt(sum(one * one for one in self.residuals) / max(len(self.residuals) - 2, 1))

    @property
    def peak(self) -> float | None:
        """From how many processors on more of them do less (Gunther 2007, 4.3); None: there is no such number."""
        return math.sqrt((1 - self.sigma) / self.kappa) if self.kappa > 0 and self.sigma < 1 else None


def fit(points: Sequence[tuple[int, float]]) -> Fit | None:
    """The least squares of the speed-ups themselves, with neither parameter below 0.

    Levenberg and Marquardt's way (D. Marquardt, SIAM Journal 11, 1963), which begins where the law's linear form leads:
    N / C - 1 is linear in both parameters, but weighs the errors of large N more.

    Args:
        points: processors, and the speed-up over one; several of the same number may be there.

    Returns:
        None for fewer than three different numbers of processors besides 1: two parameters fit any two points, and
        what is left over says nothing.
    """
    known = [(processors, speed_up) for processors, speed_up in points if processors > 1 and speed_up > 0]
    if len({processors for processors, _ in known}) < 3:
        return None
    sigma, kappa = _linear(known)
    damping, error = 1e-3, _error(known, sigma, kappa)
    for _ in range(_STEPS):
        tried = _step(known, sigma, kappa, damping)
        worse = _error(known, *tried)
        if worse > error:
            damping *= _HARDER
            if damping > 1e12:
                break
            continue
        moved = abs(tried[0] - sigma) + abs(tried[1] - kappa)
        (sigma, kappa), error, damping = tried, worse, damping / _EASIER
        if moved < _SETTLED:
            break
    return Fit(sigma, kappa, tuple(speed_up - _law(number, sigma, kappa) for number, speed_up in points))


def _law(processors: float, sigma: float, kappa: float) -> float:
    return processors / (1 + sigma * (processors - 1) + kappa * processors * (processors - 1))


def _error(points: Sequence[tuple[int, float]], sigma: float, kappa: float) -> float:
    return sum((speed_up - _law(processors, sigma, kappa)) ** 2 for processors, speed_up in points)


def _linear(points: Sequence[tuple[int, float]]) -> tuple[float, float]:
    rows = [(n - 1.0, n * (n - 1.0), n / c - 1.0) for n, c in points]
    found = _solved(
        sum(a * a for a, _, _ in rows),
        sum(a * b for a, b, _ in rows),
        sum(b * b for _, b, _ in rows),
        sum(a * y for a, _, y in rows),
        sum(b * y for _, b, y in rows),
    )
    return max(found[0], 0.0), max(found[1], 0.0)


def _step(points: Sequence[tuple[int, float]], sigma: float, kappa: float, damping: float) -> tuple[float, float]:
    """One damped step of Gauss and Newton; a parameter that would pass its bound stops there, the other moves alone."""
    slopes = []
    for number, speed_up in points:
        fitted = _law(number, sigma, kappa)
        by_sigma = -fitted * fitted * (number - 1) / number
        slopes.append((by_sigma, by_sigma * number, speed_up - fitted))
    ss, sk, kk, sr, kr = (
        sum(s * s for s, _, _ in slopes),
        sum(s * k for s, k, _ in slopes),
        sum(k * k for _, k, _ in slopes),
        sum(s * r for s, _, r in slopes),
        sum(k * r for _, k, r in slopes),
    )
    ss, kk = ss * (1 + damping), kk * (1 + damping)
    by_sigma, by_kappa = _solved(ss, sk, kk, sr, kr)
    if sigma + by_sigma < 0:
        by_sigma, by_kappa = -sigma, (kr + sk * sigma) / kk
    if kappa + by_kappa < 0:
        by_kappa, by_sigma = -kappa, (sr + sk * kappa) / ss
    return max(sigma + by_sigma, 0.0), max(kappa + by_kappa, 0.0)


def _solved(aa: float, ab: float, bb: float, ay: float, by: float) -> tuple[float, float]:
    """Two linear equations, by Cramer's rule."""
    whole = aa * bb - ab * ab
    return (bb * ay - ab * by) / whole, (aa * by - ab * ay) / whole
