"""Scale and offset for each column of a tile, from what it puts out for inputs that are known.

Shapes: T rows of tiles, B vectors, N columns.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from cimsim.analog.crossbar import Readout
from cimsim.analog.mvm import ColumnNumbers, Mvm
from cimsim.functional.operands import F32
from cimsim.values.display import brief

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
    """
    rows = mvm.readout.grid.row_tiles()
    scale = np.ones((len(rows), mvm.columns), np.float32)
    offset = np.zeros(mvm.columns, np.float64)
    for t, part in enumerate(rows):
        alone = np.zeros_like(scale)
        alone[t] = 1.0
        seen = mvm(x_BK, seed=seed, numbers=ColumnNumbers(alone)).y_BN.astype(np.float64)
        wanted = x_BK[:, part].astype(np.float64) @ weight_KN[part].astype(np.float64)
        scale[t], added = least_squares(seen, wanted)
        offset += added
    return ColumnFit(scale, offset.astype(np.float32))


def least_squares(
    seen_BN: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    wanted_BN: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
) -> tuple[F32, np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
    """Scale a and offset b [N] of the least sum of (a seen + b - wanted)^2.

    a is 1 where `seen` does not vary.
    """
    mean, middle = seen_BN.mean(0), wanted_BN.mean(0)
    around = seen_BN - mean
    variance = (around * around).mean(0)
    varies = variance > LEAST_VARIANCE * (seen_BN * seen_BN).mean(0)
    shared = (around * (wanted_BN - middle)).mean(0)
    scale = np.where(varies, shared / np.where(varies, variance, 1.0), 1.0)
    return scale.astype(np.float32), middle - scale * mean
