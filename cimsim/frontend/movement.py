"""Views, which are free, and operations that move data without arithmetic."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from cimsim.errors import WorkloadError
from cimsim.frontend.builder import Builder
from cimsim.frontend.graph import Fact, join_sources
from cimsim.frontend.masks import NO_MASK
from cimsim.frontend.parts import view_part
from cimsim.frontend.recording import Call
from cimsim.frontend.streams import mixes_tokens, view_flow


def lower_view(build: Builder, call: Call) -> None:
    """A view or a cast: passes on what is known of its source."""
    source = call.inputs[0]
    inputs = build.inputs(call)
    fact = replace(inputs[0], sources=join_sources(inputs))
    for number, value in enumerate(call.outputs):
        repeats = fact.repeats
        if call.op == "expand":
            repeats = repeats * prod(value.shape) // max(prod(source.shape), 1)
        flow = view_flow(build.axis, call, source, fact.flow, value)
        part = None if fact.part is None else view_part(call, fact.part, number)
        build.facts[value] = replace(fact, repeats=repeats, flow=flow, part=part)


def lower_move(build: Builder, call: Call) -> None:
    """A copy; free if it only repeats values or appends to the KV cache."""
    values = [value for value in call.inputs if prod(value.shape) > 0]
    inputs = [build.fact(value) for value in values]
    shape = call.outputs[0].shape
    copies = call.op in ("clone", "repeat")
    joined = _appended(call, inputs) if call.op == "cat" else None
    repeats = inputs[0].repeats * prod(shape) // max(prod(values[0].shape), 1)
    if joined is not None:
        build.produce(call, joined)
    elif copies and repeats > 1:
        build.produce(call, replace(inputs[0], repeats=repeats))
    elif call.op == "index" and inputs[0].parameter is not None and len(values[0].shape) == 2:
        lower_embedding(build, call)
    else:
        placement = build.place(call.outputs[0], inputs, by_rows=False)
        if mixes_tokens(build.axis, call) and any(fact.flow == "stream" for fact in inputs):
            placement = replace(placement, gathers=placement.streams)
        sizes = {"elements": prod(shape)}
        mask = inputs[0].mask if copies else NO_MASK
        label = call.op.removesuffix("_")
        build.add(call, "move", inputs, sizes, placement, label=label, mask=mask)


def _appended(call: Call, inputs: list[Fact]) -> Fact | None:
    """The fact of a concatenation with nothing or with cached rows; None for another one."""
    cached = [fact for fact in inputs if fact.sources and fact.sources[0].segment < call.segment]
    if len(inputs) > 1 and not cached:
        return None
    ordered = [fact for fact in inputs if fact not in cached] + cached
    return replace(ordered[0], sources=join_sources(ordered))


def lower_embedding(build: Builder, call: Call) -> None:
    """A look-up of rows in a parameter."""
    table = call.inputs[0]
    inputs = build.inputs(call)
    if inputs[0].parameter is None:
        raise WorkloadError(
            f"{build.where(call)}: a look-up in a computed table is not supported. Look up in a "
            "parameter."
        )
    shape, columns = call.outputs[0].shape, table.shape[-1]
    sizes = {"rows": prod(shape) // columns, "columns": columns}
    placement = build.place(call.outputs[0], inputs, by_rows=False)
    weight = build.parameter(call, table, "embedding")
    build.add(call, "embedding", inputs, sizes, placement, weight=weight)
