"""Digital part of a tile: shift-and-add, accumulation, scaling and registers by width and node."""

from __future__ import annotations

import math
from collections.abc import Mapping

from cimsim.costs.components.component import NODE, Component, Entry, SuppliedEntry, supply_V
from cimsim.costs.components.gates import (
    ADDER_fF,
    ADDER_um2,
    CARRY_ns,
    FLIP_FLOP_fF,
    FLIP_FLOP_ns,
    SUM_ns,
    scaled_ns,
    scaled_um2,
    switched_pJ,
)


def addition_pJ(bits: float, node_nm: float, volts: float) -> float:
    """Energy (pJ) of an addition of `bits` and its register.

    Source: counted, a full adder and a flip-flop a bit, gates of the ZigZag IMC cost model.
    """
    return switched_pJ(bits * (ADDER_fF + FLIP_FLOP_fF), node_nm, volts)


def multiplication_pJ(bits: float, node_nm: float, volts: float) -> float:
    """Energy (pJ) of a product of two values of `bits`: an array of bits x bits full adders.

    Source: counted, with the gates of the ZigZag IMC cost model.
    """
    return bits * addition_pJ(bits, node_nm, volts)


def register_um2(bits: float, node_nm: float) -> float:
    """Area (um2) of `bits` in a register file, 0.128 um2 a bit at 32 nm.

    Source: Shafiee et al., ISAAC, ISCA 2016: 2 KiB of input registers take 0.0021 mm2.
    """
    return bits * 0.128 * (node_nm / 32.0) ** 2


def adder_um2(bits: float, node_nm: float) -> float:
    """Area (um2) of an adder of `bits`.

    Source: counted, a full adder a bit, gates of the ZigZag IMC cost model.
    """
    return scaled_um2(bits * ADDER_um2, node_nm)


def multiplier_um2(bits: float, node_nm: float) -> float:
    """Area (um2) of a multiplier of two values of `bits`: an array of bits x bits full adders.

    Source: counted, with the gates of the ZigZag IMC cost model.
    """
    return bits * adder_um2(bits, node_nm)


def addition_ns(bits: float, node_nm: float) -> float:
    """Least time (ns) of an addition of `bits`: carries over a tree of log2(bits) levels.

    Source: gates of the ZigZag IMC cost model; a prefix adder, the fastest there is.
    """
    return scaled_ns(SUM_ns + math.log2(max(2.0, bits)) * CARRY_ns, node_nm)


def latch_ns(node_nm: float) -> float:
    """Least time (ns) of a register.

    Source: gates of the ZigZag IMC cost model.
    """
    return scaled_ns(FLIP_FLOP_ns, node_nm)


def _logic(entry: Entry, at: Mapping[str, float]) -> dict[str, float]:
    node, volts, bits = at[NODE], supply_V(entry), at["output_bits"]
    outputs = at["columns"] // at["cells_per_weight"]
    registers = at["rows"] * at["input_bits"] + outputs * bits
    adcs = -(-at["columns"] // at["columns_per_adc"])
    adders = adcs * adder_um2(bits, node) + at["affine_lanes"] * multiplier_um2(bits, node)
    addition = addition_pJ(bits, node, volts)
    return {
        "shift_add_energy_pJ": addition,
        "accumulate_energy_pJ": addition,
        "affine_energy_pJ": multiplication_pJ(bits, node, volts),
        "digital_area_um2": register_um2(registers, node) + adders,
    }


LOGIC = Component(
    law=_logic,
    reads=(
        "output_bits",
        "rows",
        "columns",
        "cells_per_weight",
        "input_bits",
        "columns_per_adc",
        "affine_lanes",
        NODE,
    ),
    gives=("shift_add_energy_pJ", "accumulate_energy_pJ", "affine_energy_pJ", "digital_area_um2"),
    source="counted: adders and registers of ZigZag's 28 nm gates; register files of ISAAC",
    entry=SuppliedEntry,
    # choice: nodes of published digital macros
    fitted={NODE: (3.0, 130.0)},
)
"""Adders, multipliers and registers behind the converters."""
