"""Mean, spread and confidence of a metric over noise draws, and of a paired difference.

Draws are independent chips on one and the same test set: their spread says nothing about another
test set. What the size of the test set leaves open is `binomial_error`, which does not shrink
with more draws.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cimsim.display import brief
from cimsim.errors import SpecError

CONFIDENCE = 0.95


@brief
@dataclass(frozen=True)
class Spread:
    """Mean over draws; standard deviation (n - 1) and 95 % interval of the mean, from two draws."""

    mean: float
    std: float | None
    confidence_95: tuple[float, float] | None
    draws: int


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
    half = student_t(CONFIDENCE, count - 1) * std / math.sqrt(count)
    return Spread(mean, std, (mean - half, mean + half), count)


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


def binomial_error(accuracy: float, examples: int) -> float:
    """Binomial standard error (points) of an accuracy in percent measured on `examples`."""
    share = accuracy / 100.0
    return 100.0 * math.sqrt(share * (1.0 - share) / examples)


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
