"""Strategies judged on parts of a workload: latency and energy of the whole, by extrapolation."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from cimsim.errors import CimsimError
from cimsim.mappers.turns import turns_of
from cimsim.schedule import Plan
from cimsim.schedule.pipelines import Aim, Replicated, ShapedBlock, Strategy, format_pipeline
from cimsim.search.aims import Rank, rank, value
from cimsim.search.attempt import Attempt, Job, attempt
from cimsim.search.candidates import plainest
from cimsim.search.shapes import ShapeTimes, shape_times
from cimsim.search.shorten import Sample, samples, with_all_layers
from cimsim.units import PS_PER_S
from cimsim.values.display import brief

LAYERS = 1, 3
"""Choice: samples have so many of the layers that repeat; two lengths give what a layer adds."""
SLOWER = 1.15
"""Choice: with barriers, what is slower by so much with the fewest layers is not tried with more:
more layers only help those that stream."""
START_INTERVALS = 2**22
"""Choice: starting a process costs as much as simulating so many intervals (measured)."""
ACTOR_INTERVALS = 350
"""Choice: laying out an actor costs as much as simulating so many intervals (measured)."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A strategy and what the whole run is estimated to take; `problem` where it does not run.

    `phases_ps` and `phases_J` have all steps of each phase, `phases_J` without what leaks:
    `phases_W` times the latency. `floor_ps` is what each phase takes at least, as far as the
    samples tell: layers that stream may add less than they do in samples, never less than nothing.
    `same_as` is the text of the strategy that runs the same here.
    """

    strategy: Strategy
    text: str
    phases_ps: tuple[float, ...] = ()
    phases_J: tuple[float, ...] = ()
    phases_W: tuple[float, ...] = ()
    floor_ps: tuple[float, ...] = ()
    problem: str = ""
    same_as: str = ""

    @property
    def latency_ps(self) -> int:
        """Of all phases."""
        return round(math.fsum(self.phases_ps))

    @property
    def energy_J(self) -> float:
        """Of all phases."""
        return self.at(self.phases_ps)[1]

    def at(self, phases_ps: Sequence[float]) -> tuple[float, float]:
        """Latency (ps) and energy (J) where phases take `phases_ps`."""
        leaked = math.fsum(
            power * time for power, time in zip(self.phases_W, phases_ps, strict=True)
        )
        return math.fsum(phases_ps), math.fsum(self.phases_J) + leaked / PS_PER_S

    def value(self, aim: Aim) -> float:
        """What `aim` makes small."""
        return value(aim, self.latency_ps, self.energy_J)

    def rank(self, aim: Aim) -> Rank:
        """The smaller the better."""
        return rank(aim, self.latency_ps, self.energy_J, self.text)


def costs(plan: Plan) -> list[float]:
    """What a run of `plan` costs, in intervals of work, by phase; laying out is in the first."""
    found = [0.0] * len(plan.phases)
    found[0] = float(ACTOR_INTERVALS * plan.program.actor_count)
    for info in plan.roles:
        for phase, count in enumerate(np.bincount(info.phase, minlength=len(found))):
            found[phase] += float(count)
    return found


@brief
@dataclass(eq=False)
class Judge:
    """Tries strategies on parts of `job`, each once, for an `aim`; `spent` is what that has cost,
    `whole_cost` what a run of the whole workload costs at most, in intervals of work, where a group
    of clusters shares vector work: more clusters are more actors.

    `times` has what each shape of stage takes in each block that was tried. `runs` counts runs of
    parts, `closer` holds the estimates from all layers and `whole` the runs of the whole workload
    that trials were.
    """

    job: Job
    aim: Aim = "latency"
    trials: dict[Strategy, Trial] = field(default_factory=dict)
    closer: dict[Strategy, Trial] = field(default_factory=dict)
    whole: dict[Strategy, Attempt] = field(default_factory=dict)
    times: ShapeTimes = field(default_factory=dict)
    spent: float = 0.0
    whole_cost: float = 0.0
    runs: int = 0
    shapes: dict[int, frozenset[str]] = field(default_factory=dict)
    firsts: dict[Strategy, float] = field(default_factory=dict)
    seen: dict[Hashable, Strategy] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.all_layers = with_all_layers(self.job.workload)
        self.samples = samples(self.job.workload, LAYERS)
        if turns_of(self.job.mapper) is not None:  # fewer layers may fit, and none is rewritten
            self.samples = [self.all_layers]

    @property
    def is_exact(self) -> bool:
        """Whether trials are runs of the whole workload; then `whole` has the best run."""
        return self.samples[0].is_whole

    def trial(self, strategy: Strategy) -> Trial:
        """The estimate for `strategy`."""
        if strategy not in self.trials:
            self.trials[strategy] = self._plainly(strategy)
        return self.trials[strategy]

    def _plainly(self, strategy: Strategy) -> Trial:
        """A trial of `strategy`, that of the plainest one which runs the same."""
        shapes = frozenset[str]().union(*self.shapes.values())
        engine = self.job.architecture.pmca.matrix_engine
        same = plainest(strategy, shapes, has_engine=engine is not None) if shapes else strategy
        if same == strategy:
            return self._try(strategy)
        known, text = self.trial(same), format_pipeline(strategy)
        return replace(known, strategy=strategy, text=text, same_as=known.same_as or known.text)

    def best(self) -> Trial | None:
        """The best trial so far."""
        return min(self.ran(), key=lambda trial: trial.rank(self.aim), default=None)

    def ran(self) -> list[Trial]:
        """The trials of strategies that run, one of those that are the same."""
        return [trial for trial in self.trials.values() if not (trial.problem or trial.same_as)]

    def look_closer(self, strategy: Strategy) -> Trial:
        """The estimate from one run with all layers and one step of each phase.

        That is the run of the whole workload where phases have one step.
        """
        if strategy not in self.closer:
            if self.samples[0].layers == self.samples[0].of:
                self.closer[strategy] = self.trial(strategy)
            else:
                self.closer[strategy] = self._look_closer(strategy)
        return self.closer[strategy]

    def gains_by_copies(self, strategy: Strategy, extra_tiles: int) -> bool:
        """Whether the shortest sample is better with all of `extra_tiles` for its own layers.

        True where that does not fit: fewer may.
        """
        sample = self.samples[0]
        machine = Replicated(extra_tiles * sample.of // sample.layers)
        asked = fitted(replace(strategy, machine=machine), sample, self.shapes.get(0))
        try:
            done = self._attempt(asked, sample)
        except CimsimError:
            return True
        return self._all_steps(sample, done) < self.firsts[strategy]

    def _look_closer(self, strategy: Strategy) -> Trial:
        sample = self.all_layers
        try:
            done = self._attempt(strategy, sample)
        except CimsimError as problem:
            return Trial(strategy, format_pipeline(strategy), problem=str(problem))
        if sample.is_whole:
            self.whole[strategy] = done
        return self._estimate(strategy, [sample], [done])

    def _try(self, strategy: Strategy) -> Trial:
        done: list[Attempt] = []
        try:
            for place, sample in enumerate(self.samples):
                asked = fitted(strategy, sample, self.shapes.get(place))
                done.append(self._attempt(asked, sample))
                self.shapes[place] = frozenset(done[-1].plan.shapes.values())
                if place == 0 and (same := self._same(strategy, done[0])):
                    return replace(
                        same, strategy=strategy, text=format_pipeline(strategy),
                        same_as=same.same_as or same.text,
                    )  # fmt: skip
                if self._is_slow(strategy, done[0]):
                    break
        except CimsimError as problem:
            return Trial(strategy, format_pipeline(strategy), problem=str(problem))
        self._measure(done, wide=strategy.share_clusters is not None)
        found = self._estimate(strategy, self.samples[: len(done)], done)
        best = self.best()
        if self.is_exact and (best is None or found.rank(self.aim) < best.rank(self.aim)):
            self.whole = {strategy: done[0]}
        return found

    def _attempt(self, strategy: Strategy, sample: Sample) -> Attempt:
        short = self.job.on(sample.workload)
        done = attempt(short, strategy, ends_only=not sample.is_whole)
        self.spent += sum(costs(done.plan))
        self.runs += 1
        return done

    def _estimate(
        self, strategy: Strategy, parts: Sequence[Sample], done: Sequence[Attempt]
    ) -> Trial:
        phases = [one.phases_ps() for one in done]
        jobs = [self.job.on(sample.workload) for sample in parts]
        powers = [one.standing_W(job) for one, job in zip(done, jobs, strict=True)]
        if len(parts) == 1 and parts[0].layers < parts[0].of:
            powers = [[0.0] * len(phases[0])]  # what leaks beside the layers is not told apart
        works = []
        for one, job, power, latency in zip(done, jobs, powers, phases, strict=True):
            spent = zip(one.energies_J(job), power, latency, strict=True)
            works.append([energy - leaks * time / PS_PER_S for energy, leaks, time in spent])
        times = whole(parts, phases)
        steps, floor = parts[0].steps, times
        if strategy.barrier == "never":
            floor = [
                time if count > 1 else min(time, last)
                for count, time, last in zip(steps, times, phases[-1], strict=True)
            ]
        return Trial(
            strategy, format_pipeline(strategy), tuple(times), tuple(whole(parts, works)),
            tuple(power / n for power, n in zip(whole(parts, powers), steps, strict=True)),
            tuple(floor),
        )  # fmt: skip

    def _same(self, strategy: Strategy, first: Attempt) -> Trial | None:
        """A trial that differs in blocks alone, and not in time or energy of the first sample."""
        job = self.job.on(self.samples[0].workload)
        spent = tuple(first.phases_ps()), tuple(first.energies_J(job))
        key = strategy.barrier, strategy.machine, strategy.sharing, spent
        known = self.seen.setdefault(key, strategy)
        return None if known == strategy else self.trials[known]

    def _is_slow(self, strategy: Strategy, first: Attempt) -> bool:
        """Whether the first sample tells enough: see `SLOWER`."""
        found = self._all_steps(self.samples[0], first)
        self.firsts[strategy] = found
        best = self.best()
        if best is None or strategy.barrier == "never":
            return False
        return found > SLOWER * self.firsts[best.strategy]

    def _all_steps(self, sample: Sample, done: Attempt) -> float:
        """What the aim makes small, of the layers of `sample` over all steps of the workload."""
        time = sum(a * b for a, b in zip(sample.steps, done.phases_ps(), strict=True))
        if self.aim == "latency":
            return time
        energies = done.energies_J(self.job.on(sample.workload))
        energy = math.fsum(a * b for a, b in zip(sample.steps, energies, strict=True))
        return value(self.aim, time, energy)

    def _measure(self, done: list[Attempt], *, wide: bool) -> None:
        cost = whole(self.samples[: len(done)], [costs(one.plan) for one in done])
        if not wide:
            self.whole_cost = max(self.whole_cost, math.fsum(cost))
        for shape, by_block in shape_times(done[-1].plan).items():
            self.times.setdefault(shape, {}).update(by_block)


def whole(parts: Sequence[Sample], values: Sequence[Sequence[float]]) -> list[float]:
    """By phase (all steps of each) what the whole workload has, from the `values` of its `parts`.

    Every layer adds what the layers between the first and the last part add; with one part as much
    as all of it.
    """
    first, last = parts[0], parts[-1]
    found = []
    for phase, steps in enumerate(first.steps):
        more = values[-1][phase]
        if last is first:
            slope = more / first.layers
        else:
            slope = (more - values[0][phase]) / (last.layers - first.layers)
        found.append(steps * (more + slope * (last.of - last.layers)))
    return found


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
