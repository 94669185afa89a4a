"""Weights to conductances and back: polarity, several cells a weight, scales, clipping.

Shapes: R rows (inputs) and C columns (outputs) of one tile, S cells of different significance a
weight ("slices"), P polarities (2 for a differential pair, else 1). A weight is read back as

    w[r, c] = gain[c] (sum over s of significance[s] (g[s, +] - g[s, -])) - offset[c]
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from cimsim.analog.kernels.levels import fill_levels
from cimsim.errors import SpecError
from cimsim.values.display import brief
from cimsim.values.ranges import LARGEST, SMALLEST, require_number

F32 = npt.NDArray[np.float32]
Scheme = Literal["differential", "offset", "signed"]
Scaling = Literal["column", "tile", "tensor", "none"]
CONDUCTANCES_uS = (1e-6, 1e6)
"""Choice: from one picosiemens to one siemens, beyond any cell."""
SPAN_RATIO = 0.01
"""Choice: least g_max - g_min, of g_max, that weights are told apart in."""
CLIP_SIGMAS = (0.1, 1000.0)
"""Choice: from cutting nearly all weights to cutting none."""
SCHEMES = ("differential", "offset", "signed")
SCALINGS = ("column", "tile", "tensor", "none")


@brief
@dataclass(frozen=True, eq=False)
class Encoded:
    """Target conductances of one tile and how to read weights from such conductances."""

    g_uS_SPRC: F32
    gain_C: F32
    offset_C: F32
    significance_S: F32


@dataclass(frozen=True)
class Coding:
    """How a weight is held in cells.

    scheme: `differential` (one cell a polarity), `offset` (one cell holds w plus a constant that
    is subtracted digitally), `signed` (one ideal cell of either sign, for noise models that are
    stated on weights). `cells_per_weight` cells of `bits_per_cell` bits hold the digits of a
    whole number; without `bits_per_cell` the cells are continuous and each holds the full weight,
    so that their mean is read. scaling: what the largest magnitude (after clipping) maps to
    g_max over: a column of a tile, a tile, the tensor, or none (1 uS a weight unit).
    `clip_sigma` limits that magnitude to so many standard deviations, `clip_percentile` to a
    percentile of the magnitudes, of the same group; a group whose limit would be 0 is not clipped.
    A group of zeros (magnitudes below 2^-100 count as such) has scale 1.
    """

    scheme: Scheme = "differential"
    g_min_uS: float = 0.0
    g_max_uS: float = 25.0  # PCM, arXiv 2411.17367, Methods
    cells_per_weight: int = 1
    bits_per_cell: int | None = None
    scaling: Scaling = "column"
    clip_sigma: float | None = None
    clip_percentile: float | None = None

    def __post_init__(self) -> None:
        if self.scheme not in SCHEMES or self.scaling not in SCALINGS:
            raise SpecError(
                f"coding: scheme is one of {', '.join(SCHEMES)} and scaling one of "
                f"{', '.join(SCALINGS)}, got {self.scheme!r} and {self.scaling!r}."
            )
        require_number("coding", "g_max_uS", self.g_max_uS, *CONDUCTANCES_uS)
        most = self.g_max_uS * (1.0 - SPAN_RATIO)
        require_number(
            "coding", "g_min_uS", self.g_min_uS, 0.0, most,
            why=f"1 % below g_max_uS {self.g_max_uS:g} or more, so that weights can be told apart",
        )  # fmt: skip
        if self.scheme == "signed" and self.g_min_uS != 0.0:
            raise SpecError("coding: signed cells have no g_min_uS; leave it 0.")
        self._check_bits()
        self._check_clip()

    def _check_bits(self) -> None:
        require_number("coding", "cells_per_weight", self.cells_per_weight, 1, 64, whole=True)
        if self.bits_per_cell is None:
            return
        require_number("coding", "bits_per_cell", self.bits_per_cell, 1, 23, whole=True)
        bits = self.weight_bits
        # IEEE 754: a float32 holds 24 bits, one of them the sign's
        if bits > 23 or (self.scheme == "offset" and bits < 2):
            raise SpecError(
                f"coding: {self.cells_per_weight} cells of {self.bits_per_cell} bits give {bits} "
                f"bits a weight; {self.scheme} coding takes "
                f"{2 if self.scheme == 'offset' else 1} to 23."
            )

    def _check_clip(self) -> None:
        if self.clip_sigma is not None and self.clip_percentile is not None:
            raise SpecError("coding: clip by clip_sigma or by clip_percentile, not by both.")
        if self.scaling == "none" and (
            self.clip_sigma is not None or self.clip_percentile is not None
        ):
            raise SpecError("coding: clipping sets the scale, which scaling `none` fixes.")
        if self.clip_sigma is not None:
            require_number("coding", "clip_sigma", self.clip_sigma, *CLIP_SIGMAS)
        if self.clip_percentile is not None:
            require_number("coding", "clip_percentile", self.clip_percentile, 50.0, 100.0)

    @property
    def weight_bits(self) -> int:
        """Bits of the whole number that a weight's cells hold together; 0 if continuous."""
        return 0 if self.bits_per_cell is None else self.bits_per_cell * self.cells_per_weight

    @property
    def polarities(self) -> int:
        """Cells of each significance: 2 in a differential pair, else 1."""
        return 2 if self.scheme == "differential" else 1

    @property
    def cell_count(self) -> int:
        """Devices a weight."""
        return self.polarities * self.cells_per_weight

    @property
    def step_uS(self) -> float:
        """Conductance between neighbouring levels; 1 uS for continuous cells."""
        if self.bits_per_cell is None:
            return 1.0
        return (self.g_max_uS - self.g_min_uS) / float(2**self.bits_per_cell - 1)

    def unclipped(self) -> Coding:
        """The same cells with g_max for the largest weight, so that none is clipped."""
        return replace(self, clip_sigma=None, clip_percentile=None)

    def scale(self, weight_RC: F32) -> F32:
        """Weight magnitude [C] that maps to g_max, over the group that `scaling` names.

        Pass a tile for `column` and `tile`, the whole tensor for `tensor`.
        """
        require_finite(weight_RC)
        return self.scale_of_finite(weight_RC)

    def scale_of_finite(self, weight_RC: F32) -> F32:
        """As `scale`, of weights that were checked."""
        columns = weight_RC.shape[1]
        if self.scaling == "none":
            return np.full(columns, self.g_max_uS, np.float32)
        axis = 0 if self.scaling == "column" else None
        magnitude = np.abs(weight_RC)
        largest = magnitude.max(axis=axis)
        limit = largest
        if self.clip_sigma is not None:
            spread = weight_RC.std(axis=axis, dtype=np.float64)
            limit = self.clip_sigma * spread
        if self.clip_percentile is not None:
            limit = np.percentile(magnitude, self.clip_percentile, axis=axis)
        # A group without spread, or of zeros but for a few, has nothing to clip by.
        largest = np.where(limit > SMALLEST, np.minimum(largest, limit), largest)
        scale = np.where(largest > SMALLEST, largest, 1.0).astype(np.float32)
        return np.ascontiguousarray(np.broadcast_to(scale, (columns,)))

    def encode(self, weight_RC: F32, scale_C: F32 | None = None) -> Encoded:
        """Target conductances of a tile; `scale_C` defaults to that of the tile itself.

        Weights beyond the scale are clipped to it, except without scaling, where SpecError says
        so. Raises SpecError for NaN or infinite weights.
        """
        require_finite(weight_RC)
        return self.encode_finite(weight_RC, self.scale(weight_RC) if scale_C is None else scale_C)

    def encode_finite(self, weight_RC: F32, scale_C: F32) -> Encoded:
        """As `encode`, of weights that were checked."""
        ratio = weight_RC / scale_C
        if self.scaling == "none" and np.abs(ratio).max(initial=0.0) > 1.0:
            raise SpecError(
                f"coding: without scaling 1 uS is one weight unit and a weight of "
                f"{np.abs(weight_RC).max():g} exceeds g_max_uS = {self.g_max_uS:g}; raise "
                "g_max_uS or choose a scaling."
            )
        ratio = np.clip(ratio, -1.0, 1.0).astype(np.float32)
        if self.bits_per_cell is None:
            return self._continuous(ratio, scale_C)
        return self._digits(ratio, scale_C)

    def _continuous(self, ratio_RC: F32, scale_C: F32) -> Encoded:
        span = np.float32(self.g_max_uS - self.g_min_uS)
        low = np.float32(self.g_min_uS)
        zero = np.zeros_like(scale_C)
        if self.scheme == "offset":
            cells = [low + span * (ratio_RC + np.float32(1.0)) / np.float32(2.0)]
            gain = 2.0 * scale_C / span
            zero = scale_C + low * gain
        elif self.scheme == "signed":
            cells, gain = [span * ratio_RC], scale_C / span
        else:
            cells = [low + span * np.maximum(part, 0.0) for part in (ratio_RC, -ratio_RC)]
            gain = scale_C / span
        count = self.cells_per_weight
        g_uS = np.repeat(np.stack(cells)[None], count, axis=0).astype(np.float32)
        share = np.full(count, 1.0 / count, np.float32)
        return Encoded(g_uS, gain.astype(np.float32), zero.astype(np.float32), share)

    def _digits(self, ratio_RC: F32, scale_C: F32) -> Encoded:
        bits = self.bits_per_cell or 1
        top = (
            2**self.weight_bits - 1 if self.scheme != "offset" else 2 ** (self.weight_bits - 1) - 1
        )
        step, low = np.float32(self.step_uS), np.float32(self.g_min_uS)
        significance = np.float32(2.0) ** (bits * np.arange(self.cells_per_weight))
        gain = scale_C / np.float32(top) / step
        offset = np.zeros_like(scale_C)
        if self.scheme == "offset":
            offset = scale_C + gain * low * significance.sum(dtype=np.float32)
        g_uS = np.empty((self.cells_per_weight, self.polarities, *ratio_RC.shape), np.float32)
        fill_levels(ratio_RC, top, bits, SCHEMES.index(self.scheme), low, step, g_uS)
        return Encoded(
            g_uS,
            gain.astype(np.float32),
            offset.astype(np.float32),
            significance.astype(np.float32),
        )

    def magnitude(self, weight_C: F32, encoded: Encoded) -> F32:
        """Conductance (uS) of the cells of a weight that all of them hold an equal share of."""
        low = np.float32(self.g_min_uS if self.scheme == "differential" else 0.0)
        share = encoded.gain_C * encoded.significance_S.sum(dtype=np.float32)
        return np.asarray(low + (weight_C + encoded.offset_C) / share, np.float32)


