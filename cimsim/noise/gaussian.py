"""The plain models: exact cells, Gaussian programming noise, Gaussian read noise."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

import numpy as np

from cimsim.errors import SpecError
from cimsim.noise.protocol import (
    F32,
    Cells,
    CONDUCTANCE_MAX_uS,
    Device,
    Target,
    noise_like,
    require_inner,
    require_number,
    require_time,
    require_within,
)
from cimsim.values.codec import MAIN

Reference = Literal["tile", "column", "channel", "tensor", "cell", "absolute"]
REFERENCES: tuple[Reference, ...] = ("tile", "column", "channel", "tensor", "cell", "absolute")


@dataclass(frozen=True)
class Ideal:
    """Cells that hold their target exactly, for ever."""

    name: ClassVar[str] = "ideal"

    def program(self, target: Target, rng: np.random.Generator) -> Cells:
        """The target itself; draws nothing."""
        return Cells(target, target.g_uS)

    def drift(self, cells: Cells, t_s: float) -> F32:
        """The target itself."""
        require_time(t_s)
        return cells.g_uS

    def read(self, cells: Cells, t_s: float) -> F32 | None:
        """No noise."""
        return None


def _sigma(owner: str, reference: Reference, ratio: float, sigma_uS: float, target: Target) -> F32:
    magnitude = np.abs(target.g_uS)
    if reference == "absolute":
        require_within(owner, "sigma_uS", sigma_uS, target)
        return np.full((1, 1), sigma_uS, np.float32)
    if reference == "cell":
        return magnitude * np.float32(ratio)
    if reference == "column":
        return np.asarray(magnitude.max(axis=-2, keepdims=True) * np.float32(ratio))
    if reference == "channel" and target.channel_max_uS is not None:
        return np.asarray(target.channel_max_uS * np.float32(ratio))
    if reference == "channel":
        return _sigma(owner, "column", ratio, sigma_uS, target)
    tile_max = float(magnitude.max(initial=0.0))
    if reference == "tensor" and target.tensor_max_uS is not None:
        tile_max = target.tensor_max_uS
    return np.full((1, 1), ratio * tile_max, np.float32)


def _check(owner: str, reference: Reference, ratio: float, sigma_uS: float) -> None:
    if reference not in REFERENCES:
        raise SpecError(
            f"{owner}: relative_to is one of {', '.join(REFERENCES)}, got {reference!r}."
        )
    require_number(owner, "sigma_ratio", ratio, 0.0, 1.0, why="a share: 0.05 is 5 %")
    require_number(owner, "sigma_uS", sigma_uS, 0.0, CONDUCTANCE_MAX_uS)
    unused = "sigma_ratio" if reference == "absolute" else "sigma_uS"
    if {"sigma_ratio": ratio, "sigma_uS": sigma_uS}[unused] != 0.0:
        raise SpecError(f"{owner}: {unused} has no meaning with relative_to {reference!r}.")


@dataclass(frozen=True)
class Gaussian:
    """Independent Gaussian programming noise on every device, no drift, no clipping.

    The standard deviation is `sigma_ratio` times the largest target magnitude of the tile
    (default), of its column, of the output channel (that column over all row tiles), of the whole
    tensor, or of the cell itself (multiplicative); or `sigma_uS` with "absolute". In HaLoRA
    (Eq. 3-4; sigma 0.005 to 0.02) that is the largest weight of a 64 x 64 block. It puts one weight
    in one cell: use it with signed coding. In a differential pair both devices are noisy and the
    weight sees sqrt(2) sigma.
    Conductances may go below 0 uS, as in that model.
    """

    sigma_ratio: Annotated[float, MAIN] = 0.0
    relative_to: Reference = "tile"
    sigma_uS: float = 0.0
    name: ClassVar[str] = "gaussian"

    def __post_init__(self) -> None:
        _check(self.name, self.relative_to, self.sigma_ratio, self.sigma_uS)

    def program(self, target: Target, rng: np.random.Generator) -> Cells:
        """Target plus noise."""
        sigma = _sigma(self.name, self.relative_to, self.sigma_ratio, self.sigma_uS, target)
        return Cells(target, target.g_uS + sigma * noise_like(target.g_uS, rng))

    def drift(self, cells: Cells, t_s: float) -> F32:
        """The programmed conductance: this model does not drift."""
        require_time(t_s)
        return cells.g_uS

    def read(self, cells: Cells, t_s: float) -> F32 | None:
        """No noise."""
        return None


@dataclass(frozen=True)
class ReadNoise:
    """Another model plus Gaussian noise at every read, scaled like `Gaussian`.

    Its variance adds to that of the inner model's own read noise.
    """

    sigma_ratio: Annotated[float, MAIN] = 0.0
    relative_to: Reference = "tile"
    sigma_uS: float = 0.0
    inner: Device = field(default_factory=Ideal)
    name: ClassVar[str] = "read_noise"

    def __post_init__(self) -> None:
        _check(self.name, self.relative_to, self.sigma_ratio, self.sigma_uS)
        require_inner(self.name, self.inner)

    def program(self, target: Target, rng: np.random.Generator) -> Cells:
        """As the inner model."""
        cells = self.inner.program(target, rng)
        return Cells(target, cells.g_uS, {}, cells)

    def drift(self, cells: Cells, t_s: float) -> F32:
        """As the inner model."""
        return self.inner.drift(cells.inside(), t_s)

    def read(self, cells: Cells, t_s: float) -> F32 | None:
        """Standard deviation (uS) of both noises together."""
        sigma = _sigma(self.name, self.relative_to, self.sigma_ratio, self.sigma_uS, cells.target)
        sigma = np.broadcast_to(sigma, cells.g_uS.shape)
        inner = self.inner.read(cells.inside(), t_s)
        return np.hypot(sigma, inner) if inner is not None else np.ascontiguousarray(sigma)
