"""From a point to its row: one simulation, and what is asked of its report."""

from __future__ import annotations

import time
from collections.abc import Sequence

from cimsim.comparison import with_baseline
from cimsim.errors import MappingError, SimulationError, SpecError
from cimsim.exploration.outputs import OUTPUTS, check_outputs, values_of
from cimsim.exploration.points import Base, Point
from cimsim.exploration.rows import Row, Scalar
from cimsim.simulation import simulate


class Evaluator:
    """Rows of points of `base`, each with the values of `outputs`; it may go to other processes.

    Raises SpecError for an output that no report has.
    """

    def __init__(self, base: Base, outputs: Sequence[str] = OUTPUTS) -> None:
        check_outputs(outputs)
        self.base, self.outputs = base, tuple(outputs)

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
        done = simulate(
            workload, point.architecture, pipeline=point.pipeline, adaptation=point.adaptation,
            mapper=point.mapper,
        )  # fmt: skip
        report = done.report
        for gpu in self.base.baselines:
            report = with_baseline(report, workload, gpu)
        return values_of(done, report, self.outputs)
