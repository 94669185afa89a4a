"""What a design comes to at best, before it is run: keys of its report that have a bound.

Energies of work and areas follow from the plan, and leakage from the time; the time is
`cimsim.engines.floor`, which no run of the plan beats.
"""

from __future__ import annotations

import math
from collections.abc import Mapping as Dict
from dataclasses import dataclass

from cimsim.ir import Workload
from cimsim.mapping import Mapping
from cimsim.report.accounting import BlockEnergy
from cimsim.report.columns import column_memory_mm2
from cimsim.report.findings import Findings
from cimsim.report.fold import amounts, folded
from cimsim.schedule import Plan
from cimsim.spec import Architecture
from cimsim.values.display import brief

EXACT = (
    "area_mm2", "area_used_mm2", "area_by_unit_mm2", "area_used_by_unit_mm2", "tiles_used",
    "sram_units_used", "cell_utilisation",
)  # fmt: skip
"""Keys of a report, or what is below them, that a plan tells as they are."""
AT_LEAST = (
    "latency_s", "energy_J", "energy_by_unit_J", "energy_by_component_J", "energy_by_kind_J",
)  # fmt: skip
"""Those of which it tells a value that the report is never below."""
ROUNDED = 1e-12
"""Choice: more than what sums over phases lose to rounding, as a share of the sum."""


@brief
@dataclass(frozen=True)
class Bounds:
    """Values by key that the report of a design is never below, and those that it is never above.

    A key in neither has no bound.
    """

    at_least: Dict[str, float]
    at_most: Dict[str, float]


def is_bounded(key: str, *, above: bool) -> bool:
    """Whether designs can have a bound of this key, from above or from below.

    Phases have bounds where a workload has one alone.
    """
    root, _, below = key.partition(".")
    if root == "phases":
        end = below.rpartition(".")[2]
        return end == "tokens_per_s" if above else end in ("latency_s", "energy_J")
    return root in EXACT or (root in AT_LEAST and not above)


def bounds_of(
    adapted: Workload, architecture: Architecture, mapping: Mapping, plan: Plan,
    findings: Findings, counted: tuple[BlockEnergy, ...] | None,
) -> Bounds:  # fmt: skip
    """The bounds of a plan on a machine; `findings` are its least (`Findings.least`)."""
    energies = amounts(plan, findings, architecture, counted)
    by_unit, by_component, by_kind, _ = folded(energies, (), len(plan.phases))
    energy, latency = math.fsum(by_unit.values()), findings.makespan_s
    low: dict[str, float] = {"latency_s": latency, "energy_J": energy}
    for root, parts in zip(AT_LEAST[2:], (by_unit, by_component, by_kind), strict=True):
        low |= {f"{root}.{name}": value for name, value in parts.items()}
    high: dict[str, float] = {}
    if len(adapted.phases) == 1:
        phase = adapted.phases[0]
        where = f"phases.{phase.name}"
        low |= {f"{where}.latency_s": latency, f"{where}.energy_J": energy}
        if latency > 0:
            high[f"{where}.tokens_per_s"] = adapted.sequences * phase.new_tokens / latency
    low = {key: value * (1.0 - ROUNDED) for key, value in low.items()}
    high = {key: value * (1.0 + ROUNDED) for key, value in high.items()}
    exact = _exact(adapted, architecture, mapping, plan)
    return Bounds(low | exact, high | exact)


def _exact(
    adapted: Workload, architecture: Architecture, mapping: Mapping, plan: Plan
) -> dict[str, float]:
    more_built, more_used = column_memory_mm2(adapted, architecture, plan)
    built = architecture.area_mm2() | more_built
    used = architecture.area_mm2(plan.unit_counts) | more_used
    return {
        "area_mm2": math.fsum(built.values()),
        "area_used_mm2": math.fsum(used.values()),
        "tiles_used": mapping.used("rram"),
        "sram_units_used": mapping.used("sram"),
        "cell_utilisation": mapping.cell_utilisation,
        **{f"area_by_unit_mm2.{name}": area for name, area in built.items()},
        **{f"area_used_by_unit_mm2.{name}": area for name, area in used.items()},
    }
