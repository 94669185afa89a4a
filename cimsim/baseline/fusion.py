"""From the op graph of a phase to the kernels that a serving stack launches.

What is fused: scores, mask, softmax and values (flash attention); linears that read the same
input and have the same role (q, k, v; gate and up; their LoRA A) into one product; bias, and an
elementwise function of one product alone (GELU), into the product; and all elementwise,
normalisation, look-up and move ops that are joined without a product between them into one pass
over memory (residual add and norm; rope of q and k; SiLU and multiply; LoRA scale and add).
Tables of positions and masks that depend on no token value are taken as precomputed. LoRA B
products, which read different inputs, stay apart.

With tensor parallelism p, a linear that follows a normalisation is split along its outputs and
one that follows such a linear without a normalisation between them along its inputs, with an
all-reduce behind it (Megatron-LM, arXiv 1909.08053); heads are split evenly, and so are the groups
of a convolution. A convolution is a product over its patches, each read from memory as often as it
holds a value: a bound from above where kernels gather patches on the chip.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass

from cimsim.baseline.graph import PhaseGraph, read_elements
from cimsim.baseline.kernels import (
    AllReduceKernel,
    AttentionKernel,
    GemmKernel,
    Kernel,
    OpClass,
    StreamKernel,
)
from cimsim.ir import Embedding, Linear, MatMul, Norm, Phase, Reduce, Softmax, output_elements


def _share(count: int, parts: int) -> int:
    return -(-count // parts)


@dataclass(frozen=True)
class Sharding:
    """Which ops hold only one card's part of their result, and which linears need an all-reduce."""

    split: frozenset[str]
    by_inputs: frozenset[str]


def shard(graph: PhaseGraph) -> Sharding:
    """Follow the split of activations through the graph."""
    split: set[str] = set()
    by_inputs: set[str] = set()
    for name, op in graph.ops.items():
        producers = graph.producers(name)
        if name in graph.attention_of:
            split.add(name)
        elif isinstance(op, Linear) and op.role == "base":
            if op.groups == 1 and any(p in split for p in producers):
                by_inputs.add(name)
            else:
                split.add(name)
        elif isinstance(op, Linear) and op.role == "lora_b":
            if op.adapts not in by_inputs:
                split.add(name)
        elif not isinstance(op, Linear | Norm) and any(p in split for p in producers):
            split.add(name)
    return Sharding(frozenset(split), frozenset(by_inputs))


def lower(phase: Phase, batch: int = 1, tensor_parallel: int = 1) -> Counter[Kernel]:
    """Kernels of one step of `phase` on one card with how often each is launched."""
    graph = PhaseGraph(phase)
    sharding = shard(graph)
    kernels: Counter[Kernel] = Counter()
    groups = _linear_groups(graph)
    for members in groups:
        kernels.update(_linear(graph, members, sharding, batch, tensor_parallel))
    for attention in graph.attentions:
        kernels[_attention(attention.scores, batch, tensor_parallel)] += 1
    for name, op in graph.ops.items():
        if isinstance(op, MatMul) and name not in graph.attention_of:
            kernels[_matmul(op, batch, tensor_parallel)] += 1
    for names in _stream_groups(graph, groups):
        kernel = _stream(graph, names, sharding, batch, tensor_parallel)
        if kernel is not None:
            kernels[kernel] += 1
    return kernels


def _linear_groups(graph: PhaseGraph) -> list[list[Linear]]:
    """Linears that one product computes: same input, same role, same rows."""
    groups: dict[tuple[object, ...], list[Linear]] = defaultdict(list)
    for op in graph.ops.values():
        if isinstance(op, Linear):
            alone = "" if op.inputs and op.groups == 1 else op.name
            groups[op.inputs, op.role, op.rows, op.in_features, alone].append(op)
    return list(groups.values())


