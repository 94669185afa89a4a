"""A linear layer whose weights a trained binary mask lets through: Piggyback's."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from cimsim.errors import MappingError

SCORE = 1e-2
"""Score of every weight at the start. Source: Mallya et al., ECCV 2018, and their code."""
THRESHOLD = 5e-3
"""Scores above it let their weight through. Source: Mallya et al., ECCV 2018, and their code."""


class _Binary(torch.autograd.Function):
    """1 above the threshold, 0 elsewhere; the gradient passes straight through."""

    @staticmethod
    def forward(ctx: Any, scores: torch.Tensor) -> torch.Tensor:
        return (scores > THRESHOLD).to(scores.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> torch.Tensor:
        return grads[0]


class WeightMaskedLinear(nn.Linear):
    """x (M * W)^T + b with M = 1 where `scores`, trained, are above the threshold.

    `weight` [out, in] and `bias` are those of `layer`, frozen; scores have the weight's shape.
    """

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__(layer.in_features, layer.out_features, layer.bias is not None, "meta")
        self.weight, self.bias = layer.weight, layer.bias
        self.weight.requires_grad_(False)
        if self.bias is not None:
            self.bias.requires_grad_(False)
        self.scores = nn.Parameter(torch.full_like(layer.weight, SCORE))

    @property
    def mask(self) -> torch.Tensor:
        """[out, in] of 0 and 1."""
        found: torch.Tensor = _Binary.apply(self.scores)  # type: ignore[no-untyped-call]
        return found

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """X [..., in] to [..., out]."""
        return nn.functional.linear(x, self.weight * self.mask, self.bias)


def folded(model: nn.Module) -> nn.Module:
    """A copy with every masked layer a plain one of the masked weight.

    Raises MappingError for a model without masked layers.
    """
    twin = copy.deepcopy(model)
    found = [(n, m) for n, m in twin.named_modules() if isinstance(m, WeightMaskedLinear)]
    if not found:
        raise MappingError(
            f"{type(model).__name__} has no layer with a weight mask: put WeightMaskedLinear in "
            "the place of the layers that the task masks."
        )
    for name, layer in found:
        plain = nn.Linear(layer.in_features, layer.out_features, layer.bias is not None, "meta")
        plain.weight = nn.Parameter((layer.weight * layer.mask).detach(), requires_grad=False)
        plain.bias = layer.bias
        plain.train(layer.training)
        owner, _, attribute = name.rpartition(".")
        if not attribute and not name:
            return plain
        setattr(twin.get_submodule(owner), attribute, plain)
    return twin
