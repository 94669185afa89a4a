"""Write-verify: pulse, read, repeat until inside a window. One model for noise and for cost.

The residual error inside the window is the programming noise of the accuracy path; the number of
pulses it took is what reprogramming costs in time, energy and endurance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from cimsim.errors import SpecError
from cimsim.noise.gaussian import Ideal
from cimsim.noise.protocol import (
    F32,
    Cells,
    CONDUCTANCE_MAX_uS,
    Device,
    Target,
    fit_span_uS,
    noise_like,
    require_fitted,
    require_inner,
    require_number,
    require_physical,
    require_within,
)

F64 = npt.NDArray[np.float64]
STEP_SIGMA_uS = 5.125
"""Spread of one pulse's effect. Fitted (not published): makes the mean over targets spread evenly
over 0 .. 40 uS equal to NeuRRAM's 8.52 pulses a cell at a window of +-1 uS (Wan et al., Nature
608, 2022), given the assumed gain of one half."""
VERIFIED_uS = (0.0, 40.0)
"""Range of the targets of that fit (Wan et al., Nature 608, 2022)."""
GRID_CELLS_PER_SIGMA = 12
"""Choice: grid cells of errors for the spread of one pulse."""
GRID_CELLS_MAX = 4_096
"""Grid cells at most: the square of so many transition densities takes 134 MB."""
_LEVELS = 257
"""Choice: targets that stand for all between 0 and g_max."""
MAX_PULSES = 1_000
"""Pulses a cell at most; published arrays give up after tens to hundreds."""


@dataclass(frozen=True)
class WriteVerify:
    """Closed-loop programming of every device, then the inner model on what was reached.

    A pulse moves the conductance by `gain_ratio` of the remaining error plus a Gaussian of
    `step_sigma_uS`; cells start at `start_uS` and stop within `tolerance_uS` of the target, or
    after `max_pulses` wherever they are then. Pulses before the first verify are not needed by
    cells that start inside the window. `inner` (default: none) adds what happens afterwards, such
    as relaxation; it is given the conductances reached as its targets. The spread of a pulse that
    stands here was fitted on 0 to 40 uS: cells beyond are refused unless `step_sigma_uS` is their
    own, or `scaled` assumes that it is the same share of any g_max.
    """

    tolerance_uS: float = 1.0
    start_uS: float = 0.0
    gain_ratio: float = 0.5  # assumed: half of the error is left
    step_sigma_uS: float = STEP_SIGMA_uS
    max_pulses: int = 60  # choice: a cell stops there wherever it is
    inner: Device = field(default_factory=Ideal)
    scaled: bool = False
    name: ClassVar[str] = "write_verify"

    def __post_init__(self) -> None:
        largest = CONDUCTANCE_MAX_uS
        require_number(self.name, "tolerance_uS", self.tolerance_uS, 1e-6, largest)
        require_number(self.name, "start_uS", self.start_uS, 0.0, largest)
        require_number(self.name, "gain_ratio", self.gain_ratio, 0.01, 1.0)
        require_number(self.name, "step_sigma_uS", self.step_sigma_uS, 1e-3, largest)
        require_number(self.name, "max_pulses", self.max_pulses, 1, MAX_PULSES, whole=True)
        require_inner(self.name, self.inner)

    def program(self, target: Target, rng: np.random.Generator) -> Cells:
        """Cells after the loop; traits `pulse_count` and `converged` (1 or 0) of every device."""
        require_physical(target, self.name)
        own = self.step_sigma_uS != STEP_SIGMA_uS
        require_fitted(target, self.name, VERIFIED_uS, self.scaled or own)
        for name in ("tolerance_uS", "start_uS"):
            require_within(self.name, name, getattr(self, name), target)
        ratio = fit_span_uS(target, VERIFIED_uS, self.scaled) / VERIFIED_uS[1]
        error, pulses, open_ = self._loop(target.g_uS, self.step_sigma_uS * ratio, rng)
        reached = np.maximum(target.g_uS + error, np.float32(0.0))
        inner = self.inner.program(replace(target, g_uS=reached), rng)
        traits = {"pulse_count": pulses, "converged": (~open_).astype(np.float32)}
        return Cells(target, inner.g_uS, traits, inner)

    def _loop(
        self, g_uS: F32, sigma_uS: float, rng: np.random.Generator
    ) -> tuple[F32, F32, npt.NDArray[np.bool_]]:
        error = np.float32(self.start_uS) - g_uS.ravel()
        pulses = np.zeros(error.size, np.float32)
        active = np.flatnonzero(np.abs(error) > self.tolerance_uS)
        keep, sigma = np.float32(1.0 - self.gain_ratio), np.float32(sigma_uS)
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

    def survival(self, error_uS: F32 | F64) -> F64:
        """Share of cells that are outside the window after 0 .. `max_pulses` pulses, [..., K + 1].

        `error_uS` is the start of each cell less its target. From the chain's transition density
        on a grid of errors; no draws, so the cost path needs no generator. The last is the share
        that never converges. Raises SpecError where the grid would be too large.
        """
        start = np.asarray(error_uS, np.float64)
        error, cell = self._grid(float(np.abs(start).max(initial=0.0)))
        first, step = (
            _step_density(error, e, cell, self.gain_ratio, self.step_sigma_uS)
            for e in (start.ravel(), error)
        )
        outside = np.ones((start.size, self.max_pulses + 1))
        alive = np.ones_like(error)
        for pulse in range(1, self.max_pulses + 1):
            outside[:, pulse] = first @ alive
            alive = step @ alive
        outside = np.minimum(outside, 1.0) * (np.abs(start.ravel()) > self.tolerance_uS)[:, None]
        return outside.reshape(*start.shape, -1)

    def mean_pulse_count(self, g_uS: F32 | F64, start_uS: F32 | F64 | None = None) -> F64:
        """Expected pulses for each target (uS) from each start, `self.start_uS` where left out.

        Mean = sum over k of the probability that a cell is still outside after k pulses.
        """
        start = np.float64(self.start_uS) if start_uS is None else start_uS
        error = np.asarray(start, np.float64) - np.asarray(g_uS, np.float64)
        return np.asarray(self.survival(error)[..., :-1].sum(axis=-1))

    def mean_pulses(self, g_max_uS: float, levels: int = _LEVELS) -> float:
        """Expected pulses a cell for targets spread evenly over 0 .. `g_max_uS`."""
        return float(self.mean_pulse_count(np.linspace(0.0, g_max_uS, levels)).mean())

    def _grid(self, largest_uS: float) -> tuple[F64, float]:
        """Errors outside the window, and the width of a grid cell, for starts up to +-`largest_uS`.

        Raises SpecError where the grid would be too large.
        """
        tolerance, sigma = self.tolerance_uS, self.step_sigma_uS
        spread = sigma / math.sqrt(1.0 - (1.0 - self.gain_ratio) ** 2)
        # choice: six standard deviations leave out two cells in a billion
        reach = largest_uS + 6.0 * spread + tolerance
        # An odd number of grid cells would fill the window: its edges are edges of grid cells.
        inside = 2 * round(GRID_CELLS_PER_SIGMA * tolerance / sigma) + 1
        cell = 2.0 * tolerance / inside if inside > 1 else sigma / GRID_CELLS_PER_SIGMA
        count = math.ceil((reach - tolerance) / cell)
        if 2 * count > GRID_CELLS_MAX:
            raise SpecError(
                f"write_verify: pulses that spread by {sigma:g} uS and errors of up to {reach:g} "
                f"uS need a grid of {2 * count} cells, at most {GRID_CELLS_MAX} are computed: "
                "raise step_sigma_uS, lower g_max_uS, or give the pulses as write.pulses_per_cell."
            )
        side = tolerance + (2.0 * np.arange(count, dtype=np.float64) + 1.0) / 2.0 * cell
        return np.concatenate([-side[::-1], side]), cell


def _step_density(to: F64, start: F64, cell: float, gain: float, sigma: float) -> F64:
    """Probability of a step from each `start` into the grid cell around each `to`."""
    z = (to[None, :] - start[:, None] * (1.0 - gain)) / sigma
    area = cell / (sigma * math.sqrt(2.0 * math.pi))
    return np.asarray(area * np.exp(-z * z / 2.0))
