"""ADC of a tile: energy and area of a conversion by bits and node."""

from __future__ import annotations

import math
from collections.abc import Mapping

from pydantic import Field

from cimsim.costs.components.component import NODE, Component, Entry
from cimsim.values.bounds import Positive

NODE_NM = 28.0
"""Source: ZigZag IMC cost model: its gate constants and converters are of 28 nm."""
SUPPLY_V = 0.9
"""Source: ZigZag IMC cost model: supply of its 28 nm constants."""


class SarEntry(Entry):
    """Parameters of a SAR converter."""

    supply_V: Positive | None = Field(default=None, description="0.9 V if left out")


def sar_energy_pJ(bits: float, node_nm: float, supply_V: float) -> float:
    """Energy (pJ) of one conversion: (100 bits + 0.001 4^bits) fJ at 1 V and 28 nm.

    Source: ZigZag IMC cost model. The second term is noise: four times the energy a bit.
    Capacitance goes with the feature size, to first order.
    """
    femtojoules = 100.0 * bits + 0.001 * math.pow(4.0, bits)
    return femtojoules * 1e-3 * supply_V**2 * node_nm / NODE_NM


def sar_area_um2(bits: float, node_nm: float) -> float:
    """Area (um2): 10^(1.206 - 0.0369 bits) 2^bits at 28 nm, with the square of the node.

    Source: ZigZag IMC cost model, a fit to published macros.
    """
    return math.pow(10.0, 1.206 - 0.0369 * bits) * math.pow(2.0, bits) * (node_nm / NODE_NM) ** 2


def _sar(entry: Entry, at: Mapping[str, float]) -> dict[str, float]:
    supply = getattr(entry, "supply_V", None) or SUPPLY_V
    return {
        "adc_energy_pJ": sar_energy_pJ(at["adc_bits"], at[NODE], supply),
        "adc_area_um2": sar_area_um2(at["adc_bits"], at[NODE]),
    }


SAR = Component(
    law=_sar,
    reads=("adc_bits", NODE),
    gives=("adc_energy_pJ", "adc_area_um2"),
    source="ZigZag IMC cost model, converters of 28 nm macros",
    entry=SarEntry,
    # choice: 4 to 12 bits is what published macros of such converters have
    fitted={"adc_bits": (4.0, 12.0), NODE: (14.0, 65.0)},
    limits={"adc_bits": (1.0, 16.0)},
)
"""Successive approximation, in the macro."""
