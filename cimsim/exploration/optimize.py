"""optimize(): a search for the designs that no other beats, in the same rows and stores as sweeps.

A search that was stopped goes on: what is stored of its space, by whatever search or sweep, is
learnt first, in its order, as if it had just been proposed, and counts as trials. So it is not the
search that would have run without the stop, but one that knows as much.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from cimsim.adaptation import Adaptation
from cimsim.baseline import Gpu
from cimsim.errors import CimsimError, LimitError
from cimsim.exploration.checks import check_keys, check_space
from cimsim.exploration.evaluate import Evaluator
from cimsim.exploration.executors import Executor
from cimsim.exploration.front import Front, front_of
from cimsim.exploration.objectives import Constraint, Objective, excess_of, parse_objectives
from cimsim.exploration.outputs import ACCURACY, BOUND, check_numbers
from cimsim.exploration.proposers import DEFAULT, SearchSetup, proposer_named
from cimsim.exploration.rivals import excess_at_best
from cimsim.exploration.rows import Row
from cimsim.exploration.scoring import Scoring
from cimsim.exploration.seeking import Progress, Seeker
from cimsim.exploration.space import Space
from cimsim.exploration.stages import SPREAD, stages_of
from cimsim.exploration.store import Store, open_store
from cimsim.exploration.sweep import Tell, axis_of, evaluator_of, executor_of
from cimsim.exploration.tables import Again
from cimsim.ir import Workload
from cimsim.mappers import Mapper
from cimsim.schedule.pipelines import Auto, Pipeline
from cimsim.spec import Architecture
from cimsim.values.arguments import Seed, checked
from cimsim.values.display import brief


@brief
@dataclass(frozen=True, eq=False)
class FrontSearch:
    """A finished search: its rows, in the store that holds them, and what it sought."""

    store: Store = field(repr=False)
    space: Space
    objectives: tuple[Objective, ...]
    constraints: tuple[Constraint, ...]
    sampler: str
    reached: Progress

    @property
    def rows(self) -> list[Row]:
        """All rows of the store, in the order in which they came."""
        return list(self.store.rows())

    @property
    def front(self) -> Front:
        """The designs that no other beats, or the best one where there is one objective.

        Raises LimitError where none keeps to the limits, and says which comes nearest.
        """
        known = (row for row in self.store.rows() if row.status != "infeasible")
        nearest = min(known, key=self._excess, default=None)
        if nearest is not None and self._excess(nearest) > 0.0:
            limits = " and ".join(str(limit) for limit in self.constraints)
            told = nearest.shortage or ", ".join(
                f"{limit.key} {nearest.values.get(limit.key)}" for limit in self.constraints
            )
            where = ", ".join(f"{name}={value}" for name, value in nearest.settings.items())
            known = (row for row in self.store.rows() if row.status != "infeasible")
            raise LimitError(
                f"none of {sum(1 for _ in known)} designs keeps to {limits}. The nearest: {told} "
                f"({where}); widen the limit, or vary more (--vary)."
            )
        return front_of(Again(self.store.rows), self.objectives, self.constraints, complete=False)

    def _excess(self, row: Row) -> float:
        """How far a design is beyond its limits, one that was not run at its best."""
        if row.status == "pruned":
            return excess_at_best(row.bounds, self.constraints)
        return excess_of(row.values, self.constraints)

    @property
    def told(self) -> str:
        """How many designs came to what, in a line."""
        now = self.reached
        parts = [f"{now.points} of {now.total} designs by {self.sampler}"]
        parts += [f"{now.done + now.beyond + now.infeasible} evaluated"]
        parts += [f"{now.pruned} ruled out by bounds"] if now.pruned else []
        parts += [f"{now.found} stored before"] if now.found else []
        parts += [f"{now.infeasible} do not fit"] if now.infeasible else []
        limits = " or ".join(str(limit) for limit in self.constraints)
        parts += [f"{now.beyond} beyond {limits}"] if now.beyond else []
        parts += [f"{now.spared} ruled out before their last stage"] if now.spared else []
        whole = self.space.size
        if whole is not None and now.points < now.total:
            parts.append(f"the space has no more than {whole} settings")
        return ", ".join(parts)

    def to_json(self) -> str:
        """Counts of designs, the front with its knee, and what binds each of its designs."""
        front = self.front
        rows = [row.flat() for row in front.rows]
        found = {
            "sampler": self.sampler,
            "objectives": [str(objective) for objective in self.objectives],
            "constraints": [str(limit) for limit in self.constraints],
            "trials": asdict(self.reached),
            "knee": front.knee,
            "front": rows,
        }
        return json.dumps(found, indent=2) + "\n"


@checked(CimsimError)
def optimize(
    workload: Workload | str | Path | None,
    architecture: Architecture | str | Path | None,
    vary: Mapping[str, object],
    objectives: str | Sequence[str],
    *,
    trials: int,
    sampler: str = DEFAULT,
    require: Sequence[str] = (),
    seed: Seed = 0,
    outputs: Sequence[str] = (),
    adaptation: Adaptation | str | None = None,
    pipeline: Pipeline | Auto | str | None = None,
    mapper: Mapper | str | None = None,
    baselines: Sequence[Gpu | str | Path] = (),
    accuracy: Scoring | Mapping[str, object] | str | None = None,
    folder: Path | None = None,
    store: str | Path | None = None,
    workers: int | None = 1,
    executor: Callable[[Evaluator], Executor] | None = None,
    progress: Tell | None = None,
) -> FrontSearch:
    """Search the space of `vary` for designs that no other beats in all `objectives`.

    Objectives are keys of a report's JSON, made small, or large after a `-` (`accuracy` the other
    way round); one alone seeks the best design. `require` are limits such as `area_used_mm2<=400`.
    `trials` designs are evaluated at most, those counted that the store had; designs that were
    proposed before cost nothing. `sampler` is `model` (cimsim's own), `random`, or one of Optuna's
    `nsga2`, `nsga3`, `tpe` and `gp`. The rest is as in `cimsim.sweep`. With one worker a search is
    the same for the same seed; with more, the order in which rows come moves it.

    Raises as `cimsim.sweep` does, and CimsimError for an objective that no report has, a sampler
    that is not known or not installed, and fewer trials than a sampler learns from.
    """
    sought, limits = parse_objectives(objectives), tuple(map(Constraint.of, require))
    space = Space({name: axis_of(name, given) for name, given in vary.items()})
    named = (*(o.key for o in sought), *(limit.key for limit in limits))
    check_numbers(named)
    keys = (*named, *outputs, BOUND)
    if any(key.partition(".")[0] == ACCURACY for key in keys):
        keys = (*keys, SPREAD)
    evaluate = evaluator_of(
        workload, architecture, tuple(dict.fromkeys(keys)), adaptation=adaptation,
        pipeline=pipeline, mapper=mapper, baselines=baselines, accuracy=accuracy, folder=folder,
        store=store,
    )  # fmt: skip
    base = evaluate.base
    proposer = proposer_named(sampler, SearchSetup(space, len(sought), trials, seed, bool(limits)))
    check_space(base, space, evaluate.scores)
    check_keys(base, space, evaluate.outputs)
    told = ",".join(objective.text for objective in sought)
    facts = {**base.facts, "outputs": ", ".join(evaluate.outputs), "objectives": told}
    kept = open_store(store, facts)
    reached = Progress(trials)
    seeker = Seeker(
        space, proposer, stages_of(base, sought, limits), sought, limits, kept, reached,
        progress or (lambda _: None),
    )  # fmt: skip
    try:
        seeker.recall(list(kept.rows()))
        seeker.run(executor_of(evaluate, workers, executor))
    except BaseException:
        kept.close()
        raise
    return FrontSearch(kept, space, sought, limits, sampler, reached)
