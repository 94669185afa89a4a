"""The phase-change cells of the 14 nm HERMES chip, two devices a polarity.

Programming: the error of a weight as published with Analog Foundation Models (Büchel et al.,
NeurIPS 2025; apply_noise_model.py of the authors). Drift and read noise: aihwkit 1.1.0,
HermesNoiseModel of two devices, fitted on the same chip (Le Gallo et al., Nature Electronics 6,
2023).
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
    polynomial,
    require_fitted,
    require_number,
    require_physical,
)

HERMES_uS = (0.0, 20.7)
"""Window of the fits: two devices that were characterised up to 10.35 uS each (aihwkit 1.1.0)."""
LEVELS = 180.0
"""Units of the programming fit: the largest weight is 180 (Büchel et al., NeurIPS 2025)."""
LOWEST_LEVEL = 0.6
"""Smaller targets are left unprogrammed, at 0 (Büchel et al., NeurIPS 2025)."""
ONE_DEVICE = (2.5797410660159494, 0.22419685954327148, -0.00371581208142707, 2.939751381126213e-05)
"""Spread of a weight that one device holds: coefficients of 1, w, w^2, w^3, in levels (Büchel
et al., NeurIPS 2025)."""
TWO_DEVICES = (2.110295720240385, 0.2453487119885723, -0.003054993405157235, 1.2329755395573392e-05)
"""The same of a larger one, which two devices hold (Büchel et al., NeurIPS 2025)."""
ONE_DEVICE_UP_TO = 52.5
"""Largest weight that one device holds, in levels (Büchel et al., NeurIPS 2025)."""
T0_s = 300.0
"""Time of the first read after programming, the origin of drift (aihwkit 1.1.0, two devices)."""
READ_s = 512e-9
"""Duration of a read in the 1/f fit (aihwkit 1.1.0)."""


@dataclass(frozen=True)
class _Branches:
    """constant + slope ln x, clipped to low .. high, below `split`; a polynomial from there on."""

    split: float
    line: tuple[float, float, float, float]
    polynomial: tuple[float, ...]

    def at(self, x: F32) -> F32:
        small, large = clipped_line(self.line, logarithm_of(x)), polynomial(self.polynomial, x)
        found = np.where(x < np.float32(self.split), small, large)
        return np.asarray(found, np.float32)


EXPONENT_MEAN = _Branches(0.0945, (-0.0182, -0.0387, 0.0720, 0.13), (0.0736, -0.0126, -0.0436))
"""Mean drift exponent against x = g / g_max (aihwkit 1.1.0)."""
EXPONENT_SIGMA = _Branches(0.3055, (-0.0057, -0.0117, 0.0091, 0.04), (0.0073, 0.0093, -0.0118))
"""Spread of the drift exponent (aihwkit 1.1.0, two devices)."""
FLICKER = _Branches(0.16, (-0.0069, -0.0117, 0.015, 0.04), (0.0123, 0.0211, -0.0280, 0.0069))
"""Relative 1/f amplitude against what was programmed (aihwkit 1.1.0, two devices)."""


@dataclass(frozen=True)
class Hermes:
    """Cells of the HERMES chip; each of the scales switches one effect off (0) or exaggerates it.

    program: N(g, sigma(180 g / g_max)) and a drift exponent |N(mu(x), s(x))| a device; targets
    below 0.6 / 180 of g_max hold exactly 0. The published error is that of a weight, both
    polarities together: it is put on the cell that holds the weight, which may go below 0 uS (the
    other polarity then leads); use it with differential coding and a g_min_uS of 0. In % of g_max:
    1.5 just above 0, 4.7 at half, 10.7 at g_max. drift: g ((t + t0) / t0)^-nu with t0 300 s. read:
    standard deviation |g| Q(x_programmed) sqrt(ln((t + t0 + t_read) / (2 t_read))). The fits hold
    up to 20.7 uS; a larger window is refused unless `scaled` assumes that they grow with g_max.
    """

    programming_scale: float = 1.0
    drift_scale: float = 1.0
    read_scale: float = 1.0
    scaled: bool = False
    name: ClassVar[str] = "hermes"

    def __post_init__(self) -> None:
        for scale in ("programming_scale", "drift_scale", "read_scale"):
            require_number(self.name, scale, getattr(self, scale), 0.0, SCALE_MAX)

    def program(self, target: Target, rng: np.random.Generator) -> Cells:
        """Noisy conductances; trait `exponent` is the drift exponent of every device."""
        require_physical(target, self.name)
        require_fitted(target, self.name, HERMES_uS, self.scaled)
        span_uS = fit_span_uS(target, HERMES_uS, self.scaled)
        x = target.g_uS / np.float32(span_uS)
        sigma = programming_sigma_ratio(x) * np.float32(self.programming_scale * span_uS)
        g_uS = target.g_uS + sigma * noise_like(x, rng)
        held = x * np.float32(LEVELS) >= np.float32(LOWEST_LEVEL)
        mean, spread = EXPONENT_MEAN.at(x), EXPONENT_SIGMA.at(x)
        exponent = np.abs(mean + spread * noise_like(x, rng)) * np.float32(self.drift_scale)
        return Cells(target, np.where(held, g_uS, np.float32(0.0)), {"exponent": exponent})

    def drift(self, cells: Cells, t_s: float) -> F32:
        """Conductances (uS) at `t_s`, without read noise."""
        return drifted(cells, t_s, T0_s)

    def read(self, cells: Cells, t_s: float) -> F32 | None:
        """Standard deviation (uS) of the accumulated 1/f noise at `t_s`."""
        if self.read_scale == 0.0:
            return None
        span_uS = fit_span_uS(cells.target, HERMES_uS, self.scaled)
        x = np.asarray(np.abs(cells.g_uS) / span_uS, np.float32)
        amplitude = FLICKER.at(x) * np.float32(self.read_scale * accumulated(t_s, T0_s, READ_s))
        return np.asarray(np.abs(self.drift(cells, t_s)) * amplitude)


def programming_sigma_ratio(x: F32) -> F32:
    """Standard deviation after programming, relative to g_max, at x = g / g_max."""
    level = x * np.float32(LEVELS)
    one, two = (polynomial(fit, level) for fit in (ONE_DEVICE, TWO_DEVICES))
    sigma = np.where(level > np.float32(ONE_DEVICE_UP_TO), two, one)
    return np.asarray(sigma / np.float32(LEVELS))
