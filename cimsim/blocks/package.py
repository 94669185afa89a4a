"""A package of several dies and the links between them."""

from __future__ import annotations

from pydantic import Field

from cimsim.blocks.sourced import ModelledBlock
from cimsim.values.bounds import Amount, Count, Rate, Time_ns


class DiePackage(ModelledBlock):
    """Dies in a square, each linked to its neighbours; clusters fill them in order.

    Every die has its part of tiles, units, clusters and buffer. DRAM is in reach of each.
    """

    dies: Count = Field(description="dies that the machine is cut into")
    bandwidth_GBps: Rate = Field(description="out of one die over its die-to-die links")
    crossing_ns: Time_ns = Field(description="one link, transmitter and receiver")
    energy_pJ_per_bit: Amount = Field(description="one link")
    port_area_mm2: Amount = Field(description="ends of all die-to-die links of one die")
