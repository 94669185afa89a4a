"""Root-mean-square normalisation written out in aten operations, found by its structure."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from cimsim.frontend.recording import Call, Recording, Value

_ALLOWED = frozenset(
    ["pow", "square", "mul", "mean", "add", "rsqrt", "sqrt", "div", "reciprocal", "_to_copy"]
)


def _op(call: Call) -> str:
    """Name of the operation, in place or not."""
    return call.op.removesuffix("_")


@dataclass(frozen=True)
class RmsNorm:
    """A module call that is one RMS norm: its input, and the index of its last call."""

    x: Value
    last: int


def find_rms_norms(recording: Recording) -> dict[int, RmsNorm]:
    """RMS norms by frame number.

    A frame is one if its module calls no other module, it holds nothing but `_ALLOWED`, and it
    computes x * (mean(x^2) + eps)^(-1/2) over the last axis, in any of the usual spellings,
    with products by parameters around it.
    """
    by_frame: dict[int, list[Call]] = defaultdict(list)
    for call in recording.calls:
        if call.live:
            by_frame[call.frame].append(call)
    found = {}
    for frame, calls in by_frame.items():
        if recording.frames[frame].leaf and {_op(call) for call in calls} <= _ALLOWED:
            x = _normalised(calls)
            if x is not None and calls[-1].outputs[0].shape == x.shape:
                found[frame] = RmsNorm(x, calls[-1].index)
    return found


def _normalised(calls: list[Call]) -> Value | None:
    """The x of an RMS norm in `calls`, or None."""
    casts: dict[Value, Value] = {
        call.outputs[0]: call.args[0] for call in calls if call.op == "_to_copy"
    }
    means = [call for call in calls if _op(call) == "mean"]
    if len(means) != 1 or not _last_axis(means[0]):
        return None
    squares = [call for call in calls if means[0].args[0] is call.outputs[0]]
    x = _squared(squares[0]) if squares else None
    if x is None:
        return None
    origin = casts.get(x, x)
    root = _inverse_root(calls, means[0].outputs[0])
    if root is None:
        return None
    value, op = root
    scaled = {origin}
    for call in calls:
        operands = {casts.get(v, v) for v in call.inputs}
        if _op(call) == op and scaled & operands and value in call.inputs:
            return origin
        if _op(call) == "mul" and scaled & operands and any(v.parameter for v in operands):
            scaled.add(call.outputs[0])
    return None


def _last_axis(mean: Call) -> bool:
    axes = mean.args[1] if len(mean.args) > 1 else mean.kwargs.get("dim")
    return axes in ([-1], [len(mean.args[0].shape) - 1])


def _squared(call: Call) -> Value | None:
    if (_op(call) == "pow" and call.args[1] == 2) or _op(call) == "square":
        return call.inputs[0]
    if _op(call) == "mul" and len(call.inputs) == 2 and call.inputs[0] is call.inputs[1]:
        return call.inputs[0]
    return None


def _inverse_root(calls: list[Call], value: Value) -> tuple[Value, str] | None:
    """The value and the operation by which x is brought to unit root mean square."""
    for call in calls:
        if value not in call.inputs:
            continue
        if _op(call) == "add":
            value = call.outputs[0]
        elif _op(call) == "rsqrt" or (_op(call) == "pow" and call.args[1] == -0.5):
            return call.outputs[0], "mul"
        elif _op(call) == "sqrt":
            root = call.outputs[0]
            for later in calls:
                if _op(later) == "reciprocal" and root in later.inputs:
                    return later.outputs[0], "mul"
            return root, "div"
    return None
