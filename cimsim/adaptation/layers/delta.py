"""A linear layer with a task's difference beside the pretrained weight, y = W0 x + D x."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import nn
from torch.nn.functional import linear

from cimsim.adaptation.layers.columns import hardened
from cimsim.errors import MappingError

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


class DeltaOnArrays(nn.Module):
    """Base and difference as two matrices, each read through its own converters: their sum."""

    def __init__(self, layer: nn.Linear, delta: torch.Tensor) -> None:
        super().__init__()
        self.base_layer = layer
        self.delta = nn.Linear(layer.in_features, layer.out_features, bias=False, device="meta")
        self.delta.weight = nn.Parameter(delta.detach().clone(), requires_grad=False)
        self.train(layer.training)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """X [..., in] to [..., out]."""
        y: torch.Tensor = self.base_layer(x)
        added: torch.Tensor = self.delta(x)
        return y + added


def on_arrays(model: nn.Module, beside: Mapping[str, str]) -> nn.Module:
    """A copy of `model` with matrices for base and difference on the layers of `beside`.

    `beside` has the name of the difference of each weight; where none was trained it is 0. Raises
    MappingError for a model without differences, and for one that has no place or no linear layer.
    """
    twin = copy.deepcopy(model)
    layers = delta_layers(twin)
    if not layers:
        raise MappingError(
            f"delta runs differences beside weights, and {type(model).__name__} has none: train "
            "them with cimsim.adaptation.layers.delta.DeltaLinear (cimsim train --method delta)."
        )
    if homeless := [path for path in layers if f"{path}.weight" not in beside]:
        raise MappingError(
            f"{homeless[0]} has a difference, for which the mapping has no arrays: map the model "
            "that it was trained with."
        )
    for weight in beside:
        path = weight.removesuffix(".weight")
        layer = layers.get(path)
        base = twin.get_submodule(path) if layer is None else layer.base_layer
        if not isinstance(base, nn.Linear):
            raise MappingError(
                f"{path} is a {type(base).__name__}: differences are beside linear layers."
            )
        delta = torch.zeros_like(base.weight) if layer is None else layer.delta
        twin.set_submodule(path, DeltaOnArrays(base, delta))
    return twin


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
