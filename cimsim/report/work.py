"""Time of all work of a plan, by what it belongs to and what does it; folds over a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import repeat

import numpy as np

from cimsim.engines import Run
from cimsim.engines.program import Duration, Hold, IntArray, Use, timed_verbs
from cimsim.engines.record import name_of
from cimsim.report.kinds import times_by_kind
from cimsim.schedule.plan import Plan
from cimsim.values.display import brief

Key = tuple[str, str, str]
"""Layer, unit and kind of work."""


@brief
@dataclass(eq=False)
class Work:
    """Time of all work (ps): by key, by shared resource and by actor, each with one entry a phase.

    `by_key` adds up units that work side by side. `by_role` has a row for each actor of each role,
    `by_role_unit` its parts by unit kind; `unit_of` is the unit kind of each resource. `first_ps`
    is when the work of each phase begins, None for one without work.
    """

    by_key: dict[Key, list[int]]
    by_resource: IntArray
    by_role: list[IntArray]
    by_role_unit: list[dict[str, IntArray]]
    unit_of: dict[int, str]
    first_ps: list[int | None]

    @classmethod
    def of(cls, plan: Plan, run: Run, kinds: Mapping[str, str]) -> Work:
        """The work of a run of `plan`; `kinds` is the kind of each op's work, or vector."""
        count, program = len(plan.phases), plan.program
        resources = np.zeros((len(program.resources), count), np.int64)
        work = cls({}, resources, [], [], {}, [None] * count)
        roles = zip(program.roles, plan.roles, program.cast, strict=True)
        known: dict[tuple[int, bytes], _Sums] = {}
        for role, (actor, info, (_, sizes)) in enumerate(roles):
            alike = id(info.phase), sizes.tobytes()
            if alike not in known:
                known[alike] = _Sums.of(sizes, info.phase, count)
            sums = known[alike]
            total = np.zeros((sizes.size, count), np.int64)
            by_unit: dict[str, IntArray] = {}
            for at, (step, (unit, units)) in enumerate(
                zip(timed_verbs(actor.steps), info.occupies, strict=True)
            ):
                verb = actor.steps[step]
                assert isinstance(verb, Hold | Use)
                times = sums.over(verb.duration)
                for kind, part in times_by_kind(info, at, kinds):
                    of_kind = times if part is None else sums.over(part)
                    into = work.by_key.setdefault((info.layer, unit, kind), [0] * count)
                    for p, time in enumerate(of_kind.sum(axis=0).tolist()):
                        into[p] += time * units
                total += times
                by_unit[unit] = by_unit[unit] + times if unit in by_unit else times
                if isinstance(verb, Use):
                    places = program.resources_of(role, verb)
                    np.add.at(work.by_resource, places, times)
                    work.unit_of.update(zip(places.tolist(), repeat(unit)))
                iterations, phases = sums.first(verb.duration)
                work._begin(run.starts_ps(role, step, iterations), phases)
            work.by_role.append(total)
            work.by_role_unit.append(by_unit)
        return work

    def busiest(self, plan: Plan, phases: list[int]) -> tuple[str, int]:
        """Name and time (ps) of what works longest in `phases`: a shared unit, its work spread
        evenly over its servers, or an actor on units of its own, which does one block at a time.
        """
        program = plan.program
        most, number = 0, 0
        for (numbers, _), times in zip(program.cast, self.by_role, strict=True):
            each = times[:, phases].sum(axis=1)
            at = int(each.argmax())
            most, number = max((most, number), (int(each[at]), -int(numbers[at])))
        found = (name_of(program, -number), most) if most else ("nothing", 0)
        for resource, work in zip(program.resources, self._of_resources(phases), strict=True):
            found = max((resource.name, -(-work // resource.servers)), found, key=lambda x: x[1])
        return found

    def busiest_by_unit(self, plan: Plan, phases: list[int]) -> dict[str, int]:
        """Unit kind -> time (ps) of what works longest on it in `phases`; see `busiest`."""
        found: dict[str, int] = {}
        for units in self.by_role_unit:
            for unit, times in units.items():
                longest = int(times[:, phases].sum(axis=1).max())
                found[unit] = max(found.get(unit, 0), longest)
        works = self._of_resources(phases)
        for resource, unit in self.unit_of.items():
            servers = plan.program.resources[resource].servers
            found[unit] = max(found[unit], -(-works[resource] // servers))
        return found

    def _of_resources(self, phases: list[int]) -> list[int]:
        found: list[int] = self.by_resource[:, phases].sum(axis=1).tolist()
        return found

    def _begin(self, start: IntArray, phase: IntArray) -> None:
        """Let each phase begin no later than work that starts in it."""
        for p, known in enumerate(self.first_ps):
            here = start[phase == p]
            if here.size:
                begun = int(here.min())
                self.first_ps[p] = begun if known is None else min(begun, known)


@dataclass(frozen=True)
class _Sums:
    """Folds over the iterations of a role: a row for each of its actors, a column a phase."""

    edges: IntArray
    shape: tuple[int, int]
    known: dict[int, IntArray] = field(default_factory=dict)
    """Sums of durations that several roles have, by their id."""
    firsts: dict[int, tuple[IntArray, IntArray]] = field(default_factory=dict)

    @classmethod
    def of(cls, sizes: IntArray, phase: IntArray, phases: int) -> _Sums:
        """`sizes` are the iterations of each actor; `phase` is sorted within an actor."""
        cell = np.repeat(np.arange(sizes.size) * phases, sizes) + phase
        return cls(np.searchsorted(cell, np.arange(sizes.size * phases + 1)), (sizes.size, phases))

    def over(self, duration: Duration) -> IntArray:
        """Sums (ps) of a duration."""
        if not isinstance(duration, np.ndarray):
            return (np.diff(self.edges) * duration).reshape(self.shape)
        if id(duration) not in self.known:
            through = np.concatenate([[0], np.cumsum(duration, dtype=np.int64)])
            self.known[id(duration)] = np.diff(through[self.edges]).reshape(self.shape)
        return self.known[id(duration)]

    def first(self, duration: Duration) -> tuple[IntArray, IntArray]:
        """For each actor and phase the first iteration in which it takes time, and the phase."""
        each = isinstance(duration, np.ndarray)
        key = id(duration) if each else bool(duration)
        if key not in self.firsts:
            begins, ends = self.edges[:-1], self.edges[1:]
            if isinstance(duration, np.ndarray):
                taking = np.append(np.flatnonzero(duration), duration.size)
                begins = taking[np.searchsorted(taking, begins)]
            some = np.flatnonzero((begins < ends) & bool(each or duration))
            self.firsts[key] = begins[some], some % self.shape[1]
        return self.firsts[key]
