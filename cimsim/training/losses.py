"""What a step minimises: the loss of the task, and closeness to a teacher's scores.

Shapes: B examples, C choices.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn import functional

from cimsim.errors import TaskError
from cimsim.functional import in_evaluation
from cimsim.tasks.batching import batches
from cimsim.tasks.task import Example, Metric, Task
from cimsim.training.parts import Distillation

TEACHER_BATCH = 64
"""Examples that the teacher scores at a time."""


def task_loss(scores_BC: torch.Tensor, examples: Sequence[Example], metric: Metric) -> torch.Tensor:
    """Cross entropy of the right choice, or for perplexity nats per token; a scalar."""
    if metric == "perplexity":
        return -scores_BC.float().sum() / sum(counted_tokens(example) for example in examples)
    labels = torch.tensor([example.label for example in examples], device=scores_BC.device)
    return functional.cross_entropy(scores_BC.float(), labels)


def counted_tokens(example: Example) -> int:
    """Tokens that a log-likelihood is over: those from `starts` on, else all but the first."""
    starts = example.starts or (1,) * len(example.sequences)
    return sum(len(s) - start for s, start in zip(example.sequences, starts, strict=True))


def check_labels(scores_BC: torch.Tensor, examples: Sequence[Example], task: Task) -> None:
    """Raise TaskError for labels that the scores have no column for."""
    if task.metric == "perplexity":
        return
    for example in examples:
        several = len(example.sequences) > 1
        choices = len(example.sequences) if several else scores_BC.shape[-1]
        if not 0 <= example.label < choices:
            raise TaskError(
                f"task {task.name!r} has an example with label {example.label}, but {choices} "
                f"choices are scored (labels 0 to {choices - 1}): repair the data, or give the "
                "model more labels."
            )


def distilled(
    loss: torch.Tensor, scores_BC: torch.Tensor, teacher_BC: torch.Tensor, part: Distillation
) -> torch.Tensor:
    """(1 - weight) loss + weight T^2 KL(teacher || student), averaged over examples."""
    t = part.temperature
    student = functional.log_softmax(scores_BC.float() / t, -1)
    teacher = functional.log_softmax(teacher_BC[:, : scores_BC.shape[1]].float() / t, -1)
    missing = torch.isneginf(teacher)  # an example with fewer choices than others
    gap = teacher.exp() * (teacher - student).masked_fill(missing, 0.0)
    gap = gap.sum(-1).mean()
    return (1.0 - part.weight) * loss + part.weight * t * t * gap


def teacher_scores(
    model: nn.Module, task: Task, examples: Sequence[Example], tell: Callable[[int, int], None]
) -> torch.Tensor:
    """Scores [examples, C] of the exact digital model, computed once; `tell` hears how far.

    Choices that an example does not have score -inf.
    """
    if task.metric == "perplexity":
        raise TaskError(
            f"distillation compares choices, which {task.name!r} has none of: set distillation=0."
        )
    found: dict[int, torch.Tensor] = {}
    with in_evaluation(model):
        for part in batches(examples, TEACHER_BATCH):
            scores = task.scores(model, [examples[i] for i in part])[0].float().cpu()
            found.update(zip(part, scores, strict=True))
            tell(len(found), len(examples))
    width = max(len(row) for row in found.values())
    rows = [functional.pad(found[i], (0, width - len(found[i])), value=-math.inf)
            for i in range(len(examples))]  # fmt: skip
    result = torch.stack(rows)
    if bool(torch.isnan(result).any() | torch.isposinf(result).any()):
        raise TaskError("the teacher's scores are not finite: repair the adapter to start from.")
    return result
