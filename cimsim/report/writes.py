"""Reprogramming: what writing a model's cells, or an adapter's memory, costs.

Analog cells are written by program-and-verify: pulses of one size, each followed by a read, on
`cells_in_parallel` cells of a tile and `tiles_in_parallel` tiles at a time. SRAM and TCDM writes
go through the units' ports. Not modelled: line charging, and cells that never converge.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from cimsim.blocks import CrossbarTiles
from cimsim.costs.sram import write_energy_J, write_ps
from cimsim.costs.tile import PJ, link_energy_J, write_pulse_ps
from cimsim.errors import MappingError
from cimsim.ir import Workload
from cimsim.mapping import IntArray, Mapping, Written
from cimsim.report import Reprogramming
from cimsim.spec import Architecture
from cimsim.units import ps_to_seconds


def first_programming(
    workload: Workload, architecture: Architecture, mapping: Mapping
) -> Reprogramming:
    """Writing every weight of the mapping once, adapter included."""
    return reprogramming(architecture, [p.written() for p in mapping.placements.values()])


def adapter_switch(
    workload: Workload, architecture: Architecture, mapping: Mapping
) -> Reprogramming:
    """Putting another adapter of the same shape, with the weights saved with it, in its place.

    With LoRA merged into the base cells every adapted or saved weight is written again.
    """
    lora = [p for p in mapping.placements.values() if p.role != "base"]
    if mapping.adaptation == "merged":
        adapted = adapted_weights(workload) | saved_weights(workload)
        lora = [p for p in mapping.placements.values() if p.weight in adapted]
    return reprogramming(architecture, [p.written() for p in lora])


def adapted_weights(workload: Workload) -> frozenset[str]:
    """Names of the base weights that the workload's adapter adapts."""
    by_op = {op.name: op for _, op in workload.ops() if op.kind == "linear"}
    return frozenset(
        base.weight
        for op in by_op.values()
        if op.adapts is not None and (base := by_op.get(op.adapts)) is not None
    )


def saved_weights(workload: Workload) -> frozenset[str]:
    """Names of the weights that are trained and exchanged with the workload's adapter."""
    return frozenset(op.weight for _, op in workload.ops() if op.kind == "linear" and op.saved)


def pulses_per_cell(rram: CrossbarTiles) -> float:
    """Mean write pulses a cell: as given, or what `noise.WriteVerify` needs for the window.

    Targets are taken as spread evenly over the cells' range. The accuracy path programs with the
    same model, so that a wider window is cheaper here and noisier there.
    """
    scheme = rram.write
    if scheme.pulses_per_cell is not None:
        return scheme.pulses_per_cell
    from cimsim.noise.verify import WriteVerify

    assert scheme.window_uS is not None
    return WriteVerify(tolerance_uS=scheme.window_uS).mean_pulses(rram.g_max_uS)


def reprogramming(architecture: Architecture, written: Iterable[Written]) -> Reprogramming:
    """What it costs to write all of `written`, one after the other where they share a unit.

    Raises MappingError for units that the machine lacks.
    """
    by_unit: dict[str, list[Written]] = {"rram": [], "sram": [], "pmca": []}
    for part in written:
        if part.unit not in by_unit or getattr(architecture, part.unit) is None:
            raise MappingError(
                f"{part.weight!r} is to be written into {part.unit!r} units, which architecture "
                f"{architecture.name!r} lacks: write what units hold that it has."
            )
        by_unit[part.unit].append(part)
    cells, cell_energy, cell_time = _cells(architecture, by_unit["rram"])
    bits, sram_energy, sram_time = _sram(architecture, by_unit["sram"])
    values = sum(part.count for part in by_unit["pmca"])
    tcdm = math.ceil(values * architecture.pmca.value_bits / 8)
    link = architecture.cluster_link
    wear = 0.0
    if cells and architecture.rram is not None:
        scheme = architecture.rram.write
        wear = pulses_per_cell(architecture.rram) / scheme.endurance_cycles
    return Reprogramming(
        cells_written=cells,
        energy_J=cell_energy + sram_energy + link_energy_J(link, 8 * tcdm),
        time_s=cell_time + sram_time + tcdm / (link.bandwidth_GBps * 1e9),
        sram_bits_written=bits,
        tcdm_bytes_written=tcdm,
        wear=wear,
    )


def _values_by_unit(written: list[Written]) -> IntArray:
    """Values to write into each unit that has any; packed blocks add up."""
    units = np.concatenate([part.units for part in written])
    values = np.concatenate([part.values for part in written])
    _, position = np.unique(units[values > 0], return_inverse=True)
    return np.bincount(position, values[values > 0]).astype(np.int64)


def _cells(architecture: Architecture, written: list[Written]) -> tuple[int, float, float]:
    """Cells, energy (J) and time (s) of writing analog tiles."""
    rram, count = architecture.rram, sum(part.count for part in written)
    if rram is None or not count:
        return 0, 0.0, 0.0
    scheme = rram.write
    cells = count * rram.devices_per_weight
    each = pulses_per_cell(rram)
    energy = cells * each * (scheme.pulse_energy_pJ + scheme.verify_energy_pJ) * PJ
    loads = _values_by_unit(written)
    pulses = math.ceil(int(loads.max()) * rram.devices_per_weight / scheme.cells_in_parallel)
    rounds = math.ceil(loads.size / scheme.tiles_in_parallel)
    time = rounds * pulses * each * ps_to_seconds(write_pulse_ps(rram))
    return cells, energy, time


def _sram(architecture: Architecture, written: list[Written]) -> tuple[int, float, float]:
    """Bits, energy (J) and time (s) of writing SRAM units, side by side."""
    sram, count = architecture.sram, sum(part.count for part in written)
    if sram is None or not count:
        return 0, 0.0, 0.0
    bits = count * sram.weight_bits
    link = architecture.cluster_link
    port = ps_to_seconds(write_ps(sram, int(_values_by_unit(written).max())))
    return (
        bits,
        write_energy_J(sram, bits) + link_energy_J(link, bits),
        max(port, bits / 8.0 / (link.bandwidth_GBps * 1e9)),
    )
