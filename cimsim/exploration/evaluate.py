"""From a point to its row: one simulation, and what is asked of its report."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cimsim.comparison import with_baseline
from cimsim.errors import MappingError, SimulationError, SpecError
from cimsim.exploration.measured import StoredScores
from cimsim.exploration.outputs import (
    BOUND,
    OUTPUTS,
    check_outputs,
    needs_accuracy,
    values_of,
)
from cimsim.exploration.points import Base, Point
from cimsim.exploration.rivals import broken_by, told_of
from cimsim.exploration.rows import Row, Scalar
from cimsim.exploration.scoring import Scores
from cimsim.ir import Workload
from cimsim.report.least import Bounds
from cimsim.search.memory import Memory
from cimsim.simulation import Sized, figures


class Evaluator:
    """Rows of points of `base`, each with the values of `outputs`; it may go to other processes.

    What points have in common is worked out once (`Memory`): a design that differs from one before
    in costs alone is not run again, and one that its rivals rule out by its bounds is not run at
    all. Accuracies that are in the file `store` are not measured again. Raises SpecError for an
    output that no report has.
    """

    def __init__(
        self, base: Base, outputs: Sequence[str] = OUTPUTS, store: Path | None = None
    ) -> None:
        check_outputs(outputs)
        if needs_accuracy(outputs) != (base.scoring is not None):
            raise SpecError(
                "an accuracy is asked for, and no output has it: add accuracy to the outputs."
                if base.scoring is not None
                else "the output accuracy needs a task that is measured (--accuracy sentiment)."
            )
        self.base, self.outputs = base, tuple(outputs)
        self.store, self.memory = store, Memory()
        self.scores = Scores(base.folder, None if store is None else StoredScores(store))

    def __reduce__(self) -> tuple[Any, ...]:
        return Evaluator, (self.base, self.outputs, self.store)  # a memory stays with its process

    def __call__(self, point: Point) -> Row:
        """The row of `point`, which says why where it does not fit, cannot run or is ruled out."""
        begun = time.perf_counter()
        row = Row(point.digest, point.settings, "infeasible", {}, "", 0.0)
        try:
            row = self._row(point, row)
        except (MappingError, SimulationError, SpecError) as problem:
            row = replace(row, shortage=str(problem))
        return replace(row, seconds=time.perf_counter() - begun)

    def _row(self, point: Point, row: Row) -> Row:
        workload, rivals = self.base.traced(point.traced), point.rivals
        bounds: dict[str, float] = {}

        def worth(found: Bounds) -> bool:
            assert rivals is not None
            bounds.update(told_of(found, rivals.objectives, rivals.constraints))
            return not rivals.rule_out(bounds)

        done = figures(
            workload, point.architecture, point.pipeline, point.adaptation, point.mapper,
            self.memory, worth=None if rivals is None else worth, bound=BOUND in self.outputs,
        )  # fmt: skip
        if done is not None:
            return replace(row, status="done", values=self._values(workload, point, done))
        assert rivals is not None
        broken = broken_by(bounds, rivals.constraints)
        beaten = "" if broken else rivals.beaten_by(bounds)
        return replace(row, status="pruned", shortage=broken, bounds=bounds, beaten_by=beaten)

    def _values(self, workload: Workload, point: Point, done: Sized) -> dict[str, Scalar]:
        report = done.report
        for gpu in self.base.baselines:
            report = with_baseline(report, workload, gpu)
        if point.scoring is not None:
            accuracy = self.scores.of(done, point.scoring)
            report = report.model_copy(update={"accuracy": accuracy})
        return values_of(report, self.outputs, done.bound)
