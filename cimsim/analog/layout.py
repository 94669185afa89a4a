"""Conductances of a read-out laid out for the product kernels, by row of tiles.

Three kernels give the same column sums: a matrix product (multi-bit or analog inputs), table
look-up over one-bit pulses (any cells), and the same on bytes (ideal cells of up to two bits).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cimsim.analog.converters import Dac, digits
from cimsim.analog.crossbar import Readout
from cimsim.analog.kernels.lookup import ROWS as SWEEP
from cimsim.analog.kernels.lookup import pulse_index, subset_sums
from cimsim.analog.kernels.packed import byte_sums, packable
from cimsim.analog.kernels.philox import padded
from cimsim.analog.kernels.product import ROWS as VECTORS
from cimsim.analog.kernels.product import pack_panels, products
from cimsim.values.display import brief

F32 = npt.NDArray[np.float32]
I8 = npt.NDArray[np.int8]
Sums = npt.NDArray[np.float32] | npt.NDArray[np.int16]
NO_VARIANCE = np.empty((0, 0, 0), np.float32)


@brief
@dataclass(frozen=True, eq=False)
class TileRow:
    """One row of tiles: its rows of the weight and one of the three forms of its cells.

    `panels`: [S N / 16, K, 16] for products. `cells_KN`: padded cells for look-up. `bytes_KN`: the
    same, whole and small. `variance`: variance of one read in the form in use.
    """

    rows: slice
    panels: F32 | None
    cells_KN: F32 | None
    bytes_KN: I8 | None
    variance: F32 | None

    def sums(self, code_BK: F32, dac: Dac) -> Sums:
        """Column sums [S N / 64, M, 64] of codes of the whole weight's inputs."""
        if self.panels is not None:
            return _products(code_BK, dac, self.rows, self.panels, squared=False)
        index = pulse_index(np.ascontiguousarray(code_BK[:, self.rows]), dac.pulses)
        if self.bytes_KN is not None:
            return byte_sums(index, self.bytes_KN)
        assert self.cells_KN is not None
        return subset_sums(index, self.cells_KN)

    def variances(self, code_BK: F32, dac: Dac) -> F32:
        """Variance of every column sum: sum over rows of x^2 sigma^2; no blocks if there is none.

        A one-bit pulse is its own square.
        """
        if self.variance is None:
            return NO_VARIANCE
        if self.panels is not None:
            return _products(code_BK, dac, self.rows, self.variance, squared=True)
        index = pulse_index(np.ascontiguousarray(code_BK[:, self.rows]), dac.pulses)
        return subset_sums(index, self.variance)


def tile_row(readout: Readout, dac: Dac, t: int) -> TileRow:
    """The row of tiles number `t` in the form that `dac`'s pulses call for."""
    rows = readout.grid.row_tiles()[t]
    spread = readout.variance_SKN
    if dac.pulse_bits != 1:
        variance = None if spread is None else pack_panels(_stack(spread[:, rows], 1))
        panels = pack_panels(_stack(readout.steps_SKN[:, rows], 1))
        return TileRow(rows, panels, None, None, variance)
    variance = None if spread is None else _stack(spread[:, rows], SWEEP)
    cells = _stack(readout.steps_SKN[:, rows], SWEEP)
    if readout.coding.bits_per_cell is not None and packable(cells):
        return TileRow(rows, None, None, cells.astype(np.int8), variance)
    return TileRow(rows, None, cells, None, variance)


def vectors_padded(count: int) -> int:
    """The multiple of the product kernel's six vectors that holds `count`."""
    return -(-count // VECTORS) * VECTORS


def _stack(array_SKN: F32, multiple: int) -> F32:
    """Slices side by side with padded columns, [K, S N]; K padded to a multiple."""
    slices, rows, columns = array_SKN.shape
    height = -(-rows // multiple) * multiple
    stack = np.zeros((height, slices, padded(columns)), np.float32)
    stack[:rows, :, :columns] = array_SKN.transpose(1, 0, 2)
    return np.asarray(stack.reshape(height, -1))


def _products(code_BK: F32, dac: Dac, rows: slice, panels: F32, squared: bool) -> F32:
    drive = code_BK
    if dac.pulses > 1:
        drive = digits(code_BK, dac).reshape(-1, code_BK.shape[1])
    if squared:
        drive = drive * drive
    return products(drive, rows.start, panels)
