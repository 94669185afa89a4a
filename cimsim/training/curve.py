"""The course of a training as a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

from cimsim.errors import TaskError
from cimsim.training.callbacks import Evaluated
from cimsim.values.arguments import checked


@checked(TaskError)
def curve_csv(course: Mapping[str, Sequence[float]], evaluations: Sequence[Evaluated]) -> str:
    """A line a step (from 1): its values in `course` by name, and what was measured after it."""
    names = list(dict.fromkeys(name for each in evaluations for name in each.metrics))
    metrics = {each.step: each.metrics for each in evaluations}
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["step", *course, *names])
    for step, values in enumerate(zip(*course.values(), strict=True), 1):
        table.writerow([step, *values, *(metrics.get(step, {}).get(name, "") for name in names)])
    return text.getvalue()
