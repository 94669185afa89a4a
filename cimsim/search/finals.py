"""The end of a search: the best candidates with all layers, the best of these in full."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cimsim.errors import CimsimError
from cimsim.report.chosen import Candidate, Search
from cimsim.schedule.pipelines import PIPELINES, Auto, Barrier, Sharing, Strategy, format_pipeline
from cimsim.search.aims import Rank, rank, value
from cimsim.search.attempt import Attempt, attempt
from cimsim.search.candidates import copying
from cimsim.search.trials import START_INTERVALS, Judge, Trial
from cimsim.units import ps_to_seconds
from cimsim.values.display import brief

CLOSER = 3
"""Choice: so many candidates at most are run with all layers."""
FINALS = 2
"""Choice: so many are run in full at most."""
SPENT = 3.0
"""Choice: copies are tried while all before cost at most so many runs of the whole workload and a
start; of the 5 that a search may cost in all, one is the run in full."""
CLOSE = 0.99
"""Choice: candidates with the same barriers, whose estimates err alike, are told apart down to a
hundredth by estimates."""


@brief
@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """The run of the best strategy, and how it was found."""

    attempt: Attempt
    search: Search


class Finals:
    """Candidates of `judge` that might be the best, run until one is.

    Layers that wait for each other add up. Layers that stream add less than the first ones of a
    sample do, which may share clusters: that estimate is too long, by the same share for all that
    stream, and one run with all layers tells the share.
    """

    def __init__(self, judge: Judge) -> None:
        self.judge = judge
        self.aim = judge.aim
        self.simulated: dict[Strategy, tuple[int, float]] = {}
        self.problems: dict[Strategy, str] = {}
        self.best: tuple[Rank, Attempt] | None = None

    def found(self, auto: Auto) -> Found:
        """The best; raises what the simplest strategy raises where none runs."""
        ordered = sorted(self.judge.ran(), key=self._rank)
        if self.judge.is_exact:
            for strategy, done in self.judge.whole.items():
                self._take(strategy, done)
        else:
            self._look_closer(ordered)
            self._copy(auto)
            self._run_best()
        if self.best is None:
            done = attempt(self.judge.job, PIPELINES["token"])
            return Found(done, self._search(auto, done))
        return Found(self.best[1], self._search(auto, self.best[1]))

    def _look_closer(self, ordered: list[Trial]) -> None:
        """Run the best with all layers, then what might be better, with a name first."""
        named = [trial for trial in ordered[1:] if trial.strategy.name in PIPELINES]
        others = [trial for trial in ordered[1:] if trial.strategy.name not in PIPELINES]
        for trial in (*ordered[:1], *named, *others):
            if self._may_win(trial):
                self.judge.look_closer(trial.strategy)

    def _copy(self, auto: Auto) -> None:
        """Try copies with the best so far, over all layers: a sample may have too few tiles."""
        best = min(self._closer(), key=self._rank, default=None)
        if best is None:
            return
        copies = list(copying(best.strategy, auto))
        if copies and self.judge.gains_by_copies(best.strategy, auto.extra_tiles):
            for strategy in copies:
                if self.judge.spent <= SPENT * self.judge.whole_cost + START_INTERVALS:
                    self.judge.look_closer(strategy)

    def _may_win(self, trial: Trial) -> bool:
        known = self._closer()
        if not known:
            return True
        if len(known) >= CLOSER:
            return False
        ratios = self._ratios(trial.strategy)
        expected = _expected(trial, ratios) if ratios else trial.at(trial.floor_ps)
        return CLOSE * value(self.aim, *expected) < min(other.value(self.aim) for other in known)

    def _rank(self, trial: Trial) -> Rank:
        return trial.rank(self.aim)

    def _closer(self) -> list[Trial]:
        return [trial for trial in self.judge.closer.values() if not trial.problem]

    def _ratios(self, alike: Strategy) -> list[float] | None:
        """By phase, what one run with all layers took over its estimate; None where none told."""
        for strategy, closer in self.judge.closer.items():
            trial = self.judge.trials.get(strategy)
            if trial and _waits(strategy) == _waits(alike) and not closer.problem:
                before = trial.phases_ps
                return [b / a if a else 1.0 for a, b in zip(before, closer.phases_ps, strict=True)]
        return None

    def _run_best(self) -> None:
        for trial in sorted(self._closer(), key=self._rank):
            done = self.judge.whole.get(trial.strategy)
            if done is not None:
                self._take(trial.strategy, done)
            elif self.best is None or (
                len(self.simulated) < FINALS and trial.value(self.aim) < self.best[0][0]
            ):
                self._run(trial.strategy)

    def _run(self, strategy: Strategy) -> None:
        try:
            done = attempt(self.judge.job, strategy)
        except CimsimError as problem:
            self.problems[strategy] = str(problem)
        else:
            self._take(strategy, done)

    def _take(self, strategy: Strategy, done: Attempt) -> None:
        spent = done.ends.makespan_ps, math.fsum(done.energies_J(self.judge.job))
        self.simulated[strategy] = spent
        place = rank(self.aim, *spent, format_pipeline(strategy))
        if self.best is None or place < self.best[0]:
            self.best = place, done

    def _search(self, auto: Auto, done: Attempt) -> Search:
        tried = self.judge.closer | self.judge.trials
        named = {trial.text: trial for trial in tried.values()}
        rows = sorted(
            (self._row(trial, named.get(trial.same_as, trial)) for trial in tried.values()),
            key=self._order,
        )
        return Search(
            asked=format_pipeline(auto), objective=self.aim,
            chosen=format_pipeline(done.pipeline), runs=self.judge.runs, candidates=tuple(rows),
        )  # fmt: skip

    def _order(self, row: Candidate) -> tuple[bool, float, float, int, str]:
        """Best first, what does not run last."""
        time, energy = row.estimated_s, row.estimated_J
        best = value(self.aim, time or 0.0, energy or 0.0)
        return time is None, best, time or 0.0, len(row.pipeline), row.pipeline

    def _row(self, trial: Trial, same: Trial) -> Candidate:
        """What is told of a trial, with the estimate of the one that runs the same."""
        closer = self.judge.closer.get(same.strategy)
        problem = trial.problem or (closer.problem if closer else "")
        estimate: tuple[float, float] | None = None
        if not problem:
            ratios = None if closer else self._ratios(same.strategy)
            estimate = _expected(closer or same, ratios)
        simulated = self.simulated.get(trial.strategy)
        return Candidate(
            pipeline=trial.text,
            estimated_s=estimate and ps_to_seconds(round(estimate[0])),
            estimated_J=estimate and estimate[1],
            simulated_s=simulated and ps_to_seconds(simulated[0]),
            simulated_J=simulated and simulated[1],
            problem=problem or self.problems.get(trial.strategy, ""),
            same_as=trial.same_as,
        )


def _waits(strategy: Strategy) -> tuple[Barrier, Sharing]:
    """What decides how far estimates err: who waits for whom, and for how many clusters."""
    return strategy.barrier, strategy.sharing


def _expected(trial: Trial, ratios: Sequence[float] | None) -> tuple[float, float]:
    """Latency (ps) and energy (J) of a trial, each phase as much shorter as `ratios` say."""
    if ratios is None:
        return trial.at(trial.phases_ps)
    return trial.at([a * b for a, b in zip(trial.phases_ps, ratios, strict=True)])
