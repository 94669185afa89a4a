"""`pmca`: RISC-V clusters, which compute in fp16 and keep LoRA in their TCDM."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cimsim.blocks import Link, PmcaClusters, PowerStates
from cimsim.costs.cluster_energy import leakage_W
from cimsim.costs.tile import link_energy_J
from cimsim.mapping import Written
from cimsim.unit_kinds.protocol import UnitKind, WriteCost


@dataclass(frozen=True, slots=True)
class Clusters:
    """The clusters of a machine."""

    block: PmcaClusters

    @property
    def count(self) -> int:
        """Clusters built."""
        return self.block.cluster_count

    @property
    def value_bits(self) -> int:
        """Bits of one value as it comes to be written."""
        return self.block.value_bits

    def area_mm2(self, units: int) -> float:
        """Area (mm2) of `units` clusters."""
        return units * self.block.cluster_area_mm2

    def leakage_W(self, units: int) -> float:
        """Leakage (W) of `units` clusters that are on."""
        return units * leakage_W(self.block)

    @property
    def power_states(self) -> PowerStates | None:
        """What clusters do while they have no work."""
        return self.block.power_states

    def write(self, written: Sequence[Written], link: Link) -> WriteCost:
        """Bytes of TCDM, all over the link."""
        tcdm = math.ceil(sum(part.count for part in written) * self.block.value_bits / 8)
        return WriteCost(
            {"tcdm_bytes_written": tcdm},
            {"moving": link_energy_J(link, 8 * tcdm)},
            tcdm / (link.bandwidth_GBps * 1e9),
            "link" if tcdm else "",
        )

    def write_registers(self, bits: int, link: Link) -> WriteCost:
        """Bits of TCDM, all over the link."""
        return WriteCost(
            {"register_bits_written": bits},
            {"moving": link_energy_J(link, bits)},
            bits / 8.0 / (link.bandwidth_GBps * 1e9),
            "link",
        )


PMCA = UnitKind(
    name="pmca",
    noun="clusters",
    bound="cluster_count",
    port="cluster_link",
    exactness="half",
    does=frozenset({"attention", "lora"}),
    block=PmcaClusters,
    units=Clusters,
)