def _linear(
    graph: PhaseGraph, members: list[Linear], sharding: Sharding, batch: int, parts: int
) -> list[Kernel]:
    first = members[0]
    rows, k, n = batch * first.rows, first.in_features, sum(op.out_features for op in members)
    op_class: OpClass = "linear" if first.role == "base" else "lora"
    if (groups := first.groups) > 1:
        return [GemmKernel(op_class, rows, k // groups, n // groups, _share(groups, parts))]
    adapts_inputs = first.role == "lora_a" and first.adapts in sharding.by_inputs
    if first.name in sharding.by_inputs:
        kernels: list[Kernel] = [GemmKernel(op_class, rows, _share(k, parts), n)]
        return kernels + ([AllReduceKernel(rows * n)] if parts > 1 else [])
    if adapts_inputs:
        return [GemmKernel(op_class, rows, _share(k, parts), n)]
    return [GemmKernel(op_class, rows, k, n if first.role == "lora_a" else _share(n, parts))]


def _attention(scores: MatMul, batch: int, parts: int) -> AttentionKernel:
    return AttentionKernel(
        heads=batch * _share(scores.batch, parts),
        kv_heads=batch * _share(scores.stationary_batch, parts),
        queries=scores.m,
        keys=scores.n,
        keys_growth=scores.growth.get("n", 0),
        width=scores.k,
        causal=scores.causal,
        window=scores.window,
        growth_steps=scores.growth_steps,
    )


def _matmul(op: MatMul, batch: int, parts: int) -> GemmKernel:
    return GemmKernel(
        "attention",
        op.m,
        op.k,
        op.n,
        batch * _share(op.batch, parts),
        op.growth.get("k", 0),
        op.growth.get("n", 0),
        op.growth_steps,
    )


def _stream_groups(graph: PhaseGraph, linears: list[list[Linear]]) -> list[list[str]]:
    """Names of ops that one pass over memory computes."""
    source_id = {op.name: f"linear {i}" for i, members in enumerate(linears) for op in members}
    source_id |= {name: f"attention {i}" for name, i in graph.attention_of.items()}
    light = [name for name in graph.ops if not graph.is_heavy(name)]
    root = {name: name for name in light}

    def find(name: str) -> str:
        while root[name] != name:
            root[name] = root[root[name]]
            name = root[name]
        return name

    readers: dict[tuple[str, int], str] = {}
    for name in light:
        level = graph.level[name]
        for producer in graph.producers(name):
            if producer in root and graph.level[producer] == level:
                root[find(name)] = find(producer)
            elif producer in source_id:
                other = readers.setdefault((source_id[producer], level), name)
                root[find(name)] = find(other)
    groups: dict[str, list[str]] = defaultdict(list)
    for name in light:
        groups[find(name)].append(name)
    return list(groups.values())


def _stream(
    graph: PhaseGraph, names: list[str], sharding: Sharding, batch: int, parts: int
) -> StreamKernel | None:
    """The kernel of one group, or None where the group needs none of its own: a table that depends
    on no token value, or functions that the product before them applies.
    """
    ops = [graph.ops[name] for name in names]
    looks_up = any(isinstance(op, Embedding) for op in ops)
    if graph.level[names[0]] == 0 and not looks_up:
        return None
    if _is_epilogue(graph, names):
        return None
    width = max((op.columns for op in ops if isinstance(op, Norm)), default=0)
    op_class: OpClass = "embedding" if looks_up else "norm" if width else "elementwise"
    if graph.sampling in names:
        op_class = "sampling"
    first, second = (_moved(graph, names, sharding, parts, step) for step in (0, 1))
    growth = batch * (second - first)
    return StreamKernel(op_class, batch * first, growth, width, _growth_steps(graph, names))


def _growth_steps(graph: PhaseGraph, names: list[str]) -> int | None:
    """Steps that the group grows for: the longest among what it reads and writes."""
    members = {*names, *(p for name in names for p in graph.producers(name))}
    ends = [op.growth_steps for op in (graph.ops[name] for name in members) if op.growth]
    return max((end for end in ends if end is not None), default=None) if None not in ends else None


def _is_epilogue(graph: PhaseGraph, names: list[str]) -> bool:
    """Whether the group changes each value of one product and nothing else reads that product."""
    inside = set(names)
    outside = {p for name in names for p in graph.producers(name) if p not in inside}
    if len(outside) != 1 or any(isinstance(graph.ops[n], Norm | Softmax | Reduce) for n in names):
        return False
    source = outside.pop()
    only_reader = all(reader in inside for reader in graph.consumers[source])
    return isinstance(graph.ops[source], Linear) and only_reader


def _moved(graph: PhaseGraph, names: list[str], sharding: Sharding, parts: int, step: int) -> int:
    """Values that one card reads from outside the group and writes for others."""
    inside = set(names)
    reads: dict[str, int] = {}
    total = 0
    for name in names:
        op = graph.ops[name].at(step)
        if isinstance(op, Embedding):
            total += output_elements(op)
        for producer in graph.producers(name):
            if producer not in inside:
                most = min(output_elements(graph.ops[producer].at(step)), read_elements(op))
                reads[producer] = max(reads.get(producer, 0), most)
        consumers = graph.consumers[name]
        if not consumers or any(c not in inside for c in consumers):
            total += _share(output_elements(op), parts if name in sharding.split else 1)
    return total + sum(
        _share(count, parts if producer in sharding.split else 1)
        for producer, count in reads.items()
    )
