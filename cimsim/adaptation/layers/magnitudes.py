"""Magnitudes of DoRA (Liu et al., ICML 2024) as a factor for each output, folded once a task."""

from __future__ import annotations

import torch


def output_scales(
    weight: torch.Tensor, change: torch.Tensor, magnitude: torch.Tensor
) -> torch.Tensor:
    """G = m / ||W0 + change||, a value an output: [out] from two of [out, in] and m of [out].

    The norm is a constant to the gradient, as in PEFT.
    """
    norm: torch.Tensor = torch.linalg.norm(weight.detach() + change.detach(), dim=1)
    return magnitude / norm.to(magnitude.dtype)


def scaled(y: torch.Tensor, scales: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """`scales` times y [..., out] but for the bias that is in it: g (y - b) + b."""
    return scales * y if bias is None else scales * y + (1.0 - scales) * bias
