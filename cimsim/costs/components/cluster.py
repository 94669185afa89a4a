"""Parts of a RISC-V cluster: area, leakage and energies by cores, lanes, engine, TCDM, DMA, node.

The size comes from RedMulE's cluster at 22 nm, 0.65 V (Tortorella et al., DATE 2022, arXiv
2204.11192, abstract): 0.5 mm2 with 8 cores, and 0.07 mm2 of it for 32 FMAs; energies as split in
docs/clusters.md. Energies hold at the voltage of `pmca.supply`, whatever the clock.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from cimsim.costs.components.component import NODE, Component, Entry
from cimsim.costs.components.gates import (
    FLIP_FLOP_fF,
    FLIP_FLOP_um2,
    scaled_um2,
    switched_pJ,
)
from cimsim.costs.leakage import node_ratio

NODE_NM = 22.0
"""Source: Tortorella et al., RedMulE, DATE 2022, arXiv 2204.11192, abstract."""
FMA_um2 = 0.07e6 / 32
"""Source: Tortorella et al., arXiv 2204.11192, abstract: 32 of them, buffers and control included.
"""
SRAM_um2_per_bit = 0.2
"""assumed: a cell of 0.11 um2 and as much again around it, 22 nm: 0.21 mm2 for 128 KiB"""
PIPELINE_BITS = 48.0
"""counted: a multiplier-adder of FP16 holds three values in a stage of its pipeline; 3 stages are
in `FMA_um2` and `FMA_pJ`, those of RedMulE"""
PIPELINE_STAGES = 3.0
"""Source: RedMulE RTL 51cd064."""
PIPELINE_um2 = scaled_um2(PIPELINE_BITS * FLIP_FLOP_um2, NODE_NM)
"""counted: flip-flops of one stage, ZigZag IMC cost model"""
PIPELINE_pJ = switched_pJ(PIPELINE_BITS * FLIP_FLOP_fF, NODE_NM, 0.65)
"""counted: the same at the 0.65 V of RedMulE's cluster"""
CONTROL_um2 = 2000.0
"""Source: Zaruba et al., Snitch, arXiv 2002.10143, abstract: 10 kGE; assumed: 0.2 um2 a gate."""
CORE_SHARE_um2 = 13_190.0
"""assumed: a core's registers, streams, instruction cache and crossbar ports: what is left of
0.5 mm2 for 8 cores of 4 lanes beside engine, TCDM and DMA"""
DMA_um2_per_byte = 450.0
"""assumed: 0.03 mm2 for 64 bytes a cycle: engine, buffers and wide crossbar"""
LEAKAGE_mW_per_mm2 = 2.0
"""assumed: 1 mW for 0.5 mm2 of 22 nm, a few percent of what the cluster takes at work"""
FMA_pJ = 2.56
"""assumed: 81.8 pJ a cycle of 32 (docs/clusters.md, from arXiv 2204.11192, abstract)"""
CONTROL_pJ = 0.6
"""assumed: a core in software without its multiply-adds (docs/clusters.md, from arXiv 2204.11192)
"""
SHARED_pJ = 1.0
"""assumed: a quarter of the shared 4 pJ a cycle has no part in a core (docs/clusters.md)"""
CORE_SHARED_pJ = 0.375
"""assumed: three quarters go with the cores: instruction cache and crossbar ports, 3 pJ for 8"""
TCDM_pJ_per_byte = 0.32
"""assumed: Horowitz, ISSCC 2014, 10 pJ for 64 bit of 8 KB at 45 nm and 0.9 V, scaled to 22 nm and
0.65 V, is that of a bank of the 128 KiB"""
DMA_pJ_per_byte = 0.12
"""assumed: 0.5 mm of wire and two registers (docs/clusters.md), at 0.5 mm2"""
LANE_BITS = 16.0
"""Source: Tortorella et al., arXiv 2204.11192: FP16."""


def tcdm_mm2(capacity_KiB: float, node_nm: float) -> float:
    """Area (mm2) of the TCDM: bits, with the square of the node.

    Source: see `SRAM_um2_per_bit`.
    """
    return capacity_KiB * 1024 * 8 * SRAM_um2_per_bit * (node_nm / NODE_NM) ** 2 * 1e-6


def tcdm_pJ_per_byte(capacity_KiB: float, node_nm: float) -> float:
    """Energy (pJ) of a byte read or written: with the root of the capacity, and with the node.

    Source: Horowitz, ISSCC 2014: 10, 20 and 100 pJ for 64 bit of 8 KB, 32 KB and 1 MB.
    """
    # 128 KiB: default of snitch_cluster, https://github.com/pulp-platform/snitch_cluster
    return TCDM_pJ_per_byte * math.sqrt(capacity_KiB / 128.0) * node_nm / NODE_NM


