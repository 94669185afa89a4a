"""HaLoRA's regulariser: the factor of the gap between clean and noisy training it can bound.

Letters: M matrices of one rank r, K inputs, N outputs of an adapted layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import peft
import torch
from torch import nn

from cimsim.errors import TaskError
from cimsim.training.parts import Norm, Penalty
from cimsim.values.arguments import checked


def factors(model: nn.Module) -> tuple[tuple[torch.Tensor, torch.Tensor], ...]:
    """A [r, K] and B [N, r] of every layer with an active LoRA adapter.

    Of a convolution K are the values of a patch, as they stand in arrays.
    """
    return tuple(_factors(model))


def _factors(model: nn.Module) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    for module in model.modules():
        if not isinstance(module, peft.tuners.lora.LoraLayer):
            continue
        for name in module.active_adapters:
            if name in module.lora_A:
                a, b = module.lora_A[name].weight, module.lora_B[name].weight
                assert isinstance(a, torch.Tensor)
                assert isinstance(b, torch.Tensor)
                yield a.flatten(1), b.flatten(1)


@checked(TaskError)
def regulariser(
    pairs: tuple[tuple[torch.Tensor, torch.Tensor], ...], penalty: Penalty
) -> torch.Tensor:
    """The penalty mu times the sum or mean over layers of ||A A^T|| + ||B^T B||, a scalar.

    Both Gram matrices are r x r; the spectral norm is their largest singular value, the square
    of that of A or B. The scale alpha / r of the adapter is left out, as in the formula of Wu et
    al., arXiv 2502.19747 (Eq. 12), which says "Euclidean norm", prints index 2 and does not say
    how layers are put together. Raises TaskError without layers.
    """
    if not pairs:
        raise TaskError("mu acts on LoRA layers and the model has none: give it an adapter.")
    grams: dict[int, list[torch.Tensor]] = {}
    for a, b in pairs:
        grams.setdefault(len(a), []).extend((a @ a.T, b.T @ b))
    total = sum_of_norms(grams, penalty.norm)
    return penalty.mu * (total / len(pairs) if penalty.reduction == "mean" else total)


def sum_of_norms(grams: Mapping[int, list[torch.Tensor]], norm: Norm) -> torch.Tensor:
    """Norms of square matrices, those of one size [M, r, r] at a time."""
    order = 2 if norm == "spectral" else "fro"
    found = [
        torch.linalg.matrix_norm(torch.stack(group), ord=order).sum() for group in grams.values()
    ]
    return torch.stack(found).sum()
