"""Phases: lowered nodes become ops, with token streams from a probe and growth from two steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from cimsim.errors import WorkloadError
from cimsim.frontend.graph import Draft
from cimsim.ir import MatMul, Op, Phase, Softmax, make_phase

_OP: TypeAdapter[Op] = TypeAdapter(Op)


def prefill_phase(nodes: Sequence[Draft], probe: Sequence[Draft], tokens: int) -> Phase:
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


Growth = dict[str, dict[str, int]]
"""Op -> size -> its increase with each further step."""


def growth_of(first: Sequence[Draft], second: Sequence[Draft]) -> Growth:
    """How the sizes of the nodes of one decode step grow to the next."""
    growth: Growth = {}
    for node, later in _zip(first, second):
        grown = {key: later.sizes[key] - size for key, size in node.sizes.items()}
        growth[node.name] = {key: by for key, by in grown.items() if by}
    return growth


def growth_ends(
    first: Sequence[Draft], last: Sequence[Draft], growth: Growth, steps: int
) -> dict[str, int]:
    """Op -> step at which its growth ends, for ops that stop before the last of `steps` steps.

    Raises WorkloadError where sizes change in another way.
    """
    ends: dict[str, int] = {}
    for node, later in _zip(first, last):
        by = growth[node.name]
        for key, size in node.sizes.items():
            grown, each = later.sizes[key] - size, by.get(key, 0)
            if grown == (steps - 1) * each:
                continue
            end, rest = divmod(grown, each) if each else (0, 1)
            if rest or not 0 < end < steps or ends.setdefault(node.name, end) != end:
                raise _uneven(node, key, steps)
    return ends


def check_step(
    first: Sequence[Draft],
    later: Sequence[Draft],
    growth: Growth,
    ends: Mapping[str, int],
    step: int,
) -> None:
    """Raises WorkloadError if `later` is not what growth says of `step`."""
    for node, seen in _zip(first, later):
        times = min(step, ends.get(node.name, step))
        for key, size in node.sizes.items():
            if seen.sizes[key] != size + times * growth[node.name].get(key, 0):
                raise _uneven(node, key, step)


def _uneven(node: Draft, key: str, steps: int) -> WorkloadError:
    return WorkloadError(
        f"{key} of {node.name!r} grows neither evenly over {steps} decode steps nor up to a "
        "window. Trace fewer steps, or start with a longer prefill."
    )


def decode_phase(
    first: Sequence[Draft],
    growth: Growth,
    ends: Mapping[str, int],
    probe: Sequence[Draft],
    steps: int,
) -> Phase:
    """The decode; `first` is its first step.

    An attention product whose prefill in `probe` had one token only learns its token axis here.
    Raises WorkloadError if K and V are cut to a window that the mask of `probe` does not show.
    """
    plan = {node.name: node for node in probe}
    ops = []
    for node in first:
        seen = plan.get(node.name)
        if node.kind == "matmul":
            _share_axis(node, seen, growth[node.name])
        op = _op(node, None, 1, growth[node.name], ends.get(node.name))
        if node.kind in ("matmul", "softmax"):
            op = _windowed(op, seen, steps)
        ops.append(op)
    return make_phase(name="decode", tokens=1, steps=steps, ops=tuple(ops))


def _windowed(op: Op, seen: Draft | None, steps: int) -> Op:
    """`op` with no more keys than the window of its mask has, should the cache keep more."""
    window = seen.mask.window if seen is not None else None
    keys = _keys(op.at(steps - 1))
    if op.growth_steps is not None and keys != window:
        raise WorkloadError(
            f"{op.name!r} keeps {keys} tokens of those before it, but the attention mask shows no "
            "window of that length. Trace fewer steps."
        )
    if window is None or keys <= window:
        return op
    left = window - _keys(op)
    if left > 0:
        return op.model_copy(update={"growth_steps": left})
    axis = op.stationary_token_axis if isinstance(op, MatMul) else "columns"
    return op.model_copy(update={axis: window, "growth": {}})


def _keys(op: Op) -> int:
    if isinstance(op, MatMul) and op.stationary_token_axis != "none":
        return op.n if op.stationary_token_axis == "n" else op.k
    return op.columns if isinstance(op, Softmax) else 0


def _share_axis(node: Draft, seen: Draft | None, growth: Mapping[str, int]) -> None:
    """Tell `node` its token axis, by growth or by `seen`, and `seen` if it knew none."""
    grown = next((key for key in ("n", "k") if key in growth), "none")
    known = seen.details["stationary_token_axis"] if seen is not None else "none"
    node.details["stationary_token_axis"] = known if grown == "none" else grown
    if seen is not None and known == "none":
        seen.details["stationary_token_axis"] = grown


def _zip(first: Sequence[Draft], later: Sequence[Draft]) -> list[tuple[Draft, Draft]]:
    names = [[node.name for node in nodes] for nodes in (first, later)]
    if names[0] != names[1]:
        changed = sorted(set(names[0]) ^ set(names[1]))[:3]
        raise WorkloadError(
            f"decode steps do not run the same operations ({', '.join(changed)} differ). Trace "
            "fewer steps."
        )
    return list(zip(first, later, strict=True))


def _op(
    node: Draft,
    seen: Draft | None,
    tokens: int,
    growth: Mapping[str, int],
    growth_steps: int | None = None,
) -> Op:
    """The op of `node`; `seen` is the same operation with its token streams told."""
    fields: dict[str, Any] = {
        "kind": node.kind,
        "name": node.name,
        "inputs": _inputs(node),
        "tokens": tokens if seen is not None and seen.streams else 1,
        "growth": dict(growth),
        "growth_steps": growth_steps,
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
            window = seen.mask.window
            fields["causal"] = seen.mask.causal
            fields["window"] = window if window is not None and window < tokens else None
    try:
        return _OP.validate_python(fields)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        raise WorkloadError(
            f"operation {node.name!r} has no valid {problem['loc'][-1]}: {problem['msg']} "
            f"(got {problem['input']!r})."
        ) from None


def _inputs(node: Draft) -> tuple[str, ...]:
    sources = [source.resolve() for source in node.inputs]
    return tuple(
        source.name if source.segment == node.segment else f"cache:{source.name}"
        for source in sources
    )
