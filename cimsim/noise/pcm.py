"""Phase-change memory: programming noise, drift with a spread of exponents, 1/f read noise.

Constants: the fit of Nandakumar et al. (ICECS 2019) to one million devices as published in
aihwkit's PCMLikeNoiseModel, with which this model agrees in mean and standard deviation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from cimsim.noise.phase_change import accumulated, clipped_line, drifted, logarithm_of
from cimsim.noise.protocol import (
    F32,
    SCALE_MAX,
    Cells,
    Target,
    fit_span_uS,
    noise_like,
    require_fitted,
    require_number,
    require_physical,
)

PCM_uS = (0.0, 25.0)
"""Conductance range of the fit."""
PROGRAMMING_uS = (0.26348, 1.9650, -1.1731)
"""Programming standard deviation at 25 uS: coefficients of 1, x, x^2 with x = g / g_max."""
T0_s = 20.0
"""Time of the first read after programming, the origin of drift."""
READ_s = 250e-9
"""Duration of a read in the 1/f fit."""
EXPONENT_MEAN = (0.0244, -0.0155, 0.049, 0.1)
"""Mean drift exponent: constant, slope in ln x, lower and upper clip."""
EXPONENT_SIGMA = (-0.0059, -0.0125, 0.008, 0.045)
"""Spread of the drift exponent: constant, slope in ln x, lower and upper clip."""
FLICKER = (0.0088, 0.65, 1e-3, 0.2)
"""1/f amplitude min(0.2, 0.0088 / max(1e-3, x^0.65)): factor, power, floor, ceiling."""


@dataclass(frozen=True)
class PCM:
    """Phase-change cells; each of the scales switches one effect off (0) or exaggerates it.

    program: N(g, sigma_prog(x)) clipped at 0 uS, and a drift exponent nu = |N(mu(x), s(x))| a
    device, x = g_target / 25 uS. drift: g ((t + t0) / t0)^-nu. read: standard deviation
    g Q(x_programmed) sqrt(ln((t + t0 + t_read) / (2 t_read))); this low-frequency noise moves
    slowly, so evaluations draw it once a read-out (`snapshot`), not once an MVM. Time 0 is t0
    after programming: no drift yet, but programming and read noise. x is relative to the 25 uS of
    the fit; a larger g_max is refused unless `scaled` assumes, as aihwkit does, that everything is
    the same share of any g_max.
    """

    programming_scale: float = 1.0
    drift_scale: float = 1.0
    read_scale: float = 1.0
    scaled: bool = False
    name: ClassVar[str] = "pcm"

    def __post_init__(self) -> None:
        for scale in ("programming_scale", "drift_scale", "read_scale"):
            require_number(self.name, scale, getattr(self, scale), 0.0, SCALE_MAX)

    def program(self, target: Target, rng: np.random.Generator) -> Cells:
        """Noisy conductances; trait `exponent` is the drift exponent of every device."""
        require_physical(target, self.name)
        require_fitted(target, self.name, PCM_uS, self.scaled)
        span_uS = fit_span_uS(target, PCM_uS, self.scaled)
        x = target.g_uS / np.float32(span_uS)
        sigma = programming_sigma_ratio(x) * np.float32(self.programming_scale * span_uS)
        g_uS = np.maximum(target.g_uS + sigma * noise_like(x, rng), np.float32(0.0))
        mean, spread = exponent_statistics(x)
        exponent = np.abs(mean + spread * noise_like(x, rng)) * np.float32(self.drift_scale)
        return Cells(target, g_uS, {"exponent": exponent})

    def drift(self, cells: Cells, t_s: float) -> F32:
        """Conductances (uS) at `t_s`, without read noise."""
        return drifted(cells, t_s, T0_s)

    def read(self, cells: Cells, t_s: float) -> F32 | None:
        """Standard deviation (uS) of the accumulated 1/f noise at `t_s`."""
        if self.read_scale == 0.0:
            return None
        x = cells.g_uS / np.float32(fit_span_uS(cells.target, PCM_uS, self.scaled))
        amplitude = flicker_amplitude(x) * np.float32(
            self.read_scale * accumulated(t_s, T0_s, READ_s)
        )
        return self.drift(cells, t_s) * amplitude


def programming_sigma_ratio(x: F32) -> F32:
    """Standard deviation after programming, relative to g_max, at x = g / g_max."""
    c0, c1, c2 = (np.float32(c / PCM_uS[1]) for c in PROGRAMMING_uS)
    return c0 + x * (c1 + x * c2)


def exponent_statistics(x: F32) -> tuple[F32, F32]:
    """Mean and standard deviation of the drift exponent at x = g / g_max."""
    logarithm = logarithm_of(x)
    return clipped_line(EXPONENT_MEAN, logarithm), clipped_line(EXPONENT_SIGMA, logarithm)


def flicker_amplitude(x: F32) -> F32:
    """Relative 1/f amplitude Q at x = g / g_max after programming."""
    factor, power, floor, ceiling = (np.float32(number) for number in FLICKER)
    return np.minimum(factor / np.maximum(np.abs(x) ** power, floor), ceiling)
