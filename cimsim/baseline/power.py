"""Power of a kernel: a running card, plus work, up to the power limit.

P = min(TDP, active + compute energy * FLOP rate + HBM energy * byte rate)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cimsim.baseline.fits import PowerFit

Array = NDArray[np.float64]


def energy_J(seconds: Array, flop: Array, moved_bytes: Array, fit: PowerFit) -> Array:
    """Energy of kernels of `seconds` (s) that do `flop` operations on `moved_bytes` of HBM."""
    work = 1e-12 * (fit.compute_pJ_per_FLOP * flop + fit.hbm_pJ_per_byte * moved_bytes)
    capped: Array = np.minimum(fit.tdp_W * seconds, fit.active_W * seconds + work)
    return capped
