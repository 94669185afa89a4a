"""The ops of a pool of LoRA adapters: what takes the place of each plain branch of a workload.

For a layer with W0, pool A_j, B_i and the coefficients c of its block (LoRAFusion, Guo et al.,
GLSVLSI 2025, and its code):

    u_j = A_j x,  z = sum_j c_j u_j,  v = sum_i B_i (c_i z),  y = g (W0 x + s v)

which has the cross terms c_i c_j B_i A_j. Without them u_i goes to B_i scaled by c_i alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from cimsim.errors import MappingError
from cimsim.ir import Branches, Elementwise, Linear, Op, Phase

_BLOCK = re.compile(r"^(?:.*?\.)?\d+(?=[./]|$)")


def block_of(name: str) -> str:
    """The block that a layer belongs to: its path up to the first number; "" without one."""
    found = _BLOCK.search(name)
    return found[0] if found else ""


@dataclass(frozen=True, slots=True)
class Form:
    """How many adapters, whether their matrices are one, cross terms and magnitudes."""

    adapters: int
    cross: bool
    packed: bool
    magnitudes: bool

    def names(self, name: str) -> list[str]:
        """Names of what stands for A or B of `name`: one of all adapters, or one each."""
        if self.packed:
            return [name]
        stem, dot, last = name.rpartition(".weight")
        stem, end = (stem, dot) if dot and not last else (name, "")
        return [f"{stem}.{number}{end}" for number in range(self.adapters)]


def pooled(phase: Phase, branches: dict[str, Branches], form: Form) -> tuple[Op, ...]:
    """Ops of `phase` with every branch replaced by the pool; raises MappingError where none can.

    `branches` are those of the phase, one of each op.
    """
    down = {its.down[0].name: its.down[0] for its in branches.values()}
    up = {its.up[0].name: its for its in branches.values()}
    biased = {op.name for op in phase.ops if isinstance(op, Linear) and op.bias}
    inside: dict[str, str] = {}
    kept: list[Op] = []
    for op in phase.ops:
        if op.name in down:
            kept += _wider(down[op.name], form)
        elif op.name in up:
            kept += _up(up[op.name], form)
            inside[op.name] = up[op.name].up[0].adapts or ""
        elif mine := [source for source in op.inputs if source in inside]:
            if not isinstance(op, Elementwise) or len(mine) > 1:
                raise MappingError(
                    f"op {op.name!r} reads LoRA branches ({', '.join(mine)}) and is no elementwise "
                    "merge of one: a pool cannot take their place."
                )
            layer = inside[mine[0]]
            kept.append(_merged(op, mine[0], mine[0] in up, layer in biased, form))
            if len(op.inputs) == 1:
                inside[op.name] = layer
        else:
            kept.append(op)
    return tuple(kept)


def _wider(op: Linear, form: Form) -> list[Op]:
    """A of all adapters, side by side or each for itself."""
    width = op.out_features * (form.adapters if form.packed else 1)
    return [
        op.model_copy(update={"name": name, "weight": weight, "out_features": width})
        for name, weight in zip(form.names(op.name), form.names(op.weight), strict=True)
    ]


def _up(its: Branches, form: Form) -> Iterator[Op]:
    """What is between A and B, and B of all adapters."""
    a, b = its.down[0], its.up[0]
    made = form.names(a.name)
    if form.cross:
        weighted = {"mul": 1, "axpy": form.adapters - 1} if form.adapters > 1 else {"mul": 1}
        yield (one := _between(a, "accumulate", tuple(made), a.out_features, weighted))
        made = [one.name] * len(made)
    width = b.in_features * (form.adapters if form.packed else 1)
    names = zip(form.names("scale"), form.names(b.name), form.names(b.weight), made, strict=True)
    for scale, name, weight, source in names:
        yield (scaled := _between(a, scale, (source,), width, {"mul": 1}))
        changes = {"name": name, "weight": weight, "inputs": (scaled.name,), "in_features": width}
        yield b.model_copy(update=changes)


def _between(
    a: Linear, label: str, inputs: tuple[str, ...], columns: int, functions: dict[str, int]
) -> Elementwise:
    growth = {"elements": a.growth["rows"] * columns} if "rows" in a.growth else {}
    return Elementwise(
        name=f"{a.adapts}/{label}", inputs=inputs, tokens=a.tokens, elements=a.rows * columns,
        functions=functions, growth=growth, growth_steps=a.growth_steps if growth else None,
    )  # fmt: skip


def _merged(op: Elementwise, branch: str, from_b: bool, biased: bool, form: Form) -> Elementwise:
    """The op that reads the branch: it adds the results of all B, and multiplies by magnitudes.

    A bias stays outside the magnitudes: g (W0 x + b) + (1 - g) b, the latter folded.
    """
    every = form.names(branch) if from_b else [branch]
    inputs = tuple(n for source in op.inputs for n in (every if source == branch else [source]))
    functions = dict(op.functions)

    def more(function: str, times: int) -> None:
        functions[function] = functions.get(function, 0) + times

    if len(every) > 1:
        more("add", len(every) - 1)
    if form.magnitudes and len(op.inputs) > 1:
        more("mul", 1)
        if biased:
            more("add", 1)
    return op.model_copy(update={"inputs": inputs, "functions": functions})
