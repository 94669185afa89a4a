"""Pulses by cell: how many write pulses the cells of one write take, as a distribution.

Two origins. `write.window_uS`: the chain of `cimsim.noise.WriteVerify`, the same that the accuracy
path draws from. `write.pulses_per_cell`: a mean alone is known, so that each pulse is taken to hit
its window with the same probability (assumed: geometric, which the chain tends to once a cell is
near its target).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from cimsim.mapping import FloatArray
from cimsim.values.display import brief

ROUNDING_SHARE = 1e-15
"""Choice: shares below it are rounding of a Fourier transform; machines have fewer cells."""
TAIL_SHARE = 1e-18
"""Choice: a share of cells below this takes no more pulses; no machine has so many cells."""


@brief
@dataclass(frozen=True, slots=True, eq=False)
class PulseCounts:
    """`beyond[k]` is the share of cells that take more than k pulses, [K], falling.

    `unconverged` is the share that is outside its window at the end.
    """

    beyond: FloatArray
    unconverged: float = 0.0

    @property
    def mean(self) -> float:
        """Pulses a cell."""
        return float(self.beyond.sum())

    @property
    def variance(self) -> float:
        """Of the pulses of one cell."""
        # counted: E[N^2] = sum of (2 k + 1) P(N > k)
        squares = (2.0 * np.arange(self.beyond.size) + 1.0) * self.beyond
        return max(float(squares.sum()) - self.mean**2, 0.0)

    @property
    def pulsed(self) -> float:
        """Share of cells that take a pulse at all."""
        return float(self.beyond[0]) if self.beyond.size else 0.0

    @property
    def shares(self) -> FloatArray:
        """Share of cells that take 0, 1, 2 .. pulses, [K + 1]."""
        return -np.diff(self.beyond, prepend=1.0, append=0.0)

    def quantile(self, share: float) -> int:
        """Least number of pulses that is enough for this share of cells."""
        return int(np.count_nonzero(self.beyond > 1.0 - share))

    def hottest(self, cells: float) -> float:
        """Expected pulses of the one of `cells` cells that takes most: sum of 1 - (1 - P)^n."""
        return float(self.slowest(np.array([cells], np.float64))[0])

    def slowest(self, cells: FloatArray) -> FloatArray:
        """The same for groups of several sizes: pulses until the last cell of each is done."""
        with np.errstate(divide="ignore"):  # a share of 1 is never done
            done = np.log1p(-np.minimum(self.beyond, 1.0))
        some = np.asarray(cells, np.float64)[:, None]
        product = np.where(some > 0.0, some, 1.0) * done[None, :]
        return np.where(some[:, 0] > 0.0, -np.expm1(product).sum(axis=1), 0.0)


NO_PULSES = PulseCounts(np.zeros(0))


def mixed(parts: list[PulseCounts], weights: list[float]) -> PulseCounts:
    """Cells of several kinds together, in these amounts."""
    total = sum(weights)
    if total <= 0.0:
        return NO_PULSES
    beyond = np.zeros(max(part.beyond.size for part in parts))
    for part, weight in zip(parts, weights, strict=True):
        beyond[: part.beyond.size] += part.beyond * (weight / total)
    lost = sum(p.unconverged * w for p, w in zip(parts, weights, strict=True)) / total
    return PulseCounts(beyond, lost)


def summed(parts: Sequence[tuple[PulseCounts, int]]) -> PulseCounts:
    """Pulses of cells that are written again and again: `parts` has each write and how often.

    Writes are independent: the distribution of the sum, by Fourier transform, exact but for
    `ROUNDING_SHARE`.
    """
    some = [(part, times) for part, times in parts if times and part.beyond.size]
    if not some:
        return NO_PULSES
    longest = sum(times * part.beyond.size for part, times in some)
    mean = sum(times * part.mean for part, times in some)
    sigma = math.sqrt(sum(times * part.variance for part, times in some))
    # choice: no machine has a cell that is twenty standard deviations and a whole write beyond
    reach = mean + 20.0 * sigma + max(part.beyond.size for part, _ in some)
    length = 1 << math.ceil(math.log2(min(longest, reach) + 2.0))
    product = np.ones(length // 2 + 1, np.complex128)
    for part, times in some:
        product *= np.fft.rfft(part.shares, length) ** times
    shares = np.fft.irfft(product, length)
    shares[shares < ROUNDING_SHARE] = 0.0
    beyond = np.cumsum(shares[::-1])[::-1][1:]
    return PulseCounts(np.minimum(beyond[: np.count_nonzero(beyond)], 1.0))


@lru_cache(maxsize=16)
def geometric(mean: float) -> PulseCounts:
    """Cells that take `mean` pulses, each of which ends them with the same probability.

    They take one at least; of a mean below 1 that is the share that takes one.
    """
    if mean <= 1.0:
        return PulseCounts(np.array([mean]))
    rate = -math.log1p(-1.0 / mean)
    count = math.ceil(-math.log(TAIL_SHARE) / rate)
    return PulseCounts(np.exp(-rate * np.arange(count)))


@lru_cache(maxsize=16)
def chain(window_uS: float, errors_uS: tuple[float, ...]) -> tuple[PulseCounts, ...]:
    """Of cells that begin so far (uS) from their target, by the write-verify model."""
    from cimsim.noise.verify import WriteVerify  # where no window is given it is not needed

    outside = WriteVerify(tolerance_uS=window_uS).survival(np.array(errors_uS))
    return tuple(PulseCounts(row[:-1], float(row[-1])) for row in outside)


def erased_uS(window_uS: float | None, g_min_uS: float) -> float:
    """Conductance (uS) of a cell before its first programming.

    That at which the write-verify model begins; without it the least of the cell's levels.
    """
    if window_uS is None:
        return g_min_uS
    from cimsim.noise.verify import WriteVerify

    return WriteVerify(tolerance_uS=window_uS).start_uS
