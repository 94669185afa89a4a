"""`rram`: analog crossbar tiles of RRAM or PCM cells, programmed with the errors of the device.

Cells whose level changes are written by program-and-verify: pulses of one size, each followed by a
read, on `cells_in_parallel` cells of a row and `tiles_in_parallel` tiles at a time
(`cimsim.costs.programming`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from cimsim.blocks import CrossbarTiles, Link, PmcaClusters, PowerStates
from cimsim.costs.programming import cell_write, cells_time, change_of
from cimsim.costs.tile import (
    PJ,
    adders_ps,
    array_mac_J,
    columns_ps,
    conversion_results,
    convert_ps,
    integrate_ps,
    link_energy_J,
    load_ps,
    mvm_energy_J,
    send_ps,
    transfer_ps,
)
from cimsim.errors import MappingError
from cimsim.ir import ColumnScale, Narrow
from cimsim.mapping import Grid, Written
from cimsim.unit_kinds.protocol import UnitKind, VectorCost, WriteCost, holding
from cimsim.units import UM2_PER_MM2


@dataclass(frozen=True, slots=True)
class AnalogTiles:
    """The tiles of a machine; with `narrow` as weights of fewer cells see them."""

    block: CrossbarTiles
    narrow: Narrow | None = None

    def holding(self, narrow: Narrow) -> AnalogTiles:
        """The same tiles, for weights of fewer cells; MappingError where they are not fewer."""
        own = self.block.cells_per_weight
        if narrow.cells >= own:
            raise MappingError(
                f"a narrow weight takes {narrow.cells:g} cells a value, those of the machine take "
                f"{own} (rram.cells_per_weight): it saves nothing there; lower its cells, or take "
                "a machine with fewer bits a cell."
            )
        return AnalogTiles(self.block, narrow)

    @property
    def weight_cells(self) -> float:
        """Columns that a weight takes."""
        return self.block.cells_per_weight if self.narrow is None else self.narrow.cells

    @property
    def count(self) -> int:
        """Tiles built."""
        return self.block.tile_count

    @property
    def value_bits(self) -> int:
        """Bits of one value as it comes to be written."""
        if self.narrow is not None:
            return math.ceil(self.narrow.cells * self.block.bits_per_cell)
        return self.block.weight_bits

    @property
    def shape(self) -> tuple[int, int]:
        """Rows of an array, and weights of one row."""
        return self.block.rows, int(self.block.columns // self.weight_cells)

    @property
    def slices(self) -> int:
        """Cells of a weight, each in a column of its own."""
        return self.block.cells_per_weight

    @property
    def tiers(self) -> int:
        """Arrays stacked in a tile, which take turns at its drivers and converters."""
        return 1 if self.block.tiers is None else self.block.tiers

    @property
    def mac_J(self) -> float:
        """Energy (J) of one multiply-accumulate in the cells."""
        return array_mac_J(self.block)

    @property
    def converter(self) -> str | None:
        """The ADCs of a tile."""
        return "adc"

    def area_mm2(self, units: int) -> float:
        """Cells, DACs, ADCs and digital part of `units` tiles."""
        return units * self.block.tile_area_um2 / UM2_PER_MM2

    def leakage_W(self, units: int) -> float:
        """Leakage (W) of `units` tiles that are on."""
        return units * self.block.leakage_uW * 1e-6

    @property
    def power_states(self) -> PowerStates | None:
        """What tiles do while they have no work."""
        return self.block.power_states

    def per_cluster(self, pmca: PmcaClusters) -> Fraction:
        """As many whole tiles as hold the weights that one cluster serves; several clusters for a
        tile that holds more. Of stacked arrays one counts: no more work at a time.
        """
        held = self.block.rows * self.block.weight_columns
        if held <= pmca.weights_per_cluster:
            return Fraction(pmca.weights_per_cluster // held)
        return Fraction(1, -(-held // pmca.weights_per_cluster))

    def passage_ps(self, block: tuple[int, int], vectors: int) -> tuple[int, int]:
        """All rows at a time, all pulses of each vector; then the conversions of the last pulse."""
        _, columns = block
        cells = math.ceil(columns * self.weight_cells)
        return vectors * integrate_ps(self.block, cells), convert_ps(self.block, cells)

    def vector(self, grid: Grid, link: Link, columns: ColumnScale | None = None) -> VectorCost:
        """Times of one tile: column blocks work side by side, partial sums meet in a tree."""
        rows, outputs = grid.block
        head, step = transfer_ps(0, link), columns_ps(self.block, outputs, columns)
        return VectorCost(
            load_ps(self.block, link, rows),
            head,
            step + send_ps(self.block, link, outputs, grid.row_blocks),
            step + head + adders_ps(self.block, grid.row_blocks),
            self.block.output_bits,
            conversion_results(self.block, grid.columns, grid.row_blocks, self.weight_cells),
        )

    def vector_J(self, grid: Grid, columns: ColumnScale | None = None) -> dict[str, float]:
        """Cells, drivers, converters and what comes behind them."""
        cut = (grid.rows, grid.columns, grid.row_blocks, grid.driven)
        return mvm_energy_J(self.block, *cut, columns, grid.groups, self.weight_cells)

    def write(self, written: Sequence[Written], link: Link) -> WriteCost:
        """Cells: rows of a tile in series, tiles in rounds; or the link, where it takes longer."""
        tiles = self.block
        count = sum(part.count for part in written)
        if not count:
            return WriteCost({"cells_written": 0})
        changes = [change_of(tiles, part) for part in written]
        pulsed = cells_time(tiles, written, [c.counts for c in changes])
        cells = cell_write(tiles, written, changes, pulsed.tiles)
        bits = sum(p.count * holding(self, p.narrow).value_bits for p in written)
        moving_s = bits / 8.0 / (link.bandwidth_GBps * 1e9)
        return WriteCost(
            {"cells_written": cells.cells},
            cells.energy_J | {"moving": link_energy_J(link, bits)},
            max(pulsed.time_s, moving_s),
            "link" if moving_s > pulsed.time_s else pulsed.limit,
            cells,
            tiles.write.endurance_cycles,
            pulsed.shared_s,
        )

    def write_registers(self, bits: int, link: Link) -> WriteCost:
        """Bits over the link into the registers of the tiles; an access of them a byte."""
        stored_J = bits / 8.0 * self.block.buffer_energy_pJ_per_byte * PJ
        return WriteCost(
            {"register_bits_written": bits},
            {"registers": stored_J, "moving": link_energy_J(link, bits)},
            bits / 8.0 / (link.bandwidth_GBps * 1e9),
            "link",
        )


RRAM = UnitKind(
    name="rram",
    noun="tiles",
    bound="tile_count",
    port="tile_link",
    exactness="analog",
    does=frozenset({"weights", "lora"}),
    block=CrossbarTiles,
    units=AnalogTiles,
)
