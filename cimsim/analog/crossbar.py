"""One weight programmed into the crossbars of its tiles: program once, read at any later time.

Shapes: K inputs and N outputs of the weight, cut into T_r x T_c tiles; S slices. A tile is known
by its number, counted row by row of tiles.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from cimsim.analog.coding import Coding, Encoded, require_finite, signed_conductance
from cimsim.analog.places import Moment, ReadNoiseMode, TilePlace
from cimsim.analog.wires import Wires
from cimsim.errors import SpecError
from cimsim.noise.protocol import Cells, Device, Target, snapshot
from cimsim.values.display import brief

F32 = npt.NDArray[np.float32]
_PROGRAM, _READ = 0, 1
COMPENSATION_MAX = 1e6
"""A read-out this much weaker than after programming is nothing that can be amplified."""
LEVEL_TOLERANCE = 1e-4
"""Choice: cells this close, in steps, to whole levels count as exact (float32 rounding)."""


@brief
@dataclass(frozen=True)
class Cuts:
    """Where a weight is cut: 0, inner cuts and K along the rows, 0 .. N along the columns."""

    row_cuts: tuple[int, ...]
    column_cuts: tuple[int, ...]

    def __post_init__(self) -> None:
        for name in ("row_cuts", "column_cuts"):
            cuts = getattr(self, name)
            if len(cuts) < 2 or cuts[0] != 0 or any(b <= a for a, b in pairwise(cuts)):
                raise SpecError(f"grid: {name} must rise from 0, got {cuts}.")

    @staticmethod
    def of(shape: tuple[int, int], tile: tuple[int, int]) -> Cuts:
        """Full tiles of `tile` (rows, columns) from the start, remainders at the end."""
        cuts = [(*range(0, size, limit), size) for size, limit in zip(shape, tile, strict=True)]
        return Cuts(cuts[0], cuts[1])

    @property
    def shape(self) -> tuple[int, int]:
        """(K, N)."""
        return self.row_cuts[-1], self.column_cuts[-1]

    def row_tiles(self) -> list[slice]:
        """The rows of each row of tiles."""
        return [slice(a, b) for a, b in pairwise(self.row_cuts)]

    def tiles(self) -> Iterator[tuple[int, int, slice, slice]]:
        """(tile number, its row of tiles, its rows, its columns)."""
        number = 0
        for t, rows in enumerate(self.row_tiles()):
            for a, b in pairwise(self.column_cuts):
                yield number, t, rows, slice(a, b)
                number += 1


@brief
@dataclass(frozen=True, eq=False)
class Readout:
    """What the periphery sees of a crossbar at one time; all arrays are read-only by contract.

    `steps_SKN`: column conductance (difference of a pair) in units of `Coding.step_uS`;
    `variance_SKN`: variance of every single read in steps^2, or None; `gain_TN`, `offset_TN`:
    weight per step and digital offset by row of tiles (see `cimsim.analog.coding`), drift
    compensation included; `compensation`: its factor by tile.
    """

    grid: Cuts
    coding: Coding
    steps_SKN: F32
    variance_SKN: F32 | None
    gain_TN: F32
    offset_TN: F32
    significance_S: F32
    compensation: F32

    def weights(self) -> F32:
        """The weights [K, N] that this state of the cells stands for."""
        seen = np.einsum("s,skn->kn", self.significance_S, self.steps_SKN)
        for t, rows in enumerate(self.grid.row_tiles()):
            seen[rows] = seen[rows] * self.gain_TN[t] - self.offset_TN[t]
        return np.asarray(seen)


@brief
@dataclass(frozen=True, eq=False)
class Crossbar:
    """A programmed weight; `program` makes it, which checks it, and nothing changes it.

    Without stored cells (`keep_cells` False) every read programs the same chip again from its
    seed: the same bits for a fraction of the memory.
    """

    weight_KN: F32
    grid: Cuts
    coding: Coding
    device: Device
    seed: int
    wires: Wires | None
    scale_N: F32 | None
    cells: tuple[Cells, ...] | None
    places: tuple[TilePlace, ...] | None = None

    def tile_cells(
        self, number: int, rows: slice, columns: slice, encoded: Encoded | None = None
    ) -> Cells:
        """The programmed cells [S, P, R, C] of one tile; `encoded` if it is known already."""
        if self.cells is not None:
            return self.cells[number]
        return self._program(number, encoded or self.encoded(rows, columns), columns)

    def _program(self, number: int, encoded: Encoded, columns: slice) -> Cells:
        coding = self.coding
        # With one scale for the tensor its largest weight sits at g_max; else the tile decides.
        tensor_max = coding.g_max_uS if coding.scaling == "tensor" else None
        channel_max = coding.magnitude(self.channel_max_N[columns], encoded)
        g_min_uS = None if coding.scheme == "signed" else coding.g_min_uS
        target = Target(encoded.g_uS_SPRC, coding.g_max_uS, tensor_max, channel_max, g_min_uS)
        return self.device.program(target, _generator(self.seed, number, _PROGRAM))

    def encoded(self, rows: slice, columns: slice) -> Encoded:
        """Targets, gains and offsets of one tile."""
        return self.coding.encode_finite(
            self.weight_KN[rows, columns], self._scales[rows.start, columns.start]
        )

    @cached_property
    def _scales(self) -> dict[tuple[int, int], F32]:
        """The scale of each tile, by its corner."""
        found = {}
        for _, _, rows, columns in self.grid.tiles():
            if self.scale_N is None:
                scale = self.coding.scale_of_finite(self.weight_KN[rows, columns])
            else:
                scale = self.scale_N[columns]
            found[rows.start, columns.start] = scale
        return found

    @cached_property
    def channel_max_N(self) -> F32:
        """Largest weight magnitude of each output that its cells hold (after clipping)."""
        tiles = self.grid.tiles()
        largest = np.zeros(self.grid.shape[1], np.float32)
        for _, _, rows, columns in tiles:
            scale = self._scales[rows.start, columns.start]
            held = np.minimum(np.abs(self.weight_KN[rows, columns]).max(axis=0), scale)
            largest[columns] = np.maximum(largest[columns], held)
        return largest

    def read(
        self,
        t_s: float = 0.0,
        *,
        read_noise: ReadNoiseMode = "frozen",
        compensate: bool = False,
        read_index: int = 0,
    ) -> Readout:
        """The state `t_s` seconds after programming.

        read_noise: `frozen` draws it once (low-frequency noise; `read_index` numbers repeated
        read-outs), `each_mvm` hands its variance on so that every MVM draws anew, `none` leaves
        it out. `compensate` applies one factor a tile, mean |column conductance| right after
        programming over that at `t_s` (global drift compensation). Wire resistance is applied to
        the conductances read, not to the variance of `each_mvm`.
        """
        return self._reader(t_s, read_noise, compensate, read_index).read()

    def errors(
        self,
        t_s: float = 0.0,
        *,
        read_noise: ReadNoiseMode = "frozen",
        compensate: bool = False,
        read_index: int = 0,
    ) -> F32:
        """Weights [K, N] that `read` sees less those that the cells were aimed at.

        Rounding and clipping of the targets drop out: 0 for cells without error.
        """
        return self._reader(t_s, read_noise, compensate, read_index).errors()

    def conductances(self, number: int, moment: Moment) -> F32:
        """Conductances [S, P, R, C] of one tile as `read` finds them, wires apart."""
        _, _, rows, columns = next(tile for tile in self.grid.tiles() if tile[0] == number)
        reader = self._reader(moment.t_s, moment.read_noise, False, moment.read_index)
        return reader._tile(number, self.tile_cells(number, rows, columns))[0]

    def _reader(
        self, t_s: float, read_noise: ReadNoiseMode, compensate: bool, read_index: int
    ) -> _Reader:
        if read_noise not in ("frozen", "each_mvm", "none"):
            raise SpecError(f"read_noise is frozen, each_mvm or none, got {read_noise!r}.")
        return _Reader(self, t_s, read_noise, compensate, read_index)


@dataclass(frozen=True)
class _Reader:
    crossbar: Crossbar
    t_s: float
    read_noise: ReadNoiseMode
    compensate: bool
    read_index: int

    def read(self) -> Readout:
        bar = self.crossbar
        grid, coding = bar.grid, bar.coding
        slices = coding.cells_per_weight
        steps = np.empty((slices, *grid.shape), np.float32)
        variance: F32 | None = None
        gain = np.empty((len(grid.row_cuts) - 1, grid.shape[1]), np.float32)
        offset = np.empty_like(gain)
        factors = []
        for number, t, rows, columns in grid.tiles():
            encoded = bar.encoded(rows, columns)
            cells = bar.tile_cells(number, rows, columns, encoded)
            g_uS, spread = self._tile(number, cells)
            factors.append(self._factor(cells, g_uS, encoded))
            steps[:, rows, columns] = self._seen(number, g_uS) / np.float32(coding.step_uS)
            gain[t, columns] = encoded.gain_C * np.float32(coding.step_uS * factors[-1])
            offset[t, columns] = encoded.offset_C
            if spread is not None:
                variance = np.zeros_like(steps) if variance is None else variance
                variance[:, rows, columns] = spread
        return Readout(
            grid, coding, _snap(steps, coding), variance, gain, offset,
            encoded.significance_S, np.array(factors, np.float32),
        )  # fmt: skip

    def errors(self) -> F32:
        bar = self.crossbar
        error = np.empty(bar.grid.shape, np.float32)
        for number, _, rows, columns in bar.grid.tiles():
            encoded = bar.encoded(rows, columns)
            cells = bar.tile_cells(number, rows, columns, encoded)
            g_uS, _ = self._tile(number, cells)
            held = self._seen(number, g_uS) * np.float32(self._factor(cells, g_uS, encoded))
            off = held - signed_conductance(encoded.g_uS_SPRC)
            seen = np.einsum("s,src->rc", encoded.significance_S, off)
            error[rows, columns] = seen * encoded.gain_C
        return error

    def _tile(self, number: int, cells: Cells) -> tuple[F32, F32 | None]:
        device = self.crossbar.device
        if self.read_noise == "frozen":
            bits = int(np.float64(self.t_s).view(np.uint64))
            rng = _generator(self.crossbar.seed, number, _READ, self.read_index, bits)
            return snapshot(device, cells, self.t_s, rng), None
        g_uS = device.drift(cells, self.t_s)
        sigma = device.read(cells, self.t_s) if self.read_noise == "each_mvm" else None
        if sigma is None:
            return g_uS, None
        ratio = sigma / np.float32(self.crossbar.coding.step_uS)
        return g_uS, (ratio * ratio).sum(axis=1)

    def _factor(self, cells: Cells, g_uS: F32, encoded: Encoded) -> float:
        if not self.compensate:
            return 1.0
        reference = self.crossbar.device.drift(cells, 0.0)
        before, now = (
            np.abs(np.einsum("s,src->rc", encoded.significance_S, signed_conductance(g))).mean(
                dtype=np.float64
            )
            for g in (reference, g_uS)
        )
        if before == now:
            return 1.0
        require_amplifiable(float(before), float(now))
        return float(before / now)

    def _seen(self, number: int, g_uS_SPRC: F32) -> F32:
        bar = self.crossbar
        if bar.wires is None:
            return signed_conductance(g_uS_SPRC)
        place = TilePlace(*g_uS_SPRC.shape[2:]) if bar.places is None else bar.places[number]
        moment = Moment(self.t_s, self.read_noise, self.read_index)
        effective = place.effective(g_uS_SPRC, bar.wires, bar.coding.g_min_uS, moment)
        return signed_conductance(effective)


def require_amplifiable(before: float, now: float) -> None:
    """Raise SpecError for a read-out that is too weak to be compensated."""
    if now * COMPENSATION_MAX < before:
        raise SpecError(
            f"drift compensation would amplify a tile by more than {COMPENSATION_MAX:g}: next to "
            "nothing is left in its cells. Leave compensation out, or read earlier."
        )


def program(
    weight_KN: F32,
    grid: Cuts,
    coding: Coding,
    device: Device,
    *,
    seed: int,
    wires: Wires | None = None,
    places: tuple[TilePlace, ...] | None = None,
    keep_cells: bool = True,
) -> Crossbar:
    """Program a weight [K inputs, N outputs] into the tiles of `grid`.

    Every tile draws from its own generator, keyed by (seed, tile number). `places` are those of
    the blocks in their tiles, by number, which wires make a difference to; without them a block is
    a tile of its own size. Raises SpecError for
    weights that are not finite or do not fit the grid, and what coding and device raise.
    """
    require_finite(weight_KN)
    if weight_KN.shape != grid.shape:
        raise SpecError(
            f"a weight of {weight_KN.shape[0]}x{weight_KN.shape[1]} does not fit a grid cut for "
            f"{grid.shape[0]}x{grid.shape[1]}."
        )
    if seed < 0:
        raise SpecError(f"a seed is a whole number of at least 0, got {seed}.")
    weight = np.ascontiguousarray(weight_KN, np.float32)
    scale = coding.scale(weight) if coding.scaling == "tensor" else None
    bar = Crossbar(weight, grid, coding, device, seed, wires, scale, None, places)
    if not keep_cells:
        return bar
    cells = tuple(
        bar.tile_cells(number, rows, columns) for number, _, rows, columns in grid.tiles()
    )
    return Crossbar(weight, grid, coding, device, seed, wires, scale, cells, places)


def _generator(*key: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))


def _snap(steps_SKN: F32, coding: Coding) -> F32:
    """Whole steps where all cells sit on their levels, so that integer kernels may be used."""
    if coding.bits_per_cell is None:
        return steps_SKN
    # One row settles it for noisy cells at a fraction of the time.
    for part_SKN in (steps_SKN[:, :1], steps_SKN):
        whole = np.rint(part_SKN)
        if np.abs(part_SKN - whole).max() >= LEVEL_TOLERANCE:
            return steps_SKN
    return whole
