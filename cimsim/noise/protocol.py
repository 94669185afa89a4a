"""What a device model is: cells are programmed once, then drift, and every read adds noise.

Conductances are float32 in uS, times float seconds since programming. Arrays end in the rows and
columns of one tile, [..., R, C]; axes before them (slices, the two cells of a differential pair)
belong to the same tile. Random numbers come from the generator that is passed in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from cimsim.errors import SpecError
from cimsim.values.display import brief, shown
from cimsim.values.ranges import require_number as require_number

F32 = npt.NDArray[np.float32]
LONGEST_s = 1e10
"""Choice: latest time after programming, 300 years, a hundred times what was ever measured."""
SCALE_MAX = 10.0
"""Largest exaggeration of a measured effect."""
CONDUCTANCE_MAX_uS = 1e6
"""One siemens: no cell conducts so well."""


@brief
@dataclass(frozen=True, eq=False)
class Target:
    """Conductances that a tile is to hold, with the scales a device model may refer to.

    `g_min_uS` is the least conductance that the tile's cells are programmed to; None where that is
    the least of `g_uS`. `tensor_max_uS` is the largest target magnitude in the whole weight that
    the tile is part of, `channel_max_uS` [C] that of each output channel over all row tiles, in
    conductances of this tile (so it may exceed g_max_uS); without them the tile stands for the
    weight.
    """

    g_uS: F32
    g_max_uS: float
    tensor_max_uS: float | None = None
    channel_max_uS: F32 | None = None
    g_min_uS: float | None = None

    def __post_init__(self) -> None:
        if self.g_uS.ndim < 2:
            raise SpecError(f"a target ends in rows and columns, got shape {self.g_uS.shape}.")
        if not np.isfinite(self.g_uS).all():
            raise SpecError("target conductances must be finite, some are NaN or infinite.")
        if not (math.isfinite(self.g_max_uS) and self.g_max_uS > 0.0):
            raise SpecError(f"g_max_uS must be above 0 uS, got {self.g_max_uS}.")


@brief
@dataclass(frozen=True, eq=False)
class Cells:
    """One tile after programming; never changes, so any later time can be asked for.

    `g_uS` holds the conductances right after programming, `traits` what was drawn for each device
    along with them (a drift exponent, a pulse count), `inner` the cells of a wrapped model.
    """

    target: Target
    g_uS: F32
    traits: Mapping[str, F32] = field(default_factory=dict)
    inner: Cells | None = None

    def inside(self) -> Cells:
        """The cells of the wrapped model; raises SpecError where the model wraps none."""
        if self.inner is None:
            raise SpecError("these cells were programmed by a model that wraps no other.")
        return self.inner


class Device(Protocol):
    """A device model; three physical verbs are all a user's own model needs."""

    @property
    def name(self) -> str:
        """Name in reports."""

    def program(self, target: Target, rng: np.random.Generator) -> Cells:
        """Conductances at time 0 and the traits that later times need."""

    def drift(self, cells: Cells, t_s: float) -> F32:
        """Conductances (uS) that the same cells have settled to `t_s` seconds later."""

    def read(self, cells: Cells, t_s: float) -> F32 | None:
        """Standard deviation (uS) of the noise of one read at `t_s`; None for no noise."""


def snapshot(device: Device, cells: Cells, t_s: float, rng: np.random.Generator) -> F32:
    """One draw of all cells at `t_s`, drift and read noise together.

    Read noise leaves no cell below 0 uS but those that their model put there.
    """
    g_uS = device.drift(cells, t_s)
    sigma_uS = device.read(cells, t_s)
    if sigma_uS is None:
        return g_uS
    noisy = g_uS + sigma_uS * rng.standard_normal(g_uS.shape, dtype=np.float32)
    if float(cells.target.g_uS.min(initial=0.0)) < 0.0:
        return noisy
    return np.where(g_uS < 0.0, noisy, np.maximum(noisy, np.float32(0.0)))


def polynomial(coefficients: Sequence[float], x: F32) -> F32:
    """The sum of `coefficients` (of 1, x, x^2, ...) times powers of x, in single precision."""
    total = np.zeros_like(x)
    for coefficient in reversed(coefficients):
        total = total * x + np.float32(coefficient)
    return total


def require_time(t_s: float) -> None:
    """Raise SpecError unless `t_s` is a finite time not before programming."""
    if not 0.0 <= t_s <= LONGEST_s:
        raise SpecError(
            f"a read happens at a finite time after programming, 0 to {LONGEST_s:g} s, got "
            f"t = {t_s:g} s."
        )


def require_physical(target: Target, model: str) -> None:
    """Raise SpecError for negative targets, which real cells cannot hold."""
    lowest = float(target.g_uS.min(initial=0.0))
    if lowest < 0.0:
        raise SpecError(
            f"{model} cells hold 0 uS or more, a target asks for {lowest:g} uS; use differential "
            "or offset coding."
        )


def require_fitted(
    target: Target, model: str, fit_uS: tuple[float, float], scaled: bool, kind: str | None = None
) -> None:
    """Raise SpecError for cells beyond the conductances that a fit was measured on.

    Not where `scaled` assumes that it holds in any window. `kind` is what files call the model,
    where that is not its name.
    """
    if scaled:
        return
    low, high = target.g_min_uS, target.g_max_uS
    least = float(target.g_uS.min(initial=high)) if low is None else low
    # choice: a millionth is rounding
    if least < fit_uS[0] * (1.0 - 1e-6) or high > fit_uS[1] * (1.0 + 1e-6):
        raise SpecError(
            f"{model} was measured on cells of {fit_uS[0]:g} to {fit_uS[1]:g} uS, these hold "
            f"{least:g} to {high:g} uS: set rram.g_min_uS and rram.g_max_uS within that, or take "
            f"{kind or model}:scaled=true, which assumes that the spread is the same share of any "
            "g_max."
        )


def fit_span_uS(target: Target, fit_uS: tuple[float, float], scaled: bool) -> float:
    """Conductance (uS) of level 1 of a fit to `fit_uS`: its own, or g_max where `scaled`."""
    return target.g_max_uS if scaled else fit_uS[1]


def require_inner(owner: str, inner: object) -> None:
    """Raise SpecError unless `inner` has the verbs of a device model."""
    if not all(callable(getattr(inner, verb, None)) for verb in ("program", "drift", "read")):
        raise SpecError(f"{owner}: inner is a device model, got {shown(inner)}.")


def require_within(owner: str, field_name: str, g_uS: float, target: Target) -> None:
    """Raise SpecError for a conductance beyond the largest that the cells can hold."""
    if g_uS > target.g_max_uS:
        raise SpecError(
            f"{owner}: {field_name} {g_uS:g} lies above the {target.g_max_uS:g} uS that the cells "
            "hold at most (g_max_uS): lower it, or raise rram.g_max_uS."
        )


def noise_like(g_uS: F32, rng: np.random.Generator) -> F32:
    """Standard normals of the shape of `g_uS`, float32."""
    return rng.standard_normal(g_uS.shape, dtype=np.float32)
