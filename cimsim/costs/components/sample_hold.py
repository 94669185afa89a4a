"""What ends a column: its bit line with the driver that clamps it, and a sample-and-hold."""

from __future__ import annotations

import math
from collections.abc import Mapping

from pydantic import Field

from cimsim.costs.components.component import NODE, Component, Entry, SuppliedEntry, supply_V
from cimsim.costs.components.lines import driven_fJ, driver_um2, line_fF
from cimsim.values.bounds import Positive

BOLTZMANN_T_fJ = 1.380649e-23 * 300.0 * 1e15
"""Source: CODATA, Boltzmann's constant; choice: at 300 K."""
LEAST_fF = 1.0
"""assumed: no smaller capacitor matches"""
CAPACITOR_fF_per_um2 = 2.0
"""assumed: fingers of metal; they lie above the transistors, so that others count no area"""


class ColumnEntry(SuppliedEntry):
    """Parameters of a column."""

    read_V: Positive = Field(description="voltage over the cells while they are read")


def hold_fF(bits: float, volts: float) -> float:
    """Capacitor (fF) whose noise is that of rounding to `bits`: 12 kT 2^(2 bits) / V^2.

    Source: kT/C = (V / 2^bits)^2 / 12, as in Murmann, Energy limits in A/D converters, FTFC 2013.
    """
    return max(LEAST_fF, 12.0 * BOLTZMANN_T_fJ * math.pow(4.0, bits) / volts**2)


def _column(entry: Entry, at: Mapping[str, float]) -> dict[str, float]:
    assert isinstance(entry, ColumnEntry)
    node, volts = at[NODE], supply_V(entry)
    line, held = line_fF(at["rows"], at["cell_area_um2"], node), hold_fF(at["adc_bits"], volts)
    return {
        "sample_energy_fJ": driven_fJ(line, entry.read_V) + held * volts**2,
        "sample_area_um2": driver_um2(line, node) + held / CAPACITOR_fF_per_um2,
    }


CAPACITOR = Component(
    law=_column,
    reads=("rows", "adc_bits", "cell_area_um2", NODE),
    gives=("sample_energy_fJ", "sample_area_um2"),
    source="bit line of wire and drains (ZigZag IMC cost model) with a driver of fan-out four, "
    "capacitor by kT/C",
    entry=ColumnEntry,
    # choice: as for converters
    fitted={"adc_bits": (1.0, 12.0), NODE: (14.0, 130.0)},
    assumed=frozenset({"sample_energy_fJ", "sample_area_um2"}),
)
"""A bit line that is clamped while it is read, and a capacitor that keeps what it gave."""
