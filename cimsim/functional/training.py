"""Fresh programming noise for training.

Gaussian noise is drawn on the device that trains, for every step, from the exact cells of the
same coding. Every other device model programs its cells again on the CPU, so that `Redraw.every`
decides how often that is worth its time (HaLoRA redraws every 400 steps).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from cimsim.coding import Coding
from cimsim.crossbar import Grid
from cimsim.errors import SpecError
from cimsim.functional.operands import TorchOperands, seed_for
from cimsim.hardware import Hardware
from cimsim.noise import Gaussian, Ideal


@dataclass(frozen=True)
class Redraw:
    """After how many training steps the cells get new noise."""

    every: int = 1

    def __post_init__(self) -> None:
        if self.every < 1:
            raise SpecError(f"noise is redrawn every 1 step or more, got {self.every}.")


def can_draw(hardware: Hardware) -> bool:
    """Whether `with_fresh_noise` knows the device: Gaussian noise without wires."""
    return isinstance(hardware.device, Gaussian) and hardware.wires is None


def exact_device(hardware: Hardware) -> Hardware:
    """The same tiles with cells that hold their targets."""
    return replace(hardware, device=Ideal())


def with_fresh_noise(
    operands: TorchOperands, grid: Grid, seed: int, draw: int
) -> TorchOperands:  # fmt: skip
    """`operands` of exact cells plus one draw of the Gaussian of their hardware's device."""
    device, coding = operands.hardware.device, operands.hardware.coding
    assert isinstance(device, Gaussian)
    steps = operands.steps_KSN
    source = torch.Generator(steps.device)
    source.manual_seed(seed_for(seed, "cells", draw) >> 1)
    noisy = torch.empty_like(steps)
    for _, _, rows, columns in grid.tiles():
        tile = steps[rows, :, columns]
        z = torch.randn(tile.shape, generator=source, device=steps.device)
        noisy[rows, :, columns] = tile + z * _sigma_steps(tile, device, coding)
    return replace(operands, steps_KSN=noisy)


def _sigma_steps(tile_RSC: torch.Tensor, device: Gaussian, coding: Coding) -> torch.Tensor:
    """Standard deviation of what a column sees of each weight, in steps.

    As `noise.Gaussian`, with both cells of a differential pair: their conductances follow from
    the difference, of which one side is at g_min.
    """
    low = coding.g_min_uS / coding.step_uS
    if coding.scheme == "differential":
        cells = torch.stack([low + tile_RSC.clamp(min=0.0), low + (-tile_RSC).clamp(min=0.0)])
    else:
        cells = tile_RSC.abs()[None]
    reference = device.relative_to
    if reference == "absolute":
        sigma = torch.full_like(cells, device.sigma_uS / coding.step_uS)
    elif reference == "cell":
        sigma = cells * device.sigma_ratio
    elif reference == "column":
        sigma = (cells.amax(1, keepdim=True) * device.sigma_ratio).expand_as(cells)
    elif reference == "tensor" and coding.scaling == "tensor":
        sigma = torch.full_like(cells, device.sigma_ratio * coding.g_max_uS / coding.step_uS)
    else:
        sigma = torch.full_like(cells, device.sigma_ratio * float(cells.amax()))
    return sigma.square().sum(0).sqrt()
