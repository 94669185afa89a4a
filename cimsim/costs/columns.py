"""Numbers on the columns of a weight: how many there are, what keeping and applying them takes.

A number acts on every converted result of its column, before partial sums are added. A gate skips
the conversion; a shift passes a barrel shifter, a scale a multiplier, both a step of the pipeline.
A scale over channels is part of the factor that every output is multiplied with anyway. Converters
step through the columns that share them in lock-step: the turn of a gated column stays empty and
saves no time. Only column blocks without a kept channel (`ColumnScale.packed`) have no work.
"""

from __future__ import annotations

import math

from cimsim.costs.components.gates import (
    SUPPLY_V,
    ADDER_fF,
    FLIP_FLOP_fF,
    NAND_fF,
    switched_pJ,
)
from cimsim.costs.components.memory import NODE_NM as MEMORY_NM
from cimsim.costs.components.memory import CELLS_uW_PER_KiB
from cimsim.costs.components.tile_logic import register_um2
from cimsim.ir import ColumnScale
from cimsim.mapping import Grid

GATE_NANDS = 2
"""counted: an AND of the mask bit with the start of the converter"""
MULTIPLEXER_NANDS = 4
"""counted: two inputs, one of them chosen"""
BITS_PER_KiB = 8 * 1024
"""counted: bits of a KiB"""


def number_count(columns: ColumnScale, grid: Grid) -> int:
    """Numbers of a weight cut as `grid`."""
    blocks = grid.row_blocks if columns.over == "blocks" else 1
    return blocks * grid.columns * columns.slices


def shift_pJ(word_bits: float, node_nm: float) -> float:
    """Energy (pJ) to shift a word: a multiplexer a bit and doubling of the distance, a register.

    Source: counted, a barrel shifter of the gates of the ZigZag IMC cost model, 0.9 V.
    """
    stages = math.ceil(math.log2(word_bits)) if word_bits > 1 else 0
    gates_fF = stages * MULTIPLEXER_NANDS * NAND_fF + FLIP_FLOP_fF
    return switched_pJ(word_bits * gates_fF, node_nm, SUPPLY_V)


def scale_pJ(word_bits: float, number_bits: float, node_nm: float) -> float:
    """Energy (pJ) of a word times a number: an array of full adders, each with a register.

    Source: counted, gates of the ZigZag IMC cost model, 0.9 V.
    """
    each_fF = ADDER_fF + FLIP_FLOP_fF
    return switched_pJ(word_bits * number_bits * each_fF, node_nm, SUPPLY_V)


def gate_pJ(node_nm: float) -> float:
    """Energy (pJ) to ask a mask bit before a conversion.

    Source: counted, gates of the ZigZag IMC cost model, 0.9 V.
    """
    return switched_pJ(GATE_NANDS * NAND_fF, node_nm, SUPPLY_V)


def applied_pJ(columns: ColumnScale, results: float, word_bits: float, node_nm: float) -> float:
    """Energy (pJ) of the numbers on `results` results of one vector, those gated included."""
    if columns.kind == "gate":
        return results * gate_pJ(node_nm)
    if columns.over == "channels":
        return 0.0
    kept = results * columns.kept_share
    if columns.kind == "shift":
        return kept * shift_pJ(columns.word_bits or word_bits, node_nm)
    return kept * scale_pJ(word_bits, columns.bits, node_nm)


def memory_um2(bits: float, node_nm: float) -> float:
    """Area (um2) of registers that keep `bits` beside the units.

    Source: Shafiee et al., ISAAC, ISCA 2016 (`register_um2`).
    """
    return register_um2(bits, node_nm)


def memory_W(bits: float, node_nm: float) -> float:
    """Leakage (W) of registers that keep `bits`, which are always on; with the node.

    Source: cells of PUMA's memories, ASPLOS 2019 (`CELLS_uW_PER_KiB`).
    """
    return bits / BITS_PER_KiB * CELLS_uW_PER_KiB * 1e-6 * node_nm / MEMORY_NM
