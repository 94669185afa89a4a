"""A workload over other lengths, as tracing again would give it, or refused with the reason.

Every size of an op is a polynomial in the prompt length P. It is derived from what the op reads:
the stationary operand of an attention product holds so many tokens, its scores are as wide, all
else runs once a token or once a step. A derived size must give the traced one at the traced P;
where it does not, or two derivations fit, the workload is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cimsim.errors import WorkloadError
from cimsim.ir.ops import MatMul, Op, Phase
from cimsim.values.display import brief
from cimsim.values.history import note_change

if TYPE_CHECKING:
    from cimsim.ir.workload import Workload


_ROWS = {"linear": "rows", "norm": "rows", "softmax": "rows", "embedding": "rows",
         "elementwise": "elements", "move": "elements", "reduce": "elements"}  # fmt: skip


@brief
@dataclass(frozen=True)
class Poly:
    """c[0] + c[1] P + c[2] P^2."""

    c: tuple[int, int, int]

    def at(self, prompt: int) -> int:
        """Its value for a prompt of that length."""
        return self.c[0] + self.c[1] * prompt + self.c[2] * prompt**2

    def times(self, factor: int) -> Poly:
        """Scaled."""
        return Poly((self.c[0] * factor, self.c[1] * factor, self.c[2] * factor))

    def plus(self, other: Poly) -> Poly:
        """Summed."""
        a, b = self.c, other.c
        return Poly((a[0] + b[0], a[1] + b[1], a[2] + b[2]))

    def over(self, divisor: int) -> Poly | None:
        """Divided, where that leaves no rest."""
        if any(c % divisor for c in self.c):
            return None
        return Poly((self.c[0] // divisor, self.c[1] // divisor, self.c[2] // divisor))

    def per_token(self) -> Poly:
        """The share of one token of a stream."""
        return Poly((self.c[1], self.c[2], 0))


def fixed(value: int) -> Poly:
    """A size that no prompt changes."""
    return Poly((value, 0, 0))


@dataclass(frozen=True)
class _Flow:
    """What an op yields in a step: `total` values; `context` is their last axis if over tokens."""

    total: Poly
    streams: bool
    context: Poly | None = None


class _Phase:
    """Sizes of one phase; `cache` holds what the prefill left."""

    def __init__(self, workload: Workload, phase: Phase, cache: Mapping[str, _Flow]) -> None:
        self.name, self.phase = workload.name, phase
        self.prompt = workload.phases[0].tokens
        self.cache = cache
        self.flows: dict[str, _Flow] = {}
        self.sizes: dict[str, dict[str, Poly]] = {}

    def run(self) -> None:
        """Derive all sizes; raises WorkloadError."""
        for op in self.phase.ops:
            if getattr(op, "window", None) is not None or getattr(op, "growth_steps", None):
                raise self._refusal(op, "it reads a sliding attention window")
            streams = self.phase.name == "prefill" and op.tokens == self.prompt
            sizes = (
                self._matmul(op, streams) if isinstance(op, MatMul) else self._other(op, streams)
            )
            for field, size in sizes.items():
                if size.at(self.prompt) != getattr(op, field):
                    raise self._refusal(
                        op, f"its {field} do not follow from the tokens that it reads"
                    )
            self.sizes[op.name] = sizes
            self.flows[op.name] = self._flow(op, sizes, streams)

    def _refusal(self, op: Op, why: str) -> WorkloadError:
        return WorkloadError(
            f"{self.name}: op {op.name!r} of the {self.phase.name} cannot be given another length: "
            f"{why}. Trace the model again with the lengths you want (cimsim trace --prefill "
            "--decode)."
        )

    def _read(self, op: Op) -> list[_Flow]:
        return [
            self.cache[s.removeprefix("cache:")] if s.startswith("cache:") else self.flows[s]
            for s in op.inputs
        ]

    def _matmul(self, op: MatMul, streams: bool) -> dict[str, Poly]:
        sizes = {"m": self._scaled(op, op.m) if streams else fixed(op.m)}
        axis = op.stationary_token_axis
        if axis == "none":
            if self.prompt in (op.k, op.n):
                raise self._refusal(op, "one of its sides is as long as the prompt by chance")
            return sizes
        context = fixed(0)
        for flow in self._read(op)[1:]:
            context = context.plus(Poly((0, 1, 0)) if flow.streams else fixed(1))
        return {**sizes, axis: context}

    def _scaled(self, op: Op, size: int) -> Poly:
        if size % self.prompt:
            raise self._refusal(op, f"a size of {size} is not the same for each token")
        return Poly((0, size // self.prompt, 0))

    def _other(self, op: Op, streams: bool) -> dict[str, Poly]:
        read, field = self._read(op), _ROWS[op.kind]
        size = getattr(op, field)
        if op.kind == "softmax":
            rows = self._scaled(op, size) if streams else fixed(size)
            return {"rows": rows, "columns": self._context(read, op.columns)}
        if op.kind == "reduce":
            return self._reduce(op, streams, read)
        if op.kind == "embedding":
            return {field: self._look_up(op, size, streams)}
        width = {"linear": "in_features", "norm": "columns"}.get(op.kind)
        count = size * (getattr(op, width) if width else 1)
        same = {flow.total for flow in read if flow.total.at(self.prompt) == count}
        if len(same) > 1:
            raise self._refusal(op, "two of the values that it reads fit its size")
        if same:
            return {field: self._whole(op, same.pop(), count // size)}
        return {field: self._per_token(op, size, read) if streams else self._once(op, size, read)}

    def _context(self, read: list[_Flow], columns: int) -> Poly:
        """The width of a softmax: that of the scores it reads, if they are scores."""
        found = next((f.context for f in read if f.context is not None), None)
        return found if found is not None and found.at(self.prompt) == columns else fixed(columns)

    def _whole(self, op: Op, total: Poly, width: int) -> Poly:
        found = total.over(width)
        if found is None:
            raise self._refusal(op, "its rows are no whole number")
        return found

    def _look_up(self, op: Op, size: int, streams: bool) -> Poly:
        """Rows of a table: one a token, one a pair of tokens (relative positions), or fixed."""
        if not streams:
            return self._constant(op, size)
        if size == self.prompt**2:
            return Poly((0, 0, 1))
        return self._scaled(op, size)

    def _per_token(self, op: Op, size: int, read: list[_Flow]) -> Poly:
        """A stream of so much a token, unless it could be as much as there are tokens."""
        share = size // self.prompt
        known = [f.total.at(self.prompt) // self.prompt for f in read if f.streams]
        widened = op.kind in ("elementwise", "move") and share > max(known, default=0)
        if widened and share % self.prompt == 0 and share != sum(known):
            raise self._refusal(op, "it may hold as many values a token as there are tokens")
        return self._scaled(op, size)

    def _once(self, op: Op, size: int, read: list[_Flow]) -> Poly:
        """What runs once a step: over the last token of a stream, or of a fixed size."""
        last = {f.total.per_token() for f in read if f.streams}
        streams = any(f.streams or f.total != fixed(f.total.c[0]) for f in read)
        one = op.kind in ("linear", "norm") and size == 1
        if not read:
            return self._constant(op, size)
        if not streams or one or fixed(size) in last:
            return fixed(size)
        raise self._refusal(op, "it reads a part of the tokens")

    def _constant(self, op: Op, size: int) -> Poly:
        """A size that nothing read explains: fixed, unless it could be that of the prompt."""
        if self.phase.name == "prefill" and size % self.prompt == 0:
            raise self._refusal(op, "it runs once a step, over as many rows as there are tokens")
        return fixed(size)

    def _reduce(self, op: Op, streams: bool, read: list[_Flow]) -> dict[str, Poly]:
        elements: int = getattr(op, "elements")  # noqa: B009
        count: int = getattr(op, "inputs_per_output")  # noqa: B009
        outputs = self._scaled(op, elements) if streams else fixed(elements)
        for flow in read:
            per = flow.total.per_token() if streams else flow.total
            found = per.over(outputs.c[1] if streams else elements)
            if found is not None and found.at(self.prompt) == count:
                return {"elements": outputs, "inputs_per_output": found}
        if any(flow.total != fixed(flow.total.c[0]) for flow in read):
            raise self._refusal(op, "it sums over a part of the tokens")
        return {"elements": outputs, "inputs_per_output": fixed(count)}

    def _flow(self, op: Op, sizes: dict[str, Poly], streams: bool) -> _Flow:
        """The values that the op yields."""
        if isinstance(op, MatMul):
            wide = sizes.get("n", fixed(op.n))
            context = wide if op.stationary_token_axis == "n" else None
            return _Flow(_product(sizes["m"], wide).times(op.batch), streams, context)
        if op.kind == "softmax":
            total = _product(sizes["rows"], sizes["columns"])
            return _Flow(total, streams, sizes["columns"] if sizes["columns"].c[1] else None)
        rows = sizes[_ROWS[op.kind]]
        width = {"linear": "out_features", "norm": "columns", "embedding": "columns"}.get(op.kind)
        total = rows.times(getattr(op, width)) if width else rows
        context = next((f.context for f in self._read(op) if f.context and f.total == total), None)
        return _Flow(total, streams, context)


def _product(a: Poly, b: Poly) -> Poly:
    assert not (a.c[2] and b.c[1])
    return Poly((
        a.c[0] * b.c[0],
        a.c[0] * b.c[1] + a.c[1] * b.c[0],
        a.c[0] * b.c[2] + a.c[1] * b.c[1] + a.c[2] * b.c[0],
    ))  # fmt: skip


def with_tokens(workload: Workload, prefill: int, decode: int | None = None) -> Workload:
    """`workload` with another prompt and other decode steps; see `Workload.with_tokens`."""
    old = workload.phases[0].tokens, _steps(workload)
    new = prefill, old[1] if decode is None else decode
    if new == old:
        return workload
    _check(workload, old, new)
    phases: list[Phase] = []
    cache: Mapping[str, _Flow] = {}
    for phase in workload.phases:
        found = _Phase(workload, phase, cache)
        found.run()
        cache = found.flows
        if phase.name == "prefill" or new[1]:
            phases.append(_resized(phase, found.sizes, new))
    origin = dict(workload.origin)
    for field, before, after in zip(("prefill", "decode"), old, new, strict=True):
        note_change(origin, field, before, after)
    return workload.remade(phases=tuple(phases), origin=origin)


def _steps(workload: Workload) -> int:
    return sum(phase.steps for phase in workload.phases if phase.name == "decode")


def _resized(phase: Phase, sizes: Mapping[str, dict[str, Poly]], new: tuple[int, int]) -> Phase:
    """The phase for a prompt of `new[0]` tokens and `new[1]` decode steps.

    Without decode steps no token is chosen.
    """
    prefill = phase.name == "prefill"
    ops = []
    left_out = None if new[1] else phase.sampling
    for op in phase.ops if left_out is None else phase.ops[:-1]:
        update: dict[str, Any] = {f: size.at(new[0]) for f, size in sizes[op.name].items()}
        if prefill and op.tokens == phase.tokens:
            update["tokens"] = new[0]
        if not prefill and new[1] == 1:
            update["growth"] = {}
        ops.append(op.model_copy(update=update))
    changed = {"tokens": new[0]} if prefill else {"steps": new[1]}
    return phase.model_copy(update={"ops": tuple(ops), **changed})


def _check(workload: Workload, old: tuple[int, int], new: tuple[int, int]) -> None:
    """Raise WorkloadError for lengths that the ops of `workload` cannot be given."""
    origin, again = workload.origin, "Trace the model again with the lengths you want."
    asked = f"{workload.name}: prefill {new[0]} and decode {new[1]} were asked"
    if new[0] < 1 or new[1] < 0:
        raise WorkloadError(f"{asked}; a prompt has at least 1 token, decode at least 0 steps.")
    if any(phase.tokens_growth for phase in workload.phases):
        raise WorkloadError(
            f"{asked}, but its decode keeps no cache: how its ops grow fits no other prompt. Write "
            "the workload again with other lengths."
        )
    if "prefill" not in origin or workload.tokens_fixed or "experts" in origin:
        why = "it was not traced from a model that reads token ids alone"
        if "experts" in origin:
            why = "which experts get how many depends on them"
        raise WorkloadError(
            f"{asked}, but its {old[0]} tokens are fixed: {why}. Make it again with other inputs."
        )
    if 1 in (old[0], new[0]) and old[0] != new[0]:
        raise WorkloadError(f"{asked}, but a prompt of one token runs other operations. {again}")
    if new[1] > old[1] and old[1] < 2:
        raise WorkloadError(
            f"{asked}, but it was traced with {old[1]} decode steps, of which two are needed to "
            f"see how they grow. {again}"
        )
    if new[1] < 2 <= old[1] and _separate(workload):
        raise WorkloadError(
            f"{asked}, but fewer than two decode steps do not show which side of the decoder's own "
            f"attention grows. {again}"
        )
    _check_limit(workload, old, new, asked)


def _separate(workload: Workload) -> bool:
    """Whether the prompt goes to an encoder and a decoder begins with one token of its own."""
    prompt = workload.phases[0]
    return prompt.tokens > 1 and any(
        op.kind == "matmul" and op.tokens == 1 and op.stationary_token_axis != "none"
        for op in prompt.ops
    )


def _check_limit(
    workload: Workload, old: tuple[int, int], new: tuple[int, int], asked: str
) -> None:
    """The longest sequence for which the model runs the same operations."""
    separate = _separate(workload)
    total = max(new[0], 1 + new[1]) if separate else sum(new)
    before = max(old[0], 1 + old[1]) if separate else sum(old)
    known = workload.tokens_max is not None
    limit = before if workload.tokens_max is None else workload.tokens_max
    if 0 < limit < total:
        why = (
            "its positions or its attention window end there"
            if known
            else "the file does not say how long its sequences may be"
        )
        raise WorkloadError(
            f"{asked}, {total} tokens in all, but {limit} is the most: {why}. Ask for fewer, or "
            "trace the model again with the lengths you want."
        )
