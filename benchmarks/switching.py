"""What a strategy of adaptation costs in a stream of requests: results, and cells of a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cimsim.adaptation import AdaptedTask
from cimsim.adaptation.lora import without_lora
from cimsim.adaptation.writes import saved_weights, whole
from cimsim.ir import Linear, Workload
from cimsim.mapping import Mapping, Written
from cimsim.serving.result import StrategyResult

ENDURANCE = 1e6
"""Pulses that a cell survives: of most RRAM macros of 16 to 40 nm in NVMExplorer's table."""
DAY_S = 86_400.0
HEADER = (
    "energy a switch", "time a switch", "bits a task", "extra area", "inference time / energy",
    "lifetime",
)  # fmt: skip
"""Columns of `cells`."""


@dataclass(frozen=True)
class HeadAlone:
    """The base model with a head for each task."""

    name: str = "frozen"

    def apply(self, workload: Workload) -> Workload:
        """Without LoRA."""
        return without_lora(workload)

    def home(self, op: Linear) -> None:
        """With the pretrained weights."""

    def writes(
        self, mapping: Mapping, before: AdaptedTask, after: AdaptedTask
    ) -> tuple[Written, ...]:
        """The head."""
        return whole(mapping, saved_weights(before.workload, after.workload))


def row(result: StrategyResult) -> dict[str, Any]:
    """What a switch costs in the mean, with the leakage while it is waited for; overheads."""
    energy_J = result.switch_energy_J + result.switching_leakage_J
    pulses = result.hottest_pulses / result.switches
    return {
        "adaptation": result.strategy,
        "switch_energy_J": energy_J / result.switches,
        "switch_s": result.switching_s / result.switches,
        "task_bits": result.task_bits,
        "extra_area_mm2": result.extra_area_mm2,
        "latency_overhead_ratio": result.latency_overhead_ratio,
        "energy_overhead_ratio": result.energy_overhead_ratio,
        "cells_written": result.written["cells_written"] / result.switches,
        "lifetime_days": ENDURANCE / pulses / DAY_S if pulses else None,
    }


def cells(cost: dict[str, Any] | None) -> list[str]:
    """A row as it is printed; dashes for a strategy without costs."""
    if cost is None or "switch_energy_J" not in cost:
        return ["-"] * len(HEADER)
    days = cost["lifetime_days"]
    return [
        f"{cost['switch_energy_J'] * 1e6:.3g} uJ",
        f"{cost['switch_s'] * 1e6:.3g} us",
        f"{cost['task_bits']:,}",
        f"{cost['extra_area_mm2']:.3g} mm2",
        f"{cost['latency_overhead_ratio']:.3f} / {cost['energy_overhead_ratio']:.3f}",
        "no wear" if days is None else f"{days:.3g} days",
    ]
