"""What clipping of weights costs: the share of a layer's output that its tiles never hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from cimsim.errors import SpecError
from cimsim.functional.layers import AnalogLayer
from cimsim.functional.mode import in_evaluation
from cimsim.functional.model import Chip, Samples
from cimsim.functional.padding import Padding
from cimsim.functional.sites import find_sites
from cimsim.values.arguments import checked

LOOKED_AT = 256
"""Vectors of each use of a layer that are looked at, the first ones."""


@dataclass
class _Powers:
    whole: float = 0.0
    taken: float = 0.0


@checked(SpecError)
def clipping_losses(chip: Chip, samples: Samples) -> dict[str, float]:
    """Share of each layer's output norm that clipping of its weight takes, by weight.

    Measured on `samples`, the arguments of one call of the model, whose padding does not count: the
    norm of x (W - clipped W) over that of x W, in exact arithmetic. Empty where nothing is clipped.
    """
    coding = chip.hardware.coding
    if coding == coding.unclipped():
        return {}
    layers = chip.at().layers
    args, kwargs = ((), samples) if isinstance(samples, Mapping) else (samples, {})
    padding = Padding.of(chip.model, args, kwargs)
    powers = {name: _Powers() for name in layers}
    hooks = [
        site.layer.register_forward_pre_hook(_measured(layers[name], powers[name], padding))
        for name, site in find_sites(chip.model).items()
        if name in layers
    ]
    try:
        with in_evaluation(chip.model):
            chip.model(*args, **kwargs)
    finally:
        for hook in hooks:
            hook.remove()
    return {
        name: math.sqrt(power.taken / power.whole) if power.whole > 0.0 else 0.0
        for name, power in powers.items()
    }


def _measured(layer: AnalogLayer, power: _Powers, padding: Padding | None) -> Any:
    weight = layer.weight_KN().detach().to("cpu", torch.float64)
    away = torch.from_numpy(layer.clipped_away()).to(weight)

    def measure(module: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        layer.padding = padding
        rows = layer.tokens_of(args[0].detach())[:LOOKED_AT].to("cpu", torch.float64)
        layer.padding = None
        power.whole += float((rows @ weight).square().sum())
        power.taken += float((rows @ away).square().sum())

    return measure
