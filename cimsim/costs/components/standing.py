"""What a tile draws while it is on: bias and leakage of converters and drivers, leaking registers.

Constants: Ankit et al., PUMA, ASPLOS 2019, simulator constants, 32 nm.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from cimsim.costs.components.component import NODE, Component, Entry
from cimsim.costs.leakage import node_ratio, voltage_ratio
from cimsim.values.bounds import Positive

NODE_NM = 32.0
ADC_uW_per_bit = 25.0
"""0.2 mW of 8 bits, 0.025 of one."""
DAC_uW = 0.390625
"""A row's."""
REGISTER_uW_per_bit = 330.0 / 16_384.0
"""As a memory of 2 KiB with 0.33 mW."""
SUPPLY_V = 1.0


class StandingEntry(Entry):
    """Parameters of standing power."""

    supply_V: Positive | None = Field(default=None, description="supply; 1 V if left out")


def tile_uW(
    adcs: float, adc_bits: float, rows: float, register_bits: float, node_nm: float, volts: float
) -> float:
    """Standing power (uW) of a tile that is on: converters by their bits, rows, registers.

    Source: sums of PUMA's constants, with node and voltage as leakage has them.
    """
    at_32nm = adcs * ADC_uW_per_bit * adc_bits + rows * DAC_uW + register_bits * REGISTER_uW_per_bit
    return at_32nm * node_ratio(node_nm, NODE_NM) * voltage_ratio(volts, SUPPLY_V)


def _standing(entry: Entry, at: Mapping[str, float]) -> dict[str, float]:
    assert isinstance(entry, StandingEntry)
    volts = SUPPLY_V if entry.supply_V is None else entry.supply_V
    outputs = at["columns"] // at["cells_per_weight"]
    registers = at["rows"] * at["input_bits"] + outputs * at["output_bits"]
    adcs = -(-at["columns"] // at["columns_per_adc"])
    power = tile_uW(adcs, at["adc_bits"], at["rows"], registers, at[NODE], volts)
    return {"leakage_uW": power}


CIRCUITS = Component(
    law=_standing,
    reads=(
        "rows",
        "columns",
        "columns_per_adc",
        "adc_bits",
        "cells_per_weight",
        "input_bits",
        "output_bits",
        NODE,
    ),
    gives=("leakage_uW",),
    source="converters by their bits, rows and registers of PUMA's simulator constants",
    entry=StandingEntry,
    # choice: nodes of published tiles
    fitted={NODE: (14.0, 130.0)},
    assumed=frozenset({"leakage_uW"}),
)
"""The sum over the circuits of a tile."""
