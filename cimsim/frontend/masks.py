"""Attention masks: which tokens see which others, read from the numbers of the mask.

A mask that cannot be read, or that is neither causal nor a window, is kept as a problem until a
softmax over tokens uses it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from cimsim.frontend.recording import Call, Value

MASKED_BELOW = -1e4
"""An added mask value below this hides a position; masks use -1e4, the least float, or -inf."""


@dataclass(frozen=True)
class Mask:
    """A token sees none after it where `causal`, and none `window` or more tokens away.

    `problem` says why the mask is not known or not supported.
    """

    causal: bool = False
    window: int | None = None
    problem: str | None = None

    @property
    def plain(self) -> bool:
        """Whether every token sees all others."""
        return self == NO_MASK


NO_MASK = Mask()
UNREADABLE = Mask(
    problem="has no numbers (a stored buffer or an input on the meta device), so whether it is "
    "causal cannot be told. Compute the mask in the forward pass, or give the buffer or input "
    "its numbers."
)
_PADDED = Mask(
    problem="hides tokens from all others: padding. One sequence is simulated, without padding; "
    "leave the padding out of the example inputs."
)
_OTHER = Mask(
    problem="is neither causal nor a window around each token (attention in chunks, a prefix, "
    "tokens left out, a batch of different sequences), which is not supported. Trace a sequence "
    "that is no longer than a chunk, or give a mask of those kinds."
)


def join_masks(masks: Iterable[Mask]) -> Mask:
    """What all of `masks` let through together."""
    found = list(masks)
    windows = [mask.window for mask in found if mask.window is not None]
    return Mask(
        causal=any(mask.causal for mask in found),
        window=min(windows, default=None),
        problem=next((mask.problem for mask in found if mask.problem), None),
    )


def read_mask(call: Call, token_axes: list[int]) -> Mask:
    """The mask that an elementwise call applies to scores whose `token_axes` are known."""
    rank = len(call.outputs[0].shape)
    if token_axes[-1:] != [rank - 1]:
        return NO_MASK
    square = token_axes[-2:] == [rank - 2, rank - 1]
    return join_masks(_applied(call, value, square=square) for value in call.inputs)


def _applied(call: Call, value: Value, *, square: bool) -> Mask:
    columns = call.outputs[0].shape[-1]
    if not value.shape or value.shape[-1] != columns:
        return NO_MASK
    rows = value.shape[-2] if len(value.shape) > 1 else 1
    if rows not in (1, call.outputs[0].shape[-2]) or (rows > 1 and not square):
        return NO_MASK
    if value.shadow is None:
        return UNREADABLE if rows > 1 and value.given else NO_MASK
    visible = _visible(call, value)
    return NO_MASK if visible is None else _read(visible.reshape(-1, rows, columns))


def _visible(call: Call, mask: Value) -> torch.Tensor | None:
    """True where `mask` lets a score through; None if `mask` is no mask of this call."""
    op = call.op.removesuffix("_")
    shadow = mask.shadow
    assert shadow is not None
    if op == "add":
        return shadow if shadow.dtype == torch.bool else shadow > MASKED_BELOW
    if op == "masked_fill" and mask is call.args[1]:
        return ~shadow
    if op == "where" and mask is call.args[0]:
        kept = call.args[1]
        return shadow if isinstance(kept, Value) and kept.live else ~shadow
    return None


def _read(visible: torch.Tensor) -> Mask:
    """The mask of `visible`, shaped (heads or sequences, rows, columns)."""
    if bool(visible.all()):
        return NO_MASK
    if bool((visible != visible[:1]).any()):
        return _OTHER
    seen = visible[0]
    if bool((seen == seen[:1]).all()):
        return _PADDED
    size = seen.shape[0]
    distance = torch.arange(size)[:, None] - torch.arange(size)
    causal = not bool(seen[distance < 0].any())
    window = int(seen[-1].sum())
    band = (distance.abs() < window) & ((distance >= 0) | (not causal))
    if not torch.equal(seen, band):
        return _OTHER
    return Mask(causal=causal, window=window if window < size else None)
