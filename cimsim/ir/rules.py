"""What must hold between the fields of a workload, beyond the type of each.

Every way in runs these rules: a file, a trace, a workload built in Python. A rule yields one line
a problem, which names the phase, the op, both numbers and what to change.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

from cimsim.values.bounds import SIZE_MAX, TOKENS_MAX, VALUES_MAX

if TYPE_CHECKING:
    from cimsim.ir.ops import Linear, MatMul, Op, Phase
    from cimsim.ir.workload import Parameter, Workload

MACS_MAX = 2**62
_FIXED = {
    "linear": ("in_features", "out_features"),
    "embedding": ("columns",),
    "matmul": ("batch", "stationary_batch"),
}
"""Sizes that the model's weights and heads give: they do not grow with the context."""
_SAME = ("kind", "weight", "in_features", "out_features", "groups", "narrow", "nonzeros", "role",
         "adapts", "saved", "tuned", "batch", "stationary_token_axis",
         "stationary_batch")  # fmt: skip
"""Fields of an op that are equal in every phase: one weight, one tile."""


def check_phase(phase: Phase) -> None:
    """Raise ValueError, one line a problem, for a phase whose ops do not fit together."""
    _raise(_phase_problems(phase))


def check_workload(workload: Workload) -> None:
    """Raise ValueError, one line a problem, for phases and parameters that do not fit together."""
    names = [phase.name for phase in workload.phases]
    if names not in (["prefill"], ["prefill", "decode"]):
        raise ValueError(f"phases must be prefill, or prefill and decode, not {names}")
    _raise(_workload_problems(workload))


def summed(op: Op, fields: tuple[str, ...], steps: int) -> int:
    """The product of the sizes `fields` of `op`, summed over `steps` steps, in closed form."""
    if op.growth_steps is not None and steps > op.growth_steps + 1:
        last: int = math.prod(int(getattr(op.at(op.growth_steps), field)) for field in fields)
        rest = steps - op.growth_steps - 1
        return summed(op, fields, op.growth_steps + 1) + rest * last
    polynomial = [1]
    for field in fields:
        size, by = int(getattr(op, field)), op.growth.get(field, 0)
        shifted = zip([*polynomial, 0], [0, *polynomial], strict=True)
        polynomial = [low * size + high * by for low, high in shifted]
    return sum(c * _power_sum(k, steps) for k, c in enumerate(polynomial) if c)


