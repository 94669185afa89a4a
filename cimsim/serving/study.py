"""The one call: a scenario on a machine, its strategies side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cimsim import engines
from cimsim.adaptation import (
    AdaptedTask,
    BaseAlone,
    TasksBeside,
    adaptation_named,
    known_adaptations,
)
from cimsim.adaptation.protocol import BASE_TASK, Adaptation
from cimsim.engines import Engine
from cimsim.engines.program import IntArray
from cimsim.errors import CimsimError, MappingError, SpecError
from cimsim.ir import Workload
from cimsim.report import Report
from cimsim.serving.breakeven import Curve, break_evens
from cimsim.serving.jobs import RequestWork, jobs_of
from cimsim.serving.memory import check_room
from cimsim.serving.outcome import Times, a_request, outcome, setup_J
from cimsim.serving.program import lay_out
from cimsim.serving.requests import Levelling, RequestStream, Residency
from cimsim.serving.result import BaseCost, StrategyResult, Switching
from cimsim.serving.scenario import Scenario, load_scenario
from cimsim.serving.served import Served, Tell, base_alone, serve
from cimsim.serving.switches import Loading, Switches
from cimsim.shelves import MACHINES, SCENARIOS
from cimsim.spec import Architecture, load_architecture
from cimsim.values.arguments import checked
from cimsim.values.history import content_sha256, settings_made
from cimsim.version import VERSION


@checked(CimsimError)
def switch(
    architecture: Architecture | str | Path,
    scenario: Scenario | str | Path,
    *,
    strategies: Sequence[str | Adaptation] | None = None,
    folder: Path | None = None,
    engine: Engine = "compiled",
    progress: Tell | None = None,
) -> Switching:
    """Run the requests of `scenario` on `architecture` under each strategy, side by side.

    Machine and scenario may be paths of their files, or names of shipped ones. `strategies` (or
    those of the scenario) are adaptations, as `--adapt` takes them; left out, all that the machine
    can run, and `left_out` says of others why. Paths of workloads are those from `folder`, that of
    the scenario's file if left out. `progress` is called with a word for each stage.
    Raises SpecError, WorkloadError, MappingError, CapacityError (adapters that never fit) or
    SimulationError.
    """
    tell = progress or (lambda stage: None)
    if not isinstance(scenario, Scenario):
        path = SCENARIOS.find(scenario)
        folder, scenario = folder or path.parent, load_scenario(path)
    if not isinstance(architecture, Architecture):
        architecture = load_architecture(MACHINES.find(architecture))
    setting = _Comparing.of(scenario, folder, architecture, engine, tell)
    asked = strategies if strategies is not None else scenario.strategies
    if asked is not None:
        if not asked:
            raise SpecError("strategies: the list is empty: name one, or leave it out for all")
        names = [adaptation_named(given) for given in asked]
        found = [setting.run(adaptation) for adaptation in names]
        return setting.beside(found, {})
    found, left_out = [], {}
    for name, adaptation in known_adaptations().items():
        if isinstance(adaptation, BaseAlone):
            continue
        try:
            found.append(setting.run(adaptation))
        except MappingError as problem:
            left_out[name] = str(problem)
    if not found:
        told = "\n".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise MappingError(f"{architecture.name!r} runs no strategy of {scenario.name!r}:\n{told}")
    return setting.beside(found, left_out)


def timed(
    served: Served,
    switches: Switches,
    tasks: Sequence[AdaptedTask],
    start: AdaptedTask,
    stream: RequestStream,
    mode: IntArray,
    residency: Residency | None = None,
    *,
    overlap: bool = True,
    levelling: Levelling | None = None,
    engine: Engine = "compiled",
) -> tuple[list[RequestWork], Times]:
    """What each request brings and when it begins and ends, from a run on the event engine.

    Request i is one for `tasks[stream.task[i]]`, of workload `mode[i]` of `served`; the machine
    holds `start` at first.
    """
    jobs = jobs_of(stream, tasks, start, switches, residency, overlap=overlap, levelling=levelling)
    laid = lay_out(
        stream, jobs, served.uses, mode, Loading(served.architecture),
        prefetch=residency is not None and residency.prefetch,
    )  # fmt: skip
    ends = engines.run_for_ends(laid.program, laid.kept(), engine)
    return jobs, Times.of(stream, ends.ends_ps(laid.server))


class _Found(NamedTuple):
    """A strategy's result, its energy request by request, and what is to be said of it."""

    result: StrategyResult
    curve: Curve
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Comparing:
    """What is alike for all strategies; `mode` is the workload of each request, by index."""

    scenario: Scenario
    machine: Architecture
    engine: Engine
    tell: Tell
    workloads: tuple[Workload, ...]
    tasks: tuple[AdaptedTask, ...]
    start: AdaptedTask
    stream: RequestStream
    mode: IntArray
    base: tuple[Report, ...]

    @classmethod
    def of(
        cls, scenario: Scenario, folder: Path | None, machine: Architecture, engine: Engine,
        tell: Tell,
    ) -> _Comparing:  # fmt: skip
        tell("reading")
        each = scenario.workloads(folder)
        if paper := [w.name for w in each if w.accounting == "paper"]:
            raise SpecError(
                f"workload {paper[0]!r} has paper accounting, which counts energies alone: take a "
                "traced one"
            )
        distinct = tuple({id(workload): workload for workload in each}.values())
        of_task = [next(m for m, w in enumerate(distinct) if w is workload) for workload in each]
        tasks = tuple(map(AdaptedTask, scenario.names, each))
        stream = scenario.stream()
        start = next((task for task in tasks if task.name == scenario.start),
                     AdaptedTask(BASE_TASK, tasks[int(stream.task[0])].workload))  # fmt: skip
        base = base_alone(distinct, machine, scenario.pipeline, tell)
        return cls(
            scenario, machine, engine, tell, distinct, tasks, start, stream,
            np.array(of_task)[stream.task], tuple(alone.report for alone in base),
        )  # fmt: skip

    def run(self, adaptation: Adaptation) -> _Found:
        """One strategy, from its simulations to its result."""
        scenario = self.scenario
        if isinstance(adaptation, TasksBeside):
            adaptation.check_tasks(len(self.tasks))
        served = serve(self.workloads, self.machine, adaptation, scenario.pipeline, self.tell)
        self.tell(f"{served.strategy}: switching")
        switches = Switches(served.architecture, served.mapping, served.order)
        first = self.tasks[int(self.stream.task[0])]
        sizes = [self._size(switches, task, served.strategy) for task in self.tasks]
        check_room(served.architecture, scenario.residency, scenario.names, sizes)
        jobs, times = timed(
            served, switches, self.tasks, self.start, self.stream, self.mode, scenario.residency,
            overlap=scenario.overlap, levelling=scenario.levelling, engine=self.engine,
        )  # fmt: skip
        result, curve = outcome(
            served, self.base, switches, self.stream, jobs, self.mode, times,
            setup_J(switches, first), max(sizes), scenario.endurances, scenario.levelling,
        )  # fmt: skip
        return _Found(result, curve, self._crowded(served))

    def _crowded(self, served: Served) -> tuple[str, ...]:
        """A note where activations and the adapters kept want more than the buffer has."""
        residency, room = self.scenario.residency, served.architecture.buffer.capacity_KiB
        peak = max(s.report.buffer_peak_KiB for s in served.simulations)
        if residency is None or peak + residency.size_KiB <= room:
            return ()
        return (
            f"{served.strategy}: activations need {peak:.0f} KiB of buffer at the peak beside "
            f"residency.size_KiB {residency.size_KiB:g}, the machine has {room:g} KiB: spilling is "
            "not modelled; lower residency.size_KiB or raise buffer.capacity_KiB",
        )

    def _size(self, switches: Switches, task: AdaptedTask, strategy: str) -> int:
        """Bits that memory keeps of a task; raises MappingError for one that changes nothing."""
        bits = switches.between(AdaptedTask(BASE_TASK, task.workload), task).bits
        if not bits:
            raise MappingError(
                f"task {task.name!r} writes nothing under {strategy!r}: its workload "
                f"{task.workload.name!r} has no adapter that this strategy runs; name a workload "
                "with LoRA, or another strategy"
            )
        return switches.kept_bits(task)

    def beside(self, found: Sequence[_Found], left_out: dict[str, str]) -> Switching:
        """All results, and where their energies cross."""
        base, mode = self.base, self.mode
        return Switching(
            scenario=self.scenario.name,
            architecture=self.machine.name,
            workloads=tuple(workload.name for workload in self.workloads),
            tasks=len(self.tasks),
            base=BaseCost(
                latency_s=a_request(base, mode, "latency_s"),
                energy_J=a_request(base, mode, "energy_J"),
                area_used_mm2=max(r.area_used_mm2 for r in base),
            ),
            strategies=tuple(each.result for each in found),
            left_out=left_out,
            break_even=break_evens([each.curve for each in found]),
            assumed=self.machine.assumed(),
            notes=tuple(note for each in found for note in each.notes),
            changes=self.machine.changes,
            inputs={
                "version": VERSION,
                "scenario_content_sha256": content_sha256(self.scenario),
                "architecture_content_sha256": self.machine.digest(),
                **settings_made(self.machine),
            },
        )
