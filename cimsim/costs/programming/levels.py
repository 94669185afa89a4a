"""Levels that cells hold where what is written is unknown: a statistical default.

Assumed: weights of a trained layer are normal with mean 0, and the largest of each column of a
tile is at the largest conductance (`Coding.scaling` of `column`), so that the scale is the expected
largest of as many normal numbers as the tile has rows, or `write.largest_weight_sigmas`. Old and
new weight of a cell are independent where both are foreign to each other; a first programming
starts from erased cells. Digits go to cells as `cimsim.analog.Coding` puts them: both signs of a
weight into a pair, or a weight with an offset into one; `bits_per_cell` bits a cell.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from cimsim.blocks import CrossbarTiles
from cimsim.ir import Narrow
from cimsim.mapping import FloatArray

LEVEL_BITS = 8
"""Choice: levels of finer cells are told apart as far as this; 1 in 256 of them stays the same."""
WEIGHT_BITS = 16
"""Choice: digits below this many bits of a weight are spread evenly over their levels."""


def level_shares(tiles: CrossbarTiles, narrow: Narrow | None = None) -> FloatArray:
    """Share of cells at each level for each of the cells of a weight, [slices, levels].

    Those of a narrow weight are at the least level or at the largest.
    """
    bits = min(tiles.bits_per_cell, LEVEL_BITS)
    if narrow is not None:
        two = np.zeros((1, 2**bits))
        two[0, 0], two[0, -1] = 1.0 - narrow.nonzero, narrow.nonzero
        return two
    offset = tiles.coding == "offset"
    return _level_shares(offset, tiles.cells_per_weight, bits, column_sigmas(tiles))


def column_sigmas(tiles: CrossbarTiles) -> float:
    """The largest weight of a column of a tile, in standard deviations of all."""
    given = tiles.write.largest_weight_sigmas
    return largest_of_normals(tiles.rows) if given is None else given


def unrelated(shares: FloatArray) -> FloatArray:
    """Joint share of cells at level i before and j after, for weights foreign to each other."""
    return np.asarray(np.einsum("si,sj->ij", shares, shares) / shares.shape[0])


@lru_cache(maxsize=16)
def largest_of_normals(count: int) -> float:
    """Expected largest magnitude of `count` standard normal numbers: integral of 1 - F^n."""
    # choice: a step of the integral, and an end that 1e-15 of the numbers reach
    step, end = 0.002, 9.0
    x = np.arange(0.0, end, step) + step / 2.0
    inside = np.array([math.erf(v / math.sqrt(2.0)) for v in x])
    return float((1.0 - inside**count).sum() * step)


@lru_cache(maxsize=16)
def _level_shares(offset: bool, cells: int, bits: int, sigmas: float) -> FloatArray:
    """Slices from the least significant on; those that are not resolved are even."""
    resolved = min(cells, max(WEIGHT_BITS // bits, 1))
    held = _weight_shares(offset, resolved * bits, sigmas)
    levels = 2**bits
    known = [
        np.bincount((np.arange(held.size) >> bits * i) & (levels - 1), held, levels)
        for i in range(resolved)
    ]
    # A pair has the weight in one of its cells, half of the time in this one.
    even = np.full(levels, (1.0 if offset else 1.0 / 2.0) / levels)
    even[0] += 1.0 - even.sum()
    return np.stack([even] * (cells - resolved) + known)


def _weight_shares(offset: bool, bits: int, sigmas: float) -> FloatArray:
    """Share of each whole number that the cells of a weight hold together.

    A pair: 0 .. top in the cell of one sign, 0 there for weights of the other. With an offset:
    -top .. top, moved up by top.
    """
    top = max(2 ** (bits - 1) - 1, 1) if offset else 2**bits - 1
    edges = (np.arange(-top if offset else 0, top) + 1.0 / 2.0) * (sigmas / top)
    below = np.array([math.erf(v / math.sqrt(2.0)) for v in edges]) / 2.0 + 1.0 / 2.0
    return np.diff(below, prepend=0.0, append=1.0)
