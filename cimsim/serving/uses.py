"""When a request uses what writes share with it: the units of each weight, DRAM and buffer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cimsim.adaptation import adaptation_of
from cimsim.engines.program import IntArray, Use, timed_verbs
from cimsim.ir import Linear
from cimsim.schedule.plan import ActorInfo
from cimsim.simulation import Simulation
from cimsim.values.display import brief

SHARED = ("dram", "buffer")
"""Resources of a run that loads of adapters use beside it, by name."""


@brief
@dataclass(frozen=True, slots=True, eq=False)
class Traffic:
    """Disjoint intervals (ps) in which a request uses a shared resource, in order."""

    start_ps: IntArray
    end_ps: IntArray

    def until(self, moments_ps: IntArray) -> IntArray:
        """Time (ps) for which the resource was used up to each moment."""
        through = np.concatenate([[0], np.cumsum(self.end_ps - self.start_ps)])
        begun = np.searchsorted(self.start_ps, moments_ps, "left")
        over = np.zeros_like(moments_ps)
        running = begun > 0
        over[running] = np.maximum(0, self.end_ps[begun[running] - 1] - moments_ps[running])
        return np.asarray(through[begun] - over)


@brief
@dataclass(frozen=True, slots=True, eq=False)
class Uses:
    """One request alone on the machine, from its beginning to `latency_ps`.

    `first_ps` and `last_ps` say for each weight when its units begin and end to work for it,
    decode and all. `traffic` has the resources of `SHARED` that the request uses.
    """

    latency_ps: int
    first_ps: Mapping[str, int]
    last_ps: Mapping[str, int]
    traffic: Mapping[str, Traffic]

    @classmethod
    def of(cls, simulation: Simulation) -> Uses:
        """What the run of `simulation` used; raises SimulationError as `Simulation.run` does."""
        run, placements = simulation.run, simulation.mapping.placements
        weights = _weights(simulation)
        first: dict[str, int] = {}
        last: dict[str, int] = {}
        shared: dict[int, list[tuple[IntArray, IntArray]]] = defaultdict(list)
        resources = [resource.name for resource in run.program.resources]
        for number, (actor, info) in enumerate(zip(run.program.actors, simulation.plan.actors,
                                                   strict=True)):  # fmt: skip
            used = {weights[op] for op in _ops(info) if op in weights}
            timed = timed_verbs(actor.steps)
            for step, (unit, _) in zip(timed, info.occupies, strict=True):
                verb = actor.steps[step]
                mine = [name for name in used if placements[name].unit == unit]
                common = isinstance(verb, Use) and resources[verb.resource] in SHARED
                if not (mine or common) or not actor.iterations:
                    continue
                start, end = run.intervals(number, step)
                if common and isinstance(verb, Use):
                    shared[verb.resource].append((start, end))
                if mine and (end > start).any():
                    begun, over = int(start[end > start].min()), int(end.max())
                    for name in mine:
                        first[name] = min(first.get(name, begun), begun)
                        last[name] = max(last.get(name, over), over)
        traffic = {resources[i]: _merged(found) for i, found in shared.items()}
        return cls(run.makespan_ps, first, last, traffic)


def _weights(simulation: Simulation) -> dict[str, str]:
    """The weight of each op that has a place."""
    adapted = adaptation_of(simulation.mapping).apply(simulation.workload)
    return {op.name: op.weight for _, op in adapted.ops() if isinstance(op, Linear)}


def _ops(info: ActorInfo) -> set[str]:
    return {info.stage} | {portion.op for portions in info.portions for portion in portions}


def _merged(found: list[tuple[IntArray, IntArray]]) -> Traffic:
    start = np.concatenate([s for s, _ in found])
    end = np.concatenate([e for _, e in found])
    order = np.lexsort((end, start))
    order = order[end[order] > start[order]]
    return Traffic(start[order], end[order])
