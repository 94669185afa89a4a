"""What a run costs, apart: energy of each component, leakage of each unit, time of each phase."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from cimsim.mappers import build_mapping
from cimsim.report.fold import spent
from cimsim.report.leakage import leakage_W
from cimsim.schedule import Plan, build_plan
from cimsim.schedule.pipelines import Pipeline
from cimsim.search import Job
from cimsim.search.attempt import attempt
from cimsim.spec import Architecture
from cimsim.units import ps_to_seconds
from cimsim.values.display import brief


@brief
@dataclass(frozen=True)
class Costs:
    """Energy (J) by component, leakage (W) by unit while the run lasts, time (s) by phase."""

    dynamic_J: Mapping[str, float]
    leakage_W: Mapping[str, float]
    phases_s: tuple[float, ...]

    @property
    def latency_s(self) -> float:
        """Of all phases."""
        return math.fsum(self.phases_s)

    @property
    def energy_J(self) -> float:
        """Of all components, and leakage over the latency."""
        time = self.latency_s
        return math.fsum([*self.dynamic_J.values(), *(w * time for w in self.leakage_W.values())])


def costs_of(plan: Plan, job: Job, machine: Architecture, phases_s: tuple[float, ...]) -> Costs:
    """Costs of a plan on `machine`, whose phases take `phases_s`."""
    found: dict[str, list[float]] = {}
    idle = [0.0] * len(plan.phases)
    for entry in spent(plan, job.workload, machine, idle, job.counted):
        if entry.unit != "leakage":
            found.setdefault(entry.component, []).extend(entry.energy_J)
    dynamic = {name: math.fsum(values) for name, values in found.items()}
    return Costs(dynamic, leakage_W(machine, plan.unit_counts), phases_s)


def run_costs(job: Job, pipeline: Pipeline) -> Costs:
    """Costs of a run of `job`."""
    done = attempt(job, pipeline, ends_only=True)
    times = tuple(ps_to_seconds(time) for time in done.phases_ps())
    return costs_of(done.plan, job, done.architecture, times)


def planned_costs(job: Job, pipeline: Pipeline, phases_s: tuple[float, ...]) -> Costs:
    """Costs of `job`, laid out but not run: its phases are known to take `phases_s`."""
    machine, mapper = pipeline.prepare(job.workload, job.architecture, job.mapper)
    mapping = build_mapping(job.workload, machine, job.adaptation, mapper)
    plan = build_plan(job.workload, machine, mapping, pipeline, group_tiles=job.group_tiles)
    return costs_of(plan, job, machine, phases_s)
