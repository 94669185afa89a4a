"""Token streams: which operations run once a token, and which mix tokens.

The recording that is looked at has a prompt whose length is a prime that divides no other size
of the model, so an axis which the prime divides runs over tokens. Models with a fixed number of
tokens (images, plain modules) are looked at as they are: an axis of that length which descends from
the tokens of an input does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Literal

from cimsim.frontend.origins import axis_order
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
    """Tells axes that run over tokens; `length` 0 for a recording that is not looked at.

    Without `marked` an axis does if its length is a multiple of `length`, a prime that divides
    nothing else. With it an axis does if it has that length and is marked: it descends from the
    axes of the inputs that count tokens (see `origins`). `sequences` marks axes that descend from
    those or from other inputs.
    """

    length: int
    marked: Mapping[Value, frozenset[int]] | None = None
    sequences: Mapping[Value, frozenset[int]] = field(default_factory=dict)

    def axes(self, value: Value) -> list[int]:
        """The axes of `value` that run over tokens."""
        if self.length < 2:
            return []
        if self.marked is None:
            return [i for i, n in enumerate(value.shape) if n and n % self.length == 0]
        here = self.marked.get(value, frozenset())
        return [i for i, n in enumerate(value.shape) if n == self.length and i in here]

    def other_axes(self, value: Value) -> list[int]:
        """The axes of `value` that run over tokens of any input."""
        if self.length < 1 or self.marked is None:
            return self.axes(value)
        here = self.sequences.get(value, frozenset())
        return [i for i, n in enumerate(value.shape) if n > 1 and i in here]

    def in_rows(self, value: Value, columns: int | None) -> bool:
        """Whether an axis of `value` other than `columns`, or several together, are tokens."""
        if any(axis != columns for axis in self.axes(value)):
            return True
        if self.marked is None or self.length < 2:
            return False
        rows = prod(value.shape[i] for i in self.marked.get(value, frozenset()) - {columns})
        return rows > 0 and rows % self.length == 0


@dataclass(frozen=True)
class Streaming:
    """How an operation stands to the token stream."""

    streams: bool
    gathers: bool
    flow: Flow


def place(
    axis: TokenAxis,
    value: Value,
    inputs: Sequence[Flow],
    *,
    by_rows: bool,
    columns: int | None = None,
) -> Streaming:
    """Placement of an operation with output `value`; `by_rows` if it consumes its last axis.

    `columns` is the axis that counts as the last one.
    """
    last = len(value.shape) - 1 if columns is None else columns
    whole = "columns" in inputs and not {"stream", "mixed"} & set(inputs)
    streams = axis.in_rows(value, last) if by_rows else not whole and axis.in_rows(value, None)
    if streams:
        return Streaming(True, "mixed" in inputs, "stream")
    return Streaming(False, False, "columns" if axis.axes(value) else "whole")


def view_flow(axis: TokenAxis, call: Call, source: Value, flow: Flow, out: Value) -> Flow:
    """How a view of `source`, which comes as `flow`, comes."""
    if flow != "stream":
        return flow
    if not axis.in_rows(out, None):
        return "mixed"
    return "mixed" if _swaps_tokens(axis, call, source) else flow


def _swaps_tokens(axis: TokenAxis, call: Call, source: Value) -> bool:
    """Whether a transposition changes the order of two token axes."""
    tokens = axis.axes(source)
    return [d for d in axis_order(call) if d in tokens] != tokens


def windows_overlap(
    window: Sequence[int], stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]
) -> bool:
    """Whether windows of a convolution or a pooling share inputs, or begin beside the image.

    Each argument has a number for every axis, or one for all.
    """
    sides = [list(given) * (len(window) // len(given)) for given in (stride, padding, dilation)]
    return any(d * (k - 1) + 1 > s or p for k, s, p, d in zip(window, *sides, strict=True))


def mixes_tokens(axis: TokenAxis, call: Call) -> bool:
    """Whether a data movement takes values from one token to another."""
    source, result = call.inputs[0], call.outputs[0]
    before, after = source.shape, result.shape
    if call.op in ("cat", "stack"):
        along = call.args[1] if len(call.args) > 1 else call.kwargs.get("dim", 0)
        return along % len(after) in axis.axes(result)
    if "pad" in call.op:
        touched = {i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b}
        return bool(touched & {*axis.axes(source), *axis.axes(result)})
    if call.op in ("index", "index_put", "index_put_"):
        touched = {i for i, index in enumerate(call.args[1]) if index is not None}
    elif call.op in _ALONG:
        position = _ALONG[call.op]
        given = call.args[position] if len(call.args) > position else []
        touched = {d % len(before) for d in ([given] if isinstance(given, int) else given)}
        touched = touched or set(range(len(before)))
    else:
        return False
    return bool(touched & set(axis.axes(source)))
