"""Cells that cannot be programmed and cells that lose their state."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from cimsim.errors import SpecError
from cimsim.noise.gaussian import Ideal
from cimsim.noise.protocol import (
    F32,
    Cells,
    CONDUCTANCE_MAX_uS,
    Device,
    LONGEST_s,
    Target,
    require_inner,
    require_number,
    require_time,
    require_within,
)

BOLTZMANN_eV_per_K = 8.617333262e-5
"""Boltzmann constant (CODATA 2018)."""
TEMPERATURES_K = (4.0, 1000.0)
"""Choice: from liquid helium to where no memory holds."""


@dataclass(frozen=True)
class StuckAt:
    """Another model with a share of its devices stuck at g_max (on) or at `g_off_uS` (off).

    Each device fails on its own, independently. Published: 9.04 % and 1.75 % in a 4 Mb HfO2 array
    (Chen, IEEE Transactions on Computers 2015), 0.1 % and 0.1 % (MNSIM 2.0 default). Stuck
    devices neither drift nor read noisily.
    """

    on_rate: float = 0.0
    off_rate: float = 0.0
    g_off_uS: float = 0.0
    inner: Device = field(default_factory=Ideal)
    name: ClassVar[str] = "stuck_at"

    def __post_init__(self) -> None:
        require_number(self.name, "on_rate", self.on_rate, 0.0, 1.0)
        require_number(self.name, "off_rate", self.off_rate, 0.0, 1.0)
        require_number(self.name, "g_off_uS", self.g_off_uS, 0.0, CONDUCTANCE_MAX_uS)
        require_inner(self.name, self.inner)
        if self.on_rate + self.off_rate > 1.0:
            raise SpecError(
                f"stuck_at: on_rate {self.on_rate} and off_rate {self.off_rate} exceed 1 together."
            )

    def program(self, target: Target, rng: np.random.Generator) -> Cells:
        """The inner model's cells with the stuck ones replaced; trait `stuck` is 1, -1 or 0."""
        require_within(self.name, "g_off_uS", self.g_off_uS, target)
        cells = self.inner.program(target, rng)
        draw = rng.random(target.g_uS.shape, dtype=np.float32)
        on, off = draw < self.on_rate, draw >= 1.0 - self.off_rate
        stuck = on.astype(np.float32) - off.astype(np.float32)
        return Cells(target, self._stick(cells.g_uS, stuck, target), {"stuck": stuck}, cells)

    def drift(self, cells: Cells, t_s: float) -> F32:
        """The inner model's conductances with the stuck ones replaced."""
        g_uS = self.inner.drift(cells.inside(), t_s)
        return self._stick(g_uS, cells.traits["stuck"], cells.target)

    def read(self, cells: Cells, t_s: float) -> F32 | None:
        """The inner model's read noise, none on stuck devices."""
        sigma = self.inner.read(cells.inside(), t_s)
        return None if sigma is None else np.where(cells.traits["stuck"] == 0.0, sigma, 0.0)

    def _stick(self, g_uS: F32, stuck: F32, target: Target) -> F32:
        fixed = np.where(stuck > 0, np.float32(target.g_max_uS), np.float32(self.g_off_uS))
        return np.where(stuck == 0.0, g_uS, fixed)


@dataclass(frozen=True)
class Retention:
    """Another model whose conductances fade with the logarithm of time, faster when hot.

    g(t) = g_inner(t) max(0, 1 - loss_ratio_per_decade log10(1 + a t / t0)), with the Arrhenius
    acceleration a = exp(E_a / k (1 / T_reference - 1 / T)). A general form for data sheets ("ten
    years at 85 C"); all four numbers belong to the device at hand and are the user's.
    """

    loss_ratio_per_decade: float = 0.0
    t0_s: float = 1.0
    activation_eV: float = 0.0
    temperature_K: float = 300.0  # choice: room temperature
    reference_K: float = 300.0  # choice: as temperature_K, no acceleration
    inner: Device = field(default_factory=Ideal)
    name: ClassVar[str] = "retention"

    def __post_init__(self) -> None:
        require_number(self.name, "loss_ratio_per_decade", self.loss_ratio_per_decade, 0.0, 1.0)
        require_number(self.name, "t0_s", self.t0_s, 1e-12, LONGEST_s)
        require_number(self.name, "activation_eV", self.activation_eV, 0.0, 10.0)
        require_number(self.name, "temperature_K", self.temperature_K, *TEMPERATURES_K)
        require_number(self.name, "reference_K", self.reference_K, *TEMPERATURES_K)
        require_inner(self.name, self.inner)

    def program(self, target: Target, rng: np.random.Generator) -> Cells:
        """As the inner model."""
        cells = self.inner.program(target, rng)
        return Cells(target, cells.g_uS, {}, cells)

    def drift(self, cells: Cells, t_s: float) -> F32:
        """The inner model's conductances, faded."""
        return self.inner.drift(cells.inside(), t_s) * np.float32(self.kept_ratio(t_s))

    def read(self, cells: Cells, t_s: float) -> F32 | None:
        """As the inner model."""
        return self.inner.read(cells.inside(), t_s)

    def kept_ratio(self, t_s: float) -> float:
        """Share of its conductance that a cell still has at `t_s`."""
        require_time(t_s)
        inverse = 1.0 / self.reference_K - 1.0 / self.temperature_K
        faster = self.activation_eV / BOLTZMANN_eV_per_K * inverse
        # log(1 + e^z), which e^z alone would leave the range of floats for.
        z = faster + math.log(t_s / self.t0_s) if t_s > 0.0 else -math.inf
        decades = (max(z, 0.0) + math.log1p(math.exp(-abs(z)))) / math.log(10.0)
        return max(0.0, 1.0 - self.loss_ratio_per_decade * decades)
