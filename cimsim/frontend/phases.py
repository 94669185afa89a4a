"""Phases: lowered nodes become ops, with token streams from a probe and growth from two steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from cimsim.errors import WorkloadError
from cimsim.frontend.graph import Node
from cimsim.workload import Op, Phase, make_phase

_OP: TypeAdapter[Op] = TypeAdapter(Op)


def stream_length(nodes: Sequence[Node]) -> int:
    """Rows that most linear operations see: the number of tokens where nothing else tells it."""
    rows = Counter(node.sizes["rows"] for node in nodes if node.kind == "linear")
    return rows.most_common(1)[0][0] if rows else 1


def prefill_phase(nodes: Sequence[Node], probe: Sequence[Node], tokens: int) -> Phase:
    """The prefill; `probe` holds the same operations, seen with tokens told apart."""
    plan = {node.name: node for node in probe}
    for node in nodes:
        if node.name not in plan or plan[node.name].kind != node.kind:
            raise WorkloadError(
                f"the model runs {node.name!r} for {tokens} tokens only, not for a prompt of "
                "another length, so its token streams cannot be told. Try another prefill."
            )
    ops = tuple(_op(node, plan[node.name], tokens, {}) for node in nodes)
    return make_phase(name="prefill", tokens=tokens, ops=ops)


def decode_phase(
    segments: Sequence[Sequence[Node]], last: Sequence[Node], probe: Sequence[Node], steps: int
) -> Phase:
    """The decode; `segments` are its first steps (one or two) and `last` is its last one.

    An attention product whose prefill in `probe` had one token only learns its token axis here.
    """
    first = segments[0]
    growth: dict[str, dict[str, int]] = {}
    for node, later in _zip(first, segments[-1]):
        grown = {key: later.sizes[key] - size for key, size in node.sizes.items()}
        growth[node.name] = {key: by for key, by in grown.items() if by}
    for node, later in _zip(first, last):
        for key, size in node.sizes.items():
            if later.sizes[key] != size + (steps - 1) * growth[node.name].get(key, 0):
                raise WorkloadError(
                    f"{key} of {node.name!r} does not grow evenly over {steps} decode steps: it "
                    "is limited on the way (a sliding attention window). Trace fewer steps, or "
                    "start with a longer prefill."
                )
    plan = {node.name: node for node in probe}
    for node in first:
        if node.kind == "matmul":
            _share_axis(node, plan.get(node.name), growth[node.name])
    ops = tuple(_op(node, None, 1, growth[node.name]) for node in first)
    return make_phase(name="decode", tokens=1, steps=steps, ops=ops)


def _share_axis(node: Node, seen: Node | None, growth: Mapping[str, int]) -> None:
    """Tell `node` its token axis, by growth or by `seen`, and `seen` if it knew none."""
    grown = next((key for key in ("n", "k") if key in growth), "none")
    known = seen.details["stationary_token_axis"] if seen is not None else "none"
    node.details["stationary_token_axis"] = known if grown == "none" else grown
    if seen is not None and known == "none":
        seen.details["stationary_token_axis"] = grown


def _zip(first: Sequence[Node], later: Sequence[Node]) -> list[tuple[Node, Node]]:
    names = [[node.name for node in nodes] for nodes in (first, later)]
    if names[0] != names[1]:
        changed = sorted(set(names[0]) ^ set(names[1]))[:3]
        raise WorkloadError(
            f"decode steps do not run the same operations ({', '.join(changed)} differ). Trace "
            "fewer steps."
        )
    return list(zip(first, later, strict=True))


def _op(node: Node, seen: Node | None, tokens: int, growth: Mapping[str, int]) -> Op:
    """The op of `node`; `seen` is the same operation with its token streams told."""
    fields: dict[str, Any] = {
        "kind": node.kind,
        "name": node.name,
        "inputs": _inputs(node),
        "tokens": tokens if seen is not None and seen.streams else 1,
        "growth": dict(growth),
        **node.sizes,
        **node.details,
    }
    if node.functions:
        fields["functions"] = dict(node.functions)
    if seen is not None:
        fields["gathers"] = seen.gathers and tokens > 1
        if "stationary_token_axis" in fields:
            fields["stationary_token_axis"] = seen.details["stationary_token_axis"]
        if node.kind in ("matmul", "softmax"):
            fields["causal"] = seen.causal
    try:
        return _OP.validate_python(fields)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        raise WorkloadError(
            f"operation {node.name!r} has no valid {problem['loc'][-1]}: {problem['msg']} "
            f"(got {problem['input']!r})."
        ) from None


def _inputs(node: Node) -> tuple[str, ...]:
    sources = [source.resolve() for source in node.inputs]
    return tuple(
        source.name if source.segment == node.segment else f"cache:{source.name}"
        for source in sources
    )
