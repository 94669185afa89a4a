"""Strategies judged on samples of a workload: latency and energy of the whole, by extrapolation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from cimsim.errors import CimsimError
from cimsim.schedule import Plan
from cimsim.schedule.pipelines import Replicated, ShapedBlock, Strategy, format_pipeline
from cimsim.search.attempt import Attempt, Job, attempt
from cimsim.search.shapes import ShapeTimes, shape_times
from cimsim.search.shorten import Sample, samples
from cimsim.values.display import brief

LAYERS = 1, 3
"""Choice: samples have so many of the layers that repeat; two lengths give what a layer adds."""
SLOWER = 1.15
"""Choice: with barriers, what is slower by so much with the fewest layers is not tried with more:
more layers only help those that stream."""
ACTOR_INTERVALS = 350
"""Choice: laying out an actor costs as much as simulating so many intervals (measured)."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A strategy and what the whole run is estimated to take; `problem` where it does not run."""

    strategy: Strategy
    text: str
    latency_ps: int = 0
    energy_J: float = 0.0
    problem: str = ""

    @property
    def rank(self) -> tuple[int, float, int, str]:
        """The smaller the better: latency, energy, then the simpler name."""
        return self.latency_ps, self.energy_J, len(self.text), self.text


def costs(plan: Plan) -> list[float]:
    """What a run of `plan` costs, in intervals of work, by phase; laying out is in the first."""
    found = [0.0] * len(plan.phases)
    found[0] = float(ACTOR_INTERVALS * len(plan.actors))
    for info in plan.actors:
        for phase, count in enumerate(np.bincount(info.phase, minlength=len(found))):
            found[phase] += float(count)
    return found


@brief
@dataclass(eq=False)
class Judge:
    """Tries strategies on samples of `job`, each once; `spent` is what that has cost,
    `whole_cost` what a run of the whole workload costs at most, in intervals of work.

    `times` has what each shape of stage takes in each block that was tried.
    """

    job: Job
    trials: dict[Strategy, Trial] = field(default_factory=dict)
    times: ShapeTimes = field(default_factory=dict)
    spent: float = 0.0
    whole_cost: float = 0.0
    kept: Attempt | None = None
    shapes: dict[int, frozenset[str]] = field(default_factory=dict)
    firsts: dict[Strategy, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.samples = samples(self.job.workload, LAYERS)

    @property
    def is_exact(self) -> bool:
        """Whether trials are runs of the whole workload; then `kept` is the best run."""
        return self.samples[0].is_whole

    def trial(self, strategy: Strategy) -> Trial:
        """The estimate for `strategy`."""
        if strategy not in self.trials:
            self.trials[strategy] = self._try(strategy)
        return self.trials[strategy]

    def best(self) -> Trial | None:
        """The best trial so far."""
        ran = [trial for trial in self.trials.values() if not trial.problem]
        return min(ran, key=lambda trial: trial.rank, default=None)

    def _try(self, strategy: Strategy) -> Trial:
        done, text = [], format_pipeline(strategy)
        try:
            for place, sample in enumerate(self.samples):
                asked = fitted(strategy, sample, self.shapes.get(place))
                short = self.job.on(sample.workload)
                done.append(attempt(short, asked, ends_only=not self.is_exact))
                self.spent += sum(costs(done[-1].plan))
                self.shapes[place] = frozenset(done[-1].plan.shapes.values())
                if self._is_slow(strategy, done[0]):
                    break
        except CimsimError as problem:
            return Trial(strategy, text, problem=str(problem))
        self._measure(done)
        samples = self.samples[: len(done)]
        phases = [one.phases_ps() for one in done]
        energies = [
            one.energies_J(self.job.on(sample.workload))
            for one, sample in zip(done, samples, strict=True)
        ]
        found = Trial(strategy, text, round(self._whole(phases)), self._whole(energies))
        best = self.best()
        if self.is_exact and (best is None or found.rank < best.rank):
            self.kept = done[0]
        return found

    def _is_slow(self, strategy: Strategy, first: Attempt) -> bool:
        """Whether the first sample tells enough: see `SLOWER`."""
        steps = self.samples[0].steps
        time = sum(a * b for a, b in zip(steps, first.phases_ps(), strict=True))
        self.firsts[strategy] = time
        best = self.best()
        if best is None or strategy.barrier == "never":
            return False
        return time > SLOWER * self.firsts[best.strategy]

    def _measure(self, done: list[Attempt]) -> None:
        self.whole_cost = max(self.whole_cost, self._whole([costs(one.plan) for one in done]))
        for shape, by_block in shape_times(done[-1].plan).items():
            self.times.setdefault(shape, {}).update(by_block)

    def _whole(self, values: Sequence[Sequence[float]]) -> float:
        """The sum over phases (all steps of each) of the whole workload, from those of samples.

        Every layer adds what the layers between the first and the last sample add; with one sample
        as much as all of it.
        """
        first, last = self.samples[0], self.samples[len(values) - 1]
        total = []
        for phase, steps in enumerate(first.steps):
            more, slope = values[-1][phase], 0.0
            if last is first:
                slope = more / first.layers
            else:
                slope = (more - values[0][phase]) / (last.layers - first.layers)
            total.append(steps * (more + slope * (last.of - last.layers)))
        return math.fsum(total)


def fitted(strategy: Strategy, sample: Sample, known: frozenset[str] | None) -> Strategy:
    """`strategy` for a sample, which has its share of the tiles for copies and of the shapes.

    `known` are its shapes, where a run has told.
    """
    blocks, machine = strategy.blocks, strategy.machine
    if isinstance(blocks, ShapedBlock) and known is not None:
        blocks = replace(blocks, sizes=tuple(pair for pair in blocks.sizes if pair[0] in known))
    if isinstance(machine, Replicated):
        tiles = machine.extra_tiles * sample.layers // sample.of
        machine = replace(machine, extra_tiles=tiles)
    return replace(strategy, blocks=blocks, machine=machine)
