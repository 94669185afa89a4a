"""Digital SRAM compute-in-memory: bit-serial products and writes, exact in value.

A unit multiplies one input vector with all of its columns at once, and with as many of its rows as
have multipliers: rows / rows_per_multiplier. Such a pass takes input_bits / bits_per_cycle cycles,
a vector the adder-tree pipeline beside its passes (cycle rule common to the digital macros in the
ZigZag IMC model, where rows_per_multiplier is `group_depth`). The rows of a matrix are dealt over
the multipliers, so that few of them take one pass.
"""

from __future__ import annotations

from cimsim.blocks import SramUnits
from cimsim.costs.tile import FJ, PJ
from cimsim.units import cycles_to_ps


def passes(sram: SramUnits, rows: int) -> int:
    """Turns that `rows` rows of one matrix take at the multipliers of a unit."""
    return -(-rows // sram.rows_at_once)


def product_cycles(sram: SramUnits, rows: int, vectors: int = 1) -> int:
    """Cycles of `vectors` input vectors, one after the other, through `rows` rows of one unit.

    Passes and vectors follow each other in the pipeline, whose depth is paid once.
    """
    serial = -(-sram.input_bits // sram.bits_per_cycle)
    return vectors * passes(sram, rows) * serial + sram.pipeline_cycles


def product_ps(sram: SramUnits, rows: int, vectors: int = 1) -> int:
    """Time (ps) of `product_cycles`."""
    return cycles_to_ps(product_cycles(sram, rows, vectors), sram.clock_MHz)


def write_ps(sram: SramUnits, weights_per_unit: int) -> int:
    """Time (ps) to write `weights_per_unit` weights into one unit through its port."""
    bits = weights_per_unit * sram.weight_bits
    return cycles_to_ps(-(-bits // sram.write_bits_per_cycle), sram.clock_MHz)


def product_energy_J(sram: SramUnits, macs: float) -> float:
    """Energy (J) of `macs` multiply-accumulates."""
    return macs * sram.mac_energy_fJ * FJ


def adders_energy_J(sram: SramUnits, sums: float, results: float) -> dict[str, float]:
    """Energy (J) by component to add `sums` partial sums of row blocks to `results` results.

    Each sum passes through a register, and all but one of each result take an addition, as on
    tiles (`cimsim.costs.tile.mvm_energy_J`).
    """
    moved_bytes = sums * sram.output_bits / 8.0
    return {
        "accumulate": (sums - results) * sram.accumulate_energy_pJ * PJ,
        "registers": moved_bytes * sram.buffer_energy_pJ_per_byte * PJ,
    }


def write_energy_J(sram: SramUnits, bits: float) -> float:
    """Energy (J) to write `bits` into cells."""
    return bits * sram.write_energy_fJ_per_bit * FJ
