"""Which arrays of a model a task rewrites: those whose mask has the largest gradient (XMA2).

A mask m multiplies all weights of an array; at m = 1 its gradient is the sum of dL/dW W over them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import nn

from cimsim.adaptation.layers.columns import ColumnLayer, array_layers, scales_of
from cimsim.functional import in_evaluation
from cimsim.tasks.task import Example, Task
from cimsim.training.losses import task_loss
from cimsim.training.parts import Rewriting
from cimsim.training.tensors import named


def rewritten_arrays(model: nn.Module) -> tuple[int, int]:
    """Arrays of `model` that are rewritten, and all of them."""
    flags = [scales_of(layer).chosen for layer in array_layers(model).values()]
    return sum(int(f.sum()) for f in flags), sum(f.numel() for f in flags)


def choose_arrays(
    model: nn.Module,
    task: Task,
    batches: Iterable[Sequence[Example]],
    part: Rewriting,
    saved: Sequence[str],
) -> None:
    """Choose the `share` of all arrays of `model` with the largest scores; none if some are.

    The first `settling` of `batches` let the modules `saved` alone learn, which end as they were;
    the next ones give the scores. Of arrays with one score the first ones count.
    """
    layers = array_layers(model)
    if rewritten_arrays(model)[0] or not layers:
        return
    scores = array_scores(model, task, batches, part, saved)
    flat = torch.cat([scores[path].flatten() for path in layers])
    order = flat.argsort(descending=True, stable=True)
    chosen = torch.zeros(len(flat), dtype=torch.bool)
    chosen[order[: round(part.share * len(flat))]] = True
    first = 0
    for layer in layers.values():
        found = scales_of(layer).chosen
        found.copy_(chosen[first : first + found.numel()].view_as(found))
        first += found.numel()


def array_scores(
    model: nn.Module,
    task: Task,
    batches: Iterable[Sequence[Example]],
    part: Rewriting,
    saved: Sequence[str],
) -> dict[str, torch.Tensor]:
    """|sum of dL/dW W| of each array, [blocks, column blocks], summed over `probe` batches."""
    layers = array_layers(model)
    weights = [layer.weight for layer in layers.values()]
    scores = {path: torch.zeros(scales_of(layer).chosen.shape) for path, layer in layers.items()}
    heads = [
        parameter
        for path, module in model.named_modules()
        if named(path, saved)
        for parameter in module.parameters()
    ]
    before = [head.detach().clone() for head in heads]
    optimiser = torch.optim.Adam(heads, lr=part.settling_rate) if heads else None
    for layer in layers.values():
        scales_of(layer).chosen.fill_(True)  # so that every weight has a gradient
    with in_evaluation(model), torch.enable_grad():
        for number, batch in enumerate(batches):
            if number == part.settling + part.probe:
                break
            loss = task_loss(task.scores(model, list(batch))[0], batch, task.metric)
            slopes = torch.autograd.grad(loss, [*weights, *heads], allow_unused=True)
            if number >= part.settling:
                for (path, layer), slope in zip(layers.items(), slopes, strict=False):
                    if slope is not None:
                        scores[path] += _by_array(slope * layer.weight.detach(), layer).cpu()
            elif optimiser is not None:
                for head, slope in zip(heads, slopes[len(weights) :], strict=True):
                    head.grad = slope
                optimiser.step()
    with torch.no_grad():
        for head, old in zip(heads, before, strict=True):
            head.copy_(old)
            head.grad = None
    for layer in layers.values():
        scales_of(layer).chosen.fill_(False)
    return scores


def _by_array(values: torch.Tensor, layer: ColumnLayer) -> torch.Tensor:
    """The magnitude of the sum of `values`, a weight's shape, over each array."""
    scales = scales_of(layer)
    down, across = scales.chosen.shape
    flat = values.flatten(1)
    room = torch.zeros((across * scales.array_columns, down * scales.rows), device=flat.device)
    room[: flat.shape[0], : flat.shape[1]] = flat
    blocks = room.view(across, scales.array_columns, down, scales.rows)
    return blocks.sum((1, 3)).T.abs()
