"""Token streams: which operations run once a token, and which mix tokens.

The recording that is looked at has a prompt whose length is a prime that divides no other size
of the model, so an axis which the prime divides runs over tokens. Models with a fixed number of
tokens (images, plain modules) are looked at as they are: an axis of exactly that length does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

from cimsim.frontend.recording import Call, Value

Flow = Literal["whole", "stream", "mixed", "columns"]
"""How a value comes: all at once; token by token; token by token but no longer at its own place
(cut or shifted along the tokens); all at once with the tokens along its last axis."""


_ALONG = {
    "flip": 1,
    "roll": 2,
    "index_select": 1,
    "gather": 1,
    "index_copy": 1,
    "scatter": 1,
    "slice_scatter": 2,
    "select_scatter": 2,
}
"""Position of the argument that names the axes along which an operation moves values."""


@dataclass(frozen=True)
class TokenAxis:
    """Tells axes that run over tokens; `length` 0 for a recording that is not looked at."""

    length: int
    divides: bool = True

    def axes(self, shape: Sequence[int]) -> list[int]:
        """The axes of `shape` that run over tokens."""
        if self.length < 2:
            return []
        if self.divides:
            return [i for i, extent in enumerate(shape) if extent and extent % self.length == 0]
        return [i for i, extent in enumerate(shape) if extent == self.length]

    def in_rows(self, shape: Sequence[int]) -> bool:
        """Whether an axis other than the last runs over tokens."""
        if any(axis < len(shape) - 1 for axis in self.axes(shape)):
            return True
        rows = prod(shape[:-1])
        return self.length > 1 and not self.divides and rows > 0 and rows % self.length == 0


@dataclass(frozen=True)
class Placement:
    """How an operation stands to the token stream."""

    streams: bool
    gathers: bool
    flow: Flow


def place(
    axis: TokenAxis, shape: Sequence[int], inputs: Sequence[Flow], *, by_rows: bool
) -> Placement:
    """Placement of an operation with output `shape`; `by_rows` if it consumes its last axis."""
    columns = "columns" in inputs and not {"stream", "mixed"} & set(inputs)
    if by_rows:
        streams = axis.in_rows(shape)
    else:
        streams = not columns and (bool(axis.axes(shape)) or axis.in_rows(shape))
    if streams:
        return Placement(True, "mixed" in inputs, "stream")
    return Placement(False, False, "columns" if axis.axes(shape) else "whole")


def view_flow(axis: TokenAxis, call: Call, source: Value, flow: Flow, out: Value) -> Flow:
    """How a view of `source`, which comes as `flow`, comes."""
    if flow != "stream":
        return flow
    if not axis.axes(out.shape) and not axis.in_rows(out.shape):
        return "mixed"
    return "mixed" if _swaps_tokens(axis, call, source) else flow


def _swaps_tokens(axis: TokenAxis, call: Call, source: Value) -> bool:
    """Whether a transposition changes the order of two token axes."""
    rank = len(source.shape)
    order = list(range(rank))
    if call.op == "permute":
        order = [d % rank for d in call.args[1]]
    elif call.op in ("transpose", "swapaxes"):
        first, second = (d % rank for d in call.args[1:3])
        order[first], order[second] = order[second], order[first]
    elif call.op == "t":
        order.reverse()
    tokens = axis.axes(source.shape)
    return [d for d in order if d in tokens] != tokens


def mixes_tokens(axis: TokenAxis, call: Call) -> bool:
    """Whether a data movement takes values from one token to another."""
    before, after = call.inputs[0].shape, call.outputs[0].shape
    if call.op in ("cat", "stack"):
        along = call.args[1] if len(call.args) > 1 else call.kwargs.get("dim", 0)
        return along % len(after) in axis.axes(after)
    if "pad" in call.op:
        touched = {i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b}
        return bool(touched & {*axis.axes(before), *axis.axes(after)})
    if call.op in ("index", "index_put", "index_put_"):
        touched = {i for i, index in enumerate(call.args[1]) if index is not None}
    elif call.op in _ALONG:
        position = _ALONG[call.op]
        given = call.args[position] if len(call.args) > position else []
        touched = {d % len(before) for d in ([given] if isinstance(given, int) else given)}
        touched = touched or set(range(len(before)))
    else:
        return False
    return bool(touched & set(axis.axes(before)))
