"""A Gaussian process over the axes of a space, which learns how much each axis matters.

The covariance of two designs is the product over the axes of 1 - s (1 - r): r falls from 1 with
their distance on the axis (Gaussian, `LENGTHS`), or is 0 between different names; the share s says
how much the axis matters. Written out, the product has a term for each axis and for each set of
axes, so that effects add up and interact (Rasmussen and Williams, Gaussian Processes for Machine
Learning, 2006, chapters 2 and 5). Shares and lengths are those of the largest marginal likelihood,
found one axis after the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from cimsim.exploration.pareto import F64
from cimsim.exploration.proposers.positions import Positions

SHARES = (0.001, 0.03, 0.3, 0.9)
"""Choice: how much an axis may matter, from hardly to wholly."""
LENGTHS = (0.4, 1.5)
"""Choice: over which part of an axis values are alike."""
NOISE_RATIO = 1e-5
"""Choice: of the variance, so that equal designs do not make the covariance singular."""
SWEEPS = 2
"""Choice: times that every axis is fitted."""

Shape = tuple[float, float]
"""Share and length of an axis."""


class Surrogate:
    """Learns one objective from positions (n, axes) and values (n)."""

    def __init__(self, positions: Positions) -> None:
        self._ordered = positions.ordered
        self._spans = [1.0 if size is None else max(size - 1.0, 1.0) for size in positions.sizes]
        self.shapes: list[Shape] = [(SHARES[2], LENGTHS[1])] * len(self._spans)

    def fit_shapes(self, at: F64, values: F64) -> None:
        """Find shares and lengths for these values."""
        y = _standard(values)[0]
        for _ in range(SWEEPS):
            for axis in range(len(self.shapes)):
                rest = self.covariance(at, at, skip=axis)
                options = product(SHARES, LENGTHS if self._ordered[axis] else LENGTHS[:1])
                found = {o: _likelihood(rest * self._factor(at, at, axis, o), y) for o in options}
                self.shapes[axis] = max(found, key=lambda option: found[option])

    def fit(self, at: F64, values: F64) -> Fitted:
        """The process that has `values` at these positions."""
        y, mean, scale = _standard(values)
        lower: F64 = np.linalg.cholesky(_noisy(self.covariance(at, at))).astype(np.float64)
        half = np.linalg.solve(lower, y)
        spread = float(np.sqrt(half @ half / len(y)))
        weights = np.linalg.solve(lower.T, half) * scale
        return Fitted(self, at, lower, weights, mean, scale * spread)

    def covariance(self, one: F64, other: F64, skip: int | None = None) -> F64:
        """Of each of `one` with each of `other`; without the axis `skip`."""
        found = np.ones((len(one), len(other)))
        for axis, shape in enumerate(self.shapes):
            if axis != skip:
                found *= self._factor(one, other, axis, shape)
        return found

    def _factor(self, one: F64, other: F64, axis: int, shape: Shape) -> F64:
        share, length = shape
        apart = one[:, axis, None] - other[None, :, axis]
        if self._ordered[axis]:
            alike = np.exp(-0.5 * (apart / (self._spans[axis] * length)) ** 2)
        else:
            alike = (apart == 0.0).astype(np.float64)
        found: F64 = 1.0 - share * (1.0 - alike)
        return found


@dataclass(frozen=True, eq=False)
class Fitted:
    """A surrogate that knows some values; `spread` is the standard deviation far from them."""

    surrogate: Surrogate
    at: F64
    lower: F64
    weights: F64
    mean: float
    spread: float

    def expected(self, at: F64) -> F64:
        """What the values at positions (n, axes) are expected to be."""
        expected: F64 = self.mean + self.surrogate.covariance(at, self.at) @ self.weights
        return expected

    def doubt(self, at: F64) -> F64:
        """The standard deviation of what is expected there."""
        known = np.linalg.solve(self.lower, self.surrogate.covariance(self.at, at))
        doubt: F64 = self.spread * np.sqrt(np.clip(1.0 - (known**2).sum(axis=0), 0.0, None))
        return doubt


def _standard(values: F64) -> tuple[F64, float, float]:
    mean, scale = float(values.mean()), float(values.std()) or 1.0
    return (values - mean) / scale, mean, scale


def _noisy(covariance: F64) -> F64:
    found: F64 = covariance + NOISE_RATIO * np.eye(len(covariance))
    return found


def _likelihood(covariance: F64, y: F64) -> float:
    """The logarithm of the marginal likelihood at its best variance, up to a constant."""
    lower = np.linalg.cholesky(_noisy(covariance))
    half = np.linalg.solve(lower, y)
    spread = max(float(half @ half) / len(y), np.finfo(np.float64).tiny)
    return float(-0.5 * len(y) * np.log(spread) - np.log(np.diag(lower)).sum())
