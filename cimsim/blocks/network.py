"""What data moves over and rests in: links, the global buffer and DRAM."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from cimsim.blocks.sourced import ModelledBlock
from cimsim.values.bounds import Amount, Count, Positive, Rate, Time_ns

Arbitration = Literal["fifo", "round_robin"]


class Link(ModelledBlock):
    """A port onto the on-chip network.

    A transfer goes to or from the buffer, or, where the near fields say so, within one group of
    neighbouring clusters: what tiles send to clusters beside them, and meetings of clusters.
    """

    bandwidth_GBps: Rate = Field(description="one port")
    hop_ns: Time_ns = Field(description="one hop")
    hops: Count = Field(description="hops of a typical transfer")
    energy_pJ_per_bit: Amount = Field(description="whole transfer, all hops")
    near_hops: Count | None = Field(
        default=None, description="hops within one group of clusters; `hops` where left out"
    )
    near_energy_pJ_per_bit: Amount | None = Field(
        default=None,
        description="whole transfer within one group; `energy_pJ_per_bit` where left out",
    )
    arbitration: Arbitration = Field(description="who goes first where several wait")
    port_area_um2: Amount = Field(description="one port")
    leakage_uW: Amount = Field(description="one port")

    @property
    def near(self) -> Link:
        """The same port for transfers within one group of clusters."""
        if self.near_hops is None and self.near_energy_pJ_per_bit is None:
            return self
        energy = self.near_energy_pJ_per_bit
        return self.model_copy(
            update={
                "hops": self.near_hops or self.hops,
                "energy_pJ_per_bit": self.energy_pJ_per_bit if energy is None else energy,
            }
        )


class Buffer(ModelledBlock):
    """The global activation buffer: consecutive bytes lie over its banks in stripes."""

    capacity_KiB: Positive = Field(description="all banks")
    banks: Count = Field(description="banks that serve at a time")
    interleave_bytes: Count = Field(description="consecutive bytes in one bank")
    bandwidth_GBps: Rate = Field(description="one bank")
    access_ns: Time_ns = Field(description="before the first byte")
    energy_pJ_per_bit: Amount = Field(description="read or written")
    area_mm2: Amount = Field(description="all banks")
    leakage_mW: Amount = Field(description="all banks")
    arbitration: Arbitration = Field(description="who goes first where several wait")


class Dram(ModelledBlock):
    """External memory; holds the embedding tables, in stripes over its channels."""

    capacity_GiB: Positive = Field(description="all channels")
    channels: Count = Field(description="channels that serve at a time")
    interleave_bytes: Count = Field(description="consecutive bytes in one channel")
    bandwidth_GBps: Rate = Field(description="one channel")
    access_ns: Time_ns = Field(description="before the first byte")
    energy_pJ_per_bit: Amount = Field(description="read or written")
    background_mW: Amount = Field(description="all channels, standby and refresh")
    arbitration: Arbitration = Field(description="who goes first where several wait")