def signed_conductance(g_uS_SPRC: F32) -> F32:
    """What the column of each slice sees: g+ - g- of a pair, or the one cell, [S, R, C]."""
    if g_uS_SPRC.shape[1] == 1:
        return g_uS_SPRC[:, 0]
    return g_uS_SPRC[:, 0] - g_uS_SPRC[:, 1]


def decode(g_uS_SPRC: F32, encoded: Encoded) -> F32:
    """Weights [R, C] that conductances of the shape of `encoded` stand for."""
    seen = np.einsum("s,src->rc", encoded.significance_S, signed_conductance(g_uS_SPRC))
    return np.asarray(seen * encoded.gain_C - encoded.offset_C, np.float32)


def require_finite(weight_RC: F32) -> None:
    """Raise SpecError for weights that are not a rows x columns array of at most 1e12."""
    if weight_RC.ndim != 2 or weight_RC.size == 0:
        raise SpecError(f"weights are a rows x columns array, got shape {weight_RC.shape}.")
    bad = ~np.isfinite(weight_RC)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise SpecError(
            f"{int(bad.sum())} of {weight_RC.size} weights are NaN or infinite, the first at row "
            f"{row}, column {column}; repair the checkpoint before mapping it."
        )
    largest = float(np.abs(weight_RC).max())
    if largest > LARGEST:
        raise SpecError(
            f"a weight has the magnitude {largest:g}, tiles compute up to {LARGEST:g}; repair the "
            "checkpoint before mapping it."
        )
