"""Units whose operations take what a table says, with a time and an energy for each size."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from cimsim.blocks.sourced import MachineBlock
from cimsim.values.bounds import Amount, Count, Name, Time_ns


class OpCost(MachineBlock):
    """One run of an op of one size on one unit."""

    time_ns: Time_ns = Field(description="one row, or the attention of one sequence")
    energy_nJ: Amount = Field(description="one row, or the attention of one sequence")


class OpUnits(MachineBlock):
    """Units of one kind whose operations take what a table says; see docs/op_units.md."""

    unit_count: Count = Field(description="units that are built; each does one row at a time")
    unit_area_mm2: Amount = Field(description="one unit")
    leakage_mW: Amount = Field(description="one unit; all are on where one has work")
    ops: dict[Name, dict[Name, OpCost]] = Field(
        description="op -> size -> cost of one run: a vector op by values of a row (`512`), "
        "`attention` by tokens and values (`64x512`) or queries, keys and values (`1x64x512`)"
    )
    others: Literal["clusters", "refused"] = Field(
        default="clusters",
        description="who does ops that no table lists; `refused` by one block is by the machine",
    )

    @model_validator(mode="after")
    def _has_sizes(self) -> OpUnits:
        if not self.ops or not all(self.ops.values()):
            raise ValueError("ops is empty, or lists an op without a size: name one with its cost")
        return self
