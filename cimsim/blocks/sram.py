"""Digital compute-in-memory units of SRAM."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from cimsim.blocks.power import PowerStates, check_gated
from cimsim.blocks.sourced import ModelledBlock
from cimsim.values.bounds import Amount, Bits, Clock_MHz, Count, CountOrNone, Side


class SramUnits(ModelledBlock):
    """Digital compute-in-memory units: exact, rewritable, inputs bit-serial."""

    rows: Side = Field(description="inputs of one MVM")
    columns: Side = Field(description="weights of weight_bits a row")
    rows_per_multiplier: Side | None = Field(
        default=None,
        description="rows of cells that share a multiplier and an input of the adder tree, and "
        "take turns; divides rows, 1 where left out",
    )
    unit_count: Count = Field(description="units that are built")
    weight_bits: Bits = Field(description="bits of one weight")
    input_bits: Bits = Field(description="bits of one input")
    bits_per_cycle: Count = Field(description="input bits applied each cycle")
    pipeline_cycles: CountOrNone = Field(description="adder tree and accumulator, per MVM")
    output_bits: Bits = Field(description="one result word as sent")
    clock_MHz: Clock_MHz = Field(description="clock of the units")
    mac_energy_fJ: Amount = Field(description="one weight_bits x input_bits MAC")
    accumulate_energy_pJ: Amount = Field(
        description="one addition of partial sums of row blocks, with its wire"
    )
    buffer_energy_pJ_per_byte: Amount = Field(
        description="registers of partial sums before the adders, each access"
    )
    write_energy_fJ_per_bit: Amount = Field(description="one bit written")
    write_bits_per_cycle: Count = Field(description="write port of one unit")
    unit_area_um2: Amount = Field(description="one unit")
    leakage_uW: Amount = Field(description="one unit that is on")
    power_states: PowerStates | None = Field(
        default=None, description="of one unit; always on where left out"
    )

    @model_validator(mode="after")
    def _gated_leaks_less(self) -> Self:
        check_gated(self.power_states, self.leakage_uW)
        return self

    @model_validator(mode="after")
    def _multipliers_have_equal_rows(self) -> Self:
        if self.rows % (self.rows_per_multiplier or 1):
            raise ValueError(
                f"rows_per_multiplier {self.rows_per_multiplier} does not divide the {self.rows} "
                "rows of a unit: take a divisor of rows, or 1, a multiplier for every weight"
            )
        return self

    @property
    def rows_at_once(self) -> int:
        """Rows that are multiplied at a time: the inputs of the adder tree of a column."""
        return self.rows // (self.rows_per_multiplier or 1)

    @property
    def capacity_bits(self) -> int:
        """Bits that all units store."""
        return self.rows * self.columns * self.weight_bits * self.unit_count
