"""The course of a training as a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from cimsim.errors import TaskError
from cimsim.training.callbacks import Evaluated
from cimsim.values.arguments import checked


@checked(TaskError)
def curve_csv(losses: Sequence[float], evaluations: Sequence[Evaluated]) -> str:
    """A line a step (from 1) with its loss, and with the metrics measured after it, if any."""
    names = list(dict.fromkeys(name for each in evaluations for name in each.metrics))
    metrics = {each.step: each.metrics for each in evaluations}
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["step", "loss", *names])
    for step, loss in enumerate(losses, 1):
        table.writerow([step, loss, *(metrics.get(step, {}).get(name, "") for name in names)])
    return text.getvalue()
