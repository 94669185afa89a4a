"""Levels before and after of cells whose old and new weights have to do with each other.

Weights are those of `levels`: normal, in units of their own standard deviation, of which the
expected largest of a column is at the largest conductance before and after. A pair of correlated
normal numbers is x = c u + d v, y = c u - d v of two independent ones; u is integrated exactly
between the borders of levels, |v| at quantiles, both of its signs. Digits that the upper `BITS`
bits of a weight do not hold are even before, and move by the difference of the two weights. Not
modelled: that the largest weight of a column, and with it the scale of all others, moves by chance.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from cimsim.blocks import CrossbarTiles
from cimsim.costs.programming.levels import LEVEL_BITS, WEIGHT_BITS, column_sigmas, level_shares
from cimsim.mapping import Correlated, FloatArray, LevelChange, Masked

BITS = 8
"""Choice: upper bits of a weight of which old and new are set against each other, each to each."""
POINTS = 512
"""Choice: quantiles of |v|."""
STEP = 1e-3
"""Choice: of the table of the normal distribution, whose values are exact to 1e-7."""
END = 9.0
"""Choice: no double of it is beyond."""


def level_change(tiles: CrossbarTiles, change: Correlated | Masked) -> LevelChange:
    """How levels of the cells of a weight go where its weights go as `change` says."""
    offset = tiles.coding == "offset"
    if isinstance(change, Masked):
        shares = level_shares(tiles)
        return _masked(offset, shares.shape, shares.tobytes(), change.zeroed)
    bits, sigmas = min(tiles.bits_per_cell, LEVEL_BITS), column_sigmas(tiles)
    return _correlated(offset, tiles.cells_per_weight, bits, sigmas, change.correlation)


@lru_cache(maxsize=32)
def _masked(offset: bool, shape: tuple[int, int], data: bytes, zeroed: float) -> LevelChange:
    """A weight of zero: both cells of a pair at the least level; with an offset the middle."""
    shares = np.frombuffer(data, np.float64).reshape(shape)
    slices, levels = shape
    zero = np.zeros(shape)
    digits = np.full(slices, levels - 1 if offset else 0)
    if offset:
        digits[-1] = max(levels // 2 - 1, 1)
    zero[np.arange(slices), digits] = 1.0
    down = np.einsum("si,sj->ij", shares, zero) / slices
    return LevelChange(zeroed * down + (1.0 - zeroed) * down.T)


@lru_cache(maxsize=32)
def _correlated(
    offset: bool, cells: int, bits: int, sigmas: float, correlation: float
) -> LevelChange:
    resolved = min(cells, max(WEIGHT_BITS // bits, 1))
    whole = resolved * bits
    above = min(resolved, max(BITS // bits, 1))
    joint = _joint(_borders(offset, whole, sigmas, whole - above * bits), correlation)
    found = [_digits(joint, bits * i, 2**bits) for i in range(above)]
    # counted: the largest weight is `sigmas` and fills half of the range with an offset
    unit = sigmas / 2.0 ** (whole - (1 if offset else 0))
    found += [
        _even(offset, 2**bits, unit * 2.0 ** (bits * digit), correlation)
        for digit in range(resolved - cells, resolved - above)
    ]
    share = np.mean(found, axis=0)
    return LevelChange(share / share.sum())


def _borders(offset: bool, bits: int, sigmas: float, dropped: int) -> FloatArray:
    """Weights at which the whole number that cells hold, without `dropped` bits, goes up by one.

    As `levels` has them.
    """
    top = max(2 ** (bits - 1) - 1, 1) if offset else 2**bits - 1
    borders = (np.arange(-top if offset else 0, top) + 1.0 / 2.0) * (sigmas / top)
    return np.asarray(borders[2**dropped - 1 :: 2**dropped])


def _joint(borders: FloatArray, correlation: float) -> FloatArray:
    """Share of weights between each two borders before and each two after, [N, N]."""
    shared, apart = (math.sqrt((1.0 + s * correlation) / 2.0) for s in (1.0, -1.0))
    moved = apart * _quantiles()[:, None]
    edges = np.concatenate([borders - moved, borders + moved], axis=1) / shared
    order = np.argsort(edges, axis=1, kind="stable")
    below = _below(np.take_along_axis(edges, order, axis=1))
    share = np.diff(below, axis=1, prepend=0.0, append=1.0)
    before = np.pad(np.cumsum(order < borders.size, axis=1), ((0, 0), (1, 0)))
    after = np.arange(share.shape[1])[None, :] - before
    count = borders.size + 1
    found = np.bincount((before * count + after).ravel(), share.ravel(), count**2)
    one_sign = found.reshape(count, count) / POINTS
    return np.asarray((one_sign + one_sign.T) / 2.0)


def _digits(joint: FloatArray, dropped: int, levels: int) -> FloatArray:
    """The joint share of one digit of the two whole numbers, which has `dropped` bits below it."""
    digit = (np.arange(joint.shape[0]) >> dropped) % levels
    put = np.zeros((joint.shape[0], levels))
    put[np.arange(digit.size), digit] = 1.0
    return np.asarray(put.T @ joint @ put)


def _even(offset: bool, levels: int, unit: float, correlation: float) -> FloatArray:
    """The joint share of a digit of which a step is `unit`, far below the spread of weights.

    In a pair both weights have the sign of a cell, or one of them, or none.
    """
    moved = _moved(levels, math.sqrt(2.0 * (1.0 - correlation)) / unit)
    at = np.arange(levels)
    same = moved[(at[None, :] - at[:, None]) % levels] / levels
    if offset:
        return np.asarray(same)
    crossed = math.acos(correlation) / math.pi
    one = np.zeros((levels, levels))
    one[0] += 1.0 / levels
    none = np.zeros((levels, levels))
    none[0, 0] = 1.0
    return np.asarray((1.0 - crossed) / 2.0 * (same + none) + crossed / 2.0 * (one + one.T))


def _moved(levels: int, steps: float) -> FloatArray:
    """Share of even digits that go up by 0, 1 .. `levels` - 1 around, where their number moves by
    a normal one of deviation `steps`.
    """
    if steps >= levels:
        # counted: the first term of the Fourier series is exp(-2 pi^2) there
        return np.full(levels, 1.0 / levels)
    turns = math.ceil(END * steps / levels) + 2
    by = np.arange(-turns * levels, turns * levels + 1, dtype=np.float64)
    spread = max(steps, STEP)
    # counted: a number between two whole ones is as near to each as is its share that moves by it
    short = by * _below(by / spread) + spread / math.sqrt(2.0 * math.pi) * np.exp(
        -((by / spread) ** 2) / 2.0
    )
    share = np.maximum(np.diff(short, 2), 0.0) if steps else 1.0 * (by[1:-1] == 0.0)
    return np.asarray(np.bincount((by[1:-1] % levels).astype(np.int64), share, levels), np.float64)


@lru_cache(maxsize=1)
def _normal() -> tuple[FloatArray, FloatArray]:
    """Numbers and the share of normal ones that are below."""
    x = np.arange(-END, END + STEP, STEP)
    return x, np.array([math.erf(v / math.sqrt(2.0)) for v in x]) / 2.0 + 1.0 / 2.0


def _below(x: FloatArray) -> FloatArray:
    at, share = _normal()
    return np.interp(x, at, share)


@lru_cache(maxsize=1)
def _quantiles() -> FloatArray:
    """Of the magnitude of a normal number, [POINTS], each of as many numbers."""
    at, share = _normal()
    middle = (np.arange(POINTS) + 1.0 / 2.0) / POINTS
    return np.interp(1.0 / 2.0 + middle / 2.0, share, at)
