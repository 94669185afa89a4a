"""Scale and offset for each column of a tile, from what it puts out for inputs that are known.

Shapes: T rows of tiles, B vectors, N columns.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from cimsim.analog.crossbar import Readout
from cimsim.analog.mvm import ColumnNumbers, Mvm
from cimsim.functional.operands import F32
from cimsim.values.display import brief
from cimsim.values.ranges import SMALLEST

F64 = npt.NDArray[np.float64]

LEAST_VARIANCE = 1e-12
"""Choice: a column whose outputs vary less, as a share of their mean square, has no scale."""


@brief
@dataclass(frozen=True, eq=False)
class ColumnFit:
    """What multiplies each column of each row of tiles, and what is added to each output."""

    scale_TN: F32
    offset_N: F32

    def on(self, readout: Readout) -> Readout:
        """The read-out with these scales behind its converters."""
        return replace(
            readout,
            gain_TN=readout.gain_TN * self.scale_TN,
            offset_TN=readout.offset_TN * self.scale_TN,
        )


def fit_columns(mvm: Mvm, weight_KN: F32, x_BK: F32, seed: int) -> ColumnFit:
    """Least squares of a p + b on the exact partial sums, for every column of every tile.

    p are partial sums through the converters of `mvm`, with the read noise of vectors of `seed`.
    Where the DAC scales each vector, so that its errors grow with its largest input, vectors count
    by the inverse of the square of that.
    """
    rows = mvm.readout.grid.row_tiles()
    scale = np.ones((len(rows), mvm.columns), np.float32)
    offset = np.zeros(mvm.columns, np.float64)
    for t, part in enumerate(rows):
        alone = np.zeros_like(scale)
        alone[t] = 1.0
        seen = mvm(x_BK, seed=seed, numbers=ColumnNumbers(alone)).y_BN.astype(np.float64)
        wanted = x_BK[:, part].astype(np.float64) @ weight_KN[part].astype(np.float64)
        scaled = x_BK[:, part] if mvm.dac.range == "tile" else x_BK
        scale[t], added = least_squares(seen, wanted, _shares(mvm, scaled))
        offset += added
    return ColumnFit(scale, offset.astype(np.float32))


def _shares(mvm: Mvm, x_BK: F32) -> F64:
    """What each vector counts, in all 1."""
    weight = np.ones(len(x_BK))
    if mvm.dac.range in ("token", "tile"):
        largest = np.abs(x_BK).max(1).astype(np.float64)
        weight = np.where(largest > SMALLEST, 1.0 / np.maximum(largest, SMALLEST), 0.0) ** 2
    total = weight.sum()
    return weight / total if total > 0.0 else np.full(len(x_BK), 1.0 / len(x_BK))


def least_squares(seen_BN: F64, wanted_BN: F64, shares_B: F64) -> tuple[F32, F64]:
    """Scale a and offset b [N] of the least mean of (a seen + b - wanted)^2.

    Vectors count by `shares_B`, which sum up to 1. a is 1 where `seen` does not vary.
    """
    mean, middle = shares_B @ seen_BN, shares_B @ wanted_BN
    around = seen_BN - mean
    variance = shares_B @ (around * around)
    varies = variance > LEAST_VARIANCE * (shares_B @ (seen_BN * seen_BN))
    shared = shares_B @ (around * (wanted_BN - middle))
    scale = np.where(varies, shared / np.where(varies, variance, 1.0), 1.0)
    return scale.astype(np.float32), middle - scale * mean
