"""Digital compute-in-memory unit of SRAM: cells, multipliers, adder trees, accumulators of 28 nm.

A bit of the input at a time meets weights of a column: a gate a bit of the weight, and a tree of
adders over the rows that have multipliers; an accumulator a column shifts and adds.
`bits_per_cycle` bits at once take as many multipliers and trees. `rows_per_multiplier` rows of
cells share them and take turns (ZigZag's `group_depth`): their cells stand on a local line, to
which the read port of a 10T cell connects the one whose turn it is. No gate of a multiplexer is
counted beside; a NAND2 a bit would make the second macro 1.6 times as large as it is. Published
macros (28 nm, 8 bits, 2 bits a cycle; parameters as in ZigZag's validation):

* ISSCC 2022 15.5: 64 x 6 columns of 32 weights in 0.9408 mm2, 36.63 TOPS/W, 195 MHz;
* ISSCC 2023 7.2: 8 x 8 columns of 128 weights of a bit, 8 rows of cells each, in 0.1462 mm2,
  19.5 TOPS/W, 182 MHz.

The law meets their energies within 1.5 times, their areas within 1.4 times, and both clocks. Their
trees add 32 and 128 rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from cimsim.costs.components.component import (
    NODE,
    Component,
    Entry,
    RefusedError,
    SuppliedEntry,
    supply_V,
)
from cimsim.costs.components.gates import NODE_NM as GATES_NM
from cimsim.costs.components.gates import (
    SUPPLY_V,
    ADDER_fF,
    ADDER_um2,
    CARRY_ns,
    FLIP_FLOP_fF,
    FLIP_FLOP_um2,
    NAND_fF,
    NAND_um2,
    SUM_ns,
    WIRE_fF_per_um,
    scaled_ns,
    scaled_um2,
    switched_pJ,
)
from cimsim.costs.components.lines import line_fF
from cimsim.costs.leakage import node_ratio, voltage_ratio

SHARED = "rows_per_multiplier"
MHz_OF_NS = 1e3
"""counted: MHz of a period of a nanosecond"""
ACTIVITY = 0.25
"""assumed: a gate charges in a quarter of the cycles, random bits through NAND and adders"""
CELL_um2 = 0.3
"""assumed: a 10T cell of 28 nm, 2.4 times the 0.127 um2 of a 6T cell"""
DRIVER_um2 = FLIP_FLOP_um2 + 4.0 * NAND_um2
"""counted: a bit of a write port, its register and the driver of a pair of bit lines"""
LEAKAGE_uW_per_um2 = 5.0 / 73_100.0
"""assumed: density of the shipped unit, 5 uW in 73,100 um2 of 28 nm at 0.9 V"""


def tree_bits(rows: float, weight_bits: float) -> float:
    """Full adders of the tree over `rows` weights: level l has rows / 2^l words, a bit wider each.

    Source: definition: the sum over all levels of rows / 2^l (weight_bits + l - 1).
    """
    levels = math.log2(rows)
    return (rows - 1.0) * (weight_bits + 1.0) - levels


def mac_fJ(
    rows: float, shared: float, weight_bits: float, input_bits: float, output_bits: float,
    cycles: float, node_nm: float, volts: float,
) -> float:  # fmt: skip
    """Energy (fJ) of one multiply-accumulate of `cycles`: its gates once for a bit of the input.

    Of `rows`, as many as one of the `shared` to a multiplier are added at a time; they share the
    accumulator of the column, an adder and a register that are clocked a cycle. A row whose turn
    comes charges the local lines of its bits.
    Source: counted, gates and drains of the ZigZag IMC cost model.
    """
    added = rows / shared
    gates = weight_bits * NAND_fF + tree_bits(added, weight_bits) / added * ADDER_fF
    each_fF = ACTIVITY * input_bits * gates
    each_fF += cycles * output_bits * (ACTIVITY * ADDER_fF + FLIP_FLOP_fF) / added
    if shared > 1.0:
        each_fF += ACTIVITY * weight_bits * line_fF(shared, CELL_um2, GATES_NM)
    return 1e3 * switched_pJ(each_fF, node_nm, volts)


def unit_um2(
    rows: float, shared: float, columns: float, weight_bits: float, bits_per_cycle: float,
    output_bits: float, write_bits: float, node_nm: float,
) -> float:  # fmt: skip
    """Area (um2) of cells, multipliers, adder trees, accumulators and the write port.

    `shared` of the `rows` of cells have one multiplier for each bit of a weight.
    Source: counted, gates of the ZigZag IMC cost model.
    """
    cells = rows * weight_bits * CELL_um2
    added = rows / shared
    products = added * weight_bits * NAND_um2 + tree_bits(added, weight_bits) * ADDER_um2
    accumulator = output_bits * (ADDER_um2 + FLIP_FLOP_um2)
    column = cells + bits_per_cycle * products + accumulator
    return scaled_um2(columns * column + write_bits * DRIVER_um2, node_nm)


def cycle_ns(added: float, weight_bits: float, output_bits: float, node_nm: float) -> float:
    """Time (ns) of gates from an input to an accumulated sum, all stages together, at 0.9 V.

    A tree adds `added` rows at a time. A level of it waits for the first sum of the level before,
    the last for all its carries.
    Source: gates of the ZigZag IMC cost model.
    """
    levels = math.log2(added)
    tree = levels * SUM_ns + (weight_bits + levels) * CARRY_ns
    return scaled_ns(tree + output_bits * CARRY_ns, node_nm)


def write_fJ(rows: float, node_nm: float) -> float:
    """Energy (fJ) of a written bit: a bit line over `rows` cells.

    Source: C V^2 of a wire as high as its cells.
    """
    height_um = math.sqrt(scaled_um2(CELL_um2, node_nm))
    return rows * height_um * WIRE_fF_per_um * SUPPLY_V**2


def unit_uW(area_um2: float, node_nm: float, volts: float) -> float:
    """Leakage (uW) of a unit of `area_um2`, as wide as the node makes its transistors.

    Source: `cimsim.costs.leakage`; the size is assumed, see the constant.
    """
    at_28nm = area_um2 * (GATES_NM / node_nm) ** 2 * LEAKAGE_uW_per_um2
    return at_28nm * node_ratio(node_nm, GATES_NM) * voltage_ratio(volts, SUPPLY_V)


def _refuse_faster_clock(entry: Entry, at: Mapping[str, float]) -> None:
    node, volts = at[NODE], supply_V(entry)
    added = at["rows"] / at[SHARED]
    whole_ns = cycle_ns(added, at["weight_bits"], at["output_bits"], node)
    stage_ns = whole_ns * SUPPLY_V / volts / at["pipeline_cycles"]
    fastest_MHz = MHz_OF_NS / stage_ns
    if at["clock_MHz"] > fastest_MHz:
        raise RefusedError(
            f"adder tree and accumulator take {stage_ns:.3g} ns a stage at {node:g} nm and "
            f"{volts:g} V, so clock_MHz is {fastest_MHz:.4g} at most, not "
            f"{at['clock_MHz']:g}: lower it, or raise pipeline_cycles or supply_V"
        )


def _unit(entry: Entry, at: Mapping[str, float]) -> dict[str, float]:
    rows, bits, node, results = at["rows"], at["weight_bits"], at[NODE], at["output_bits"]
    rate, volts, shared = at["bits_per_cycle"], supply_V(entry), at[SHARED]
    inputs, ports = at["input_bits"], at["write_bits_per_cycle"]
    area = unit_um2(rows, shared, at["columns"], bits, rate, results, ports, node)
    cycles = math.ceil(inputs / rate)
    return {
        "mac_energy_fJ": mac_fJ(rows, shared, bits, inputs, results, cycles, node, volts),
        "unit_area_um2": area,
        "leakage_uW": unit_uW(area, node, volts),
        "write_energy_fJ_per_bit": write_fJ(rows, node),
    }


UNIT = Component(
    law=_unit,
    reads=(
        "rows",
        SHARED,
        "columns",
        "weight_bits",
        "input_bits",
        "bits_per_cycle",
        "output_bits",
        "write_bits_per_cycle",
        "pipeline_cycles",
        "clock_MHz",
        NODE,
    ),
    gives=("mac_energy_fJ", "unit_area_um2", "leakage_uW", "write_energy_fJ_per_bit"),
    source="multipliers, adder trees, accumulators and cells of gates of 28 nm (ZigZag IMC model)",
    entry=SuppliedEntry,
    # choice: what published digital macros of 28 nm have; 22 nm is a step away, 5 and 4 nm are not
    fitted={"rows": (16.0, 1024.0), "weight_bits": (1.0, 16.0), NODE: (22.0, 40.0)},
    absent={SHARED: 1.0},
    refuse=_refuse_faster_clock,
    assumed=frozenset({"mac_energy_fJ", "unit_area_um2", "leakage_uW", "write_energy_fJ_per_bit"}),
)
"""A unit that adds in a tree over its rows."""
