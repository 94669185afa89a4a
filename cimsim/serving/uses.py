"""When a request uses what writes share with it: units of weights, the link, DRAM and buffer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cimsim.adaptation import adaptation_of
from cimsim.engines.program import IntArray, Use, timed_verbs
from cimsim.ir import Linear
from cimsim.mapping import Placement
from cimsim.schedule.plan import ActorInfo
from cimsim.serving.switches import LINK
from cimsim.simulation import Simulation
from cimsim.unit_kinds import PMCA
from cimsim.values.display import brief

SHARED = ("dram", "buffer")
"""Resources of a run that loads of adapters use beside it, by name."""
PORTS = "dma pool"
"""What names of the engines begin with that move data through the ports of clusters."""


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

    `first_ps` and `last_ps` say for each weight when its units begin and end to work, for it or for
    a weight that shares one with it, decode and all. `traffic` has the resources of `SHARED` that
    the request uses, and `LINK`: the times in which every port of a cluster onto the network is in
    use, so that none is left for a write.
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
        ports: list[tuple[IntArray, IntArray]] = []
        resources = [resource.name for resource in run.program.resources]
        for number, (actor, info) in enumerate(zip(run.program.actors, simulation.plan.actors,
                                                   strict=True)):  # fmt: skip
            used = {weights[op] for op in _ops(info) if op in weights}
            timed = timed_verbs(actor.steps)
            for step, (unit, _) in zip(timed, info.occupies, strict=True):
                verb = actor.steps[step]
                mine = [name for name in used if placements[name].unit == unit]
                common = isinstance(verb, Use) and resources[verb.resource] in SHARED
                port = isinstance(verb, Use) and resources[verb.resource].startswith(PORTS)
                if not (mine or common or port) or not actor.iterations:
                    continue
                start, end = run.intervals(number, step)
                if common and isinstance(verb, Use):
                    shared[verb.resource].append((start, end))
                if port:
                    ports.append((start, end))
                if mine and (end > start).any():
                    begun, over = int(start[end > start].min()), int(end.max())
                    for name in mine:
                        first[name] = min(first.get(name, begun), begun)
                        last[name] = max(last.get(name, over), over)
        traffic = {resources[i]: _merged(found) for i, found in shared.items()}
        clusters = simulation.architecture.units.get(PMCA.name)
        if ports and clusters is not None:
            traffic[LINK] = crowded(ports, clusters.count)
        for names in _neighbours(placements):
            here = [name for name in names if name in first]
            if here:
                opens, closes = min(first[n] for n in here), max(last[n] for n in here)
                first |= dict.fromkeys(names, opens)
                last |= dict.fromkeys(names, closes)
        return cls(run.makespan_ps, first, last, traffic)


def _neighbours(placements: Mapping[str, Placement]) -> list[list[str]]:
    """Weights that have an array in common, by way of others or not; those alone left out."""
    group: dict[str, list[str]] = {}
    owner: dict[tuple[str, int], str] = {}
    for name, placement in placements.items():
        group[name] = [name]
        for unit in np.unique(placement.units).tolist():
            other = owner.setdefault((placement.unit, unit), name)
            if group[other] is not group[name]:
                group[other] += group[name]
                for moved in group[name]:
                    group[moved] = group[other]
    distinct = {id(names): names for names in group.values()}
    return [names for names in distinct.values() if len(names) > 1]


def crowded(used: Sequence[tuple[IntArray, IntArray]], places: int) -> Traffic:
    """When at least `places` of the intervals (starts, ends) are running at once."""
    start = np.concatenate([s for s, _ in used])
    end = np.concatenate([e for _, e in used])
    some = end > start
    moments = np.concatenate([start[some], end[some]])
    steps = np.repeat([1, -1], int(some.sum()))
    order = np.lexsort((-steps, moments))  # what begins as another ends leaves no gap
    moments, steps = moments[order], steps[order]
    full = np.cumsum(steps) >= places
    begins = np.flatnonzero(full & ~np.concatenate([[False], full[:-1]]))
    ends = np.flatnonzero(~full & np.concatenate([[False], full[:-1]]))
    lasting = moments[ends] > moments[begins]
    return Traffic(moments[begins][lasting], moments[ends][lasting])


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
