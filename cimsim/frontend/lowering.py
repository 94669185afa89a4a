"""Lowering: recorded aten calls become typed operations.

Views, casts and copies of repeated values cost nothing and only pass their producers on; so does
appending to the KV cache: an attention product names the new rows first, then the cached ones.
What depends on neither activations nor parameters (positions, masks, rotary tables) is no
operation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod

from torch import nn

from cimsim.errors import WorkloadError
from cimsim.frontend.aten import REDUCTIONS, category
from cimsim.frontend.builder import Builder, ParameterRole, Parts
from cimsim.frontend.graph import Draft, Fact, join_sources, name_nodes
from cimsim.frontend.masks import Mask
from cimsim.frontend.movement import lower_embedding, lower_move, lower_view
from cimsim.frontend.norms import find_rms_norms
from cimsim.frontend.pointwise import lower_batch_norm, lower_elementwise, lower_scatter_add
from cimsim.frontend.pooling import lower_pooling
from cimsim.frontend.products import lower_convolution, lower_gemm
from cimsim.frontend.recording import Call, Recording, Value
from cimsim.frontend.streams import TokenAxis
from cimsim.values.display import brief


@brief
@dataclass(frozen=True)
class Lowered:
    """Nodes per segment in order of execution, the roles and the parts of parameters used."""

    segments: list[list[Draft]]
    roles: dict[str, ParameterRole]
    parts: Parts


def lower(model: nn.Module, recording: Recording, axis: TokenAxis) -> Lowered:
    """The typed operations of `recording`; raises WorkloadError for one that is not known."""
    build = Builder(model, recording, axis)
    norms = find_rms_norms(recording)
    for call in recording.calls:
        if call.live and call.frame in norms:
            _note_norm_parameters(build, call)
            if call.index == norms[call.frame].last:
                x = norms[call.frame].x
                _add_norm(build, call, x, x.shape[-1], "rms")
        elif call.live:
            _rule(build, call)(build, call)
        else:
            build.produce(call, Fact(join_sources(build.inputs(call))))
    alive = [node for node in build.nodes if node.merged_into is None]
    alive.sort(key=lambda node: node.position)
    name_nodes(alive, several=build.several)
    count = max((call.segment for call in recording.calls), default=0) + 1
    segments = [[node for node in alive if node.segment == s] for s in range(count)]
    return Lowered(segments, build.roles, build.parts)


def _rule(build: Builder, call: Call) -> Callable[[Builder, Call], None]:
    kind = category(call.op)
    if kind is None:
        raise WorkloadError(
            f"{build.where(call)}: cimsim does not know the operation aten::{call.op}. Replace "
            "it in the model, or name its category in cimsim/frontend/aten.py."
        )
    if kind == "reduce" and call.overload == "other":
        return lower_elementwise
    return _RULES[kind]


def lower_reduce(build: Builder, call: Call) -> None:
    """Sum, mean, maximum and their kin."""
    inputs = build.inputs(call)
    shape = call.outputs[0].shape
    function = REDUCTIONS.get(call.op, call.op)
    sizes = {"elements": prod(shape), "inputs_per_output": _read_for_each(call)}
    placement = build.place(call.outputs[0], inputs, by_rows=False)
    build.add(call, "reduce", inputs, sizes, placement, label=function, function=function)


def _read_for_each(call: Call) -> int:
    """Values that a reduction looks at for each result."""
    before = call.inputs[0].shape
    if call.op == "topk":
        return before[call.args[2] if len(call.args) > 2 else -1]
    return prod(before) // max(prod(call.outputs[0].shape), 1)


def lower_softmax(build: Builder, call: Call) -> None:
    """Softmax; where its scores went through a mask, so did those who made them."""
    fact, shape = build.fact(call.inputs[0]), call.inputs[0].shape
    columns = shape[call.args[1]]
    placement = build.place(call.inputs[0], [fact], by_rows=True)
    if fact.mask.problem and placement.streams:
        raise WorkloadError(f"{build.where(call)}: the attention mask {fact.mask.problem}")
    sizes = {"rows": prod(shape) // columns, "columns": columns}
    node = build.add(call, "softmax", [fact], sizes, placement, mask=fact.mask)
    if not fact.mask.plain:
        node.mask = fact.mask
        _mark_scores(node, prod(shape), fact.mask)


def _mark_scores(node: Draft, size: int, mask: Mask) -> None:
    for source in node.inputs:
        if prod(source.output.shape) != size:
            continue
        if source.kind == "matmul":
            if source.details["stationary_token_axis"] == "n":
                source.mask = mask
        elif source.kind in ("elementwise", "move"):
            _mark_scores(source, size, mask)


def lower_norm(build: Builder, call: Call) -> None:
    """Layer, group and fused RMS norm."""
    x = call.args[0]
    kind = {"native_layer_norm": "layer", "native_group_norm": "group"}.get(call.op, "rms")
    groups = call.args[3] * call.args[6] if kind == "group" else 1
    columns = prod(x.shape) // groups if kind == "group" else prod(call.args[1])
    _add_norm(build, call, x, columns, kind)
    _note_norm_parameters(build, call)


def _add_norm(build: Builder, call: Call, x: Value, columns: int, kind: str) -> None:
    fact = build.fact(x)
    sizes = {"rows": prod(x.shape) // columns, "columns": columns}
    placement = build.place(x, [fact], by_rows=True)
    if kind == "group" and fact.flow == "stream":
        placement = replace(placement, gathers=placement.streams)
    build.add(call, "norm", [fact], sizes, placement, norm=kind)


def _note_norm_parameters(build: Builder, call: Call) -> None:
    for value in call.inputs:
        if build.fact(value).parameter is not None:
            build.parameter(call, value, "norm")


_RULES: dict[str, Callable[[Builder, Call], None]] = {
    "view": lower_view,
    "elementwise": lower_elementwise,
    "move": lower_move,
    "reduce": lower_reduce,
    "pooling": lower_pooling,
    "batch_norm": lower_batch_norm,
    "scatter_add": lower_scatter_add,
    "gemm": lower_gemm,
    "convolution": lower_convolution,
    "softmax": lower_softmax,
    "norm": lower_norm,
    "embedding": lower_embedding,
}
