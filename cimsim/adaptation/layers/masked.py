"""Linear layers and convolutions whose weights a trained binary mask lets through: Piggyback's."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from cimsim.adaptation.layers.shared import conv_arguments, plain_layer, share_frozen
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
        self.scores = _scores(self, layer)

    @property
    def mask(self) -> torch.Tensor:
        """Of 0 and 1, [out, in]."""
        return _mask(self.scores)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """X [..., in] to [..., out]."""
        return nn.functional.linear(x, self.weight * self.mask, self.bias)


class WeightMaskedConv2d(nn.Conv2d):
    """The same of a convolution, whose kernel and bias are those of `layer`, frozen."""

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__(**conv_arguments(layer))
        self.scores = _scores(self, layer)

    @property
    def mask(self) -> torch.Tensor:
        """Of 0 and 1, in the kernel's shape."""
        return _mask(self.scores)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """An image to an image."""
        out: torch.Tensor = self._conv_forward(input, self.weight * self.mask, self.bias)
        return out


MaskedLayer = WeightMaskedLinear | WeightMaskedConv2d


def masked_layer(layer: nn.Linear | nn.Conv2d) -> MaskedLayer:
    """`layer` with a mask that lets all of its weights through."""
    return WeightMaskedLinear(layer) if isinstance(layer, nn.Linear) else WeightMaskedConv2d(layer)


def _mask(scores: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = _Binary.apply(scores)  # type: ignore[no-untyped-call]
    return found


def _scores(mine: MaskedLayer, layer: nn.Linear | nn.Conv2d) -> nn.Parameter:
    """Scores of the weights that `mine` shares with `layer`."""
    share_frozen(mine, layer)
    return nn.Parameter(torch.full_like(layer.weight, SCORE))


def folded(model: nn.Module) -> nn.Module:
    """A copy with every masked layer a plain one of the masked weight.

    Raises MappingError for a model without masked layers.
    """
    twin = copy.deepcopy(model)
    found = [(n, m) for n, m in twin.named_modules() if isinstance(m, MaskedLayer)]
    if not found:
        raise MappingError(
            f"{type(model).__name__} has no layer with a weight mask: put masked_layer(layer) in "
            "the place of the layers that the task masks."
        )
    for name, layer in found:
        plain = plain_layer(layer)
        plain.weight = nn.Parameter((layer.weight * layer.mask).detach(), requires_grad=False)
        plain.bias = layer.bias
        plain.train(layer.training)
        if not name:
            return plain
        twin.set_submodule(name, plain)
    return twin
