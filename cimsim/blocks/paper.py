"""What a paper counts with and no other block holds."""

from __future__ import annotations

from pydantic import Field

from cimsim.blocks.sourced import MachineBlock
from cimsim.values.bounds import Amount, Count


class PaperAccounting(MachineBlock):
    """What a paper's own table counts with, for workloads of accounting `paper` only.

    The energy of a multiply-accumulate in the arrays is that of `rram` or `sram`.
    """

    periphery_energy_pJ: Amount = Field(
        description="converters and other peripheral circuits of tiles, one result of a "
        "pretrained matrix, however many tiles it is summed over"
    )
    rram_transistors: Count = Field(description="of the cell of one weight on tiles, for the area")
    sram_transistors: Count = Field(description="of the cell of one weight in SRAM, for the area")
