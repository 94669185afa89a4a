"""Evaluation mode for a while, and the mode in which a part of a model learns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from cimsim.errors import SpecError
from cimsim.values.arguments import checked

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@contextmanager
def in_evaluation(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; every module has its own mode back afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


@checked(SpecError)
def learning(model: nn.Module) -> None:
    """Put `model` into training mode, but for batch normalisation without weights that learn.

    Its statistics are the pretrained model's, as Piggyback keeps them: they belong to no task, and
    the tiles that they are folded into are not written again.
    """
    model.train()
    for module in model.modules():
        learns = any(p.requires_grad for p in module.parameters(recurse=False))
        if isinstance(module, NORMS) and not learns:
            module.eval()
