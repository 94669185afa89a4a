"""From how many switches on a strategy that programs more at first costs less energy in all."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from cimsim.adaptation import Adaptation
from cimsim.errors import SpecError
from cimsim.ir import Workload
from cimsim.schedule.pipelines import Auto, Pipeline
from cimsim.simulation import simulate
from cimsim.spec import Architecture
from cimsim.values.arguments import checked
from cimsim.values.display import brief


@brief
@dataclass(frozen=True, slots=True)
class StrategyEnergy:
    """What a strategy takes: to program the machine once, to switch the task, to serve a request.

    A request is one run of the workload, leakage over its time included.
    """

    programming_J: float
    switch_J: float
    request_J: float

    def total_J(self, switches: float, requests_per_switch: float) -> float:
        """Energy after so many switches with so many requests after each."""
        each = self.switch_J + requests_per_switch * self.request_J
        return self.programming_J + switches * each


@checked(SpecError)
def break_even_switches(
    strategy: StrategyEnergy, against: StrategyEnergy, requests_per_switch: float = 1.0
) -> float:
    """Switches after which `strategy` has taken as much energy as `against`; infinite if never.

    0 where it takes less from the start. Raises SpecError for fewer than no requests.
    """
    if not requests_per_switch >= 0.0:
        raise SpecError(
            f"{requests_per_switch:g} requests a switch were asked for; it takes 0 or more."
        )
    more = strategy.programming_J - against.programming_J
    saved = against.total_J(1.0, requests_per_switch) - against.programming_J
    saved -= strategy.total_J(1.0, requests_per_switch) - strategy.programming_J
    if more <= 0.0 and saved >= 0.0:
        return 0.0
    return more / saved if more > 0.0 and saved > 0.0 else math.inf


@checked(SpecError)
def strategy_energy(
    workload: Workload | str | Path,
    architecture: Architecture | str | Path,
    adaptation: Adaptation | str,
    pipeline: Pipeline | Auto | str | None = None,
) -> StrategyEnergy:
    """The three energies of `adaptation`, simulated; raises what `simulate` raises."""
    report = simulate(workload, architecture, adaptation=adaptation, pipeline=pipeline).report
    written = report.reprogramming
    return StrategyEnergy(written.energy_J, written.adapter_switch.energy_J, report.energy_J)
