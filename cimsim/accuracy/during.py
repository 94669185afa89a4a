"""What a training is measured by as it goes: the task, digital and on chips under one noise."""

from __future__ import annotations

from collections.abc import Mapping as Named

from torch import nn

from cimsim.accuracy.evaluate import evaluate, protected_for
from cimsim.accuracy.placing import as_mapped
from cimsim.accuracy.trials import Trials
from cimsim.errors import TaskError
from cimsim.ir import Workload
from cimsim.mapping import Mapping
from cimsim.spec import Architecture
from cimsim.tasks.task import Task
from cimsim.training import Evaluating
from cimsim.values.arguments import checked


@checked(TaskError)
def evaluating(
    task: Task, mapping: Mapping, architecture: Architecture, trials: Trials, every: int,
    workload: Workload | None = None,
) -> Evaluating:  # fmt: skip
    """Evaluate on the test examples of `task` every `every` training steps.

    The metrics are called after the task's: `accuracy` of the digital model, `accuracy_noisy` and
    `accuracy_noisy_std` over the chips of `trials` (no std of a single one). `workload` is the one
    that was mapped, needed where it was with `protected`. Nothing of the
    training depends on them. Raises TaskError for more than one noise or time.
    """
    if len(trials.noises) * len(trials.states) != 1:
        raise TaskError("a training is evaluated under one noise at one time: give one of each.")

    def measure(model: nn.Module) -> Named[str, float]:
        module = as_mapped(model, mapping)
        if workload is not None:
            module = protected_for(task, module, mapping, workload)
        found = evaluate(task, module, mapping, architecture, trials)
        spread = found.points[0].spread
        metrics = {found.metric: found.digital, f"{found.metric}_noisy": spread.mean}
        if spread.std is not None:
            metrics[f"{found.metric}_noisy_std"] = spread.std
        return metrics

    return Evaluating(every, measure)
