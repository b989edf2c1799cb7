"""``python -m benchmarks verdicts``: what verdicts promise, counted over whole validations of simulated samples.

A validation is 20 measurements. Samples are drawn in the order in which they would be taken, two sides a round, a coin
saying which comes first; then one of two equal sides is slowed down, or none. The procedure is the one that
:func:`harness.measure.judge.judge` runs: its looks, its correction for many measurements, all of it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from harness.core import UsageError
from harness.measure import Better, sequential, shapes, signed_rank
from harness.measure.gains import of as gains_of
from harness.measure.judge import PRACTICAL, Series
from harness.measure.needed import POWER, Rate
from harness.measure.plan import ALPHA, Plan
from harness.measure.signed_rank import Floats

FAMILY = 20
SPREADS = (0.02, 0.05, 0.10)
LOSS = 0.10
SLIGHT = 0.01
TRIALS = 10_000
FEWEST = 500
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
        bare: validations of equal sides with any false alarm, where every change matters.
        alarms: the same with the usual practical limits.
        slight: validations with a loss of 1 % in every measurement, which does not matter, and an alarm.
        caught: validations with one measurement slowed down by 10 % that called it worse.
        usual: pairs that half of those took at most.
        same: measurements of equal sides called the same within the budget.
        enough: pairs within which 95 of 100 measurements of equal sides are called the same.
        modes: measurements said to have two modes, which have one.
        drifts: measurements said to drift.
    """

    noise: str
    spread: float
    budget: int
    bare: Rate
    alarms: Rate
    slight: Rate
    caught: Rate
    usual: int
    same: Rate
    enough: int
    modes: Rate
    drifts: Rate

    @property
    def kept(self) -> bool:
        """Whether both promises are kept."""
        return max(self.bare.value, self.alarms.value) <= ALPHA and self.caught.interval[0] >= POWER


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
    plan: Plan,
    trials: int,
    *,
    losses: tuple[float, ...] = (),
    practical: tuple[float, ...] = (PRACTICAL,),
) -> Iterator[tuple[sequential.Outcome, ...]]:
    """What came of ``trials`` validations, in portions: an outcome for each of the practical limits.

    Args:
        random: the draw.
        noise: of the machine.
        spread: coefficient of variation.
        plan: the looks.
        trials: validations.
        losses: by how much the first measurements of each are slower on the candidate's side.
        practical: limits that the same samples are judged by.
    """
    budget = plan.looks[-1]
    most = max(1, _AT_ONCE // (2 * FAMILY * budget))
    for begun in range(0, trials, most):
        found = gains(random, noise, spread, (min(most, trials - begun), FAMILY, budget))
        found[:, : len(losses)] -= np.log1p(losses)[:, None]
        yield tuple(sequential.follow(found, plan, *limits(part)) for part in practical)


def any_alarm(
    noise: Noise, spread: float, plan: Plan, trials: int, *, seed: int, losses: tuple[float, ...] = ()
) -> tuple[Rate, Rate]:
    """Validations that end with any better or worse: where every change matters, and with the usual limits."""
    bare = usual = 0
    random = np.random.default_rng(seed)
    for strict, lenient in outcomes(random, noise, spread, plan, trials, losses=losses, practical=(0.0, PRACTICAL)):
        bare += int((strict.verdicts >= sequential.BETTER).any(axis=1).sum())
        usual += int((lenient.verdicts >= sequential.BETTER).any(axis=1).sum())
    return Rate(bare, trials), Rate(usual, trials)


def called_same(noise: Noise, spread: float, budget: int, trials: int, *, seed: int) -> Rate:
    """A against A: measurements that are called the same."""
    found = outcomes(np.random.default_rng(seed), noise, spread, Plan.of(FAMILY, budget), trials)
    return Rate(sum(int((one.verdicts == sequential.SAME).sum()) for (one,) in found), trials * FAMILY)


def caught(noise: Noise, spread: float, budget: int, trials: int, *, seed: int, loss: float = LOSS) -> tuple[Rate, int]:
    """One measurement of 20 slowed down: how often it is called worse, and the pairs that half of those took."""
    seen, pairs = 0, []
    random, plan = np.random.default_rng(seed), Plan.of(FAMILY, budget)
    for (outcome,) in outcomes(random, noise, spread, plan, trials, losses=(loss,)):
        worse = outcome.verdicts[:, 0] == sequential.WORSE
        seen += int(worse.sum())
        pairs += outcome.pairs[worse, 0].tolist()
    return Rate(seen, trials), int(np.median(pairs)) if pairs else 0


def odd(noise: Noise, spread: float, pairs: int, trials: int, *, seed: int) -> tuple[Rate, Rate]:
    """How often a measurement of equal sides is said to have two modes, and to drift."""
    modes = drifting = 0
    random = np.random.default_rng(seed)
    for _ in range(trials):
        runs = noise(random, (2 * pairs,), spread)
        first = random.random(pairs) < 0.5
        sides = np.where(first, runs[0::2], runs[1::2]), np.where(first, runs[1::2], runs[0::2])
        series = Series("", "", "", Better.LOWER, "s", tuple(sides[0].tolist()), tuple(sides[1].tolist()))
        found = gains_of(series)
        shape = shapes.shape(series, found, signed_rank.estimate(found.values, 0.05)[0])
        modes += shapes.TWO_MODES in shape
        drifting += shapes.DRIFTS in shape
    return Rate(modes, trials), Rate(drifting, trials)


def case(name: str, spread: float, trials: int, *, seed: int = 1) -> Case:
    """Find the budget of one kind of noise by a tenth of the trials, and count with it."""
    noise, tenth = NOISES[name], max(100, trials // 10)
    budget = next(b for b in BUDGETS if caught(noise, spread, b, tenth, seed=seed)[0].value >= POWER)
    hit, usual = caught(noise, spread, budget, trials, seed=seed + 1)
    while hit.interval[0] < POWER:  # a tenth of the trials was too kind
        budget = BUDGETS[BUDGETS.index(budget) + 1]
        hit, usual = caught(noise, spread, budget, trials, seed=seed + 1)
    plan = Plan.of(FAMILY, budget)
    bare, alarms = any_alarm(noise, spread, plan, trials, seed=seed + 2)
    _, slight = any_alarm(noise, spread, plan, trials, seed=seed + 3, losses=(SLIGHT,) * FAMILY)
    enough = next(b for b in BUDGETS if called_same(noise, spread, b, max(50, tenth // 5), seed=seed).value >= POWER)
    same = called_same(noise, spread, budget, tenth, seed=seed + 4)
    modes, drift = odd(noise, spread, budget, tenth, seed=seed + 5)
    return Case(name, spread, budget, bare, alarms, slight, hit, usual, same, enough, modes, drift)


def table(cases: list[Case]) -> str:
    """The cases as a table of Markdown."""
    rows = [
        "| noise | CV | pairs | A/A: any alarm | at most | with limits | 1 % loss: alarm | 10 % loss: caught "
        "| at least | half by | A/A same | pairs for same | two modes said | drift said |",
        "|---|" + "---:|" * 13,
    ]
    for one in cases:
        rates = (one.bare.value, one.bare.interval[1], one.alarms.value, one.slight.value)
        caught = (one.caught.value, one.caught.interval[0])
        rows.append(
            f"| {one.noise} | {one.spread:.0%} | {one.budget} | {' | '.join(f'{rate:.2%}' for rate in rates)} "
            f"| {' | '.join(f'{rate:.2%}' for rate in caught)} | {one.usual} | {one.same.value:.1%} | {one.enough} "
            f"| {one.modes.value:.2%} | {one.drifts.value:.1%} |"
        )
    return "\n".join(rows)


def run(trials: int, say: Callable[[str], None], file: Path | None = None) -> bool:
    """Count everything, print the table, and tell whether every promise is kept.

    Raises:
        UsageError: so few trials cannot show a promise of 95 % with 99 % confidence.
    """
    if trials < FEWEST:
        raise UsageError(f"{trials} trials show nothing: {FEWEST} are the least")
    cases = []
    for spread in SPREADS:
        for name in NOISES:
            cases.append(case(name, spread, trials))
            found = cases[-1]
            say(f"{name}, {spread:.0%}: {found.budget} pairs, alarms {found.bare}, caught {found.caught}")
    print(table(cases))
    if file:
        file.write_text(json.dumps([asdict(one) for one in cases], indent=1))
    return all(one.kept for one in cases)
