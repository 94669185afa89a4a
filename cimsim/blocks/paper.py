"""Energies that a paper counts with and that no other block holds."""

from __future__ import annotations

from pydantic import Field

from cimsim.blocks.sourced import MachineBlock
from cimsim.values.bounds import Amount


class PaperAccounting(MachineBlock):
    """Energies that a paper's own table counts with, for workloads of accounting `paper` only.

    What the other blocks do not hold: products of weights take their energy from `rram` or `sram`.
    """

    attention_mac_energy_fJ: Amount = Field(
        description="one multiply-accumulate of Q.K^T or P.V, writes of K and V included"
    )
    softmax_energy_pJ: Amount = Field(description="one value of a softmax")
