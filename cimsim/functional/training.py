"""Fresh programming noise for training.

Gaussian noise is added on the device that trains, for every step, to the exact cells of the same
coding; its numbers are those of the CPU's generator on every device. Every other device model
programs its cells again on the CPU, so that `Redraw.every` decides how often that is worth its time
(HaLoRA redraws every 400 steps).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from cimsim.analog.coding import Coding
from cimsim.analog.crossbar import Cuts
from cimsim.analog.hardware import Hardware
from cimsim.errors import SpecError
from cimsim.functional.operands import TorchOperands, seed_for
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
    operands: TorchOperands, sigmas: Sequence[TileSigma], seed: int, draw: int
) -> TorchOperands:  # fmt: skip
    """`operands` of exact cells plus one draw of the Gaussian that has these `sigmas`."""
    steps = operands.steps_KSN
    source = torch.Generator()
    source.manual_seed(seed_for(seed, "cells", draw) >> 1)
    noisy = torch.empty_like(steps)
    for rows, columns, sigma in sigmas:
        tile = steps[rows, :, columns]
        z = torch.randn(tile.shape, generator=source).to(steps.device)
        torch.add(tile, z.mul_(sigma), out=noisy[rows, :, columns])
    return replace(operands, steps_KSN=noisy)


def weight_sigma(operands: TorchOperands, grid: Cuts) -> torch.Tensor:
    """Standard deviation [K, N] that the Gaussian of the hardware's device gives each weight."""
    sigma_KN = torch.empty_like(operands.steps_KSN[:, 0])
    share = operands.significance_S.square()
    for rows, columns, sigma in tile_sigmas(operands, grid):
        sigma_KN[rows, columns] = torch.einsum("ksn,s->kn", sigma.square(), share).sqrt_()
    for t, rows in enumerate(operands.rows):
        sigma_KN[rows] *= operands.gain_TN[t]
    return sigma_KN


TileSigma = tuple[slice, slice, torch.Tensor]
"""Rows, columns and standard deviation [R, S, C] in steps of a tile of exact cells.

A standard deviation that all cells of a column, or all cells, share has one entry for them.
"""


def tile_sigmas(operands: TorchOperands, grid: Cuts) -> tuple[TileSigma, ...]:
    """What the Gaussian of the hardware's device does to each tile of exact cells."""
    found: list[TileSigma] = []
    device = operands.hardware.device
    assert isinstance(device, Gaussian)
    largest = _channel_max(operands) if device.relative_to == "channel" else None
    for _, t, rows, columns in grid.tiles():
        channel = None
        if largest is not None:
            gain = operands.gain_TN[t, columns] * operands.significance_S.sum()
            channel = (largest[columns] + operands.offset_TN[t, columns]) / gain
        tile = operands.steps_KSN[rows, :, columns]
        sigma = _sigma_steps(tile, device, operands.hardware.coding, channel)
        found.append((rows, columns, sigma))
    return tuple(found)


def _channel_max(operands: TorchOperands) -> torch.Tensor:
    """Largest weight magnitude [N] of each output."""
    largest = torch.zeros_like(operands.gain_TN[0])
    for t, rows in enumerate(operands.rows):
        seen = torch.einsum("ksn,s->kn", operands.steps_KSN[rows], operands.significance_S)
        held = seen * operands.gain_TN[t] - operands.offset_TN[t]
        largest = torch.maximum(largest, held.abs().amax(0))
    return largest


def _sigma_steps(
    tile_RSC: torch.Tensor, device: Gaussian, coding: Coding, channel_C: torch.Tensor | None
) -> torch.Tensor:
    """Standard deviation of what a column sees of each weight, in steps.

    As `noise.Gaussian`, with both cells of a differential pair: their conductances follow from
    the difference, of which one side is at g_min.
    """
    low = coding.g_min_uS / coding.step_uS
    if channel_C is not None and device.relative_to == "channel":
        cells = tile_RSC[None, :1]
        if coding.scheme == "differential":
            channel_C, cells = low + channel_C, torch.cat([cells, cells])
    elif coding.scheme == "differential":
        cells = torch.stack([low + tile_RSC.clamp(min=0.0), low + (-tile_RSC).clamp(min=0.0)])
    else:
        cells = tile_RSC.abs()[None]
    reference = device.relative_to
    if reference == "absolute":
        sigma = torch.full_like(cells[:, :1, :, :1], device.sigma_uS / coding.step_uS)
    elif channel_C is not None:
        sigma = (channel_C * device.sigma_ratio).expand_as(cells)
    elif reference == "cell":
        sigma = cells * device.sigma_ratio
    elif reference == "column":
        sigma = cells.amax(1, keepdim=True) * device.sigma_ratio
    elif reference == "tensor" and coding.scaling == "tensor":
        whole = device.sigma_ratio * coding.g_max_uS / coding.step_uS
        sigma = torch.full_like(cells[:, :1, :, :1], whole)
    else:
        whole = device.sigma_ratio * float(cells.amax())
        sigma = torch.full_like(cells[:, :1, :, :1], whole)
    return sigma.square().sum(0).sqrt()
