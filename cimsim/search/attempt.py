"""One workload on one machine under one strategy: mapped, scheduled and run."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from itertools import pairwise

from cimsim import engines
from cimsim.adaptation import Adaptation
from cimsim.engines import Ends, Engine, Kept
from cimsim.ir import Workload
from cimsim.mappers import Mapper, build_mapping
from cimsim.mapping import Mapping
from cimsim.report.accounting import BlockEnergy
from cimsim.report.fold import spent
from cimsim.report.kinds import kinds_of
from cimsim.report.leakage import leaked_J
from cimsim.report.needs import needed
from cimsim.report.occupancy import last_of_phases
from cimsim.runtime.collector import collector_paused
from cimsim.schedule import Plan, build_plan
from cimsim.schedule.alike import Known
from cimsim.schedule.pipelines import Pipeline
from cimsim.search.memory import Memory, is_own
from cimsim.search.outcomes import Ran
from cimsim.spec import Architecture
from cimsim.units import ps_to_seconds
from cimsim.values.display import brief

Progress = Callable[[str], None]


@brief
@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """What is run: `workload` as adapted, on a machine, and how.

    `counted` are the energies of paper accounting, None where they follow from the run. Runs that
    `memory` has are not run again, and what `known` has of layouts is not worked out again.
    """

    workload: Workload
    architecture: Architecture
    adaptation: Adaptation
    mapper: Mapper
    counted: tuple[BlockEnergy, ...] | None
    engine: Engine = "compiled"
    group_tiles: bool = True
    memory: Memory | None = None
    known: Known = field(default_factory=Known)

    def on(self, workload: Workload) -> Job:
        """The same with another workload."""
        return replace(self, workload=workload)

    def key(self, pipeline: Pipeline, mapper: Mapper) -> Hashable:
        """All that a run depends on beside the machine; None where a value is a user's own."""
        if not is_own(self.adaptation, pipeline, mapper):
            return None
        parts = self.adaptation, pipeline, mapper, self.engine, self.group_tiles
        return self.workload.digest(), *parts


@brief
@dataclass(frozen=True, slots=True, eq=False)
class Attempt:
    """A finished run under `pipeline`; `architecture` is the machine that it prepared."""

    pipeline: Pipeline
    architecture: Architecture
    ran: Ran

    @property
    def mapping(self) -> Mapping:
        """Where everything is."""
        return self.ran.mapping

    @property
    def plan(self) -> Plan:
        """What was run."""
        return self.ran.plan

    @property
    def ends(self) -> Ends:
        """When it ended."""
        return self.ran.ends

    def phases_ps(self) -> list[int]:
        """Latency of each phase (ps)."""
        ends = [0, *self.ran.phase_ends_ps]
        return [end - start for start, end in pairwise(ends)]

    def energies_J(self, job: Job) -> list[float]:
        """Energy of each phase (J)."""
        latencies = [ps_to_seconds(time) for time in self.phases_ps()]
        found = spent(self.plan, job.workload, self.architecture, latencies, job.counted)
        return [math.fsum(entry.energy_J[p] for entry in found) for p in range(len(latencies))]

    def standing_W(self, job: Job) -> list[float]:
        """Power (W) by phase at which energy grows where only the latency does.

        Leakage is affine in the latency; under paper accounting there is none.
        """
        latencies = [ps_to_seconds(time) for time in self.phases_ps()]
        if job.counted is not None:
            return [0.0] * len(latencies)

        def leaked(times: list[float]) -> list[float]:
            found = leaked_J(self.architecture, self.plan, times).values()
            return [math.fsum(each) for each in zip(*found, strict=True)] or [0.0] * len(times)

        longer = leaked([2 * time for time in latencies])
        parts = zip(leaked(latencies), longer, latencies, strict=True)
        return [(more - once) / time if time else 0.0 for once, more, time in parts]


@collector_paused()
def attempt(
    job: Job, pipeline: Pipeline, tell: Progress = lambda stage: None, *, ends_only: bool = False
) -> Attempt:
    """Run `job` under `pipeline`; raises MappingError, CapacityError or SimulationError.

    With `ends_only` no more is kept than the ends of phases, too little for a report.
    """
    tell("mapping")
    architecture, mapper = pipeline.prepare(job.workload, job.architecture, job.mapper)
    if (key := job.key(pipeline, mapper)) is None or job.memory is None:
        return Attempt(
            pipeline, architecture, run(job, architecture, mapper, pipeline, tell, ends_only)
        )
    ran = job.memory.trials.get(
        (key, ends_only),
        architecture,
        lambda machine: run(job, machine, mapper, pipeline, tell, ends_only),
    )
    return Attempt(pipeline, architecture, ran)


def run(
    job: Job,
    architecture: Architecture,
    mapper: Mapper,
    pipeline: Pipeline,
    tell: Progress,
    ends_only: bool,
) -> Ran:
    """Map, schedule and run `job` on a machine that `pipeline` has prepared."""
    mapping, plan = planned(job, architecture, architecture, mapper, pipeline, tell)
    tell("simulating")

    def told(share: float) -> None:
        tell(f"simulating, {share:.0%} done")

    if ends_only:
        kept = Kept.ends(plan.program, last_of_phases(plan))
    else:
        kept = needed(plan, kinds_of(job.workload))
    ends = engines.run_for_ends(plan.program, kept, job.engine, told)
    return Ran(job.workload, mapping, plan, ends)


def planned(
    job: Job,
    architecture: Architecture,
    timed_on: Architecture,
    mapper: Mapper,
    pipeline: Pipeline,
    tell: Progress = lambda stage: None,
) -> tuple[Mapping, Plan]:
    """Map and schedule `job` on a machine that `pipeline` has prepared; `timed_on` is the same
    machine, see `build_plan`.
    """
    mapping = build_mapping(job.workload, architecture, job.adaptation, mapper)
    tell("scheduling")
    plan = build_plan(
        job.workload, architecture, mapping, pipeline, group_tiles=job.group_tiles,
        timed_on=timed_on, known=job.known,
    )  # fmt: skip
    return mapping, plan
