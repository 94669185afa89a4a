"""What a run costs, apart: energy of each component, leakage of each unit, time of each phase."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from cimsim.mappers import build_mapping
from cimsim.report.fold import spent
from cimsim.report.leakage import leaked_J
from cimsim.schedule import Plan, build_plan
from cimsim.schedule.pipelines import Pipeline
from cimsim.search import Job
from cimsim.search.attempt import attempt
from cimsim.spec import Architecture
from cimsim.units import ps_to_seconds
from cimsim.values.display import brief

ROUNDING = 1e-12
"""Choice: what rounding leaves of an energy that is no more than power times time."""


@brief
@dataclass(frozen=True)
class Costs:
    """Energy (J) by component, leakage (W) by unit while the run lasts, time (s) by phase.

    Leakage that does not grow with the latency, as of gated units at work, is among the components.
    """

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
    for entry in spent(plan, job.workload, machine, list(phases_s), job.counted):
        if entry.unit != "leakage":
            found.setdefault(entry.component, []).extend(entry.energy_J)
    dynamic = {name: math.fsum(values) for name, values in found.items()}
    fixed, power = standing(plan, machine, phases_s)
    return Costs(dynamic | fixed, power, phases_s)


def standing(
    plan: Plan, machine: Architecture, phases_s: tuple[float, ...]
) -> tuple[dict[str, float], dict[str, float]]:
    """Leakage of a plan: energy (J) that does not depend on how long it waits, and the power (W)
    of all that waits, by unit and state.

    A unit that is gated leaks more while it is on, for as long as its work takes.
    """
    once = _leaked(machine, plan, phases_s)
    twice = _leaked(machine, plan, tuple(2.0 * t for t in phases_s))
    time = math.fsum(phases_s)
    fixed, power = {}, {}
    for name in {**once, **twice}:
        first, second = once.get(name, 0.0), twice.get(name, 0.0)
        rest = 2.0 * first - second
        steady = not time or abs(rest) < ROUNDING * second
        fixed[f"leakage.{name}"] = 0.0 if steady else rest
        power[name] = first / time if steady and time else (second - first) / (time or 1.0)
    return fixed, power


def _leaked(machine: Architecture, plan: Plan, phases_s: tuple[float, ...]) -> dict[str, float]:
    return {name: math.fsum(v) for name, v in leaked_J(machine, plan, phases_s).items()}


def run_costs(job: Job, pipeline: Pipeline) -> Costs:
    """Costs of a run of `job`."""
    done = attempt(job, pipeline, ends_only=True)
    times = tuple(ps_to_seconds(time) for time in done.phases_ps())
    return costs_of(done.plan, job, done.architecture, times)


class Planned(NamedTuple):
    """A machine as a strategy prepared it, and the plan on it."""

    machine: Architecture
    plan: Plan


def planned(job: Job, pipeline: Pipeline) -> Planned:
    """`job` laid out, not run."""
    machine, mapper = pipeline.prepare(job.workload, job.architecture, job.mapper)
    mapping = build_mapping(job.workload, machine, job.adaptation, mapper)
    plan = build_plan(
        job.workload, machine, mapping, pipeline, group_tiles=job.group_tiles, known=job.known
    )
    return Planned(machine, plan)


def planned_costs(job: Job, pipeline: Pipeline, phases_s: tuple[float, ...]) -> Costs:
    """Costs of `job`, laid out but not run: its phases are known to take `phases_s`."""
    machine, plan = planned(job, pipeline)
    return costs_of(plan, job, machine, phases_s)
