"""Test examples in batches that need no padding, and one pass of a model over them.

Sequences of one batch are equally long, and batches go by length. Vectors reach a layer in the
same order however many examples a batch holds, so that noise that is numbered by vector, and with
it every result, does not depend on the batch size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from cimsim.functional import in_evaluation
from cimsim.tasks.batching import longest
from cimsim.tasks.task import Example, Task

TOKENS = 2048
"""Tokens a batch holds at most, unless one example has more: bounds the logits of a vocabulary."""
CALIBRATION_TOKENS = 1024
"""Tokens that converter ranges are calibrated on."""


@dataclass(frozen=True)
class Pass:
    """The metric of a model, and the share of examples for which it gave no answer at all.

    Only tasks that read what a model writes know such examples: all their scores are -inf.
    """

    metric: float
    unanswered_ratio: float


def in_batches(examples: Sequence[Example], size: int) -> list[list[int]]:
    """Indices of `examples` by length, at most `size` to a batch."""
    order: dict[tuple[int, int], list[int]] = {}
    for index, example in enumerate(examples):
        order.setdefault((longest(example), len(example.sequences)), []).append(index)
    batches = []
    for (length, choices), indices in sorted(order.items()):
        step = max(1, min(size, TOKENS // (length * choices)))
        batches += [indices[start : start + step] for start in range(0, len(indices), step)]
    return batches


def pass_over(
    task: Task, model: nn.Module, examples: Sequence[Example], batches: Sequence[Sequence[int]]
) -> Pass:
    """What `model` does on `examples`."""
    values = torch.empty((1, len(examples)), dtype=torch.float64)
    unanswered = 0
    with in_evaluation(model):
        for batch in batches:
            chosen = [examples[index] for index in batch]
            scores = task.scores(model, chosen)
            values[:, list(batch)] = task.values(scores, chosen).cpu().double()
            unanswered += int(torch.isneginf(scores).all(-1).sum())
    (metric,) = task.summary(values, examples)
    return Pass(float(metric), unanswered / len(examples))


def evenly(examples: Sequence[Example], tokens: int = CALIBRATION_TOKENS) -> list[Example]:
    """Examples spread over all of `examples` that hold about `tokens` tokens, padding left out."""
    if not examples:
        return []
    held = sum(len(sequence) for example in examples for sequence in example.sequences)
    count = min(len(examples), max(1, tokens * len(examples) // max(1, held)))
    return [examples[index * len(examples) // count] for index in range(count)]
