"""Pipeline strategies side by side, as a sweep: one row of `cimsim.studies.pipelines` a point."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from cimsim.adaptation import Adaptation
from cimsim.exploration.evaluate import Evaluator
from cimsim.exploration.executors import Executor, ManyProcesses, OneProcess
from cimsim.exploration.points import Base, Point, resolve
from cimsim.exploration.rows import Row
from cimsim.exploration.sweep import Tell, sweep
from cimsim.ir import Workload
from cimsim.spec import Architecture
from cimsim.studies.layer import layer_workload
from cimsim.studies.pipelines import PipelineRow, Shape, Study
from cimsim.values.display import brief
from cimsim.values.field_paths import Value


@brief
class StrategyRows:
    """Evaluates points by `Study`: of the whole workload, or of the one layer of a `shape`."""

    def __init__(self, base: Base, shape: Shape | None = None) -> None:
        self.base, self.shape = base, shape
        self._studies: dict[tuple[str, str], Study] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return StrategyRows, (self.base, self.shape)

    def __call__(self, point: Point) -> Row:
        """The row of `point`; raises as `Study` does."""
        begun = time.perf_counter()
        key = point.architecture.digest(), repr(point.traced)
        if key not in self._studies:
            self._studies[key] = Study(point.architecture, point.mapper, point.adaptation)
        study = self._studies[key]
        found = (
            study.model(self.base.traced(point.traced), point.pipeline)
            if self.shape is None
            else study.layer(self.shape, point.pipeline)
        )
        seconds = time.perf_counter() - begun
        return Row(point.digest, point.settings, "done", found.as_dict(), "", seconds)


def compared(
    subject: Workload | Shape,
    architecture: Architecture,
    points: Sequence[Mapping[str, Value]],
    *,
    adaptation: Adaptation | str | None = None,
    workers: int = 1,
    progress: Tell | None = None,
) -> list[PipelineRow]:
    """The row of a workload, or of a layer, at each of `points`, which name its `pipeline`.

    Raises as `cimsim.sweep` does before the first point, and as `Study` does at one that cannot
    run.
    """
    shape = subject if isinstance(subject, Shape) else None
    workload = (
        subject
        if isinstance(subject, Workload)
        else layer_workload(subject.in_features, subject.out_features, subject.rank, subject.tokens)
    )

    def executor(evaluate: Evaluator) -> Executor:
        rows = StrategyRows(evaluate.base, shape)
        return OneProcess(rows) if workers == 1 else ManyProcesses(rows, workers)

    done = sweep(
        workload, architecture, points=points, adaptation=adaptation, executor=executor,
        progress=progress,
    )  # fmt: skip
    with done.store as store:
        found = {row.digest: PipelineRow(**row.values) for row in store.asked()}  # type: ignore[arg-type]
    base = Base(workload, architecture, adaptation)
    return [found[resolve(base, point).digest] for point in points]
