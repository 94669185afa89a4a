"""A layer whose cells hold the wrong weights and whose converters are ideal.

This is what training methods state, W + dW, at the cost of the digital layer: the error of the
cells is added to the weight itself, which a cell without error leaves as it is, bit for bit. Every
weight is held, so nothing is clipped and dW is that of cells whose g_max stands for the largest
weight. Cells sized for a clipped range would be as quiet as those that do clip, at no price.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import nn
from torch.func import functional_call

from cimsim.functional.layers import AnalogLayer, Copy
from cimsim.functional.operands import (
    Deployment,
    Ranges,
    read_out,
    seed_for,
    torch_operands,
    weight_errors,
)
from cimsim.functional.sites import Layer
from cimsim.functional.training import Redraw, can_draw, exact_device, weight_sigma


class WeightLayer(AnalogLayer):
    """A linear layer with the weights that its cells hold; no converters, no quantisation.

    The weight of a copy is W + (read - aimed at), both as unclipped cells give them at the time of
    the recipe, so that the rounding of targets drops out. Noise of every single read
    (`each_mvm`) belongs to the converters and is left out.
    """

    def __init__(
        self, name: str, layer: Layer, recipe: Deployment, seeds: tuple[int, ...], replicas: int,
        redraw: Redraw,
    ) -> None:  # fmt: skip
        tiles = recipe.hardware
        whole = replace(recipe, hardware=replace(tiles, coding=tiles.coding.unclipped()))
        super().__init__(name, layer, whole, seeds, replicas, "torch", redraw)
        self._original = (layer,)  # in a tuple: no second owner of the parameters
        self._held: dict[int, tuple[tuple[object, ...], torch.Tensor]] = {}
        self._sigma: dict[int, tuple[tuple[object, ...], torch.Tensor]] = {}

    @property
    def calibrated(self) -> bool:
        """Always: nothing converts."""
        return True

    def calibrate(self, rows_BK: torch.Tensor) -> None:
        """Nothing to do."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """As the digital layer, with the weights of each chip for its part of the batch."""
        if any(len(copies) > 1 for copies in self._copies):
            return super().forward(x)
        draws = self._parts(x)
        parts = [
            self._call(copies[0], part)
            for copies, part in zip(self._copies, x.chunk(draws), strict=True)
        ]
        return parts[0] if draws == 1 else torch.cat(parts)

    def _call(self, copy: Copy, x: torch.Tensor) -> torch.Tensor:
        layer: nn.Module = self._original[0]
        named = {"weight": self._weight(copy)}
        out: torch.Tensor = functional_call(layer, named, x, tie_weights=False)
        return out

    def _copy(self, copy: Copy, x_BK: torch.Tensor, first: int) -> torch.Tensor:
        weight = self._weight(copy)
        weight_KN = weight if self._transposed else weight.flatten(1).T
        if self.columns is not None:
            weight_KN = weight_KN * self.columns.spread(len(weight_KN)).T
        return x_BK @ weight_KN

    def _weight(self, copy: Copy) -> torch.Tensor:
        """The weight that a copy holds now, in the layout of the layer."""
        trained = self.weight.requires_grad and torch.is_grad_enabled()
        draw = self._draw if self.training else -1
        key = (draw, trained, *self._key(copy))
        found = self._held.get(copy.seed)
        if found is None or found[0] != key:
            error = self._laid_out(self._error(copy, draw)).to(self.weight.dtype)
            found = key, error if trained else self.weight.detach() + error
            self._held[copy.seed] = found
        return self.weight + found[1] if trained else found[1]

    def _laid_out(self, weight_KN: torch.Tensor) -> torch.Tensor:
        if self._transposed:
            return weight_KN
        return weight_KN.T.reshape(self.weight.shape)

    def _error(self, copy: Copy, draw: int) -> torch.Tensor:
        """What the cells hold more than they were aimed at, [K, N]."""
        if draw >= 0 and can_draw(self.recipe.hardware):
            sigma = self._spread(copy)
            source = torch.Generator()
            source.manual_seed(seed_for(copy.seed, "cells", draw) >> 1)
            return torch.randn(sigma.shape, generator=source).to(sigma.device) * sigma
        seed = copy.seed if draw < 0 else seed_for(copy.seed, f"{self.name} step {draw}", 0)
        error = weight_errors(self.weight_KN(), self.recipe, seed, copy.places)
        return torch.from_numpy(error).to(self.weight.device)

    def _spread(self, copy: Copy) -> torch.Tensor:
        key = self.state()
        found = self._sigma.get(copy.seed)
        if found is None or found[0] != key:
            hardware = self.recipe.hardware
            exact = replace(self.recipe, hardware=exact_device(hardware), t_s=0.0)
            aimed = read_out(self.weight_KN(), exact, copy.seed)
            unused = Ranges(hardware.dac, np.ones((len(aimed.gain_TN), 1), np.float32))
            operands = torch_operands(aimed, hardware, unused, self.weight.device)
            found = key, weight_sigma(operands, self.recipe.grid)
            self._sigma[copy.seed] = found
        return found[1]
