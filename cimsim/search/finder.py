"""The search of `auto`: candidates are judged on samples, the best of them are run in full."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from cimsim.schedule.pipelines import PIPELINES, Auto, Strategy
from cimsim.search.attempt import Job, Progress, attempt
from cimsim.search.candidates import named, neighbours, shaped, uniform, variants
from cimsim.search.finals import Finals, Found
from cimsim.search.trials import START_INTERVALS, Judge
from cimsim.search.widths import beside, widths

TRIAL_RUNS, TRIAL_STARTS = 1.0, 1.0
"""Choice: trials may cost so many runs of the whole workload, and so many starts of a process."""
TRIALS = 40
"""Choice: beyond so many trials little is found."""


def search(job: Job, auto: Auto, tell: Progress) -> Found:
    """The best run of `job`; raises what the simplest strategy raises where none runs.

    All is judged on the compiled engine; where `job` asks for the other, the result runs once more
    on that. Deterministic: it depends on `job` and `auto` alone. Ties go to the lower latency,
    then to the lower energy, then to the shorter text.
    """
    judged = replace(job, engine="compiled", group_tiles=True)
    judge = Judge(judged, auto.objective)
    _try_all(judge, auto, tell)
    tell("simulating the best")
    found = Finals(judge).found(auto)
    if (job.engine, job.group_tiles) == (judged.engine, judged.group_tiles):
        return found
    return replace(found, attempt=attempt(job, found.attempt.pipeline, tell))


def _try_all(judge: Judge, auto: Auto, tell: Progress) -> None:
    """Named strategies, uniform blocks and widths in any case, then what the budget is left for.

    What is the best block in a group need not be that of many clusters.
    """
    longest = max(phase.longest for phase in judge.job.workload.phases)

    def try_out(strategy: Strategy) -> None:
        tell(f"searching: {len(judge.trials)} tried")
        judge.trial(strategy)

    def improved_by(strategies: Iterable[Strategy]) -> bool:
        """Whether one of `strategies` is the best so far; the first that is ends the round."""
        before = judge.best()
        for strategy in strategies:
            if _is_spent(judge):
                return False
            try_out(strategy)
            if judge.best() is not before:
                return True
        return False

    first = sorted((*uniform(longest), *named(auto)), key=lambda one: one.barrier != "never")
    for strategy in first:
        try_out(strategy)
    for strategy in shaped(judge.times):
        improved_by([strategy])
    pmca = judge.job.architecture.pmca
    if best := judge.best():
        for strategy in widths(best.strategy, pmca):
            try_out(strategy)
    while (best := judge.best()) and improved_by(beside(best.strategy, pmca)):
        pass
    if (best := judge.best()) and best.strategy.share_clusters is not None:
        width = best.strategy.sharing
        smallest, *others = uniform(longest)
        for strategy in (smallest, PIPELINES["layer"]):
            try_out(replace(strategy, sharing=width))
        for strategy in others:
            improved_by([replace(strategy, sharing=width)])
    while (best := judge.best()) and improved_by(variants(best.strategy)):
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
