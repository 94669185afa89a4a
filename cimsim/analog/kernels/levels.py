"""Whole numbers of weights, and their digits as levels of the cells that hold them."""

from __future__ import annotations

from typing import Any

import numpy as np

from cimsim.runtime.jit import njit

DIFFERENTIAL, OFFSET, SIGNED = range(3)
"""The coding schemes, in the order of `cimsim.analog.coding.SCHEMES`."""


@njit(cache=True, nogil=True)
def fill_levels(
    ratio_RC: Any, top: Any, bits: Any, scheme: Any, low_uS: Any, step_uS: Any, g_uS_SPRC: Any
) -> None:
    """Write the conductances of weights (float32, in units of the scale) to `g_uS_SPRC`.

    A weight becomes the whole number nearest to `ratio` times `top` (ties to even), plus `top` in
    the scheme with an offset; slice s of a polarity holds its digit s to the base 2^bits, one step
    a level above `low_uS`.
    """
    slices, polarities, rows, columns = g_uS_SPRC.shape
    mask = (1 << bits) - 1
    for p in range(polarities):
        for s in range(slices):
            shift = bits * s
            for r in range(rows):
                for c in range(columns):
                    whole = np.int32(np.rint(np.float64(ratio_RC[r, c]) * top))
                    if scheme == OFFSET:
                        whole += top
                    elif p == 1:
                        whole = -whole
                    magnitude = abs(whole) if scheme == SIGNED else max(whole, 0)
                    level = np.float32((magnitude >> shift) & mask)
                    if scheme == SIGNED and whole < 0:
                        level = -level
                    g_uS_SPRC[s, p, r, c] = low_uS + step_uS * level
