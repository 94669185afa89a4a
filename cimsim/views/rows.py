"""The rows of a Gantt chart: every unit with its work in a part of a run, and the critical path."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cimsim.engines.program import IntArray, Use, timed_verbs
from cimsim.report.occupancy import phase_marks_ps
from cimsim.schedule.plan import ActorInfo, Bits, Plan
from cimsim.simulation import Simulation
from cimsim.values.display import brief
from cimsim.views.part import RunPart

Key = tuple[str, str]
"""A unit: its kind, and its name."""


@brief
@dataclass(frozen=True, slots=True, eq=False)
class UnitRow:
    """Work on one unit, cut to the part: spans (ps) in the order of their starts.

    `own` tells the work of what was asked for from other work on the unit. `servers` are those of
    a shared unit; one of a stage has as many as work at a time.
    """

    unit: str
    name: str
    servers: int
    spans: IntArray
    own: npt.NDArray[np.bool_]
    path: IntArray

    @property
    def busy_ps(self) -> int:
        """Time of the work that was asked for, in all."""
        return int((self.spans[:, 1] - self.spans[:, 0])[self.own].sum())


@brief
@dataclass(frozen=True, slots=True, eq=False)
class Chart:
    """The rows of the busiest units, in the order in which they begin, and how many there are.

    `path` has the spans (ps) of the critical path in the part, `path_units` their unit kinds;
    `phases` are those that begin within it, with the time (ps).
    """

    part: RunPart
    rows: tuple[UnitRow, ...]
    units: int
    path: IntArray
    path_units: tuple[str, ...]
    phases: tuple[tuple[str, int], ...]


class TimedVerb(NamedTuple):
    """A timed verb of an actor, and the unit that it occupies; none for a latency.

    `servers` are those of a shared unit, 0 for what a stage has of its own; `bits` move in or
    out of a memory, or over links, meanwhile.
    """

    actor: int
    step: int
    info: ActorInfo
    unit: str
    units: int
    key: Key | None
    servers: int
    bits: Bits | None


def works(plan: Plan) -> Iterator[TimedVerb]:
    """Every timed verb of every actor."""
    for index, (actor, info) in enumerate(zip(plan.program.actors, plan.actors, strict=True)):
        moved = info.bits or (None,) * len(info.occupies)
        steps = timed_verbs(actor.steps)
        for step, (unit, count), bits in zip(steps, info.occupies, moved, strict=True):
            verb = actor.steps[step]
            resource = verb.resource if isinstance(verb, Use) else None
            key, servers = _unit(plan, unit, info, resource) if count else (None, 0)
            yield TimedVerb(index, step, info, unit, count, key, servers, bits)


def _unit(plan: Plan, kind: str, info: ActorInfo, resource: int | None) -> tuple[Key, int]:
    """A shared unit and its servers, or where there is no `resource` that of the stage, and 0."""
    if resource is None:
        return (kind, info.stage), 0
    shared = plan.program.resources[resource]
    return (kind, shared.name), shared.servers


@dataclass(frozen=True, slots=True)
class _Site:
    """Where the work of all actors of a role at one of its steps is done.

    `units` are those that it occupies, with their servers, none for a latency; `of` is the place
    among them of each actor's.
    """

    kind: str
    units: tuple[tuple[Key, int], ...]
    of: IntArray

    @classmethod
    def at(cls, plan: Plan, role: int, step: int) -> _Site:
        """The site of a Hold or Use."""
        program, info = plan.program, plan.roles[role]
        steps = program.roles[role].steps
        kind, count = info.occupies[timed_verbs(steps).index(step)]
        actors, verb = program.cast[role][0].size, steps[step]
        if not count or not isinstance(verb, Use):
            units = (_unit(plan, kind, info, None),) if count else ()
            return cls(kind, units, np.zeros(actors, np.int64))
        places, of = np.unique(program.resources_of(role, verb), return_inverse=True)
        return cls(kind, tuple(_unit(plan, kind, info, place) for place in places.tolist()), of)


def chart(simulation: Simulation, part: RunPart, most: int) -> Chart:
    """The `most` busiest units of a part of a run; latencies that occupy no unit have no row."""
    plan, run = simulation.plan, simulation.run
    spans: dict[Key, list[IntArray]] = defaultdict(list)
    own: dict[Key, list[npt.NDArray[np.bool_]]] = defaultdict(list)
    servers: dict[Key, int] = {}
    for role, (info, (_, sizes)) in enumerate(zip(plan.roles, plan.program.cast, strict=True)):
        for step in timed_verbs(plan.program.roles[role].steps):
            site = _Site.at(plan, role, step)
            if not site.units:
                continue
            whole = np.clip(np.stack(run.intervals_of(role, step)), part.start_ps, part.end_ps)
            inside = np.flatnonzero(whole[1] > whole[0])
            of = np.repeat(site.of, sizes)[inside]
            inside = inside[np.argsort(of, kind="stable")]
            ends = np.cumsum(np.bincount(of, minlength=len(site.units)))[:-1]
            each = np.split(whole[:, inside].T, ends)
            for (key, many), found in zip(site.units, each, strict=True):
                servers.setdefault(key, many)
                if found.size:
                    spans[key].append(found)
                    own[key].append(np.full(len(found), part.shows(info.layer)))
    path, path_units, on = _path(simulation, part)
    rows = []
    for key, parts in spans.items():
        found, mine = np.concatenate(parts), np.concatenate(own[key])
        order = np.lexsort((found[:, 1], found[:, 0]))
        if mine.any():
            unit, name = key
            rows.append(UnitRow(unit, name, servers[key], found[order], mine[order], on[key]))
    busiest = sorted(rows, key=lambda row: (-row.busy_ps, row.name))[:most]
    busiest.sort(key=lambda row: int(row.spans[row.own][0, 0]))
    begins = zip(plan.phases, phase_marks_ps(plan, run), strict=False)
    phases = tuple((name, at) for name, at in begins if part.start_ps <= at < part.end_ps)
    return Chart(part, tuple(busiest), len(rows), path, path_units, phases)


def cut(spans: IntArray, part: RunPart) -> IntArray:
    """The spans (start, end) that take time in a part, cut to it."""
    inside = np.clip(spans, part.start_ps, part.end_ps)
    return inside[inside[:, 1] > inside[:, 0]]


def _path(
    simulation: Simulation, part: RunPart
) -> tuple[IntArray, tuple[str, ...], dict[Key, IntArray]]:
    """The critical path in a part: its spans, the unit kind of each, and its spans by unit."""
    found, plan = simulation.critical_path, simulation.plan
    first = int(np.searchsorted(found.end_ps, part.start_ps, side="right"))
    last = int(np.searchsorted(found.start_ps, part.end_ps, side="left"))
    here = slice(first, last)
    spans = cut(np.stack([found.start_ps[here], found.end_ps[here]], axis=1), part)
    role, member = _roles(plan, found.actor[here])
    kinds = np.full(role.size, "", object)
    nothing = np.zeros((0, 2), np.int64)
    on: dict[Key, list[IntArray]] = defaultdict(list)
    width = 1 + int(found.step[here].max(initial=0))
    of_role = role * width + found.step[here]
    steps, many = np.unique(of_role, return_counts=True)
    groups = np.split(np.argsort(of_role, kind="stable"), np.cumsum(many)[:-1])
    for step, places in zip(steps.tolist(), groups, strict=True):
        site = _Site.at(plan, *divmod(step, width))
        kinds[places] = site.kind
        for unit, (key, _) in enumerate(site.units):
            on[key].append(places[site.of[member[places]] == unit])
    by_key: dict[Key, IntArray] = defaultdict(lambda: nothing)
    by_key.update({key: spans[np.sort(np.concatenate(places))] for key, places in on.items()})
    return spans, tuple(kinds.tolist()), by_key


def _roles(plan: Plan, actors: IntArray) -> tuple[IntArray, IntArray]:
    """The role of each actor, and its place among those of the role."""
    cast = plan.program.cast
    role, member = np.zeros((2, sum(numbers.size for numbers, _ in cast)), np.int64)
    for number, (numbers, _) in enumerate(cast):
        role[numbers], member[numbers] = number, np.arange(numbers.size)
    return role[actors], member[actors]


def lanes(spans: IntArray) -> IntArray:
    """A lane for each span, spans in the order of their starts: those of a lane never overlap.

    As few lanes as there are spans at a time; each takes the lowest that is free.
    """
    free_from: list[int] = []
    lane = np.zeros(len(spans), np.int64)
    for number, (start, end) in enumerate(spans.tolist()):
        at = next((i for i, until in enumerate(free_from) if until <= start), len(free_from))
        free_from[at : at + 1] = [end]
        lane[number] = at
    return lane


def at_once(spans: IntArray) -> int:
    """The most spans at any time; one that starts when another ends is not beside it."""
    times = np.concatenate([spans[:, 0], spans[:, 1]])
    change = np.repeat([1, -1], len(spans))
    return int(change[np.lexsort((change, times))].cumsum().max(initial=0))


def share(spans: IntArray, edges: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The mean number of spans at a time between each two `edges` (ps)."""
    starts, ends = np.sort(spans[:, 0]), np.sort(spans[:, 1])
    return np.diff(_work_until(starts, edges) - _work_until(ends, edges)) / np.diff(edges)


def _work_until(times: IntArray, edges: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The time that has passed up to each edge since each of `times`, in all."""
    count = np.searchsorted(times, edges)
    since = np.append(0, np.cumsum(times - times[:1].sum()))
    first = float(times[0]) if times.size else 0.0
    passed: npt.NDArray[np.float64] = count * (edges - first) - since[count]
    return passed
