"""What all phase-change cells do with time: drift by an exponent each, 1/f noise piles up."""

from __future__ import annotations

import math

import numpy as np

from cimsim.noise.protocol import F32, Cells, require_time

LOWEST_X = 1e-7
"""Choice: below this relative conductance the logarithm of x is held."""


def logarithm_of(x: F32) -> F32:
    """Ln x, held below LOWEST_X."""
    return np.asarray(np.log(np.maximum(x, np.float32(LOWEST_X))))


def clipped_line(fit: tuple[float, float, float, float], logarithm: F32) -> F32:
    """A constant and a slope in ln x, clipped: `fit` has both, and the lower and upper clip."""
    constant, slope, low, high = map(np.float32, fit)
    return np.asarray(np.clip(constant + slope * logarithm, low, high))


def drifted(cells: Cells, t_s: float, t0_s: float) -> F32:
    """Conductances (uS): g ((t + t0) / t0)^-nu with the trait `exponent` of every device."""
    require_time(t_s)
    logarithm = np.float32(math.log((t_s + t0_s) / t0_s))
    return np.asarray(cells.g_uS * np.exp(-logarithm * cells.traits["exponent"]))


def accumulated(t_s: float, t0_s: float, read_s: float) -> float:
    """1/f noise up to a read of `read_s`, `t0_s` + `t_s` after programming, in its amplitudes."""
    return math.sqrt(math.log((t_s + t0_s + read_s) / (2.0 * read_s)))
