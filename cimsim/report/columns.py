"""Memory of the numbers on columns, beside the units: in use, and built beside every unit."""

from __future__ import annotations

from cimsim.costs.columns import memory_um2
from cimsim.ir import Linear, Workload
from cimsim.schedule.plan import Plan
from cimsim.spec import Architecture
from cimsim.units import UM2_PER_MM2

KEY = "columns"


def column_memory_mm2(
    workload: Workload, architecture: Architecture, plan: Plan
) -> tuple[dict[str, float], dict[str, float]]:
    """Area (mm2) of the memory that is built and of what of it is used; nothing without numbers.

    `workload` is the adapted one. Every array of a kind that has numbers is built with room for the
    widest of them on each of its columns.
    """
    if not plan.column_bits:
        return {}, {}
    found = [
        op.columns for _, op in workload.ops() if isinstance(op, Linear) and op.columns is not None
    ]
    widest, built = max(columns.bits * columns.slices for columns in found), 0
    for unit, used in plan.column_bits.items():
        arrays = architecture.arrays(unit)
        built += max(used, arrays.count * arrays.tiers * arrays.shape[1] * widest)
    node, used = architecture.technology_nm, sum(plan.column_bits.values())
    built_mm2, used_mm2 = (memory_um2(n, node) / UM2_PER_MM2 for n in (built, used))
    return {KEY: built_mm2}, {KEY: used_mm2}
