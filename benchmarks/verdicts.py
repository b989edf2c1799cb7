"""``python -m benchmarks verdicts``: what verdicts promise, counted over whole validations of simulated samples.

A validation is 20 measurements. Samples are drawn in the order in which they would be taken, two sides a round, a coin
saying which comes first; then one of two equal sides is slowed down, or none. The procedure is the one that
:func:`harness.measure.judge.judge` runs: its looks, its correction for many measurements, all of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from harness.measure import sequential
from harness.measure.judge import PRACTICAL
from harness.measure.needed import Rate
from harness.measure.plan import ALPHA, Plan
from harness.measure.signed_rank import Floats

FAMILY = 20
SPREADS = (0.02, 0.05, 0.10)
LOSS = 0.10
TRIALS = 10_000
BUDGETS = (16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_AT_ONCE = 3_000_000
_RHO = 0.5
_RAMP = 0.2

Noise = Callable[[np.random.Generator, tuple[int, ...], float], Floats]


def normal(random: np.random.Generator, shape: tuple[int, ...], spread: float) -> Floats:
    """Independent normal noise about 1."""
    return 1 + spread * random.standard_normal(shape)


def lognormal(random: np.random.Generator, shape: tuple[int, ...], spread: float) -> Floats:
    """Independent, never below 0, with a tail upwards; mean 1."""
    sigma = math.sqrt(math.log1p(spread**2))
    return np.exp(sigma * random.standard_normal(shape) - sigma**2 / 2)


def autoregressive(random: np.random.Generator, shape: tuple[int, ...], spread: float) -> Floats:
    """Each run remembers half of the one before: AR(1), rho 0.5, stationary from the first."""
    steps = random.standard_normal(shape)
    seen = np.empty(shape)
    seen[..., 0] = steps[..., 0]
    for at in range(1, shape[-1]):
        seen[..., at] = _RHO * seen[..., at - 1] + math.sqrt(1 - _RHO**2) * steps[..., at]
    return 1 + spread * seen


def drifting(random: np.random.Generator, shape: tuple[int, ...], spread: float) -> Floats:
    """Normal noise on a machine that becomes 20 % slower meanwhile, and walks about besides."""
    ramp = np.linspace(0, _RAMP, shape[-1])
    walk = np.cumsum(random.standard_normal(shape), axis=-1) * spread / math.sqrt(shape[-1])
    return normal(random, shape, spread) + ramp + walk


NOISES: dict[str, Noise] = {
    "normal": normal,
    "lognormal": lognormal,
    "AR(1), rho 0.5": autoregressive,
    "drifting": drifting,
}


@dataclass(frozen=True, slots=True)
class Case:
    """What was found with one kind of noise.

    Args:
        noise: its name.
        spread: coefficient of variation.
        budget: pairs of each measurement at most: the fewest of :data:`BUDGETS` that keep the promise.
        alarms: validations of equal sides that raised any false alarm, practical limits 0.
        practical: the same with the usual practical limits.
        caught: validations with one measurement slowed down by 10 % that called it worse.
        usual: pairs that half of those took at most.
        same: measurements of equal sides called the same within the budget.
        enough: pairs within which 95 of 100 measurements of equal sides are called the same.
    """

    noise: str
    spread: float
    budget: int
    alarms: Rate
    practical: Rate
    caught: Rate
    usual: int
    same: Rate
    enough: int


def gains(random: np.random.Generator, noise: Noise, spread: float, shape: tuple[int, int, int]) -> Floats:
    """Gains of candidates that are no better and no worse, as times: validations x measurements x pairs.

    One coin a round, the same for all measurements of a validation, as they are taken in the same round.
    """
    trials, family, pairs = shape
    times = np.log(np.maximum(noise(random, (trials, family, 2 * pairs), spread), 1e-3))
    coins = random.choice([-1.0, 1.0], size=(trials, 1, pairs))
    found: Floats = coins * (times[..., 0::2] - times[..., 1::2])
    return found


def limits(practical: float) -> tuple[Floats, Floats]:
    """Where losses and gains begin to matter, for times."""
    return np.full((1, FAMILY), -math.log1p(practical)), np.full((1, FAMILY), -math.log1p(-practical))


def outcomes(
    random: np.random.Generator,
    noise: Noise,
    spread: float,
    budget: int,
    trials: int,
    *,
    loss: float = 0.0,
    practical: tuple[float, ...] = (PRACTICAL,),
    alpha: float = ALPHA,
) -> Iterator[tuple[sequential.Outcome, ...]]:
    """What came of ``trials`` validations, in portions: an outcome for each of the practical limits.

    Args:
        random: the draw.
        noise: of the machine.
        spread: coefficient of variation.
        budget: pairs.
        trials: validations.
        loss: by which the first measurement of each is slower on the candidate's side.
        practical: limits that the same samples are judged by.
        alpha: family-wise.
    """
    plan = Plan.of(FAMILY, budget, alpha)
    most = max(1, _AT_ONCE // (2 * FAMILY * budget))
    for begun in range(0, trials, most):
        found = gains(random, noise, spread, (min(most, trials - begun), FAMILY, budget))
        found[:, 0] -= math.log1p(loss)
        yield tuple(sequential.follow(found, plan, *limits(part)) for part in practical)


def false_alarms(
    noise: Noise, spread: float, budget: int, trials: int, *, seed: int, alpha: float = ALPHA
) -> tuple[Rate, Rate, Rate]:
    """A against A: false alarms of validations without practical limits and with them, and how many are the same."""
    alarms = practical = same = 0
    for bare, usual in outcomes(
        np.random.default_rng(seed), noise, spread, budget, trials, practical=(0.0, PRACTICAL), alpha=alpha
    ):
        alarms += int((bare.verdicts >= sequential.BETTER).any(axis=1).sum())
        practical += int((usual.verdicts >= sequential.BETTER).any(axis=1).sum())
        same += int((usual.verdicts == sequential.SAME).sum())
    return Rate(alarms, trials), Rate(practical, trials), Rate(same, trials * FAMILY)


def caught(noise: Noise, spread: float, budget: int, trials: int, *, seed: int) -> tuple[Rate, int]:
    """One measurement of 20 slowed down: how often it is called worse, and the pairs that half of those took."""
    seen, pairs = 0, []
    for (outcome,) in outcomes(np.random.default_rng(seed), noise, spread, budget, trials, loss=LOSS):
        worse = outcome.verdicts[:, 0] == sequential.WORSE
        seen += int(worse.sum())
        pairs += outcome.pairs[worse, 0].tolist()
    return Rate(seen, trials), int(np.median(pairs)) if pairs else 0


def case(name: str, spread: float, trials: int, *, seed: int = 1, say: Callable[[str], None] = lambda _: None) -> Case:
    """Find the budget of one kind of noise by a tenth of the trials, and count with it."""
    noise, tenth = NOISES[name], max(100, trials // 10)
    budget = next(b for b in BUDGETS if caught(noise, spread, b, tenth, seed=seed)[0].value >= 0.95)
    hit, usual = caught(noise, spread, budget, trials, seed=seed + 1)
    while hit.value < 0.95:  # a tenth of the trials was too kind
        budget = BUDGETS[BUDGETS.index(budget) + 1]
        hit, usual = caught(noise, spread, budget, trials, seed=seed + 1)
    alarms, practical, same = false_alarms(noise, spread, budget, trials, seed=seed + 2)
    enough = next(
        b for b in BUDGETS if b >= 16 and false_alarms(noise, spread, b, tenth // 5 or 1, seed=seed)[2].value >= 0.95
    )
    say(f"{name}, {spread:.0%}: {budget} pairs, {alarms} false alarms, {hit} caught")
    return Case(name, spread, budget, alarms, practical, hit, usual, same, enough)
