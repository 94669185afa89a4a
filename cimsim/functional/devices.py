"""Where a model computes: the CPU, or an accelerator that torch knows.

Cells are programmed and read on the CPU, and every random number is drawn there, from the counters
and generators that the CPU itself uses: what an accelerator computes differs by the rounding of its
sums alone, but where a converter rounds to another code for it.
"""

from __future__ import annotations

import copy

import torch
from torch import nn

from cimsim.errors import SpecError

KINDS = ("cpu", "cuda", "mps")


def torch_device(name: str) -> torch.device:
    """cpu, cuda, cuda:1, mps; raises SpecError for others and for what this machine lacks."""
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    kind = device.type
    if kind not in KINDS:
        raise SpecError(f"device is cpu, cuda (or cuda:1, ...) or mps, got {name!r}.")
    found = {
        "cpu": 1,
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
    }[kind]
    if (device.index or 0) >= found:
        raise SpecError(
            f"device {name!r} was asked for, torch {torch.__version__} finds "
            f"{found or 'no'} {kind} device{'s' if found != 1 else ''} here: install a build of "
            "torch for it, or compute on cpu."
        )
    return device


def on_device(model: nn.Module, name: str | None) -> nn.Module:
    """`model` itself where it is on the device that is named, or none is; else a copy there."""
    if name is None:
        return model
    device = torch_device(name)
    held = [*model.parameters(), *model.buffers()]
    if all(_same(tensor.device, device) for tensor in held):
        return model
    return copy.deepcopy(model).to(device)


def _same(one: torch.device, other: torch.device) -> bool:
    return one.type == other.type and (one.index or 0) == (other.index or 0)
