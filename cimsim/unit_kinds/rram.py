"""`rram`: analog crossbar tiles of RRAM or PCM cells, programmed with the errors of the device.

Cells are written by program-and-verify: pulses of one size, each followed by a read, on
`cells_in_parallel` cells of a tile and `tiles_in_parallel` tiles at a time. Not modelled: line
charging, and cells that never converge.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from cimsim.blocks import CrossbarTiles, Link, PmcaClusters, PowerStates
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
    pulses_per_cell,
    send_ps,
    transfer_ps,
    write_pulse_ps,
)
from cimsim.ir import ColumnScale
from cimsim.mapping import Grid, IntArray
from cimsim.unit_kinds.protocol import UnitKind, VectorCost, WriteCost
from cimsim.units import UM2_PER_MM2, ps_to_seconds


@dataclass(frozen=True, slots=True)
class AnalogTiles:
    """The tiles of a machine."""

    block: CrossbarTiles

    @property
    def count(self) -> int:
        """Tiles built."""
        return self.block.tile_count

    @property
    def value_bits(self) -> int:
        """Bits of one value as it comes to be written."""
        return self.block.weight_bits

    @property
    def shape(self) -> tuple[int, int]:
        """Rows of an array, and weights of one row."""
        return self.block.rows, self.block.weight_columns

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

    def passage_ps(self, columns: int, vectors: int) -> tuple[int, int]:
        """All pulses of each vector; then the conversions of the last pulse."""
        cells = columns * self.block.cells_per_weight
        return vectors * integrate_ps(self.block, cells), convert_ps(self.block, cells)

    def vector(self, grid: Grid, link: Link, columns: ColumnScale | None = None) -> VectorCost:
        """Times of one tile: column blocks work side by side, partial sums meet in a tree."""
        rows, outputs = grid.block
        head, step = transfer_ps(0, link), columns_ps(self.block, outputs, columns)
        cut = (grid.rows, grid.columns, grid.row_blocks, grid.driven)
        return VectorCost(
            load_ps(self.block, link, rows),
            head,
            step + send_ps(self.block, link, outputs, grid.row_blocks),
            step + head + adders_ps(self.block, grid.row_blocks),
            self.block.output_bits,
            conversion_results(self.block, grid.columns, grid.row_blocks),
            mvm_energy_J(self.block, *cut, columns, grid.groups),
        )

    def write(self, values: IntArray, link: Link) -> WriteCost:
        """Cells, tiles in rounds; the fullest tile sets the time of a round, or the link does."""
        tiles, scheme = self.block, self.block.write
        count = int(values.sum())
        if not count:
            return WriteCost({"cells_written": 0})
        cells, bits = count * tiles.devices_per_weight, count * self.value_bits
        each = pulses_per_cell(tiles)
        pulses = math.ceil(int(values.max()) * tiles.devices_per_weight / scheme.cells_in_parallel)
        rounds = math.ceil(values.size / scheme.tiles_in_parallel)
        return WriteCost(
            {"cells_written": cells},
            energy_J=cells * each * (scheme.pulse_energy_pJ + scheme.verify_energy_pJ) * PJ
            + link_energy_J(link, bits),
            time_s=max(
                rounds * pulses * each * ps_to_seconds(write_pulse_ps(tiles)),
                bits / 8.0 / (link.bandwidth_GBps * 1e9),
            ),
            wear=each / scheme.endurance_cycles,
        )

    def write_registers(self, bits: int, link: Link) -> WriteCost:
        """Bits over the link into the registers of the tiles; an access of them a byte."""
        stored_J = bits / 8.0 * self.block.buffer_energy_pJ_per_byte * PJ
        return WriteCost(
            {"register_bits_written": bits},
            energy_J=stored_J + link_energy_J(link, bits),
            time_s=bits / 8.0 / (link.bandwidth_GBps * 1e9),
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
