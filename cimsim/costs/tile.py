"""Analog tile: time and energy of one matrix-vector product, one function an equation.

Timing. An MVM applies its input in pulses. The converters read the columns of a pulse while the
crossbar integrates the next one (sample and hold), as in ISAAC (Shafiee et al., ISCA 2016); the
last pulse's conversions overlap the next vector's first pulse. Partial sums of row blocks meet
in an adder tree of one level per doubling, or in a chain (`rram.adders`). Not modelled: bit-line
settling that depends on data.
"""

from __future__ import annotations

import math

from cimsim.blocks import CrossbarTiles, Integrator, Link
from cimsim.ir import ColumnScale
from cimsim.units import ns_to_ps, seconds_to_ps

PJ = 1e-12
FJ = 1e-15


def transfer_ps(bits: float, link: Link) -> int:
    """Time (ps) of `bits` through `link`: head over all hops, then the body at full bandwidth."""
    return ns_to_ps(link.hop_ns * link.hops + bits / 8.0 / link.bandwidth_GBps)


def load_ps(rram: CrossbarTiles, link: Link, rows: int) -> int:
    """Time (ps) until `rows` inputs of a vector stand at the word lines of their tile."""
    return transfer_ps(rows * rram.input_bits, link) + ns_to_ps(rram.load_ns)


def conversion_ps(rram: CrossbarTiles, columns: int) -> int:
    """Time (ps) to convert `columns` columns once through the shared ADCs of a tile."""
    return ns_to_ps(min(columns, rram.columns_per_adc) * rram.adc_time_ns)


def integrate_ps(rram: CrossbarTiles, columns: int) -> int:
    """Time (ps) a vector occupies the crossbar: all pulses, each but the last with conversion.

    integration + (pulses - 1) * max(integration, conversion). With an integrator, which samples,
    integrates and converts one after the other: phases * start + pulses * integration + cycles *
    cycle + a conversion of every bit of every phase.
    """
    pulse = ns_to_ps(rram.integration_ns)
    if (circuit := rram.integrator) is not None:
        integrating_ns = circuit.cycles(rram.input_pulses) * circuit.cycle_ns
        start = ns_to_ps(circuit.phases * circuit.start_ns + integrating_ns)
        return start + rram.input_pulses * pulse + ns_to_ps(_converting_ns(rram, columns))
    return pulse + (rram.input_pulses - 1) * max(pulse, conversion_ps(rram, columns))


def convert_ps(rram: CrossbarTiles, columns: int) -> int:
    """Time (ps) from when the crossbar is free to shifted and added results."""
    last = 0 if rram.integrator is not None else conversion_ps(rram, columns)
    return last + ns_to_ps(rram.shift_add_ns)


def conversions(rram: CrossbarTiles) -> float:
    """Conversions of a column an MVM, in units of one to all `adc_bits` (a binary search)."""
    if rram.integrator is None:
        return rram.input_pulses
    return rram.integrator.converted_bits(rram.input_pulses, rram.adc_bits) / rram.adc_bits


def _converting_ns(rram: CrossbarTiles, columns: int) -> float:
    return conversions(rram) * min(columns, rram.columns_per_adc) * rram.adc_time_ns


def adders_ps(rram: CrossbarTiles, row_blocks: int) -> int:
    """Time (ps) of a result through the adders over `row_blocks` partial sums.

    A tree has a level for each doubling, a chain one for each further partial sum.
    """
    levels = row_blocks - 1
    if rram.adders != "chain":
        levels = math.ceil(math.log2(row_blocks)) if row_blocks > 1 else 0
    return ns_to_ps(levels * rram.accumulate_ns)


def send_ps(rram: CrossbarTiles, link: Link, outputs: int, row_blocks: int) -> int:
    """Time (ps) to accumulate `row_blocks` partial sums, scale `outputs` results and send them.

    `outputs` counts the weights of one tile row: column blocks work side by side.
    """
    scaling = ns_to_ps(math.ceil(outputs / rram.affine_lanes) * rram.affine_ns)
    link_ps = transfer_ps(outputs * rram.output_bits, link)
    return adders_ps(rram, row_blocks) + scaling + link_ps


