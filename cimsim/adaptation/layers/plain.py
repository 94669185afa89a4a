"""Linear layers and convolutions as they are without what a task puts on them."""

from __future__ import annotations

from torch import nn

from cimsim.adaptation.layers.columns import ColumnLayer
from cimsim.adaptation.layers.delta import DeltaLinear
from cimsim.adaptation.layers.masked import MaskedLayer
from cimsim.adaptation.layers.shared import plain_layer


def without_masks(model: nn.Module) -> nn.Module:
    """`model`, in which a plain layer takes the place of every one with masks, numbers or a delta.

    They share parameters, and are `tuned`, but for gated ones beside LoRA, which are adapted. What
    a task has there is said by its adaptation, not by the workload.
    """
    kinds = MaskedLayer | ColumnLayer | DeltaLinear
    for name, layer in [(n, m) for n, m in model.named_modules() if isinstance(m, kinds)]:
        if isinstance(layer, DeltaLinear):
            plain: nn.Module = layer.base_layer
        else:
            plain = plain_layer(layer)
            plain.weight, plain.bias = layer.weight, layer.bias
        plain.tuned = not name.endswith("base_layer")  # type: ignore[assignment]
        if not name:
            return plain
        model.set_submodule(name, plain)
    return model
