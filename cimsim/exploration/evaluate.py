"""From a point to its row: one simulation, and what is asked of its report."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from cimsim.comparison import with_baseline
from cimsim.errors import MappingError, SimulationError, SpecError
from cimsim.exploration.outputs import (
    BOUND,
    OUTPUTS,
    bound_of,
    check_outputs,
    needs_accuracy,
    values_of,
)
from cimsim.exploration.points import Base, Point
from cimsim.exploration.rows import Row, Scalar
from cimsim.exploration.scoring import Scores
from cimsim.ir import Workload
from cimsim.search.memory import Memory
from cimsim.simulation import figures, simulate


class Evaluator:
    """Rows of points of `base`, each with the values of `outputs`; it may go to other processes.

    What points have in common is worked out once (`Memory`): a design that differs from one before
    in costs alone is not run again. What binds a run is asked of a run of its own. Raises SpecError
    for an output that no report has.
    """

    def __init__(self, base: Base, outputs: Sequence[str] = OUTPUTS) -> None:
        check_outputs(outputs)
        if needs_accuracy(outputs) != (base.scoring is not None):
            raise SpecError(
                "an accuracy is asked for, and no output has it: add accuracy to the outputs."
                if base.scoring is not None
                else "the output accuracy needs a task that is measured (--accuracy sentiment)."
            )
        self.base, self.outputs = base, tuple(outputs)
        self.memory, self._scores = Memory(), Scores(base.folder)

    def __reduce__(self) -> tuple[Any, ...]:
        return Evaluator, (self.base, self.outputs)  # a memory stays with its process

    def __call__(self, point: Point) -> Row:
        """The row of `point`; of one that does not fit or cannot run the row that says why."""
        begun = time.perf_counter()
        values: dict[str, Scalar] = {}
        shortage = ""
        try:
            values = self._values(point)
        except (MappingError, SimulationError, SpecError) as problem:
            shortage = str(problem)
        return Row(
            digest=point.digest,
            settings=point.settings,
            status="infeasible" if shortage else "done",
            values=values,
            shortage=shortage,
            seconds=time.perf_counter() - begun,
        )

    def _values(self, point: Point) -> dict[str, Scalar]:
        workload = self.base.traced(point.traced)
        done = figures(
            workload, point.architecture, point.pipeline, point.adaptation, point.mapper,
            self.memory,
        )  # fmt: skip
        report = done.report
        for gpu in self.base.baselines:
            report = with_baseline(report, workload, gpu)
        if point.scoring is not None:
            accuracy = self._scores.of(done, point.scoring)
            report = report.model_copy(update={"accuracy": accuracy})
        bound = self._bound(workload, point) if BOUND in self.outputs else None
        return values_of(report, self.outputs, bound)

    def _bound(self, workload: Workload, point: Point) -> str:
        return bound_of(
            simulate(
                workload, point.architecture, pipeline=point.pipeline,
                adaptation=point.adaptation, mapper=point.mapper,
            )
        )  # fmt: skip
