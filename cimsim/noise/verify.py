"""Write-verify: pulse, read, repeat until inside a window. One model for noise and for cost.

The residual error inside the window is the programming noise of the accuracy path; the number of
pulses it took is what reprogramming costs in time, energy and endurance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from cimsim.errors import SpecError
from cimsim.noise.gaussian import Ideal
from cimsim.noise.protocol import (
    F32,
    Cells,
    Device,
    Target,
    noise_like,
    require_number,
    require_physical,
)

F64 = npt.NDArray[np.float64]
STEP_SIGMA_uS = 5.125
"""Spread of one pulse's effect. Fitted (not published): makes the mean over targets spread evenly
over 0 .. 40 uS equal to NeuRRAM's 8.52 pulses a cell at a window of +-1 uS (Wan et al., Nature
608, 2022), given the assumed gain of one half."""
GRID_CELLS_PER_SIGMA = 12


@dataclass(frozen=True)
class WriteVerify:
    """Closed-loop programming of every device, then the inner model on what was reached.

    A pulse moves the conductance by `gain_ratio` of the remaining error plus a Gaussian of
    `step_sigma_uS`; cells start at `start_uS` and stop within `tolerance_uS` of the target, or
    after `max_pulses` wherever they are then. Pulses before the first verify are not needed by
    cells that start inside the window. `inner` (default: none) adds what happens afterwards, such
    as relaxation; it is given the conductances reached as its targets.
    """

    tolerance_uS: float = 1.0
    start_uS: float = 0.0
    gain_ratio: float = 0.5
    step_sigma_uS: float = STEP_SIGMA_uS
    max_pulses: int = 60
    inner: Device = field(default_factory=Ideal)
    name: ClassVar[str] = "write_verify"

    def __post_init__(self) -> None:
        require_number(self.name, "tolerance_uS", self.tolerance_uS, 1e-6, math.inf)
        require_number(self.name, "start_uS", self.start_uS, 0.0, math.inf)
        require_number(self.name, "gain_ratio", self.gain_ratio, 0.01, 1.0)
        require_number(self.name, "step_sigma_uS", self.step_sigma_uS, 1e-6, math.inf)
        require_number(self.name, "max_pulses", self.max_pulses, 1, 100_000)
        if not isinstance(self.max_pulses, int):
            raise SpecError(f"write_verify: max_pulses is a whole number, got {self.max_pulses}.")

    def program(self, target: Target, rng: np.random.Generator) -> Cells:
        """Cells after the loop; traits `pulse_count` and `converged` (1 or 0) of every device."""
        require_physical(target, self.name)
        error, pulses, open_ = self._loop(target.g_uS, rng)
        reached = np.maximum(target.g_uS + error, np.float32(0.0))
        inner = self.inner.program(replace(target, g_uS=reached), rng)
        traits = {"pulse_count": pulses, "converged": (~open_).astype(np.float32)}
        return Cells(target, inner.g_uS, traits, inner)

    def _loop(self, g_uS: F32, rng: np.random.Generator) -> tuple[F32, F32, npt.NDArray[np.bool_]]:
        error = np.float32(self.start_uS) - g_uS.ravel()
        pulses = np.zeros(error.size, np.float32)
        active = np.flatnonzero(np.abs(error) > self.tolerance_uS)
        keep, sigma = np.float32(1.0 - self.gain_ratio), np.float32(self.step_sigma_uS)
        for _ in range(self.max_pulses):
            if active.size == 0:
                break
            moved = error[active] * keep + sigma * noise_like(error[active], rng)
            error[active] = moved
            pulses[active] += 1.0
            active = active[np.abs(moved) > self.tolerance_uS]
        open_ = np.zeros(error.size, np.bool_)
        open_[active] = True
        return error.reshape(g_uS.shape), pulses.reshape(g_uS.shape), open_.reshape(g_uS.shape)

    def drift(self, cells: Cells, t_s: float) -> F32:
        """As the inner model."""
        return self.inner.drift(cells.inside(), t_s)

    def read(self, cells: Cells, t_s: float) -> F32 | None:
        """As the inner model."""
        return self.inner.read(cells.inside(), t_s)

    def mean_pulse_count(self, g_uS: F32 | F64) -> F64:
        """Expected pulses for each target (uS), from the chain's transition density.

        Mean = sum over k of the probability that a cell is still outside after k pulses, on a
        grid of errors; no draws, so the cost path needs no generator.
        """
        start = self.start_uS - np.asarray(g_uS, np.float64)
        spread = self.step_sigma_uS / math.sqrt(1.0 - (1.0 - self.gain_ratio) ** 2)
        reach = float(np.abs(start).max(initial=0.0)) + 6.0 * spread + self.tolerance_uS
        error, expected = _expected_pulses(
            self.tolerance_uS, self.gain_ratio, self.step_sigma_uS, self.max_pulses, reach
        )
        first = self._first_step(start, error, expected)
        return np.asarray(np.where(np.abs(start) > self.tolerance_uS, first, 0.0))

    def mean_pulses(self, g_max_uS: float, levels: int = 257) -> float:
        """Expected pulses a cell for targets spread evenly over 0 .. `g_max_uS`."""
        return float(self.mean_pulse_count(np.linspace(0.0, g_max_uS, levels)).mean())

    def _first_step(self, start: F64, error: F64, expected: F64) -> F64:
        flat = start.ravel()
        density = _step_density(error, flat, self.gain_ratio, self.step_sigma_uS)
        outside = np.abs(error) > self.tolerance_uS
        total = 1.0 + density[:, outside] @ expected[outside]
        return np.asarray(total).reshape(start.shape)


def _step_density(to: F64, start: F64, gain: float, sigma: float) -> F64:
    z = (to[None, :] - start[:, None] * (1.0 - gain)) / sigma
    area = (to[1] - to[0]) / (sigma * math.sqrt(2.0 * math.pi))
    return np.asarray(area * np.exp(-0.5 * z * z))


@lru_cache(maxsize=32)
def _expected_pulses(
    tolerance: float, gain: float, sigma: float, limit: int, reach: float
) -> tuple[F64, F64]:
    """Grid of errors up to +-`reach`, expected further pulses from each (at most `limit` - 1)."""
    # An odd number of grid cells fills the window, so that its edges are edges of grid cells.
    cell = 2.0 * tolerance / (2 * round(GRID_CELLS_PER_SIGMA * tolerance / sigma) + 1)
    half = math.ceil(reach / cell)
    error = np.arange(-half, half + 1, dtype=np.float64) * np.float64(cell)
    return _sum_survival(error, tolerance, gain, sigma, limit)


def _sum_survival(
    error: F64, tolerance: float, gain: float, sigma: float, limit: int
) -> tuple[F64, F64]:
    outside = np.abs(error) > tolerance
    step = _step_density(error, error, gain, sigma) * outside[None, :]
    alive = outside.astype(np.float64)
    expected = np.zeros_like(alive)
    for _ in range(limit - 1):
        expected += alive
        alive = np.where(outside, step @ alive, 0.0)
    return error, expected
