"""Costs of a run with one number at an end of its range.

Energies and powers move no time: one plan of a part of the workload, with all of them
changed by factors of their own, tells which component follows which number; energies of the whole
run are then folded anew, exactly. What the factors leave open is laid out anew, number by number.
Any other number moves time: a part of the workload (three of its equal layers, one step of each
phase) is run at both ends, and phases and components of the whole run move as those of the part
do. The numbers that move latency most are run in full.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np

from cimsim.errors import CimsimError, SpecError
from cimsim.schedule import Plan
from cimsim.schedule.pipelines import Pipeline, Strategy
from cimsim.search import Job
from cimsim.search.shorten import samples
from cimsim.search.trials import fitted
from cimsim.studies.sensitivity.costs import Costs, planned, planned_costs, run_costs, standing
from cimsim.studies.sensitivity.numbers import Ranged
from cimsim.values.display import brief
from cimsim.values.reads import Reads, agrees, watched

LAYERS = 3
"""Choice: layers of the part that times are taken from; fewer tell nothing of streaming. One is
enough to see which component follows which number."""
SAME = 1e-9
"""Choice: two factors are one where they differ by less; rounding is far below."""


def is_leakage(component: str) -> bool:
    """Whether a component is leakage that does not grow with the latency."""
    return component.startswith("leakage.")


def _each(number: Ranged) -> list[dict[str, float]]:
    return [{number.path: value} for value in number.ends]


By = Literal["fold", "part", "run"]


@brief
@dataclass(frozen=True)
class BothEnds:
    """Costs of the whole run with `number` at its low and high end, and how they were found."""

    number: Ranged
    low: Costs
    high: Costs
    by: By


@brief
@dataclass(frozen=True)
class Probe:
    """Tries numbers of the machine of `job` under a fixed strategy.

    `base` are the costs of the whole run, laid out in `plan`.
    """

    job: Job
    pipeline: Pipeline
    base: Costs
    plan: Plan

    def folded(self, numbers: Sequence[Ranged]) -> list[BothEnds]:
        """BothEnds of numbers that move no time."""
        if not numbers:
            return []
        follows, open_paths = self._followers(numbers)
        return [self._fold(number, follows, open_paths) for number in numbers]

    def timed(
        self, numbers: Sequence[Ranged], runs: int, tell: Callable[[str], None]
    ) -> list[BothEnds]:
        """BothEnds of numbers that may move time; the `runs` that move it most are run in full."""
        if not numbers:
            return []
        found = []
        for place, number in enumerate(numbers, 1):
            tell(f"{number.path}, {place} of {len(numbers)}")
            ends = [self._carried(number, value) for value in number.ends]
            found.append(BothEnds(number, ends[0], ends[1], by="part"))
        reach = {e.number.path: abs(e.high.latency_s - e.low.latency_s) for e in found}
        first = sorted((p for p in reach if reach[p]), key=lambda path: (-reach[path], path))[:runs]
        return [self._run(e.number, tell) if e.number.path in first else e for e in found]

    def halved_and_doubled(
        self, numbers: Sequence[Ranged], tell: Callable[[str], None]
    ) -> list[tuple[Ranged, Costs | None, Costs | None]]:
        """Costs of the whole run with each number at its low and high end, alone.

        None where the machine does not run. Energies and powers are folded anew, exactly; times are
        of a part of the workload.
        """
        folding = [n for n in numbers if n.folds and all(map(self._stands, _each(n)))]
        ends = {e.number.path: (e.low, e.high) for e in self.folded(folding)}
        found: list[tuple[Ranged, Costs | None, Costs | None]] = []
        for place, number in enumerate(numbers, 1):
            if number.path in ends:
                found.append((number, *ends[number.path]))
                continue
            tell(f"{number.path}, {place} of {len(numbers)} without a range")
            tried = [self._carried_or_none(number, v) for v in number.ends]
            found.append((number, tried[0], tried[1]))
        return found

    def _stands(self, values: Mapping[str, float]) -> bool:
        try:
            self._with(self.job, values)
        except CimsimError:
            return False
        return True

    def _carried_or_none(self, number: Ranged, value: float) -> Costs | None:
        try:
            return self._carried(number, value)
        except CimsimError:
            return None

    def _followers(self, numbers: Sequence[Ranged]) -> tuple[dict[str, str], set[str]]:
        """Component -> the number that it is proportional to; numbers behind all other changes."""
        part = self._part(1)
        times = (1.0,) * len(part.job.workload.phases)
        before = part._components(part.job, times)
        factors = np.random.default_rng(0).uniform(1.01, 1.1, len(numbers))
        by_path = {n.path: float(f) for n, f in zip(numbers, factors, strict=True) if n.value}
        changed = {n.path: n.value * by_path[n.path] for n in numbers if n.value}
        after = part._components(self._with(part.job, changed), times)
        follows: dict[str, str] = {}
        mixed = after.keys() != before.keys()
        for component, energy in before.items():
            ratio = after.get(component, 0.0) / energy if energy else 1.0
            near = [path for path, factor in by_path.items() if abs(ratio - factor) < SAME]
            if near:
                follows[component] = near[0]
            elif abs(ratio - 1.0) > SAME:
                mixed = True
        zero = {n.path for n in numbers if not n.value}
        left = {n.path for n in numbers} - (set() if mixed else by_path.keys())
        return follows, left | zero

    def _components(self, job: Job, times: tuple[float, ...]) -> dict[str, float]:
        """Energy (J) of each component that is no leakage."""
        found = planned_costs(job, self.pipeline, times).dynamic_J
        return {name: energy for name, energy in found.items() if not is_leakage(name)}

    def _fold(self, number: Ranged, follows: Mapping[str, str], open_paths: set[str]) -> BothEnds:
        if number.path in open_paths:
            times = self.base.phases_s
            jobs = [self._with(self.job, {number.path: value}) for value in number.ends]
            ends = [self._tried(number, job, times) for job in jobs]
            return BothEnds(number, ends[0], ends[1], by="fold")
        found = []
        for value in number.ends:
            machine = self.job.architecture.with_values({number.path: value})
            factor = value / number.value
            dynamic = {
                name: energy * factor if follows.get(name) == number.path else energy
                for name, energy in self.base.dynamic_J.items()
            }
            fixed, power = standing(self.plan, machine, self.base.phases_s)
            found.append(Costs(dynamic | fixed, power, self.base.phases_s))
        return BothEnds(number, found[0], found[1], by="fold")

    @cached_property
    def _short(self) -> tuple[Probe, Costs, Reads]:
        """The same on a part that times are taken from, its costs, and what they come from."""
        part, reads = self._part(LAYERS), Reads()
        seen = replace(part.job, architecture=watched(part.job.architecture, reads))
        return part, run_costs(seen, part.pipeline), reads

    def _carried(self, number: Ranged, value: float) -> Costs:
        """Costs of the whole run that move as those of the part do."""
        part, at_part, reads = self._short
        job = self._with(part.job, {number.path: value})
        alike = agrees(job.architecture, reads)
        there = at_part if alike else part._tried(number, job, None)
        times = tuple(
            base * new / old if old else base
            for base, new, old in zip(
                self.base.phases_s, there.phases_s, at_part.phases_s, strict=True
            )
        )
        dynamic = {
            name: energy * there.dynamic_J.get(name, 0.0) / at_part.dynamic_J[name]
            if at_part.dynamic_J.get(name)
            else energy
            for name, energy in self.base.dynamic_J.items()
        }
        return Costs(dynamic, standing(self.plan, job.architecture, times)[1], times)

    def _run(self, number: Ranged, tell: Callable[[str], None]) -> BothEnds:
        found = []
        for value in number.ends:
            tell(f"{number.path} {value:g}, in full")
            found.append(self._tried(number, self._with(self.job, {number.path: value}), None))
        return BothEnds(number, found[0], found[1], by="run")

    def _tried(self, number: Ranged, job: Job, phases_s: tuple[float, ...] | None) -> Costs:
        try:
            if phases_s is None:
                return run_costs(job, self.pipeline)
            return planned_costs(job, self.pipeline, phases_s)
        except CimsimError as error:
            raise SpecError(
                f"the machine does not run at an end of the range of {number.path}, "
                f"{number.low:g} to {number.high:g}: {error} Narrow the range."
            ) from error

    def _with(self, job: Job, values: Mapping[str, float]) -> Job:
        return replace(job, architecture=job.architecture.with_values(dict(values)))

    def _part(self, layers: int) -> Probe:
        """The same on a part of the workload, under the strategy with what the part has of it."""
        sample = samples(self.job.workload, (layers,))[0]
        job, pipeline = self.job.on(sample.workload), self.pipeline
        if isinstance(pipeline, Strategy):
            bare = fitted(pipeline, sample, frozenset())
            shapes = planned(job, bare).plan.shapes.values()
            pipeline = fitted(pipeline, sample, frozenset(shapes))
        return replace(self, job=job, pipeline=pipeline)
