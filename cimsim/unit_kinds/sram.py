"""`sram`: digital compute-in-memory units of SRAM, exact, written side by side through ports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from cimsim.blocks import Link, PmcaClusters, PowerStates, SramUnits
from cimsim.costs.sram import (
    adders_energy_J,
    product_energy_J,
    product_ps,
    write_energy_J,
    write_ps,
)
from cimsim.costs.tile import link_energy_J, transfer_ps
from cimsim.ir import ColumnScale
from cimsim.mapping import Grid, Written, values_by_unit
from cimsim.unit_kinds.protocol import UnitKind, VectorCost, WriteCost
from cimsim.units import UM2_PER_MM2, cycles_to_ps, ps_to_seconds


@dataclass(frozen=True, slots=True)
class SramArrays:
    """The SRAM units of a machine."""

    block: SramUnits

    @property
    def count(self) -> int:
        """Units built."""
        return self.block.unit_count

    @property
    def value_bits(self) -> int:
        """Bits of one value as it comes to be written."""
        return self.block.weight_bits

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of weights of one unit."""
        return self.block.rows, self.block.columns

    @property
    def slices(self) -> int:
        """A column holds whole weights."""
        return 1

    @property
    def tiers(self) -> int:
        """One array a unit."""
        return 1

    @property
    def mac_J(self) -> float:
        """Energy (J) of one multiply-accumulate."""
        return product_energy_J(self.block, 1)

    @property
    def converter(self) -> str | None:
        """None: results are digital."""
        return None

    @property
    def input_bits(self) -> int:
        """Bits of one input."""
        return self.block.input_bits

    @property
    def output_bits(self) -> int:
        """Bits of one result as sent."""
        return self.block.output_bits

    def area_mm2(self, units: int) -> float:
        """Area (mm2) of `units` units."""
        return units * self.block.unit_area_um2 / UM2_PER_MM2

    def leakage_W(self, units: int) -> float:
        """Leakage (W) of `units` units that are on."""
        return units * self.block.leakage_uW * 1e-6

    @property
    def power_states(self) -> PowerStates | None:
        """What units do while they have no work."""
        return self.block.power_states

    def per_cluster(self, pmca: PmcaClusters) -> Fraction:
        """Units are shared evenly."""
        return Fraction(-(-self.block.unit_count // pmca.cluster_count))

    def passage_ps(self, block: tuple[int, int], vectors: int) -> tuple[int, int]:
        """All columns at a time, rows in passes; the pipeline's depth is paid once for all."""
        rows, _ = block
        return product_ps(self.block, rows, vectors), 0

    def vector(self, grid: Grid, link: Link, columns: ColumnScale | None = None) -> VectorCost:
        """Times of one unit: column blocks work side by side, partial sums meet in a tree.

        A gated column has neither products nor a sum; a shift or a scale takes a cycle more.
        """
        rows, outputs = grid.block
        head, adders = transfer_ps(0, link), self.adders_ps(grid.row_blocks)
        works = columns is not None and columns.kind != "gate" and columns.over == "blocks"
        step = cycles_to_ps(1, self.block.clock_MHz) if works else 0
        return VectorCost(
            transfer_ps(rows * self.block.input_bits, link),
            head,
            step + adders + transfer_ps(outputs * self.block.output_bits, link),
            step + adders + head,
            self.block.output_bits,
            grid.row_blocks * grid.columns,
        )

    def vector_J(self, grid: Grid, columns: ColumnScale | None = None) -> dict[str, float]:
        """Products, and the additions of partial sums; a gated column has neither."""
        kept = 1.0 if columns is None else columns.kept_share
        results = grid.row_blocks * grid.columns
        added = self.adders_J(kept * results, kept * grid.columns) if grid.row_blocks > 1 else {}
        return {"products": product_energy_J(self.block, kept * grid.weights)} | added

    def adders_ps(self, row_blocks: int) -> int:
        """A cycle for each level of a tree."""
        return cycles_to_ps((row_blocks - 1).bit_length(), self.block.clock_MHz)

    def adders_J(self, sums: float, results: float) -> dict[str, float]:
        """Registers and additions."""
        return adders_energy_J(self.block, sums, results)

    def write_ps(self, values: int) -> int:
        """Time (ps) to write `values` values of one row into one unit through its port."""
        return write_ps(self.block, values)

    def write_J(self, values: float) -> float:
        """Energy (J) of the cells that hold `values` values."""
        return write_energy_J(self.block, values * self.block.weight_bits)

    def write(self, written: Sequence[Written], link: Link) -> WriteCost:
        """Bits; the fullest unit's port or the link, whichever takes longer."""
        values = values_by_unit(written)
        count = int(values.sum())
        if not count:
            return WriteCost({"sram_bits_written": 0})
        bits = count * self.block.weight_bits
        port_s = ps_to_seconds(self.write_ps(int(values.max())))
        moving_s = bits / 8.0 / (link.bandwidth_GBps * 1e9)
        return WriteCost(
            {"sram_bits_written": bits},
            {"bits": self.write_J(count), "moving": link_energy_J(link, bits)},
            max(port_s, moving_s),
            "link" if moving_s > port_s else "port",
        )

    def write_registers(self, bits: int, link: Link) -> WriteCost:
        """As bits of the array, all over the link."""
        return WriteCost(
            {"register_bits_written": bits},
            {"registers": write_energy_J(self.block, bits), "moving": link_energy_J(link, bits)},
            bits / 8.0 / (link.bandwidth_GBps * 1e9),
            "link",
        )


SRAM = UnitKind(
    name="sram",
    noun="SRAM units",
    bound="unit_count",
    port="tile_link",
    exactness="exact",
    does=frozenset({"weights", "attention", "lora"}),
    block=SramUnits,
    units=SramArrays,
)
