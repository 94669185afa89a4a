"""Pooling: reductions over windows of an image."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from cimsim.frontend.aten import REDUCTIONS
from cimsim.frontend.builder import Builder
from cimsim.frontend.recording import Call
from cimsim.frontend.streams import windows_overlap


def lower_pooling(build: Builder, call: Call) -> None:
    """The largest or the mean of each window; with overlapping windows of all tokens at once."""
    inputs = build.inputs(call)
    shape = call.outputs[0].shape
    function = REDUCTIONS[call.op]
    count, mixes = _adaptive(call) if "adaptive" in call.op else _windows(call)
    if count == 1 and not mixes:  # as many results as values: nothing is pooled
        build.produce(call, inputs[0])
        return
    placement = build.place(call.outputs[0], inputs, by_rows=False)
    if mixes and inputs[0].flow == "stream":
        placement = replace(placement, gathers=placement.streams)
    sizes = {"elements": prod(shape), "inputs_per_output": count}
    build.add(call, "reduce", inputs, sizes, placement, label=function, function=function)


def _adaptive(call: Call) -> tuple[int, bool]:
    """Values of a window, the largest where they differ, and whether windows overlap."""
    before, after = call.inputs[0].shape[-2:], call.outputs[0].shape[-2:]
    even = all(n % m == 0 for n, m in zip(before, after, strict=True))
    return prod(-(-n // m) for n, m in zip(before, after, strict=True)), not even


def _windows(call: Call) -> tuple[int, bool]:
    """Values of a window, and whether windows overlap."""
    window = _pair(call.args[1])
    stride = _pair(call.args[2]) if len(call.args) > 2 and call.args[2] else window
    padding = _pair(call.args[3]) if len(call.args) > 3 else [0, 0]
    dilated = call.op == "max_pool2d_with_indices" and len(call.args) > 4
    dilation = _pair(call.args[4]) if dilated else [1, 1]
    return prod(window), windows_overlap(window, stride, padding, dilation)


def _pair(sides: list[int]) -> list[int]:
    return list(sides) if len(sides) > 1 else [sides[0]] * 2
