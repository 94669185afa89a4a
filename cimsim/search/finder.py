"""The search of `auto`: candidates are judged on samples, the best of them are run in full."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from cimsim.errors import CimsimError
from cimsim.report.chosen import Candidate, Search
from cimsim.schedule.pipelines import PIPELINES, Auto, Strategy, format_pipeline
from cimsim.search.attempt import Attempt, Job, Progress, attempt
from cimsim.search.candidates import named, neighbours, shaped, uniform, variants
from cimsim.search.trials import Judge, Trial
from cimsim.units import ps_to_seconds
from cimsim.values.display import brief

START_INTERVALS = 2**22
"""Choice: starting a process costs as much as simulating so many intervals (measured)."""
TRIAL_RUNS, TRIAL_STARTS = 1.0, 1.0
"""Choice: trials may cost so many runs of the whole workload, and so many starts of a process."""
TRIALS = 40
"""Choice: beyond so many trials little is found."""
FINALS = 3
"""Choice: so many candidates are run in full at most."""
SLACK, CLOSE = 0.9, 0.99
"""Choice: a named strategy is run in full where this share of its estimate would win: the second
with the barriers of the winner, whose estimates err alike."""


@brief
@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """The run of the best strategy, and how it was found."""

    attempt: Attempt
    search: Search


def search(job: Job, auto: Auto, tell: Progress) -> Found:
    """The best run of `job`; raises what the simplest strategy raises where none runs.

    All is judged on the compiled engine; where `job` asks for the other, the result runs once more
    on that. Deterministic: it depends on `job` and `auto` alone. Ties of latency go to the lower
    energy, then to the shorter text.
    """
    judged = replace(job, engine="compiled", group_tiles=True)
    judge = Judge(judged)
    _try_all(judge, auto, tell)
    tell("simulating the best")
    found = _Finals(judged, judge).found(auto)
    if (job.engine, job.group_tiles) == (judged.engine, judged.group_tiles):
        return found
    return replace(found, attempt=attempt(job, found.attempt.pipeline, tell))


def _try_all(judge: Judge, auto: Auto, tell: Progress) -> None:
    """Named strategies and uniform blocks in any case, then what the budget is left for."""
    longest = max(phase.tokens for phase in judge.job.workload.phases)

    def improved_by(strategies: Iterable[Strategy]) -> bool:
        """Whether one of `strategies` is the best so far; the first that is ends the round."""
        before = judge.best()
        for strategy in strategies:
            if _is_spent(judge):
                return False
            tell(f"searching: {len(judge.trials)} tried")
            judge.trial(strategy)
            if judge.best() is not before:
                return True
        return False

    first = sorted((*uniform(longest), *named(auto)), key=lambda one: one.barrier != "never")
    for strategy in first:
        tell(f"searching: {len(judge.trials)} tried")
        judge.trial(strategy)
    for strategy in shaped(judge.times):
        improved_by([strategy])
    while (best := judge.best()) and improved_by(variants(best.strategy, auto)):
        pass
    order = sorted(judge.times, key=lambda shape: -_weight(judge, shape))
    while any(_climb(judge, shape, longest, improved_by) for shape in order):
        pass


def _climb(
    judge: Judge, shape: str, longest: int, improved_by: Callable[[Iterable[Strategy]], bool]
) -> bool:
    """Whether other blocks for `shape` are better; goes on as long as they are."""
    found = False
    while (best := judge.best()) and improved_by(
        neighbours(best.strategy, shape, judge.times, longest)
    ):
        found = True
    return found


def _weight(judge: Judge, shape: str) -> float:
    """How much a shape matters: its latency and its work in the smallest block."""
    by_block = judge.times[shape]
    return sum(by_block[min(by_block)])


def _is_spent(judge: Judge) -> bool:
    allowed = TRIAL_RUNS * judge.whole_cost + TRIAL_STARTS * START_INTERVALS
    return judge.spent >= allowed or len(judge.trials) >= TRIALS


class _Finals:
    """Runs of the whole workload: the best candidate, and named ones that might beat it."""

    def __init__(self, job: Job, judge: Judge) -> None:
        self.job, self.judge = job, judge
        self.best: tuple[tuple[int, float, int, str], Attempt] | None = None
        self.simulated: dict[Strategy, int] = {}
        self.problems: dict[Strategy, str] = {}

    def found(self, auto: Auto) -> Found:
        ordered = sorted(
            (trial for trial in self.judge.trials.values() if not trial.problem),
            key=lambda trial: trial.rank,
        )
        if self.judge.is_exact and self.judge.kept is not None:
            self._take(ordered[0], self.judge.kept)
        for trial in ordered:
            if self.best is None or self._may_win(trial):
                self._run(trial)
        if self.best is None:
            return self._simplest(auto)
        return Found(self.best[1], self._search(auto, self.best[1]))

    def _may_win(self, trial: Trial) -> bool:
        """Whether a run in full might show that a named strategy is better."""
        assert self.best is not None
        if (
            self.judge.is_exact
            or len(self.simulated) >= FINALS
            or trial.strategy.name not in PIPELINES
        ):
            return False
        first = next(iter(self.simulated))
        share = SLACK
        if first.barrier == trial.strategy.barrier:
            share = CLOSE * self.simulated[first] / max(1, self.judge.trials[first].latency_ps)
        return share * trial.latency_ps < self.best[0][0]

    def _run(self, trial: Trial) -> None:
        try:
            done = attempt(self.job, trial.strategy)
        except CimsimError as problem:
            self.problems[trial.strategy] = str(problem)
        else:
            self._take(trial, done)

    def _take(self, trial: Trial, done: Attempt) -> None:
        latency = done.ends.makespan_ps
        self.simulated[trial.strategy] = latency
        text = trial.text
        rank = latency, sum(done.energies_J(self.job)), len(text), text
        if self.best is None or rank < self.best[0]:
            self.best = rank, done

    def _simplest(self, auto: Auto) -> Found:
        """Where no candidate runs: the error of the simplest strategy."""
        done = attempt(self.job, PIPELINES["token"])
        return Found(done, self._search(auto, done))

    def _search(self, auto: Auto, done: Attempt) -> Search:
        trials = sorted(
            self.judge.trials.values(), key=lambda trial: (bool(trial.problem), trial.rank)
        )
        rows = [
            Candidate(
                pipeline=trial.text,
                estimated_s=None if trial.problem else ps_to_seconds(trial.latency_ps),
                simulated_s=_seconds(self.simulated.get(trial.strategy)),
                problem=trial.problem or self.problems.get(trial.strategy, ""),
            )
            for trial in trials
        ]
        return Search(
            asked=format_pipeline(auto), chosen=format_pipeline(done.pipeline),
            runs=len(trials) * len(self.judge.samples), candidates=tuple(rows),
        )  # fmt: skip


def _seconds(time_ps: int | None) -> float | None:
    return None if time_ps is None else ps_to_seconds(time_ps)
