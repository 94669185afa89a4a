"""Elementwise operations, fused into chains within one module call."""

from __future__ import annotations

from math import prod

from cimsim.frontend.aten import function_name
from cimsim.frontend.builder import Builder
from cimsim.frontend.graph import Draft, Fact, join_sources
from cimsim.frontend.masks import join_masks, read_mask
from cimsim.frontend.recording import Call, Value
from cimsim.frontend.streams import Streaming


def lower_elementwise(build: Builder, call: Call) -> None:
    """An elementwise operation: joins the chain that it continues, or begins one."""
    inputs = build.inputs(call)
    placement = build.place(call.outputs[0], inputs, by_rows=False)
    chain = _continued(call, inputs)
    if chain:
        node, *others = chain
        _merge(node, others, inputs)
        node.position = call.index
        node.output = call.outputs[0]
        node.put(placement)
    else:
        sizes = {"elements": prod(call.outputs[0].shape)}
        node = build.add(call, "elementwise", inputs, sizes, placement)
    node.functions.update(_functions(call))
    applied = read_mask(call, build.axis.axes(call.outputs[0]))
    mask = join_masks([*(fact.mask for fact in inputs), applied])
    build.produce(
        call, Fact((node,), repeats=_repeats(call, inputs), flow=placement.flow, mask=mask)
    )


def lower_batch_norm(build: Builder, call: Call) -> None:
    """A scale and an offset of each channel, as in evaluation.

    Behind a product that nothing else reads they are the scale and the offset that a tile applies
    to the converted sum of each column, whose time and energy every product has already: no
    operation. The weight stays as it is stored. Elsewhere it is an elementwise operation.
    """
    x = call.args[0]
    product = _product_before(build, x)
    for value in call.inputs:
        if build.fact(value).parameter is not None:
            build.parameter(call, value, "norm")
    if product is None:
        lower_elementwise(build, call)
    else:
        product.details["bias"] = True
        build.produce(call, build.fact(x))


def _product_before(build: Builder, x: Value) -> Draft | None:
    """The base product that makes `x`, with its outputs on axis 1, for this reader alone."""
    sources = build.fact(x).sources
    if len(sources) != 1 or build.readers(x) != 1:
        return None
    (made,) = sources
    plain = made.kind == "linear" and made.output is x and made.details["role"] == "base"
    return made if plain and x.shape[1] == made.sizes["out_features"] else None


def lower_scatter_add(build: Builder, call: Call) -> None:
    """Rows added to some places of a larger result, which is there once all are."""
    inputs = build.inputs(call)
    sizes = {"elements": prod(call.args[3].shape)}
    node = build.add(call, "elementwise", inputs, sizes, Streaming(False, False, "whole"))
    node.functions["add"] = 1


def _repeats(call: Call, inputs: list[Fact]) -> int:
    """How often each number stands in the result: as often as in what is scaled by one number."""
    size = prod(call.outputs[0].shape)
    large = [f for v, f in zip(call.inputs, inputs, strict=True) if prod(v.shape) > 1]
    whole = len(large) == 1 and all(prod(v.shape) in (1, size) for v in call.inputs)
    return large[0].repeats if whole else 1


def _continued(call: Call, inputs: list[Fact]) -> list[Draft]:
    """Elementwise nodes of the same module call and size that nothing else has read yet.

    As nothing stands between them and `call`, the fused operation can run at its place.
    """
    size = prod(call.outputs[0].shape)
    return [
        node
        for node in join_sources(inputs)
        if node.kind == "elementwise"
        and (node.frame, node.segment) == (call.frame, call.segment)
        and node.sizes["elements"] == size
        and not node.closed
    ]


def _merge(node: Draft, others: list[Draft], inputs: list[Fact]) -> None:
    for other in others:
        other.merged_into = node
        node.functions.update(other.functions)
        node.gathers = node.gathers or other.gathers
    outside = [source for source in join_sources(inputs) if source is not node]
    for source in outside:
        source.closed = True
    read = [source.resolve() for part in (node, *others) for source in part.inputs]
    node.inputs = [source for source in dict.fromkeys(read + outside) if source is not node]


def _functions(call: Call) -> dict[str, int]:
    if "batch_norm" in call.op:
        return {"mul": 1, "add": 1}
    if call.overload == "other":
        return {f"{call.op}imum": 1}
    return {function_name(call.op): 1}
