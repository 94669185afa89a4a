"""Resistive memory: fits to measured arrays, and tables of a user's own measurements.

In all of them one standard normal is drawn a device while programming and scaled with the spread
of the time asked for, so that one chip has one history; the correlation over time (1) is an
assumption, the distribution at each time is the published one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from numbers import Real
from typing import Annotated, ClassVar

import numpy as np

from cimsim.errors import SpecError
from cimsim.noise.protocol import (
    F32,
    SCALE_MAX,
    Cells,
    CONDUCTANCE_MAX_uS,
    LONGEST_s,
    Target,
    fit_span_uS,
    noise_like,
    polynomial,
    require_fitted,
    require_number,
    require_physical,
    require_time,
)
from cimsim.values.codec import MAIN
from cimsim.values.display import brief, shown

NEURRAM_uS = (0.0, 40.0)
"""Conductance range of the NeuRRAM fit (aihwkit, ReRamWan2022NoiseModel)."""
CMO_uS = (9.0, 88.2)
"""Conductance range of the CMO/HfOx fit (aihwkit 1.1.0, SingleDeviceConductanceConverter)."""
NEURRAM_TIMES_s = (1.0, 86_400.0, 172_800.0)  # Wan et al., Nature 608, 2022
NEURRAM_SIGMA_uS = (
    (0.348, 16.030, -43.853, 45.393, -16.815),
    (0.701, 22.086, -50.773, 47.095, -16.458),
    (0.782, 20.274, -43.507, 37.062, -11.934),
)
"""Spread at 1 s, 1 day, 2 days: coefficients of 1, x .. x^4, x = g / g_max (aihwkit's fit to
Wan et al., Nature 608, 2022)."""
CMO_PROGRAMMING_uS = {2.0: (0.0112185391, 0.01129027418), 0.2: (0.00081107, 0.00106879)}
"""Spread after programming, constant and slope in g, by acceptance window in percent
(aihwkit ReRamCMO, CMO/HfOx cells)."""
CMO_DECAY_uS = -0.08900206
"""Mean shift per ln(t / s) (aihwkit ReRamCMO)."""
CMO_SPREAD_uS = (0.41183342, 0.04201137)
"""Spread of the shift: constant and slope in ln(t / s) (aihwkit ReRamCMO)."""


def _between(times_s: tuple[float, ...], t_s: float) -> tuple[int, float]:
    """Row and weight of the next row for `t_s`, linear in ln t; held beyond both ends."""
    if t_s <= times_s[0]:
        return 0, 0.0
    for row, (early, late) in enumerate(pairwise(times_s)):
        if t_s <= late:
            return row, math.log(t_s / early) / math.log(late / early)
    return len(times_s) - 1, 0.0


def _relaxed(target: Target, normal: F32, sigma_uS: F32) -> F32:
    return np.maximum(target.g_uS + sigma_uS * normal, np.float32(0.0))


@dataclass(frozen=True)
class NeuRRAM:
    """Write-verified RRAM with relaxation: spread around the target at 1 s, 1 day and 2 days.

    Between these times the spread is linear in ln t, before and beyond it is held (no data).
    Conductances are clipped at 0 uS. Short-term read noise is not part of the fit; wrap the model
    in `ReadNoise(0.01)` for the 1 % that its authors recommend. The spread is that of a conductance
    in uS, whatever the window; a g_max above 40 uS, where nothing was measured, is refused unless
    `scaled` assumes that the spread is the same share of any g_max.
    """

    scale: Annotated[float, MAIN] = 1.0
    scaled: bool = False
    name: ClassVar[str] = "neurram"

    def __post_init__(self) -> None:
        require_number(self.name, "scale", self.scale, 0.0, SCALE_MAX)

    def program(self, target: Target, rng: np.random.Generator) -> Cells:
        """Conductances at 1 s; trait `normal` is the deviation of each device in sigmas."""
        require_physical(target, self.name)
        require_fitted(target, self.name, NEURRAM_uS, self.scaled)
        normal = noise_like(target.g_uS, rng)
        return Cells(target, _relaxed(target, normal, self.sigma(target, 0.0)), {"normal": normal})

    def drift(self, cells: Cells, t_s: float) -> F32:
        """Conductances (uS) after relaxation until `t_s`."""
        return _relaxed(cells.target, cells.traits["normal"], self.sigma(cells.target, t_s))

    def read(self, cells: Cells, t_s: float) -> F32 | None:
        """No noise."""
        return None

    def sigma(self, target: Target, t_s: float) -> F32:
        """Standard deviation (uS) around the target at `t_s`, before the clip at 0 uS."""
        require_time(t_s)
        row, weight = _between(NEURRAM_TIMES_s, t_s)
        later = NEURRAM_SIGMA_uS[min(row + 1, len(NEURRAM_SIGMA_uS) - 1)]
        pairs = zip(NEURRAM_SIGMA_uS[row], later, strict=True)
        fit = [(1.0 - weight) * now + weight * then for now, then in pairs]
        span_uS = fit_span_uS(target, NEURRAM_uS, self.scaled)
        x = target.g_uS / np.float32(span_uS)
        size = np.float32(self.scale * span_uS / NEURRAM_uS[1])
        return np.maximum(polynomial(fit, x), np.float32(0.0)) * size


@dataclass(frozen=True)
class CmoHfox:
    """CMO/HfOx RRAM: programming noise by acceptance window, decay with ln t.

    program: N(g, a + b g). Decay from 1 s on (the start of the fit; earlier reads after time 0
    take the values at 1 s): mean shift -0.089 uS ln t, spread 0.412 + 0.042 ln t uS. Clipped at
    0 uS. The read noise of the device is not part of this fit; see `ReadNoise`. All of it is in uS
    and was measured from 9 to 88.2 uS: cells outside, those of a g_min_uS of 0 among them, are
    refused unless `scaled` assumes that shift and spread are the same share of any g_max, and goes
    on with the lines below 9 uS.
    """

    window_percent: Annotated[float, MAIN] = 2.0
    scaled: bool = False
    name: ClassVar[str] = "cmo_hfox"

    def __post_init__(self) -> None:
        if not isinstance(self.window_percent, Real) or (
            self.window_percent not in CMO_PROGRAMMING_uS
        ):
            raise SpecError(
                "cmo_hfox: window_percent was measured for 2 and 0.2, got "
                f"{shown(self.window_percent)}."
            )

    def program(self, target: Target, rng: np.random.Generator) -> Cells:
        """Noisy conductances; trait `normal` scales the decay of each device."""
        require_physical(target, self.name)
        require_fitted(target, self.name, CMO_uS, self.scaled)
        constant, slope = CMO_PROGRAMMING_uS[self.window_percent]
        sigma = np.float32(constant * self._ratio(target)) + np.float32(slope) * target.g_uS
        g_uS = _relaxed(target, noise_like(target.g_uS, rng), sigma)
        return Cells(target, g_uS, {"normal": noise_like(target.g_uS, rng)})

    def drift(self, cells: Cells, t_s: float) -> F32:
        """Conductances (uS) after decay until `t_s`."""
        require_time(t_s)
        if t_s == 0.0:
            return cells.g_uS
        logarithm, ratio = math.log(max(t_s, 1.0)), self._ratio(cells.target)
        spread = np.float32(ratio * (CMO_SPREAD_uS[0] + CMO_SPREAD_uS[1] * logarithm))
        shift = np.float32(ratio * CMO_DECAY_uS * logarithm)
        return np.maximum(cells.g_uS + shift + spread * cells.traits["normal"], np.float32(0.0))

    def read(self, cells: Cells, t_s: float) -> F32 | None:
        """No noise."""
        return None

    def _ratio(self, target: Target) -> float:
        """Size of the machine's window against that of the fit."""
        return fit_span_uS(target, CMO_uS, self.scaled) / CMO_uS[1]