def fma_um2(stages: float) -> float:
    """Area (um2) of one of the engine's multiply-adders with `stages` pipeline registers, 22 nm.

    Source: RedMulE's cluster, see the constants.
    """
    return FMA_um2 + (stages - PIPELINE_STAGES) * PIPELINE_um2


def fma_pJ(stages: float, node_nm: float) -> float:
    """Energy (pJ) of a cycle of one of them; capacitance goes with the node.

    Source: RedMulE's cluster, see the constants.
    """
    return (FMA_pJ + (stages - PIPELINE_STAGES) * PIPELINE_pJ) * node_nm / NODE_NM


def leakage_mW(area_mm2: float, node_nm: float) -> float:
    """Leakage (mW) of a cluster of `area_mm2`: its transistors, as wide as the node makes them.

    Source: `cimsim.costs.leakage`; the size is assumed, see the constant.
    """
    # area over the square of the node counts transistors
    at_22nm = area_mm2 * (NODE_NM / node_nm) ** 2
    return at_22nm * LEAKAGE_mW_per_mm2 * node_ratio(node_nm, NODE_NM)


def logic_mm2(
    cores: float, lane_bits: float, fmas_um2: float, dma_bytes: float, node_nm: float
) -> float:
    """Area (mm2) of all but the TCDM; `lane_bits` is the width of a core's SIMD unit.

    `fmas_um2` is that of the engine at 22 nm.

    Source: RedMulE's cluster, see the constants.
    """
    core = CONTROL_um2 + CORE_SHARE_um2 + lane_bits / LANE_BITS * FMA_um2
    found = cores * core + fmas_um2 + dma_bytes * DMA_um2_per_byte
    return found * (node_nm / NODE_NM) ** 2 * 1e-6


def core_pJ(lane_bits: float, node_nm: float) -> float:
    """Energy (pJ) of a cycle of a core at work: control and an FMA on every lane.

    Source: RedMulE's cluster, see the constants; capacitance goes with the node.
    """
    return (CONTROL_pJ + lane_bits / LANE_BITS * FMA_pJ) * node_nm / NODE_NM


def shared_pJ(cores: float, node_nm: float) -> float:
    """Energy (pJ) of a cycle of what the cluster shares.

    Source: RedMulE's cluster, see the constants.
    """
    return (SHARED_pJ + cores * CORE_SHARED_pJ) * node_nm / NODE_NM


def _parts(entry: Entry, at: Mapping[str, float]) -> dict[str, float]:
    node, cores, capacity = at[NODE], at["cores"], at["tcdm_KiB"]
    fmas = at["matrix_engine.rows"] * at["matrix_engine.columns"]
    lane_bits = at["simd_width"] * at["value_bits"]
    stages = at["matrix_engine.pipeline"]
    engine_um2 = fmas * fma_um2(stages)
    area = logic_mm2(cores, lane_bits, engine_um2, at["dma_bytes_per_cycle"], node)
    area += tcdm_mm2(capacity, node)
    return {
        "cluster_area_mm2": area,
        "leakage_mW": leakage_mW(area, node),
        "core_energy_pJ_per_cycle": core_pJ(lane_bits, node),
        "engine_energy_pJ_per_cycle": fmas * fma_pJ(stages, node),
        "shared_energy_pJ_per_cycle": shared_pJ(cores, node),
        "tcdm_energy_pJ_per_byte": tcdm_pJ_per_byte(capacity, node),
        # half a millimetre for 0.5 mm2 (see `DMA_pJ_per_byte`): with the side of the cluster
        "dma_energy_pJ_per_byte": DMA_pJ_per_byte * math.sqrt(2 * area),
    }


PARTS = Component(
    law=_parts,
    reads=(
        "cores",
        "simd_width",
        "value_bits",
        "matrix_engine.rows",
        "matrix_engine.columns",
        "matrix_engine.pipeline",
        "tcdm_KiB",
        "dma_bytes_per_cycle",
        NODE,
    ),
    gives=(
        "cluster_area_mm2",
        "leakage_mW",
        "core_energy_pJ_per_cycle",
        "engine_energy_pJ_per_cycle",
        "shared_energy_pJ_per_cycle",
        "tcdm_energy_pJ_per_byte",
        "dma_energy_pJ_per_byte",
    ),
    source="counted parts of RedMulE's cluster, arXiv 2204.11192, with assumed shares",
    # choice: what clusters of this kind are built with, and nodes as for logic; one point is fitted
    fitted={"cores": (1, 16), "simd_width": (1, 8), "tcdm_KiB": (32, 1024), NODE: (3, 130)},
    absent=dict.fromkeys(
        ("matrix_engine.rows", "matrix_engine.columns", "matrix_engine.pipeline"), 0.0
    ),
)
"""Cores, engine, TCDM and DMA."""
