"""Die-to-die links of a package after UCIe: all numbers by the rate of a lane and the edge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from cimsim.costs.components.component import Component, Entry
from cimsim.values.bounds import Positive

RATE_MAX_GTPS = 32.0
"""Rates of UCIe 1.0."""


class UcieEntry(Entry):
    """Parameters of a die's links."""

    rate_GTps: Annotated[float, Field(ge=4.0, le=RATE_MAX_GTPS)] = Field(
        description="of one lane, 4 to 32"
    )
    edge_mm: Positive = Field(description="of the die's edge given to links")


@dataclass(frozen=True, slots=True)
class Ucie:
    """Published figures of one way of packaging."""

    slow_pJ_per_bit: float
    fast_pJ_per_bit: float
    bandwidth_GBps_per_mm_GTps: float
    depth_mm: float

    def energy_pJ_per_bit(self, rate_GTps: float) -> float:
        """Energy (pJ) of a bit: one figure up to 16 GT/s, another above.

        Source: Das Sharma, Hot Interconnects 2025.
        """
        return self.slow_pJ_per_bit if rate_GTps <= 16 else self.fast_pJ_per_bit

    def law(self, entry: Entry, at: Mapping[str, float]) -> dict[str, float]:
        """All numbers of the links of one die."""
        assert isinstance(entry, UcieEntry)
        per_mm = self.bandwidth_GBps_per_mm_GTps * entry.rate_GTps
        return {
            "bandwidth_GBps": per_mm * entry.edge_mm,
            "crossing_ns": CROSSING_NS,
            "energy_pJ_per_bit": self.energy_pJ_per_bit(entry.rate_GTps),
            "port_area_mm2": self.depth_mm * entry.edge_mm,
        }


CROSSING_NS = 2.0
"""Source: UCIe 1.0 white paper, 2022: latency of transmitter and receiver below 2 ns."""
STANDARD = Ucie(0.5, 0.6, 224 / RATE_MAX_GTPS, 224 / 125)
"""Source: Das Sharma, Hot Interconnects 2025, 2D: 0.5 and 0.6 pJ/bit, 224 GB/s a mm of edge at 32
GT/s; UCIe 1.0 white paper: 125 GB/s a mm2."""
ADVANCED = Ucie(0.25, 0.3, 1317 / RATE_MAX_GTPS, 1317 / 1350)
"""Source: Das Sharma, Hot Interconnects 2025, 2.5D: 0.25 and 0.3 pJ/bit; UCIe 1.0 white paper:
1,317 GB/s a mm of edge and 1,350 GB/s a mm2 at 32 GT/s and bumps of 45 um."""

_GIVES = ("bandwidth_GBps", "crossing_ns", "energy_pJ_per_bit", "port_area_mm2")
_SOURCE = "UCIe 1.0 white paper, 2022, and Das Sharma, Hot Interconnects 2025"
UCIE_STANDARD = Component(STANDARD.law, (), _GIVES, _SOURCE, UcieEntry)
"""Links over an organic substrate, bumps of 100 to 130 um."""
UCIE_ADVANCED = Component(ADVANCED.law, (), _GIVES, _SOURCE, UcieEntry)
"""Links over a silicon interposer or bridge, bumps of 25 to 55 um."""
