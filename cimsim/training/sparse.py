"""Which neurons of LoRA learn, and in which order examples come: by Fisher information.

Empirical Fisher information of an example is the square of the gradient of its log-likelihood,
here of the parameters of LoRA. Shapes: N neurons (rows of A, rows of B), E examples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from cimsim.functional import in_evaluation
from cimsim.tasks.batching import batches
from cimsim.tasks.task import Example, Task
from cimsim.training.losses import task_loss
from cimsim.training.parts import SparseUpdate
from cimsim.training.streams import key
from cimsim.values.display import brief


@brief
@dataclass(frozen=True, eq=False)
class Fisher:
    """Scores [N] of the neurons of each LoRA matrix, and the difficulty [E] of each example."""

    neurons: dict[str, torch.Tensor]
    difficulty: torch.Tensor


def lora_matrices(model: nn.Module) -> dict[str, nn.Parameter]:
    """The trained matrices A [rank, in] and B [out, rank] by name: a row is a neuron.

    Those of a convolution are its kernels, [rank, in, height, width] and [out, rank, 1, 1].
    """
    return {
        name: parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and (".lora_A." in name or ".lora_B." in name)
    }


def fisher(
    model: nn.Module,
    task: Task,
    examples: Sequence[Example],
    momentum: float,
    tell: Callable[[int, int], None] = lambda done, count: None,
) -> Fisher:
    """Fisher information of the LoRA of `model`, one example after the other, in their order.

    An example changes a score by (1 - momentum) of the difference to its own; the first is taken
    as it is. An example's difficulty is its Fisher information summed over all of LoRA.
    """
    matrices = lora_matrices(model)
    scores: dict[str, torch.Tensor] = {}
    difficulty = torch.zeros(len(examples), dtype=torch.float64)
    with in_evaluation(model), torch.enable_grad():
        for at, example in enumerate(examples):
            loss = task_loss(task.scores(model, [example])[0], [example], task.metric)
            slopes = torch.autograd.grad(loss, list(matrices.values()), allow_unused=True)
            for (name, matrix), slope in zip(matrices.items(), slopes, strict=True):
                square = torch.zeros_like(matrix) if slope is None else slope.square()
                own = square.cpu().double().flatten(1).sum(1)
                scores[name] = own if at == 0 else momentum * scores[name] + (1 - momentum) * own
                difficulty[at] += float(own.sum())
            tell(at + 1, len(examples))
    return Fisher(scores, difficulty)


def chosen(neurons: torch.Tensor, share: float) -> torch.Tensor:
    """True for the `share` of neurons [N] with the largest scores, at least for one."""
    count = max(1, round(share * len(neurons)))
    found = torch.zeros(len(neurons), dtype=torch.bool)
    found[neurons.cpu().argsort(descending=True, stable=True)[:count]] = True
    return found


def easy_first(
    order: Sequence[int],
    examples: Sequence[Example],
    part: SparseUpdate,
    size: int,
    seed: int,
    first: int,
    steps: int,
) -> Iterator[tuple[int, list[int]]]:
    """Steps `first` to `steps` with the numbers of their examples, from the easy ones on.

    `order` has the numbers of all `examples` from easy to hard. A pass goes over its first
    `begin` share, which grows in proportion to the steps taken, to all at half of them.
    """
    step = epoch = 0
    while step < steps:
        share = min(1.0, part.begin + (1.0 - part.begin) * 2.0 * step / steps)
        known = order[: max(1, round(share * len(order)))]
        source = np.random.default_rng(key(seed, "curriculum", epoch))
        for batch in batches([examples[i] for i in known], size, source):
            if step >= first:
                yield step, [known[i] for i in batch]
            step += 1
            if step == steps:
                return
        epoch += 1
