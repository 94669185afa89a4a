"""Time of all work of a plan, by what it belongs to and what does it; folds over a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from cimsim.engines import Run
from cimsim.engines.program import Duration, Hold, IntArray, Use, timed_verbs
from cimsim.report.kinds import times_by_kind
from cimsim.schedule.plan import Plan
from cimsim.values.display import brief

Key = tuple[str, str, str]
"""Layer, unit and kind of work."""


@brief
@dataclass(eq=False)
class Work:
    """Time of all work (ps): by key, by shared resource and by actor, each with one entry a phase.

    `by_key` adds up units that work side by side; `unit_of` is the unit kind of each resource.
    `first_ps` is when the work of each phase begins, None for one without work.
    """

    by_key: dict[Key, list[int]]
    by_resource: list[list[int]]
    by_actor: list[list[int]]
    by_actor_unit: list[dict[str, list[int]]]
    unit_of: dict[int, str]
    first_ps: list[int | None]
    _cuts: dict[int, list[int]] = field(default_factory=dict)
    _sums: dict[tuple[int, int], list[int]] = field(default_factory=dict)

    @classmethod
    def of(cls, plan: Plan, run: Run, kinds: Mapping[str, str]) -> Work:
        """The work of a run of `plan`; `kinds` is the kind of each op's work, or vector."""
        count = len(plan.phases)
        resources = [[0] * count for _ in plan.program.resources]
        work = cls({}, resources, [], [], {}, [None] * count)
        for number, (actor, info) in enumerate(zip(plan.program.actors, plan.actors, strict=True)):
            work.by_actor.append([0] * count)
            work.by_actor_unit.append({})
            timed = timed_verbs(actor.steps)
            for at, (step, (unit, units)) in enumerate(zip(timed, info.occupies, strict=True)):
                verb = actor.steps[step]
                assert isinstance(verb, Hold | Use)
                times = work._by_phase(verb.duration, info.phase)
                for kind, part in times_by_kind(info, at, kinds):
                    of_kind = times if part is None else work._by_phase(part, info.phase)
                    key = info.layer, unit, kind
                    _add(work.by_key.setdefault(key, [0] * count), of_kind, units)
                _add(work.by_actor[-1], times)
                _add(work.by_actor_unit[-1].setdefault(unit, [0] * count), times)
                if isinstance(verb, Use):
                    _add(work.by_resource[verb.resource], times)
                    work.unit_of[verb.resource] = unit
                work._begin(*run.intervals(number, step), info.phase, times)
        return work

    def busiest(self, plan: Plan, phases: list[int]) -> tuple[str, int]:
        """Name and time (ps) of what works longest in `phases`: a shared unit, its work spread
        evenly over its servers, or an actor on units of its own, which does one block at a time.
        """
        found = ("nothing", 0)
        for actor, times in zip(plan.program.actors, self.by_actor, strict=True):
            found = max(found, (actor.name, sum(times[p] for p in phases)), key=lambda x: x[1])
        for resource, times in zip(plan.program.resources, self.by_resource, strict=True):
            time = -(-sum(times[p] for p in phases) // resource.servers)
            found = max((resource.name, time), found, key=lambda x: x[1])
        return found

    def busiest_by_unit(self, plan: Plan, phases: list[int]) -> dict[str, int]:
        """Unit kind -> time (ps) of what works longest on it in `phases`; see `busiest`."""
        found: dict[str, int] = {}
        for units in self.by_actor_unit:
            for unit, times in units.items():
                found[unit] = max(found.get(unit, 0), sum(times[p] for p in phases))
        for resource, unit in self.unit_of.items():
            work = sum(self.by_resource[resource][p] for p in phases)
            servers = plan.program.resources[resource].servers
            found[unit] = max(found[unit], -(-work // servers))
        return found

    def _by_phase(self, duration: Duration, phase: IntArray) -> list[int]:
        """Sum of a duration over the iterations of each phase."""
        cuts = self._cuts_of(phase)
        if not isinstance(duration, np.ndarray):
            return [duration * (b - a) for a, b in pairwise(cuts)]
        key = id(duration), id(phase)
        if key not in self._sums:
            pairs = pairwise(cuts)
            self._sums[key] = [int(duration[a:b].sum()) for a, b in pairs]
        return self._sums[key]

    def _cuts_of(self, phase: IntArray) -> list[int]:
        """Where the iterations of each phase begin, and where the last ones end."""
        if id(phase) not in self._cuts:
            numbers = np.arange(len(self.first_ps) + 1)
            self._cuts[id(phase)] = np.searchsorted(phase, numbers).tolist()
        return self._cuts[id(phase)]

    def _begin(self, start: IntArray, end: IntArray, phase: IntArray, times: list[int]) -> None:
        """Let each phase begin no later than its first interval here that takes time."""
        cuts = self._cuts_of(phase)
        for p, time in enumerate(times):
            if time:
                at = cuts[p]
                while start[at] == end[at]:
                    at += 1
                known = self.first_ps[p]
                begun = int(start[at])
                self.first_ps[p] = begun if known is None else min(begun, known)


def _add(into: list[int], times: list[int], units: int = 1) -> None:
    for p, time in enumerate(times):
        into[p] += time * units
