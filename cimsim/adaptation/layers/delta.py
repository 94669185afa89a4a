"""A linear layer with a task's difference beside the pretrained weight, y = W0 x + D x."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import linear

from cimsim.adaptation.layers.columns import hardened

THRESHOLD = 0.7
"""Source: Li and Liu, Ternary Weight Networks, arXiv 1605.04711: of the mean magnitude."""


class DeltaLinear(nn.Module):
    """`base_layer`, frozen, and a difference [out, in] of -s, 0 or s, with one s an output.

    `difference` is trained; its ternary form acts, and its gradient passes straight through.
    """

    def __init__(self, layer: nn.Linear, difference: torch.Tensor | None = None) -> None:
        super().__init__()
        self.base_layer = layer.requires_grad_(False)
        given = torch.zeros_like(layer.weight) if difference is None else difference
        if given.shape != layer.weight.shape:
            raise ValueError(
                f"a difference of shape {tuple(given.shape)} beside a weight of "
                f"{tuple(layer.weight.shape)}: they are equal"
            )
        self.difference = nn.Parameter(given.detach().clone())

    @property
    def delta(self) -> torch.Tensor:
        """The difference as cells hold it, [out, in]."""
        return hardened(self.difference, ternary(self.difference.detach()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """X [..., in] to [..., out], nothing merged."""
        y: torch.Tensor = self.base_layer(x)
        return y + linear(x, self.delta)


def ternary(difference: torch.Tensor) -> torch.Tensor:
    """-s, 0 or s for each value of [out, in]: s is the mean magnitude above the threshold.

    Source: Li and Liu, arXiv 1605.04711.
    """
    # In double precision a sum of equal values is exact: what is ternary stays as it is.
    size = difference.abs().double()
    kept = size > THRESHOLD * size.mean(1, keepdim=True)
    scale = (size * kept).sum(1, keepdim=True) / kept.sum(1, keepdim=True).clamp_min(1)
    return difference.sign() * kept * scale.to(difference.dtype)


def delta_layers(model: nn.Module) -> dict[str, DeltaLinear]:
    """Layers with a difference, by path."""
    return {path: part for path, part in model.named_modules() if isinstance(part, DeltaLinear)}
