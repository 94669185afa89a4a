"""Where a block of a weight stands in its tile, and what its lines see of all that is there.

The tile is one array: a word line passes every cell of its row, of all weights, slices and
polarities. Weight (r, c) of a block at `row`, `column` has its cell of slice s and polarity p on
word line row + r and bit line ((column + c) S + s) P + p, as `rram` columns are counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from cimsim.analog.wires import Wires

F32 = npt.NDArray[np.float32]
ReadNoiseMode = Literal["frozen", "each_mvm", "none"]


@dataclass(frozen=True)
class Moment:
    """When a chip is read and with which noise; equal moments read equal cells."""

    t_s: float
    read_noise: ReadNoiseMode
    read_index: int


class Neighbour(Protocol):
    """Another block in the same tile."""

    @property
    def corner(self) -> tuple[int, int]:
        """Its first row and column, in weights."""

    def cells(self, moment: Moment) -> F32:
        """Its conductances [S, P, R, C] at that time."""

    def version(self) -> object:
        """Equal as long as its weights are the same."""


@dataclass(frozen=True, eq=False)
class TilePlace:
    """A tile of `rows` x `columns` weights and the corner of a block in it.

    Cells that hold nothing are at the least conductance. Rows of the tile beside those of the block
    are at 0 V or open (`Wires.idle_rows`), and all bit lines at virtual ground.
    """

    rows: int
    columns: int
    row: int = 0
    column: int = 0
    neighbours: tuple[Neighbour, ...] = ()

    def effective(self, g_uS_SPRC: F32, wires: Wires, unused_uS: float, moment: Moment) -> F32:
        """Conductances [S, P, R, C] of a block as drivers and converters see them."""
        from cimsim.analog.kernels.irdrop import effective_conductances

        slices, polarities, rows, columns = g_uS_SPRC.shape
        each = slices * polarities
        array = np.full((self.rows, self.columns * each), unused_uS)
        driven = slice(self.row, self.row + rows)
        sensed = slice(self.column * each, (self.column + columns) * each)
        for neighbour in self.neighbours:
            _put(array, _led(neighbour.cells(moment)), *neighbour.corner)
        _put(array, _led(g_uS_SPRC), self.row, self.column)
        if wires.idle_rows == "open":
            array[: driven.start] = array[driven.stop :] = 0.0
        found = effective_conductances(array, wires, driven, sensed)
        split = found.reshape(rows, columns, slices, polarities)
        # counted: axes of rows, columns, slices and polarities
        return np.asarray(split.transpose(2, 3, 0, 1), np.float32)


def _led(g_uS_SPRC: F32) -> F32:
    """Pairs as they conduct: what a model puts below 0 uS on one polarity the other holds above."""
    if g_uS_SPRC.shape[1] != 2 or g_uS_SPRC.min() >= 0.0:
        return g_uS_SPRC
    over, under = np.maximum(g_uS_SPRC, 0.0), np.maximum(-g_uS_SPRC, 0.0)
    return np.asarray(over + under[:, ::-1])


def _put(array: npt.NDArray[np.float64], g_uS_SPRC: F32, row: int, column: int) -> None:
    slices, polarities, rows, columns = g_uS_SPRC.shape
    each = slices * polarities
    # counted: axes S, P, R and C
    lines = g_uS_SPRC.transpose(2, 3, 0, 1).reshape(rows, columns * each)
    array[row : row + rows, column * each : (column + columns) * each] = lines
