"""Mean, spread and confidence of a metric over noise draws, and of a paired difference.

Draws are independent chips on one and the same test set: their spread says nothing about another
test set. What the size of the test set leaves open is `wilson`, which does not shrink with more
draws. Intervals are 95 % intervals, and a number behind +- is half of one, nothing else: standard
deviations are called by that name.

scipy has both distributions, but the extra `torch`, which accuracies need, does not install it; a
test holds them to scipy's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from cimsim.errors import SpecError, TaskError
from cimsim.values.arguments import checked
from cimsim.values.display import brief

CONFIDENCE = 0.95
DRAWS = 3
"""Draws that an interval needs: that of two is 12.7 standard errors wide on either side (Student,
one degree of freedom), which says no more than that two chips are too few."""


@brief
@dataclass(frozen=True)
class Spread:
    """Mean over draws, standard deviation (n - 1) from two and 95 % interval from three on."""

    mean: float
    std: float | None
    confidence_95: tuple[float, float] | None
    draws: int

    @property
    def half_95(self) -> float | None:
        """Half the width of the interval: what stands behind +-; None without one."""
        return half_width(self.confidence_95)


@checked(TaskError)
def spread(values: Sequence[float]) -> Spread:
    """Summary of one value a draw; the interval is Student's t with n - 1 degrees of freedom.

    Raises SpecError without values.
    """
    count = len(values)
    if count == 0:
        raise SpecError("a mean over noise draws needs at least one draw, got none.")
    mean = math.fsum(values) / count
    if count == 1:
        return Spread(mean, None, None, 1)
    std = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (count - 1))
    if count < DRAWS:
        return Spread(mean, std, None, count)
    half = student_t(CONFIDENCE, count - 1) * std / math.sqrt(count)
    return Spread(mean, std, (mean - half, mean + half), count)


@checked(TaskError)
def compare(a: Sequence[float], b: Sequence[float]) -> Spread:
    """Spread of b - a, draw by draw: draw k of both is the same chip seed.

    Raises SpecError unless both have equally many draws.
    """
    if len(a) != len(b):
        raise SpecError(
            f"a paired comparison needs the same draws of both methods, got {len(a)} and "
            f"{len(b)}: evaluate both with the same seeds."
        )
    return spread([y - x for x, y in zip(a, b, strict=True)])


def half_width(interval: tuple[float, float] | None) -> float | None:
    """Half of an interval; None without one."""
    return None if interval is None else 0.5 * (interval[1] - interval[0])


@checked(TaskError)
def wilson(accuracy: float, examples: int) -> tuple[float, float]:
    """95 % interval (percent) of an accuracy in percent that was measured on `examples`.

    Wilson, JASA 22 (1927): the shares that a score test does not reject. It stays within 0 .. 100
    and has a width at 0 and at 100 too, where the standard error is 0. Raises SpecError for less
    than 1 example and for what is no percentage.
    """
    if examples < 1 or not 0.0 <= accuracy <= 100.0:
        raise SpecError(
            f"a binomial interval needs 1 example or more and 0 to 100 %, got {examples} and "
            f"{accuracy}."
        )
    share, z = accuracy / 100.0, NormalDist().inv_cdf(0.5 + 0.5 * CONFIDENCE)
    weight = z * z / examples
    middle = share + 0.5 * weight
    half = z * math.sqrt(share * (1.0 - share) / examples + 0.25 * weight / examples)
    low, high = ((middle + side * half) / (1.0 + weight) for side in (-1.0, 1.0))
    return 100.0 * max(0.0, low), 100.0 * min(1.0, high)


def student_t(confidence: float, freedom: int) -> float:
    """Bound t such that a Student variable of `freedom` degrees is in [-t, t] in `confidence`."""
    if not 0.0 < confidence < 1.0 or freedom < 1:
        raise SpecError(
            f"Student's t needs a confidence between 0 and 1 and 1 degree of freedom or more, got "
            f"{confidence} and {freedom}."
        )
    low, high = 0.0, 1.0
    while _within(high, freedom) < confidence:
        high *= 2.0
    for _ in range(80):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if _within(middle, freedom) < confidence else (low, middle)
    return 0.5 * (low + high)


def _within(t: float, freedom: int) -> float:
    """Probability of [-t, t]: Abramowitz and Stegun, 26.7.3 and 26.7.4 (finite sums)."""
    theta = math.atan(t / math.sqrt(freedom))
    sine, square = math.sin(theta), math.cos(theta) ** 2
    odd = freedom % 2
    term = math.cos(theta) if odd else 1.0
    total = 0.0
    for k in range(1 + odd, freedom, 2):
        total += term
        term *= square * k / (k + 1)
    return 2.0 / math.pi * (theta + sine * total) if odd else sine * total