@lru_cache(maxsize=256)
def _power_sum(power: int, count: int) -> int:
    """0**power + 1**power + ... + (count - 1)**power, with 0**0 = 1."""
    lower = sum(math.comb(power + 1, k) * _power_sum(k, count) for k in range(power))
    return int((count ** (power + 1) - lower) // (power + 1))


def _raise(problems: Iterable[str]) -> None:
    if lines := list(problems):
        raise ValueError("\n".join(lines))


def _phase_problems(phase: Phase) -> Iterator[str]:
    if phase.name == "prefill" and phase.steps != 1:
        yield f"phase prefill: steps is {phase.steps}, the prompt is processed in 1 step"
    yield from _recompute_problems(phase)
    seen: set[str] = set()
    linears = {op.name: op for op in phase.ops if op.kind == "linear"}
    for op in phase.ops:
        where = f"phase {phase.name}: op {op.name!r}"
        if op.name in seen:
            yield f"phase {phase.name}: two ops are named {op.name!r}"
        for source in op.inputs:
            if not source.startswith("cache:") and source not in seen:
                yield f"{where} reads {source!r}, which is not an earlier op of the phase"
        seen.add(op.name)
        yield from (f"{where} {problem}" for problem in _op_problems(op, phase))
        if op.kind == "linear":
            yield from (f"{where} {problem}" for problem in _adapts_problems(op, linears))


def _recompute_problems(phase: Phase) -> Iterator[str]:
    """Tokens grow in a decode that keeps no cache."""
    if not phase.tokens_growth:
        return
    if phase.name != "decode" or phase.tokens < 2:
        yield (
            f"phase {phase.name}: tokens_growth {phase.tokens_growth} with {phase.tokens} tokens: "
            "a decode of at least 2 tokens grows, the prompt and the one chosen from it"
        )
    if phase.longest > TOKENS_MAX:
        yield (
            f"phase {phase.name}: the last of {phase.steps} steps has {phase.longest} tokens, more "
            f"than {TOKENS_MAX}: lower steps or tokens_growth"
        )


def _op_problems(op: Op, phase: Phase) -> Iterator[str]:
    if op.tokens not in (1, phase.tokens):
        yield (
            f"has tokens {op.tokens}, the phase has {phase.tokens}: an op runs once a token "
            f"(tokens {phase.tokens}) or once a step (tokens 1)"
        )
    if (by := op.growth.get("tokens", 0)) != (phase.tokens_growth if op.tokens > 1 else 0):
        yield (
            f"has growth of tokens {by}, the phase tokens_growth {phase.tokens_growth}: tokens of "
            "an op that runs once a token grow as those of the phase, others not at all"
        )
    yield from _growth_problems(op, phase.steps)
    yield from _share_problems(op)
    yield from _window_problems(op)
    if op.kind == "matmul":
        yield from _product_problems(op)
    elif op.kind == "softmax" and op.causal and op.columns < op.tokens:
        yield (
            f"is causal over {op.columns} columns, fewer than its {op.tokens} tokens: raise "
            "columns or drop causal"
        )
    elif op.kind == "elementwise" and not op.functions:
        yield "has no functions: name one, or make it a move"
    yield from _total_problems(op, phase.steps)


def _growth_problems(op: Op, steps: int) -> Iterator[str]:
    if op.growth_steps is not None and not op.growth:
        yield "has growth_steps without growth: drop it, or name the sizes that grow"
    for key, by in op.growth.items():
        size, last = getattr(op, key), getattr(op, key) + op.grown(steps - 1) * by
        if key in _FIXED.get(op.kind, ()):
            yield f"has growth of {key}, which weights and heads fix: take it out of growth"
        elif last > SIZE_MAX:
            yield (
                f"has {key} {size} and growth {by}: {last} in step {steps} of {steps}, more than "
                f"{SIZE_MAX}; lower growth or steps"
            )


def _window_problems(op: Op) -> Iterator[str]:
    """A window is for a prompt; a decode step reads what is inside."""
    if getattr(op, "window", None) is None:
        return
    if op.growth:
        yield "has a window and growth: a full window does not grow, say growth_steps instead"
    if op.kind == "matmul" and op.stationary_token_axis == "none":
        yield (
            "has a window, but stationary_token_axis is 'none': name the axis that runs over "
            "tokens, or drop window"
        )
    keys = op.columns if op.kind == "softmax" else max(op.k, op.n) if op.kind == "matmul" else 0
    if keys < op.tokens:
        yield (
            f"has a window over {keys} tokens, fewer than its own {op.tokens}: raise that axis or "
            "drop window"
        )


def _share_problems(op: Op) -> Iterator[str]:
    """What an op does in a step is shared evenly by its tokens."""
    fields = {"matmul": ("batch", "m")}.get(op.kind) or (
        ("rows",) if hasattr(op, "rows") else ("elements",)
    )
    size = math.prod(getattr(op, field) for field in fields)
    if by := op.growth.get("tokens", 0):
        for field in ("m",) if op.kind == "matmul" else fields:
            grown, now = op.growth.get(field, 0), getattr(op, field)
            if grown * op.tokens != now * by:
                yield (
                    f"has {field} {now} with growth {grown}, not as its tokens, {op.tokens} with "
                    f"growth {by}: what a token does in a step stays the same"
                )
        return
    for value in (size, *(op.growth[field] for field in fields if field in op.growth)):
        if value % op.tokens:
            yield (
                f"has {' x '.join(fields)} {value}, which its {op.tokens} tokens do not share "
                "evenly: make it a multiple of tokens, or set tokens to 1"
            )


def _product_problems(op: MatMul) -> Iterator[str]:
    if len(op.inputs) < 2:
        yield (
            f"is a product with {len(op.inputs)} inputs: name the moving operand first and the "
            "stationary one second"
        )
    if op.batch % op.stationary_batch:
        yield (
            f"has stationary_batch {op.stationary_batch}, which does not divide batch {op.batch}: "
            "equally many products share each stationary matrix"
        )
    if op.causal and op.stationary_token_axis == "none":
        yield (
            "is causal, but stationary_token_axis is 'none': name the axis that runs over "
            "tokens, or drop causal"
        )
    elif op.causal and getattr(op, op.stationary_token_axis) < op.tokens:
        axis = op.stationary_token_axis
        yield (
            f"is causal over {axis} {getattr(op, axis)}, fewer than its {op.tokens} tokens: "
            f"raise {axis} or drop causal"
        )


_TENSORS: dict[str, tuple[tuple[str, ...], ...]] = {
    "linear": (("rows", "in_features"), ("rows", "out_features"), ("in_features", "out_features")),
    "matmul": (("batch", "m", "k"), ("batch", "m", "n"), ("batch", "k", "n")),
    "softmax": (("rows", "columns"),),
    "norm": (("rows", "columns"),),
    "embedding": (("rows", "columns"),),
    "elementwise": (("elements",),),
    "reduce": (("elements", "inputs_per_output"),),
    "move": (("elements",),),
}


def _total_problems(op: Op, steps: int) -> Iterator[str]:
    """Tensors that a float counts exactly."""
    for fields in _TENSORS[op.kind]:
        if (values := summed(op, fields, steps)) > VALUES_MAX:
            yield (
                f"has {' x '.join(fields)} of {values} values over {steps} steps, more than "
                f"{VALUES_MAX}: lower a size or steps"
            )


def _adapts_problems(op: Linear, linears: dict[str, Linear]) -> Iterator[str]:
    if op.role == "base":
        if op.nonzeros is not None:
            yield from _outlier_problems(op, linears)
        elif op.adapts is not None:
            yield f"adapts {op.adapts!r}, but its role is base: only lora_a and lora_b adapt"
        return
    base = linears.get(op.adapts or "")
    if base is None or base.role != "base":
        yield (
            f"of role {op.role} adapts {op.adapts!r}, which is no linear base op of the phase: "
            "name the op that the branch belongs to"
        )
        return
    field = "in_features" if op.role == "lora_a" else "out_features"
    mine, theirs = getattr(op, field), getattr(base, field)
    if mine != theirs:
        yield f"has {field} {mine}, {base.name!r} that it adapts has {theirs}: make them equal"


def _outlier_problems(op: Linear, linears: dict[str, Linear]) -> Iterator[str]:
    base = linears.get(op.adapts or "")
    sizes = op.in_features, op.out_features
    if base is None or base.nonzeros is not None:
        yield f"has nonzeros of {op.adapts!r}, which is no linear op with a whole weight"
    elif sizes != (base.in_features, base.out_features):
        yield (
            f"is {sizes[0]}x{sizes[1]}, {base.name!r} that it belongs to "
            f"{base.in_features}x{base.out_features}: make them equal"
        )


def _workload_problems(workload: Workload) -> Iterator[str]:
    known = {parameter.name: parameter for parameter in workload.parameters}
    yield from _parameter_problems(workload.parameters, known)
    yield from _cache_problems(workload)
    yield from _phases_problems(workload)
    for phase, op in workload.ops():
        if op.kind == "linear" or op.kind == "embedding":
            where = f"phase {phase.name}: op {op.name!r}"
            parameter = known.get(op.weight)
            if parameter is None:
                yield f"{where} uses parameter {op.weight!r}, which is not listed"
            elif problem := _weight_problem(op, parameter):
                yield f"{where} {problem}"
    yield from _adapter_problems(workload)
    if workload.macs > MACS_MAX:
        yield (
            f"the workload has {workload.macs} multiply-accumulates, more than {MACS_MAX}: lower "
            "steps or a size"
        )


def _parameter_problems(
    parameters: tuple[Parameter, ...], known: dict[str, Parameter]
) -> Iterator[str]:
    seen: set[str] = set()
    for parameter in parameters:
        name, tied = f"parameter {parameter.name!r}", parameter.tied_to
        if parameter.name in seen:
            yield f"{name} is listed twice: keep one"
        seen.add(parameter.name)
        if parameter.size > VALUES_MAX:
            yield f"{name} has {parameter.size} values, more than {VALUES_MAX}: check its shape"
        if tied is None:
            continue
        owner = known.get(tied)
        if owner is None:
            yield f"{name} is tied to {tied!r}, which is not listed"
        elif owner.tied_to is not None:
            yield (
                f"{name} is tied to {tied!r}, which is itself tied to {owner.tied_to!r}: name the "
                "parameter that owns the storage"
            )
        elif owner.shape != parameter.shape:
            yield (
                f"{name} has shape {list(parameter.shape)}, {tied!r} that it is tied to has "
                f"{list(owner.shape)}: they share one storage"
            )
    if (total := sum(parameter.size for parameter in parameters)) > VALUES_MAX:
        yield f"the parameters have {total} values, more than {VALUES_MAX}: check their shapes"


def _cache_problems(workload: Workload) -> Iterator[str]:
    """The KV cache is read in decode only, and holds rows of ops of the prefill."""
    first, *later = workload.phases
    filled = {f"cache:{op.name}" for op in first.ops} if later else set()
    for phase, op in workload.ops():
        for source in op.inputs:
            if source.startswith("cache:") and (phase is first or source not in filled):
                yield (
                    f"phase {phase.name}: op {op.name!r} reads {source!r}, but no op of an "
                    "earlier phase has that name"
                )


def _phases_problems(workload: Workload) -> Iterator[str]:
    """An op of a name is the same op in every phase."""
    first = {op.name: op for op in workload.phases[0].ops}
    for op in (op for phase in workload.phases[1:] for op in phase.ops):
        before = first.get(op.name)
        same = (*_SAME, "columns") if op.kind == "linear" else _SAME
        for field in same if before is not None else ():
            values = [getattr(each, field, None) for each in (before, op)]
            if values[0] != values[1]:
                yield (
                    f"phase decode: op {op.name!r} has {field} {values[1]!r}, in prefill "
                    f"{values[0]!r}: ops of one name share one weight; rename one"
                )
                break


def _weight_problem(op: Op, parameter: Parameter) -> str | None:
    """What of the features of `op` disagrees with the shape of its parameter, if anything."""
    shape = f"parameter {parameter.name!r} has shape {list(parameter.shape)}"
    if op.kind == "embedding":
        if op.columns == (parameter.shape or (0,))[-1]:
            return None
        return f"has columns {op.columns}, {shape}: columns is its last extent"
    assert op.kind == "linear"
    inputs = op.in_features // op.groups
    if op.weights != parameter.size or inputs not in _products(parameter.shape):
        groups = f" in {op.groups} groups" if op.groups > 1 else ""
        return (
            f"has in_features {op.in_features} and out_features {op.out_features}{groups}, {shape}"
            ": the features must be its extents, in either order or several multiplied"
        )
    lora = ("lora_a", "lora_b")
    if op.role != parameter.role and (op.role in lora or parameter.role in lora):
        return f"has role {op.role}, parameter {parameter.name!r} has {parameter.role}"
    return None


def _products(shape: tuple[int, ...]) -> set[int]:
    """Products of some of the extents: a kernel of a convolution is flattened."""
    found = {1}
    for extent in shape[:8]:
        found |= {extent * product for product in found}
    return found


def _adapter_problems(workload: Workload) -> Iterator[str]:
    linear = [op for _, op in workload.ops() if op.kind == "linear"]
    adapter = workload.adapter
    if adapter is None:
        masked = any(op.tuned for op in linear)
        own = (op for op in linear if (op.role != "base" if masked else op.in_adapter))
        if (branch := next(own, None)) is not None:
            yield f"op {branch.name!r} belongs to an adapter, but the workload names none"
        return
    trained = adapter.parameter_count + adapter.saved_parameter_count
    stored = sum(parameter.size for parameter in workload.parameters)
    if trained > stored:
        yield (
            f"the adapter has {trained} trained values, the parameters listed {stored}: they "
            "include the adapter's"
        )
