"""DoRA of PEFT as the machine runs it: magnitudes folded once a task, nothing merged.

PEFT computes the norm of the merged weight in every pass, through A and B themselves; tiles cannot,
and need not: g = m / ||W0 + s B A|| is a factor for each output.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from peft.tuners.lora.layer import Linear as LoraLinear
from peft.tuners.lora.variants import DoraLinearVariant
from torch import nn

from cimsim.adaptation.layers.magnitudes import output_scales, scaled


class FoldedDora(DoraLinearVariant):
    """y = g (W0 x + s B A x) + b on a LoRA layer of PEFT."""

    @staticmethod
    def forward(
        module: Any, active_adapter: str, x: torch.Tensor, result: torch.Tensor, **kwargs: Any
    ) -> torch.Tensor:
        """`result` is W0 x + b."""
        a, b = module.lora_A[active_adapter], module.lora_B[active_adapter]
        scaling = module.scaling[active_adapter]
        y = result + b(a(module.lora_dropout[active_adapter](x))) * scaling
        magnitude, base = module.lora_magnitude_vector[active_adapter].weight, _base(module)
        if x.is_meta:  # a trace sees shapes: two folded vectors, one for a bias
            folded: torch.Tensor = y * magnitude
            return folded if base.bias is None else folded + magnitude
        weight = base.weight.T if module.fan_in_fan_out else base.weight
        scales = output_scales(weight, scaling * (b.weight.detach() @ a.weight.detach()), magnitude)
        return scaled(y, scales, base.bias)


def _base(module: Any) -> Any:
    """The layer below, which may be one on tiles."""
    return module.base_layer


def has_dora(model: nn.Module) -> bool:
    """Whether a LoRA layer of `model` has magnitudes."""
    return any(True for _ in _dora(model))


def fold_dora(model: nn.Module) -> None:
    """Let every DoRA layer of `model` compute as the machine does."""
    for layer, name in _dora(model):
        layer.lora_variant[name] = FoldedDora()


def with_folded_dora(model: nn.Module) -> nn.Module:
    """`model` itself without DoRA, else a copy around the same parameters with it folded."""
    if not has_dora(model):
        return model
    shared = {id(t): t for t in (*model.parameters(), *model.buffers())}
    twin = copy.deepcopy(model, shared)
    fold_dora(twin)
    return twin


def _dora(model: nn.Module) -> list[tuple[Any, str]]:
    return [
        (layer, name)
        for layer in model.modules()
        if isinstance(layer, LoraLinear)
        for name, variant in layer.lora_variant.items()
        if isinstance(variant, DoraLinearVariant)
    ]
