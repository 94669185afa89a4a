"""A small residual network, and how each strategy learns a task."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path

import torch
from data import CLASSES, SIDE, ImageTask, task
from torch import nn

from cimsim.frontend import trace_module
from cimsim.ir import Workload
from cimsim.spec import Architecture
from cimsim.tasks import TaskModel
from cimsim.training import (
    Execution,
    LoraShape,
    Masking,
    Method,
    Schedule,
    Trained,
    adapted,
    train,
)

WIDTHS = (16, 32, 64)
TARGETS = ("conv", "conv1", "conv2", "short.0")
NAME = "residual_28"
BASE = Method("base", Schedule(epochs=3.0, batch=64, learning_rate=3e-3), None)


def _method(name: str, rate: float, masking: Masking | None = None) -> Method:
    """Choice for all: 2,000 images five times in batches of 32, heads at 2e-2."""
    recipe = Schedule(
        epochs=5.0, batch=32, learning_rate=rate, warmup_ratio=0.06, head_rate=2e-2
    )  # fmt: skip
    return Method(name, recipe, None, masking=masking)


METHODS = {
    "frozen": _method("frozen", 2e-2, Masking(("head",))),
    "full": _method("full", 3e-3),
    "piggyback": _method("piggyback", 3e-3, Masking()),
    "xbm": _method("xbm", 3e-3, Masking(kind="gate")),
    "xma": _method("xma", 0.1, Masking(kind="shift", bits=2)),
    "scales": _method("scales", 3e-2, Masking(kind="scale", bits=8)),
}
"""Rates were chosen once, on the loss over the training images of `turned`, seed 0."""


class Block(nn.Module):
    """He et al., CVPR 2016: two convolutions beside an identity or a projection."""

    def __init__(self, into: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(into, width, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.short: nn.Module = nn.Identity()
        if stride > 1 or into != width:
            self.short = nn.Sequential(
                nn.Conv2d(into, width, 1, stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """An image to an image."""
        y = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.norm2(self.conv2(y)) + self.short(x))


class Residual(nn.Module):
    """One convolution and a block for each width, the mean over places, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, WIDTHS[0], 3, 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(WIDTHS[0])
        into = (WIDTHS[0], *WIDTHS)
        self.blocks = nn.Sequential(
            *(
                Block(a, b, 1 if i == 0 else 2)
                for i, (a, b) in enumerate(zip(into, WIDTHS, strict=False))
            )
        )
        self.head = nn.Linear(WIDTHS[-1], CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits [B, 10] of images [B, 1, 28, 28]."""
        y = self.blocks(torch.relu(self.norm(self.conv(images))))
        return self.head(y.mean((-2, -1)))


def wrapped(module: nn.Module) -> TaskModel:
    """The network as cimsim trains it."""
    return TaskModel(NAME, "encoder", module.eval(), None, TARGETS, ("head",))


@cache
def base(folder: Path, work: Path) -> nn.Module:
    """The network that has learnt the garments as they are; kept in `work`."""
    path = work / "base.pt"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = Residual()
    if path.exists():
        module.load_state_dict(torch.load(path))
    else:
        module = train(wrapped(module), task(folder, "base"), BASE).model
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(module.state_dict(), path)
    return module.eval().requires_grad_(False)


def start(folder: Path, work: Path, seed: int) -> TaskModel:
    """The base network with a new head, drawn by `seed`."""
    module = copy.deepcopy(base(folder, work))
    source = torch.Generator().manual_seed(seed)
    nn.init.normal_(module.head.weight, std=0.02, generator=source)
    nn.init.zeros_(module.head.bias)
    return wrapped(module)


def learnt(
    strategy: str, data: ImageTask, model: TaskModel, machine: Architecture, seed: int
) -> Trained:
    """`model` with what `strategy` learns of `data`, for the arrays of `machine`."""
    return train(
        model, data, METHODS[strategy], architecture=machine, seed=seed,
        execution=Execution(threads=1),
    )  # fmt: skip


def priced() -> Workload:
    """One image through the network, with LoRA on what tasks adapt and a head of the task's own."""
    return traced(adapted(wrapped(Residual()), LoraShape(rank=8, alpha=16.0)).eval())


def traced(module: nn.Module) -> Workload:
    """One image through `module`."""
    return trace_module(module, {"images": torch.zeros(1, 1, SIDE, SIDE)}, name=NAME)
