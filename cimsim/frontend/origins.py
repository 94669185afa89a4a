"""Where every axis of every value comes from: axes of the inputs, followed call by call.

Two axes of equal length are told apart by what they descend from, not by their length: the rows of
a linear layer descend from an axis of an input, its columns from a weight. An axis is a product of
factors (the tokens and the heads of a merged axis), so that a reshape takes apart what another
put together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

from cimsim.frontend.recording import Call, Recording, Value

Origin = tuple[int, int]
"""Number of an input of the model, and its axis."""

NOTHING: frozenset[Origin] = frozenset()


@dataclass(frozen=True)
class Factor:
    """`extent` places that descend from `origins`; from constants and weights where it is empty."""

    extent: int
    origins: frozenset[Origin] = NOTHING


Axis = tuple[Factor, ...]
Axes = tuple[Axis, ...]


def origins_of(axis: Axis) -> frozenset[Origin]:
    """All that `axis` descends from."""
    return NOTHING.union(*(factor.origins for factor in axis))


def follow_axes(recording: Recording) -> dict[Value, Axes]:
    """The axes of every value of `recording`."""
    known: dict[Value, Axes] = {}

    def axes(value: Value) -> Axes:
        if value not in known:
            known[value] = _fresh(value)
        return known[value]

    for call in recording.calls:
        rule = _rule(call)
        found = rule(call, axes) if rule is not None else None
        for value in call.outputs:
            fitting = found is not None and len(found) == len(value.shape)
            source = found if fitting and found is not None else _aligned(call, value, axes)
            known[value] = tuple(map(_cut, source, value.shape))
    for call in reversed(recording.calls):
        if _rule(call) is None:
            _give_back(call, known)
    return known


def _rule(call: Call) -> _Rule | None:
    return _RULES.get(call.op.removesuffix("_")) or _RULES.get(call.op)


def _give_back(call: Call, known: dict[Value, Axes]) -> None:
    """Axes of an operand that descend from nothing, such as rows looked up by position, are those
    of the result that they are combined with place by place.
    """
    (out, *_) = call.outputs
    for value in call.inputs:
        if value.live and value.parameter is None and value in known:
            back = known[out][len(out.shape) - len(value.shape) :]
            known[value] = tuple(
                theirs if not origins_of(own) and n == m and n > 1 else own
                for own, theirs, n, m in zip(
                    known[value], back, value.shape, out.shape[-len(value.shape) :], strict=True
                )
            )


def _fresh(value: Value) -> Axes:
    if value.source is None:
        return tuple((Factor(extent),) for extent in value.shape)
    return tuple(
        (Factor(extent, frozenset([(value.source, i)]) if extent > 1 else NOTHING),)
        for i, extent in enumerate(value.shape)
    )


def _cut(axis: Axis, extent: int) -> Axis:
    """`axis` if it has that length, else one of that length with the same origins."""
    if prod(factor.extent for factor in axis) == extent:
        return axis
    return (Factor(extent, origins_of(axis) if extent > 1 else NOTHING),)


def _join(first: Axis, second: Axis) -> Axis:
    """One axis that descends from both."""
    if not origins_of(second) or first == second:
        return first
    if not origins_of(first):
        return second
    extent = prod(factor.extent for factor in first)
    return (Factor(extent, origins_of(first) | origins_of(second)),)


_Lookup = Callable[[Value], Axes]


def _aligned(call: Call, out: Value, axes: _Lookup) -> Axes:
    """Axes of inputs of the same length, aligned on the right as broadcasting does."""
    rank = len(out.shape)
    found: list[Axis] = [(Factor(extent),) for extent in out.shape]
    for value in call.inputs:
        for back, (axis, extent) in enumerate(
            zip(reversed(axes(value)), reversed(value.shape), strict=True), 1
        ):
            if back <= rank and extent == out.shape[-back]:
                found[-back] = _join(found[-back], axis)
    return tuple(found)


def _reshaped(call: Call, axes: _Lookup) -> Axes:
    factors = [f for axis in axes(call.inputs[0]) for f in axis if f.extent != 1]
    result: list[Axis] = []
    for extent in call.outputs[0].shape:
        axis: list[Factor] = []
        missing = extent
        while missing > 1 and factors:
            factor = factors.pop(0)
            if missing % factor.extent == 0:
                axis.append(factor)
                missing //= factor.extent
            elif factor.extent % missing == 0:
                axis.append(Factor(missing, factor.origins))
                factors.insert(0, Factor(factor.extent // missing, factor.origins))
                missing = 1
            else:
                rest = prod(f.extent for f in factors) * factor.extent
                union = origins_of((*axis, factor, *factors))
                axis, factors = [Factor(extent, union)], [Factor(max(rest // missing, 1), union)]
                missing = 1
        result.append(tuple(axis) or (Factor(extent),))
    return tuple(result)


def _permuted(call: Call, axes: _Lookup) -> Axes:
    source = axes(call.inputs[0])
    return tuple(source[d] for d in axis_order(call))


def axis_order(call: Call) -> list[int]:
    """The order in which a transposition takes the axes of its source."""
    rank = len(call.inputs[0].shape)
    order = list(range(rank))
    if call.op == "permute":
        order = [d % rank for d in call.args[1]]
    elif call.op in ("transpose", "swapaxes"):
        first, second = (d % rank for d in call.args[1:3])
        order[first], order[second] = order[second], order[first]
    elif call.op == "t":
        order.reverse()
    return order


def _unsqueezed(call: Call, axes: _Lookup) -> Axes:
    source = axes(call.inputs[0])
    at = call.args[1] % (len(source) + 1)
    return (*source[:at], (Factor(1),), *source[at:])


def _dropped(call: Call, axes: _Lookup) -> Axes:
    """Without the axes that an operation names (select, unbind, sum over some)."""
    source = axes(call.inputs[0])
    given = call.args[1] if len(call.args) > 1 else call.kwargs.get("dim", 0)
    named = [given] if isinstance(given, int) else list(given or range(len(source)))
    gone = {d % max(len(source), 1) for d in named if isinstance(d, int)}
    if len(call.outputs[0].shape) == len(source):
        return source
    return tuple(axis for d, axis in enumerate(source) if d not in gone)


def _squeezed(call: Call, axes: _Lookup) -> Axes:
    source, shape = axes(call.inputs[0]), call.inputs[0].shape
    given = call.args[1] if len(call.args) > 1 else range(len(shape))
    named = {d % len(shape) for d in ([given] if isinstance(given, int) else given)}
    return tuple(a for d, a in enumerate(source) if not (d in named and shape[d] == 1))


def _same(call: Call, axes: _Lookup) -> Axes:
    return axes(call.inputs[0])


def _product(call: Call, axes: _Lookup) -> Axes:
    left, right = (axes(v) for v in [v for v in call.args if isinstance(v, Value)][-2:])
    if len(left) == 2:
        return left[0], right[1]
    return _join(left[0], right[0]), left[1], right[2]


def _convolved(call: Call, axes: _Lookup) -> Axes:
    x = axes(call.args[0])
    return (x[0], (Factor(call.outputs[0].shape[1]),), *x[2:])


def _looked_up(call: Call, axes: _Lookup) -> Axes:
    return (*axes(call.inputs[1]), axes(call.inputs[0])[-1])


def _indexed(call: Call, axes: _Lookup) -> Axes | None:
    source, indices = axes(call.inputs[0]), call.args[1]
    used = [i for i, index in enumerate(indices) if isinstance(index, Value)]
    if used != list(range(used[0], used[-1] + 1)):
        return None
    longest = max((indices[i] for i in used), key=lambda index: len(index.shape))
    picked = [axes(longest)]
    new = tuple(
        _join(axis, source[used[0]]) if len(used) == 1 and len(axes(longest)) == 1 else axis
        for axis in picked[0]
    )
    return (*source[: used[0]], *(_cut(a, e) for a, e in zip(new, longest.shape, strict=True)),
            *source[used[-1] + 1 :])  # fmt: skip


def _concatenated(call: Call, axes: _Lookup) -> Axes:
    parts = [value for value in call.inputs if len(value.shape) == len(call.outputs[0].shape)]
    given = call.args[1] if len(call.args) > 1 else call.kwargs.get("dim", 0)
    along = given % len(call.outputs[0].shape)
    joined = list(axes(parts[0]))
    for value in parts[1:]:
        for d, axis in enumerate(axes(value)):
            if d != along:
                joined[d] = _join(joined[d], axis)
    union = NOTHING.union(*(origins_of(axes(value)[along]) for value in parts))
    joined[along] = (Factor(call.outputs[0].shape[along], union),)
    return tuple(joined)


def _stacked(call: Call, axes: _Lookup) -> Axes:
    given = call.args[1] if len(call.args) > 1 else call.kwargs.get("dim", 0)
    at = given % len(call.outputs[0].shape)
    source = axes(call.inputs[0])
    return (*source[:at], (Factor(call.outputs[0].shape[at]),), *source[at:])


def _made(call: Call, axes: _Lookup) -> Axes:
    return _fresh(call.outputs[0])


_Rule = Callable[[Call, _Lookup], Axes | None]


def _ops(names: str, rule: _Rule) -> dict[str, _Rule]:
    return dict.fromkeys(names.split(), rule)


_RULES: dict[str, _Rule] = {
    **_ops("new_empty new_zeros new_ones new_full new_empty_strided", _made),
    **_ops("view _unsafe_view reshape _reshape_alias flatten", _reshaped),
    **_ops("t transpose permute swapaxes", _permuted),
    **_ops("unsqueeze", _unsqueezed),
    **_ops("select unbind sum mean amax amin max min argmax var", _dropped),
    **_ops("squeeze", _squeezed),
    **_ops(
        "detach _to_copy lift_fresh clone slice narrow split split_with_sizes chunk "
        "_softmax _log_softmax _safe_softmax native_layer_norm native_group_norm _fused_rms_norm "
        "constant_pad_nd pad roll flip gather index_select topk sort cumsum "
        "max_pool2d_with_indices adaptive_max_pool2d avg_pool2d _adaptive_avg_pool2d",
        _same,
    ),
    **_ops("mm addmm bmm baddbmm", _product),
    **_ops("convolution _convolution convolution_overrideable", _convolved),
    **_ops("embedding", _looked_up),
    **_ops("index", _indexed),
    **_ops("cat", _concatenated),
    **_ops("stack", _stacked),
}