def mvm_energy_J(
    rram: CrossbarTiles, rows: int, outputs: int, row_blocks: int, column_blocks: int,
    scale: ColumnScale | None = None, groups: int = 1, weight_cells: float | None = None,
) -> dict[str, float]:  # fmt: skip
    """Energy (J) by component of one vector through a rows x outputs matrix on its tiles.

    Every column of every row block is converted once a pulse, or once a phase of an integrator;
    every row of every column block is driven once a pulse. Columns that `scale` gates are driven
    and not converted: they have no sum to shift, keep or add. With `groups` these are the blocks
    that a result and an input of one group have, and the cells those of the groups: what lies
    beside the diagonal of an array is erased and counted as drawing nothing. A weight takes
    `weight_cells` columns, the machine's own number if left out.
    """
    each = rram.cells_per_weight if weight_cells is None else weight_cells
    kept = 1.0 if scale is None else scale.kept_share
    scaled = kept if scale is not None and scale.over == "channels" else 1.0
    cells = rows * outputs // groups * each
    columns = kept * row_blocks * outputs * each
    circuit = rram.integrator
    sums = kept * conversion_results(rram, outputs, row_blocks, weight_cells)
    input_bytes = column_blocks * rows * rram.input_bits / 8.0
    output_bytes = kept * row_blocks * outputs * rram.output_bits / 8.0
    integrated = {} if circuit is None else {"integrator": columns * _integration_J(rram, circuit)}
    if rram.sample_energy_fJ is not None:
        integrated["sample"] = columns * rram.input_pulses * rram.sample_energy_fJ * FJ
    return {
        "cells": cells * rram.input_pulses * rram.cell_read_energy_fJ * FJ,
        "dac": column_blocks * rows * rram.input_pulses * rram.dac_energy_pJ * PJ,
        "adc": columns * conversions(rram) * rram.adc_energy_pJ * PJ,
        "shift_add": sums * rram.shift_add_energy_pJ * PJ,
        "accumulate": kept * (row_blocks - 1) * outputs * rram.accumulate_energy_pJ * PJ,
        "affine": scaled * outputs * rram.affine_energy_pJ * PJ,
        "registers": (input_bytes + output_bytes) * rram.buffer_energy_pJ_per_byte * PJ,
        **integrated,
    }


def conversion_results(
    rram: CrossbarTiles, outputs: int, row_blocks: int, weight_cells: float | None = None
) -> int:
    """Results of all columns for one vector: one a pulse, or one a phase of an integrator.

    `weight_cells` as in `mvm_energy_J`.
    """
    each = rram.cells_per_weight if weight_cells is None else weight_cells
    circuit = rram.integrator
    times = rram.input_pulses if circuit is None else circuit.phases
    return math.ceil(row_blocks * outputs * each * times)


def columns_ps(rram: CrossbarTiles, outputs: int, scale: ColumnScale | None) -> int:
    """Time (ps) of a result through the step that shifts or multiplies it, part of a pipeline.

    A shifter is a step as one level of the adder tree; multipliers are as many and as fast as those
    that scale outputs. A gate is asked before its conversion and takes none.
    """
    if scale is None or scale.kind == "gate" or scale.over == "channels":
        return 0
    if scale.kind == "shift":
        return ns_to_ps(rram.accumulate_ns)
    return ns_to_ps(math.ceil(outputs / rram.affine_lanes) * rram.affine_ns)


def _integration_J(rram: CrossbarTiles, circuit: Integrator) -> float:
    """Energy (J) of a column to start the phases of an MVM and integrate their pulses."""
    cycles_fJ = circuit.cycles(rram.input_pulses) * circuit.cycle_energy_fJ
    return (circuit.phases * circuit.start_energy_fJ + cycles_fJ) * FJ


def array_mac_J(rram: CrossbarTiles) -> float:
    """Energy (J) of one multiply-accumulate in the cells alone, converters and drivers apart."""
    return rram.input_pulses * rram.cells_per_weight * rram.cell_read_energy_fJ * FJ


def link_energy_J(link: Link, bits: float) -> float:
    """Energy (J) of `bits` through `link`."""
    return bits * link.energy_pJ_per_bit * PJ


def write_pulse_ps(rram: CrossbarTiles) -> int:
    """Time (ps) of one write pulse with the verify read after it."""
    return seconds_to_ps((rram.write.pulse_ns + rram.write.verify_ns) * 1e-9)
