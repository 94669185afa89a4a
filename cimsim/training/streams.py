"""Random streams of a training, each its own: a number follows from seed, name and position.

Nothing is drawn in sequence over steps, so that a resumed training needs no generator states and
methods that differ in their noise see the same batches, initial adapter and dropout masks.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from cimsim.tasks.batching import batches
from cimsim.tasks.task import Example
from cimsim.training.parts import Schedule


def key(seed: int, stream: str, position: int = 0) -> int:
    """63-bit seed of a stream at a position (an epoch, a step)."""
    text = f"{stream} {position} {seed}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "little") >> 1


def is_clean(seed: int, step: int, share: float) -> bool:
    """Whether `step` is one of the `share` of steps on exact weights."""
    return float(np.random.default_rng(key(seed, "clean", step)).random()) < share


def step_count(examples: int, recipe: Schedule) -> int:
    """Steps of a training on so many examples, at least 1; the last batch may be small."""
    return max(1, round(recipe.epochs * math.ceil(examples / recipe.batch)))


def walk(
    examples: tuple[Example, ...], size: int, seed: int, first: int, steps: int
) -> Iterator[tuple[int, list[int]]]:
    """Steps `first` to `steps` with the numbers of their examples, each epoch in its own order."""
    step = epoch = 0
    while step < steps:
        for batch in batches(examples, size, np.random.default_rng(key(seed, "batches", epoch))):
            if step >= first:
                yield step, batch
            step += 1
            if step == steps:
                return
        epoch += 1


@contextmanager
def own_randomness(model: nn.Module) -> Iterator[None]:
    """Torch's global generators may be seeded at will inside and are as before afterwards."""
    with torch.random.fork_rng(devices=_cuda_devices(model.parameters())):
        yield


def _cuda_devices(tensors: Iterable[torch.Tensor]) -> list[int]:
    return sorted({t.device.index or 0 for t in tensors if t.device.type == "cuda"})
