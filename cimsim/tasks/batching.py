"""Batches of examples of similar length, and sequences filled up to one length."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from cimsim.tasks.task import Example

POOL_BATCHES = 16
"""Batches whose examples are sorted together: little padding, and still random batches."""


def batches(
    examples: Sequence[Example], size: int, rng: np.random.Generator | None = None
) -> list[list[int]]:
    """Indices of all `examples`, each once, in batches of `size`; the last of a sort is smaller.

    Without `rng` for evaluation: sorted by length, longest first, so that memory is needed at
    once. With it for training: shuffled, sorted by length within pools of 16 batches, and the
    batches shuffled; the same state of `rng` gives the same batches.
    """
    if size < 1:
        raise ValueError(f"a batch holds at least 1 example, got {size}.")
    lengths = [longest(example) for example in examples]
    if rng is None:
        order = sorted(range(len(examples)), key=lambda i: -lengths[i])
        return _cut(order, size)
    order = rng.permutation(len(examples)).tolist()
    found = [
        part
        for pool in _cut(order, size * POOL_BATCHES)
        for part in _cut(sorted(pool, key=lambda i: lengths[i]), size)
    ]
    return [found[i] for i in rng.permutation(len(found))]


def _cut(indices: list[int], size: int) -> list[list[int]]:
    return [indices[at : at + size] for at in range(0, len(indices), size)]


def longest(example: Example) -> int:
    """Tokens of the longest sequence of an example."""
    return max(len(sequence) for sequence in example.sequences)


def pad(sequences: Sequence[Sequence[int]], fill: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids [B, T], filled up on the right, and a mask [B, T]: 1 for tokens, 0 for filling."""
    width = max(len(sequence) for sequence in sequences)
    ids = torch.full((len(sequences), width), fill, dtype=torch.long)
    mask = torch.zeros((len(sequences), width), dtype=torch.long)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = torch.tensor(sequence, dtype=torch.long)
        mask[row, : len(sequence)] = 1
    return ids, mask
