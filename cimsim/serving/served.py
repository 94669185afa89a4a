"""A strategy on the machine: one request of each distinct workload, simulated alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from cimsim.adaptation import ADAPTATIONS, Adaptation, BaseAlone, adaptation_text
from cimsim.errors import MappingError
from cimsim.ir import Workload
from cimsim.mapping import Mapping
from cimsim.report.leakage import leaked_J
from cimsim.schedule.plan import Plan
from cimsim.serving.uses import Uses
from cimsim.simulation import Simulation, simulate
from cimsim.spec import Architecture
from cimsim.values.display import brief

Tell = Callable[[str], None]


@brief
@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """A strategy that the machine runs: a simulation of each workload, and what it uses.

    `mapping` holds the weights of all workloads.
    """

    strategy: str
    simulations: tuple[Simulation, ...]
    uses: tuple[Uses, ...]
    mapping: Mapping

    @property
    def architecture(self) -> Architecture:
        """The machine, prepared for the pipeline of the first workload."""
        return self.simulations[0].architecture

    @property
    def order(self) -> list[str]:
        """Weights in the order in which the first workload is done with them."""
        last = self.uses[0].last_ps
        return sorted(last, key=lambda name: (last[name], name))

    @property
    def idle_W(self) -> float:
        """Leakage (W) of the machine while no request runs, its units in their idle state."""
        plan = max((s.plan for s in self.simulations), key=_units)
        waiting = replace(plan, woken={})
        return sum(energy for (energy,) in leaked_J(self.architecture, waiting, (1.0,)).values())


def _units(plan: Plan) -> int:
    return sum(plan.unit_counts.values())


def serve(
    workloads: Sequence[Workload],
    machine: Architecture,
    adaptation: Adaptation,
    pipeline: str,
    tell: Tell,
) -> Served:
    """`adaptation` on `machine`, for tasks of these workloads.

    Raises MappingError where the machine cannot run it, or the workloads are no tasks of one model.
    """
    text = adaptation_text(adaptation)
    if isinstance(adaptation, BaseAlone):
        raise MappingError(
            f"strategy {text!r} runs the base model alone and serves no task; it stands beside the "
            "others anyway: name another strategy"
        )
    simulations = tuple(
        simulate(
            workload, machine, adaptation=adaptation, pipeline=pipeline,
            progress=lambda stage: tell(f"{text}: {stage}"),
        )
        for workload in workloads
    )  # fmt: skip
    return Served(
        text, simulations, tuple(Uses.of(s) for s in simulations),
        _widest([s.mapping for s in simulations], text),
    )  # fmt: skip


def base_alone(
    workloads: Sequence[Workload], machine: Architecture, pipeline: str, tell: Tell
) -> list[Simulation]:
    """The base model of each workload, alone; equal ones are simulated once."""
    base = next(value for value in ADAPTATIONS.values() if isinstance(value, BaseAlone))
    made: list[tuple[Workload, Simulation]] = []
    found = []
    for workload in workloads:
        alone = base.apply(workload)
        known = next((run for other, run in made if other.phases == alone.phases), None)
        if known is None:
            known = simulate(
                workload, machine, adaptation=base, pipeline=pipeline,
                progress=lambda stage: tell(f"base model: {stage}"),
            )  # fmt: skip
            made.append((alone, known))
        found.append(known)
    return found


def _widest(mappings: Sequence[Mapping], strategy: str) -> Mapping:
    """The mapping that has a place for all weights of the others.

    A smaller adapter is written into the place of the largest, whole: what is beside it is zero.
    """
    for mapping in mappings:
        if all(_holds(mapping, other) for other in mappings):
            return mapping
    raise MappingError(
        f"{strategy}: no workload of the tasks has all weights of the others: give tasks workloads "
        "of one model whose adapters sit on the same layers, such as other ranks"
    )


def _holds(mapping: Mapping, other: Mapping) -> bool:
    for name, theirs in other.placements.items():
        mine = mapping.placements.get(name)
        if mine is None or mine.unit != theirs.unit or mine.replicas != theirs.replicas:
            return False
        if mine.grid.rows < theirs.grid.rows or mine.grid.columns < theirs.grid.columns:
            return False
        if mine.role == "base" and (mine.grid.rows, mine.grid.columns) != (
            theirs.grid.rows, theirs.grid.columns
        ):  # fmt: skip
            return False
    mine_base = {name for name, p in mapping.placements.items() if p.role == "base"}
    return mine_base == {name for name, p in other.placements.items() if p.role == "base"}