@brief
@dataclass(frozen=True)
class Table:
    """A user's measurements: spread versus g / g_max at given times, in units of g_max.

    `sigma_ratio` has one row a time and one column a level. Linear in g and in ln t between the
    entries, held beyond them; clipped at 0 uS. Levels and times must rise strictly. `g_max_uS` is
    the g_max that was measured: cells beyond the first and last level, in uS, are refused. Without
    it `scaled` has to assume that the spread is the same share of any g_max.
    """

    g_ratio: tuple[float, ...]
    times_s: tuple[float, ...]
    sigma_ratio: tuple[tuple[float, ...], ...]
    title: str = "table"
    g_max_uS: float | None = None
    scaled: bool = False

    @property
    def name(self) -> str:
        """The title of the table."""
        return self.title

    def __post_init__(self) -> None:
        object.__setattr__(self, "g_ratio", tuple(self.g_ratio))
        object.__setattr__(self, "times_s", tuple(self.times_s))
        object.__setattr__(self, "sigma_ratio", tuple(tuple(row) for row in self.sigma_ratio))
        if not (isinstance(self.title, str) and self.title.strip()):
            raise SpecError(f"table: title is a text that is not empty, got {shown(self.title)}.")
        if self.g_max_uS is not None:
            require_number(self.title, "g_max_uS", self.g_max_uS, 1e-6, CONDUCTANCE_MAX_uS)
        self._rising("g_ratio", self.g_ratio, 0.0, 1.0)
        self._rising("times_s", self.times_s, 1e-12, LONGEST_s)
        if len(self.sigma_ratio) != len(self.times_s):
            raise SpecError(
                f"{self.title}: sigma_ratio has {len(self.sigma_ratio)} rows for "
                f"{len(self.times_s)} times."
            )
        for row, values in enumerate(self.sigma_ratio):
            if len(values) != len(self.g_ratio):
                raise SpecError(
                    f"{self.title}: sigma_ratio[{row}] has {len(values)} entries for "
                    f"{len(self.g_ratio)} levels."
                )
            for column, value in enumerate(values):
                require_number(self.title, f"sigma_ratio[{row}][{column}]", value, 0.0, 1.0)

    def _rising(
        self, field_name: str, values: tuple[float, ...], low: float, high: float
    ) -> None:  # fmt: skip
        if not values:
            raise SpecError(f"{self.title}: {field_name} is empty.")
        for i, value in enumerate(values):
            require_number(self.title, f"{field_name}[{i}]", value, low, high)
            if i and value <= values[i - 1]:
                raise SpecError(
                    f"{self.title}: {field_name} must rise strictly, but entry {i} ({value:g}) "
                    f"follows {values[i - 1]:g}; sort the table."
                )

    def program(self, target: Target, rng: np.random.Generator) -> Cells:
        """Conductances at the first time; trait `normal` as in the other fits."""
        require_physical(target, self.title)
        if self.g_max_uS is None and not self.scaled:
            raise SpecError(
                f"{self.title}: at which g_max was it measured? Give the table g_max_uS, or "
                "scaled, which assumes that the spread is the same share of any g_max."
            )
        measured = self._measured_uS(target)
        ends = self.g_ratio[0] * measured, self.g_ratio[-1] * measured
        require_fitted(target, self.title, ends, self.scaled, "table")
        normal = noise_like(target.g_uS, rng)
        return Cells(target, _relaxed(target, normal, self.sigma(target, 0.0)), {"normal": normal})

    def drift(self, cells: Cells, t_s: float) -> F32:
        """Conductances (uS) at `t_s`."""
        return _relaxed(cells.target, cells.traits["normal"], self.sigma(cells.target, t_s))

    def read(self, cells: Cells, t_s: float) -> F32 | None:
        """No noise."""
        return None

    def sigma(self, target: Target, t_s: float) -> F32:
        """Standard deviation (uS) around the target at `t_s`, before the clip at 0 uS."""
        require_time(t_s)
        row, weight = _between(self.times_s, t_s)
        now = np.array(self.sigma_ratio[row])
        then = np.array(self.sigma_ratio[min(row + 1, len(self.times_s) - 1)])
        measured = self._measured_uS(target)
        ratio = np.interp(
            target.g_uS / measured, self.g_ratio, (1.0 - weight) * now + weight * then
        )
        return np.asarray(ratio * measured, np.float32)

    def _measured_uS(self, target: Target) -> float:
        """The g_max that levels and spread are parts of."""
        return target.g_max_uS if self.scaled or self.g_max_uS is None else self.g_max_uS
