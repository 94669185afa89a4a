"""What data moves over and rests in: links, the global buffer and DRAM."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from cimsim.blocks.sourced import MachineBlock
from cimsim.values.bounds import Amount, Count, Positive, Rate, Time_ns

Arbitration = Literal["fifo", "round_robin"]


class Link(MachineBlock):
    """A port onto the on-chip network."""

    bandwidth_GBps: Rate
    hop_ns: Time_ns
    hops: Count = Field(description="hops of a typical transfer")
    energy_pJ_per_bit: Amount = Field(description="whole transfer, all hops")
    arbitration: Arbitration
    port_area_um2: Amount
    leakage_uW: Amount = Field(description="one port")


class Buffer(MachineBlock):
    """The global activation buffer: consecutive bytes lie over its banks in stripes."""

    capacity_KiB: Positive
    banks: Count
    interleave_bytes: Count = Field(description="consecutive bytes in one bank")
    bandwidth_GBps: Rate = Field(description="one bank")
    access_ns: Time_ns
    energy_pJ_per_bit: Amount
    area_mm2: Amount
    leakage_mW: Amount = Field(description="all banks")
    arbitration: Arbitration


class Dram(MachineBlock):
    """External memory; holds the embedding tables, in stripes over its channels."""

    capacity_GiB: Positive
    channels: Count
    interleave_bytes: Count = Field(description="consecutive bytes in one channel")
    bandwidth_GBps: Rate = Field(description="one channel")
    access_ns: Time_ns
    energy_pJ_per_bit: Amount
    background_mW: Amount = Field(description="all channels, standby and refresh")
    arbitration: Arbitration
