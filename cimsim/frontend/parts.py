"""Parts of parameters: slices that are weights of their own, followed through views."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from itertools import combinations
from math import prod

from cimsim.errors import WorkloadError
from cimsim.frontend.origins import axis_order
from cimsim.frontend.recording import Call

Ranges = tuple[tuple[int, int], ...]
"""First place and one past the last, for each axis of a parameter."""


@dataclass(frozen=True)
class Part:
    """`ranges` of a parameter; `axes` says which of its axes each axis of the view is.

    An axis of the view may be none of them; `axes` is None where a reshape has mixed them.
    """

    ranges: Ranges
    axes: tuple[int | None, ...] | None

    @property
    def size(self) -> int:
        """Number of values."""
        return prod(stop - start for start, stop in self.ranges)


def whole(shape: tuple[int, ...]) -> Part:
    """All of a parameter."""
    return Part(tuple((0, extent) for extent in shape), tuple(range(len(shape))))


def suffix(ranges: Ranges, shape: tuple[int, ...]) -> str:
    """What is appended to the name of a parameter of `shape` for a part of it."""
    if ranges == whole(shape).ranges:
        return ""
    pairs = [(start, stop, extent) for (start, stop), extent in zip(ranges, shape, strict=True)]
    while pairs[-1][:2] == (0, pairs[-1][2]):
        pairs.pop()
    texts = [":" if (a, b) == (0, n) else str(a) if b == a + 1 else f"{a}:{b}" for a, b, n in pairs]
    return f"[{','.join(texts)}]"


def view_part(call: Call, part: Part, number: int) -> Part | None:
    """The part that output `number` of a view shows; None if that is no range of places."""
    before, after = call.inputs[0].shape, call.outputs[number].shape
    if call.op in ("t", "transpose", "permute", "swapaxes"):
        axes = part.axes
        return (
            part if axes is None else replace(part, axes=tuple(axes[d] for d in axis_order(call)))
        )
    if call.op in ("slice", "narrow"):
        dim = call.args[1] % len(before) if len(call.args) > 1 else 0
        start = call.args[2] if len(call.args) > 2 and call.args[2] is not None else 0
        start = max(start + before[dim], 0) if start < 0 else start
        step = call.args[4] if len(call.args) > 4 else 1
        return _cut(part, dim, start, after[dim]) if step == 1 else None
    if call.op == "select":
        dim = call.args[1] % len(before)
        return _dropped(_cut(part, dim, call.args[2] % before[dim], 1), dim)
    if call.op == "unbind":
        dim = call.args[1] % len(before) if len(call.args) > 1 else 0
        return _dropped(_cut(part, dim, number, 1), dim)
    if call.op in ("split", "split_with_sizes", "chunk"):
        dim = call.args[2] % len(before) if len(call.args) > 2 else 0
        start = sum(value.shape[dim] for value in call.outputs[:number])
        return _cut(part, dim, start, after[dim])
    if before == after:
        return part
    if call.op == "unsqueeze" and part.axes is not None:
        dim = call.args[1] % len(after)
        return replace(part, axes=(*part.axes[:dim], None, *part.axes[dim:]))
    return replace(part, axes=None) if prod(after) >= prod(before) else None


def _cut(part: Part, dim: int, start: int, length: int) -> Part | None:
    axis = None if part.axes is None else part.axes[dim]
    if axis is None:
        return None
    ranges = list(part.ranges)
    first = ranges[axis][0] + start
    ranges[axis] = (first, first + length)
    return replace(part, ranges=tuple(ranges))


def _dropped(part: Part | None, dim: int) -> Part | None:
    if part is None or part.axes is None:
        return part
    return replace(part, axes=part.axes[:dim] + part.axes[dim + 1 :])


def check_apart(name: str, parts: Collection[Ranges]) -> None:
    """Raises WorkloadError if two of `parts` of the parameter `name` share a value."""
    for one, other in combinations(parts, 2):
        pairs = zip(one, other, strict=True)
        if all(max(a, c) < min(b, d) for (a, b), (c, d) in pairs):
            raise WorkloadError(
                f"the model multiplies with parts of the parameter {name!r} that overlap, which "
                "no tile can hold at once. Give each part a parameter of its own."
            )
