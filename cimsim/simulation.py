"""simulate(): load, adapt, map, schedule, run and report, in one call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path

from cimsim import engines
from cimsim.adaptation import (
    Adaptation,
    adaptation_for,
    adaptation_of,
    adaptation_text,
)
from cimsim.engines import Ends, Engine, Run
from cimsim.engines.critical import CriticalPath, critical_path
from cimsim.errors import CimsimError
from cimsim.ir import Workload, load_workload
from cimsim.mappers import MAPPER_CODEC, Mapper, mapper_named
from cimsim.mapping import Mapping
from cimsim.report import Bottlenecks, Report
from cimsim.report.accounting import BlockEnergy, block_energies
from cimsim.report.bottlenecks import binding, bottlenecks
from cimsim.report.fold import fold, spent
from cimsim.report.kinds import kinds_of
from cimsim.report.least import Bounds, bounds_of
from cimsim.report.levers import TOTAL, RunSetting, with_levers
from cimsim.report.occupancy import phase_marks_ps
from cimsim.report.writes import model_write
from cimsim.runtime.collector import collector_paused
from cimsim.schedule import Plan
from cimsim.schedule.pipelines import Auto, Pipeline, format_pipeline, pipeline_named
from cimsim.search import Job, attempt, search
from cimsim.search.attempt import Progress, planned
from cimsim.search.memory import Memory
from cimsim.search.outcomes import Essentials, LaidOut, RunOnce, Scheduled
from cimsim.spec import Architecture, load_architecture
from cimsim.units import ps_to_seconds
from cimsim.values.arguments import Seed, checked
from cimsim.values.display import brief, facts
from cimsim.values.history import provenance
from cimsim.version import VERSION


@brief
@dataclass(frozen=True, eq=False)
class Simulation:
    """A finished simulation: the report, and what it was folded from.

    `pipeline` is the strategy that ran: the one given, or the one that was found. `ends` keeps
    the ends of those iterations that the report needs; `run` has every interval. `job` is what
    was run, its machine as it was before the strategy prepared it.
    """

    report: Report
    workload: Workload
    architecture: Architecture
    pipeline: Pipeline
    mapping: Mapping
    plan: Plan
    ends: Ends
    job: Job

    @cached_property
    def run(self) -> Run:
        """Start and end of every interval: the program is run once more, the same, and kept.

        Raises SimulationError where the intervals are more than are kept.
        """
        return engines.run(self.plan.program, self.job.engine)

    @cached_property
    def critical_path(self) -> CriticalPath:
        """The chain of work that ends last, back to time 0, found once; raises as `run` does."""
        return critical_path(self.run)

    def _facts(self) -> dict[str, object]:
        return facts(self.report)

    @collector_paused()
    def bottlenecks(self, *, levers: bool = False) -> Bottlenecks:
        """What bounds this run: its critical path, two lower bounds, time and energy by layer.

        Takes one more run of the program, with shared units without limit. The gain of every lever
        is predicted; with `levers` each is also simulated, on the machine that it makes.
        """
        adaptation = adaptation_of(self.mapping)
        adapted = adaptation.apply(self.workload)
        latencies = [phase.latency_s for phase in self.report.phases.values()]
        counted = _counted(adapted, self.architecture, adaptation)
        found = spent(self.plan, adapted, self.architecture, latencies, counted)
        energies = [(entry.key, entry.energy_J) for entry in found]
        bounds = bottlenecks(
            self.plan, self.run, kinds_of(adapted), energies, self.critical_path, self.architecture
        )
        tokens: dict[str, int] = {phase.name: phase.tokens for phase in adapted.phases}
        setting = RunSetting(self.job.architecture, self.pipeline, self.job.mapper, tokens)
        return with_levers(bounds, setting, self._latencies if levers else None)

    def _latencies(self, setting: RunSetting) -> dict[str, float]:
        """Latency (s) by phase, and in all, of the same job in another setting."""
        job = replace(self.job, architecture=setting.machine, mapper=setting.mapper)
        done = attempt(job, setting.pipeline, ends_only=True)
        ends = phase_marks_ps(done.plan, done.ends)
        phases = zip(done.plan.phases, pairwise(ends), strict=True)
        found = {name: ps_to_seconds(end - start) for name, (start, end) in phases}
        return {**found, TOTAL: ps_to_seconds(ends[-1])}


@checked(CimsimError)
def simulate(
    workload: Workload | str | Path,
    architecture: Architecture | str | Path,
    *,
    pipeline: Pipeline | Auto | str | None = None,
    adaptation: Adaptation | str | None = None,
    mapper: Mapper | str | None = None,
    engine: Engine = "compiled",
    group_tiles: bool = True,
    seed: Seed = 0,
    inputs: dict[str, str | int] | None = None,
    progress: Progress | None = None,
) -> Simulation:
    """Simulate `workload` on `architecture`, event by event.

    `adaptation` defaults to the architecture's, `pipeline` to a search for the fastest
    (`auto`), `mapper` to one block a tile; each may be the text that the command line takes, such
    as `layer:block_tokens=8`. `inputs` are added to the report's (names, digests of files).
    Workload and machine may be paths of their files. `progress` is called with a word for each
    stage, with the SimPy engine also for each hundredth that is done ("simulating, 7% done"). A
    workload of paper accounting takes its energy from `cimsim.report.accounting`, the rest is
    simulated alike. Raises MappingError, CapacityError or SimulationError, and SpecError where a
    machine cannot count as the paper does.
    """
    tell = progress or (lambda stage: None)
    workload = workload if isinstance(workload, Workload) else load_workload(workload)
    where = None
    if not isinstance(architecture, Architecture):
        where, architecture = architecture, load_architecture(architecture)
    pipeline, mapper = pipeline_named(pipeline), mapper_named(mapper)
    named: dict[str, str | int] = {"pipeline": format_pipeline(pipeline)}
    adaptation = adaptation_for(architecture, adaptation, where)
    adapted = adaptation.apply(workload)
    counted = _counted(adapted, architecture, adaptation)
    job = Job(adapted, architecture, adaptation, mapper, counted, engine, group_tiles)
    if isinstance(pipeline, Auto):
        found = search(job, pipeline, tell)
        done, how = found.attempt, found.search
    else:
        done, how = attempt(job, pipeline, tell), None
    tell("reporting")
    named |= {
        "adaptation": adaptation_text(adaptation),
        "mapper": MAPPER_CODEC.label(mapper),
        "mapping_sha256": done.mapping.digest(),
        "seed": seed,
        "version": VERSION,
        **provenance(done.architecture, workload),
    }
    named |= inputs or {}
    report = fold(
        workload, adapted, done.architecture, done.mapping, done.plan,
        done.ran.findings,
        model_write(workload, done.architecture, done.mapping),
        format_pipeline(done.pipeline), named, counted,
    )  # fmt: skip
    if how is not None:
        report = report.model_copy(update={"search": how})
    return Simulation(
        report, workload, done.architecture, done.pipeline, done.mapping, done.plan, done.ends,
        job,
    )  # fmt: skip


@brief
@dataclass(frozen=True, eq=False)
class Sized:
    """A report that has figures alone, what it is of, and what binds it if that was asked for."""

    report: Report
    workload: Workload
    architecture: Architecture
    mapping: Mapping
    bound: str | None = None


@collector_paused()
def figures(
    workload: Workload, architecture: Architecture, pipeline: Pipeline | Auto,
    adaptation: Adaptation, mapper: Mapper, memory: Memory, *,
    worth: Callable[[Bounds], bool] | None = None, bound: bool = False,
) -> Sized | None:  # fmt: skip
    """The figures of the report that `simulate` gives; nothing is said in words, no inputs.

    What earlier calls with the same `memory` found is not worked out again. `worth` is told what
    the design comes to at best before it is run, unless its layout is known, which makes a run
    cheap, or the pipeline is searched for; where it says no there is no result. With `bound` the
    result says what binds the run. Raises as `simulate`.
    """
    adapted = memory.adapted(workload, adaptation)
    counted = _counted(adapted, architecture, adaptation)
    job = Job(adapted, architecture, adaptation, mapper, counted, memory=memory)
    how = None
    if isinstance(pipeline, Auto):
        found = search(job, pipeline, lambda stage: None)
        ran, how, pipeline = found.attempt.ran, found.search, found.attempt.pipeline
        told = binding(ran.plan, engines.run(ran.plan.program)) if bound else None
        done = Essentials.of(ran, ran.findings, told)
        architecture = found.attempt.architecture
    else:
        machine, mapper = pipeline.prepare(adapted, architecture, mapper)
        outcome = _outcome(job, machine, mapper, pipeline)

        def again() -> Scheduled:
            return _scheduled(job, machine, mapper, pipeline)

        if worth is not None and outcome.is_dear:
            least = outcome.least(again)
            if not worth(
                bounds_of(adapted, machine, least.mapping, least.plan, least.findings, counted)
            ):
                outcome.let_go()
                return None
        done, architecture = outcome.done(again, bound=bound), machine
    report = fold(
        workload, adapted, architecture, done.mapping, done.plan, done.findings,
        memory.write(workload, architecture, done),
        format_pipeline(pipeline), {}, counted, told=False,
    )  # fmt: skip
    report = report if how is None else report.model_copy(update={"search": how})
    return Sized(report, workload, architecture, done.mapping, done.bound)


def _outcome(job: Job, machine: Architecture, mapper: Mapper, pipeline: Pipeline) -> RunOnce:
    """What a strategy comes to on the machine that it prepared, planned or known from before."""

    def made(on: Architecture) -> RunOnce:
        laid_out: list[LaidOut] = []
        scheduled = _scheduled(job, on, mapper, pipeline, laid_out.append)
        return RunOnce(scheduled, is_first=bool(laid_out))

    key = job.key(pipeline, mapper)
    if key is None or job.memory is None:
        return made(machine)
    return job.memory.outcomes.get(key, machine, made)


def _scheduled(
    job: Job, machine: Architecture, mapper: Mapper, pipeline: Pipeline,
    note: Callable[[LaidOut], None] = lambda laid_out: None,
) -> Scheduled:  # fmt: skip
    """The schedule on the machine that a strategy prepared, laid out or known from before.

    `note` is told of a layout that was made.
    """

    def made(on: Architecture) -> LaidOut:
        found = LaidOut(job.workload, *planned(job, on, machine, mapper, pipeline))
        note(found)
        return found

    key = job.key(pipeline, mapper)
    if key is None or job.memory is None:
        return made(machine).on(machine)
    return job.memory.schedules.get(key, machine, made).on(machine)


def _counted(
    adapted: Workload, architecture: Architecture, adaptation: Adaptation
) -> tuple[BlockEnergy, ...] | None:
    """Energies counted as the paper does, for a workload that asks for it."""
    if adapted.accounting != "paper":
        return None
    return block_energies(adapted, architecture, adaptation.home)
