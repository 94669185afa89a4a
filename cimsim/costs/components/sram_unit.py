"""Digital compute-in-memory unit of SRAM: multipliers, adder trees and cells of a 28 nm process.

A bit of the input at a time meets every weight of a column: a gate a bit of the weight, and a tree
of adders over the rows whose words are as wide as the weight and what half of the levels add.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from cimsim.costs.components.component import NODE, Component, Entry
from cimsim.costs.components.gates import (
    ADDER_NANDS,
    SUPPLY_V,
    NAND_fF,
    NAND_um2,
    WIRE_fF_per_um,
    scaled_um2,
    switched_pJ,
)

ACTIVITY = 0.25
"""assumed: a gate charges in a quarter of the cycles, random bits through NAND and adders"""
CELL_um2 = 0.3
"""assumed: a 10T cell of 28 nm, 2.4 times the 0.127 um2 of a 6T cell"""
LEAKAGE_uW_per_um2 = 5.0 / 73_100.0
"""assumed: density of the shipped unit, 5 uW in 73,100 um2"""


def adder_bits(rows: float, weight_bits: float) -> float:
    """Mean width (bits) of an adder of the tree over `rows` weights.

    Source: definition: a level adds a bit, levels from 0 to log2 rows.
    """
    return weight_bits + math.log2(rows) / 2.0


def mac_fJ(rows: float, weight_bits: float, input_bits: float, node_nm: float) -> float:
    """Energy (fJ) of one multiply-accumulate: its gates once for every bit of the input.

    Source: ZigZag IMC cost model, gates of 28 nm at 0.9 V.
    """
    gates = weight_bits + adder_bits(rows, weight_bits) * ADDER_NANDS
    return ACTIVITY * input_bits * 1e3 * switched_pJ(gates * NAND_fF, node_nm, SUPPLY_V)


def unit_um2(rows: float, columns: float, weight_bits: float, node_nm: float) -> float:
    """Area (um2) of cells, multipliers and adder trees.

    Source: ZigZag IMC cost model, gates of 28 nm.
    """
    each = weight_bits * (CELL_um2 + NAND_um2)
    adders = adder_bits(rows, weight_bits) * ADDER_NANDS * NAND_um2
    return scaled_um2(columns * (rows * each + (rows - 1.0) * adders), node_nm)


def write_fJ(rows: float, node_nm: float) -> float:
    """Energy (fJ) of a written bit: a bit line over `rows` cells.

    Source: C V^2 of a wire as high as its cells.
    """
    height_um = math.sqrt(scaled_um2(CELL_um2, node_nm))
    return rows * height_um * WIRE_fF_per_um * SUPPLY_V**2


def _unit(entry: Entry, at: Mapping[str, float]) -> dict[str, float]:
    rows, bits, node = at["rows"], at["weight_bits"], at[NODE]
    area = unit_um2(rows, at["columns"], bits, node)
    return {
        "mac_energy_fJ": mac_fJ(rows, bits, at["input_bits"], node),
        "unit_area_um2": area,
        "leakage_uW": area * LEAKAGE_uW_per_um2,
        "write_energy_fJ_per_bit": write_fJ(rows, node),
    }


UNIT = Component(
    law=_unit,
    reads=("rows", "columns", "weight_bits", "input_bits", NODE),
    gives=("mac_energy_fJ", "unit_area_um2", "leakage_uW", "write_energy_fJ_per_bit"),
    source="multipliers, adder trees and cells of 28 nm gates (ZigZag IMC cost model)",
    # choice: what published digital macros have
    fitted={"rows": (16.0, 512.0), "weight_bits": (1.0, 16.0), NODE: (3.0, 65.0)},
    assumed=frozenset({"mac_energy_fJ", "unit_area_um2", "leakage_uW", "write_energy_fJ_per_bit"}),
)
"""A unit that adds in a tree over its rows."""
