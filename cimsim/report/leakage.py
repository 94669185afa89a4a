"""What a machine draws beside its work: a sum over blocks, for the units in use."""

from __future__ import annotations

from collections.abc import Sequence

from cimsim.costs.columns import memory_W
from cimsim.costs.power import standing_J
from cimsim.schedule.plan import Plan, Woken
from cimsim.spec import Architecture
from cimsim.unit_kinds import KINDS, ports


def leakage_W(architecture: Architecture, used: dict[str, int]) -> dict[str, float]:
    """Leakage (W) by unit kind of the units in use, all on; units without work are powered down."""
    link_uW = sum(
        count * getattr(architecture, link).leakage_uW for link, count in ports(used).items()
    )
    kinds = dict.fromkeys(KINDS, 0.0)
    kinds |= {n: unit.leakage_W(used.get(n, 0)) for n, unit in architecture.units.items()}
    for name, block in (architecture.op_units or {}).items():
        kinds[name] = used.get(name, 0) * block.leakage_mW * 1e-3
    return kinds | {
        "link": link_uW * 1e-6,
        "buffer": architecture.buffer.leakage_mW * 1e-3,
        "dram": architecture.dram.background_mW * 1e-3,
    }


def leaked_J(
    architecture: Architecture, plan: Plan, latencies: Sequence[float]
) -> dict[str, tuple[float, ...]]:
    """Energy (J) by phase of every unit kind's leakage in phases of `latencies` (s).

    Kinds with power states have it by state: `rram` while on, `rram_gated`, `rram_wake_up`,
    `rram_clock`. `columns` is that of the memory of numbers on columns, which is always on.
    """
    kept_W = memory_W(sum(plan.column_bits.values()), architecture.technology_nm)
    found = {"columns": tuple(kept_W * t for t in latencies)}
    none = (0.0,) * len(latencies)
    units = architecture.units
    for name, power in leakage_W(architecture, plan.unit_counts).items():
        states = units[name].power_states if name in units else None
        if states is None:
            found[name] = tuple(power * t for t in latencies)
            continue
        count, woken = plan.unit_counts.get(name, 0), plan.woken.get(name, Woken(none, none))
        unit_s = [count * t for t in latencies]
        each = units[name].leakage_W(1)
        for state, energy in standing_J(each, states, unit_s, woken.on_s, woken.wakes).items():
            found[f"{name}_{state}" if state else name] = energy
    return {name: energy for name, energy in found.items() if any(energy)}
