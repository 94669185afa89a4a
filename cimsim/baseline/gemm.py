"""Time of one matrix-product kernel: tiles, waves, split-K, HBM and L2.

A library picks one of a few kernels (block tile and split of k) for every shape. Here the time
of each candidate is computed and the fastest one counts:

    t = (t_c^4 + t_m^4 + t_l^4)^(1/4) + fixed + [s > 1] split
    t_c = c 2 Tm Tn (ceil64(k / s) + prologue) / (rate per SM * e) * throttle
    t_m = (a (m k + k n + m n) + [s > 1] 8 s m n) / (e_hbm * HBM bandwidth)
    t_l = a k ceil(m / Tm) ceil(n / Tn) (Tm + Tn) / L2 bandwidth * throttle

with a bytes an element, s the split of k and c the number of blocks that the busiest SM runs.
On P SMs, c = ceil(tiles s / P). An SM can hold one to four blocks, by their size; one that has
fewer runs them at `lone` of the rate. `throttle` = 1 + depth F / (F + F0) lowers the clock of
long kernels (F floating-point operations), as the power limit does. Every efficiency is at most
one, so a time is never below the roofline. Wave and tile quantisation: NVIDIA, Matrix
Multiplication Background User's Guide, sections 3.1 and 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cimsim.baseline.fits import GemmFit
from cimsim.values.display import brief

Array = NDArray[np.float64]

# assumed: the kernels of a library differ in these, its other settings follow them
TILES = (
    (256, 128),
    (128, 256),
    (128, 128),
    (256, 64),
    (64, 256),
    (128, 64),
    (64, 128),
    (64, 64),
    (32, 128),
    (32, 64),
)
# assumed: as the tiles
SPLITS = (1, 2, 4, 8)
AREAS = tuple(sorted({m * n for m, n in TILES}, reverse=True))
# assumed: blocks of each area that fit an SM
_RESIDENT_BLOCKS = {32768: 1, 16384: 2, 8192: 3, 4096: 4, 2048: 4}
K_STEP = 64  # assumed: depth of a tile's step, to which k is padded
ACCUMULATOR_BYTES = 8  # counted: a partial sum in fp32, written and read once a split

_TILE_M, _TILE_N, _SPLIT = (
    np.array(column, dtype=np.float64)
    for column in zip(*[(tm, tn, s) for tm, tn in TILES for s in SPLITS], strict=True)
)
_AREA_INDEX = np.array([AREAS.index(int(area)) for area in _TILE_M * _TILE_N])
_RESIDENT = np.array([float(_RESIDENT_BLOCKS[int(a)]) for a in _TILE_M * _TILE_N])
_IS_SPLIT = (_SPLIT > 1).astype(np.float64)


@brief
@dataclass(frozen=True)
class Candidates:
    """What a set of products (rows R) costs with each kernel (columns C), before any constant."""

    blocks_RC: Array
    lone_RC: NDArray[np.bool_]
    k_padded_RC: Array
    l2_elements_RC: Array
    elements_R: Array
    partial_bytes_RC: Array
    flop_R: Array

    @property
    def work_RC(self) -> Array:
        """Elements of output that the busiest SM works on, one after the other."""
        return self.blocks_RC * (_TILE_M * _TILE_N)


def candidates(
    m: ArrayLike, k: ArrayLike, n: ArrayLike, batch: ArrayLike, sm_count: int
) -> Candidates:
    """Tile, wave and byte counts of `batch` products m x k x n for every tile and split."""
    m_R1, k_R1, n_R1, batch_R1 = (
        np.atleast_1d(np.asarray(x, dtype=np.float64))[:, None] for x in (m, k, n, batch)
    )
    rows_RC, columns_RC = np.ceil(m_R1 / _TILE_M), np.ceil(n_R1 / _TILE_N)
    grid_RC = batch_R1 * rows_RC * columns_RC * _SPLIT
    blocks_RC = np.ceil(grid_RC / sm_count)
    return Candidates(
        blocks_RC=blocks_RC,
        lone_RC=blocks_RC < _RESIDENT,
        k_padded_RC=np.ceil(np.ceil(k_R1 / _SPLIT) / K_STEP) * K_STEP,
        l2_elements_RC=batch_R1 * k_R1 * rows_RC * columns_RC * (_TILE_M + _TILE_N),
        elements_R=(batch_R1 * (m_R1 * k_R1 + k_R1 * n_R1 + m_R1 * n_R1))[:, 0],
        partial_bytes_RC=_IS_SPLIT * ACCUMULATOR_BYTES * _SPLIT * batch_R1 * m_R1 * n_R1,
        flop_R=(2 * batch_R1 * m_R1 * k_R1 * n_R1)[:, 0],
    )


def kernel_s(
    found: Candidates,
    fit: GemmFit,
    *,
    peak_flop_per_s: float,
    hbm_byte_per_s: float,
    element_bytes: float,
    sm_count: int,
) -> Array:
    """Seconds of each product with its fastest kernel; equations in the module's text."""
    efficiency = np.array(fit.tile_efficiency)[_AREA_INDEX]
    rate_RC = (peak_flop_per_s / sm_count) * efficiency * np.where(found.lone_RC, fit.lone, 1.0)
    flop_R1 = found.flop_R[:, None]
    throttle_R1 = 1.0 + fit.throttle_depth * flop_R1 / (flop_R1 + fit.throttle_GFLOP * 1e9)
    steps_RC = found.k_padded_RC + fit.prologue_elements
    compute_RC = 2.0 * found.work_RC * steps_RC / rate_RC * throttle_R1
    bytes_RC = element_bytes * found.elements_R[:, None] + found.partial_bytes_RC
    memory_RC = bytes_RC / (hbm_byte_per_s * fit.hbm_efficiency)
    l2_byte_per_s = fit.l2_bandwidth_GBps * 1e9
    l2_RC = element_bytes * found.l2_elements_RC / l2_byte_per_s * throttle_R1
    terms_RC = np.square(np.square(compute_RC))
    terms_RC += np.square(np.square(memory_RC))
    terms_RC += np.square(np.square(l2_RC))
    seconds_RC = np.sqrt(np.sqrt(terms_RC)) + 1e-6 * _IS_SPLIT * fit.split_us
    fastest: Array = seconds_RC.min(axis=1) + 1e-6 * fit.fixed_us
    return fastest
