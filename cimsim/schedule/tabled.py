"""Which ops tables of costs have (`op_units`), and what runs of theirs an op of a workload is.

An op that no table lists runs on clusters, or is refused where its machine says so. Attention is
three ops of a workload and more between them; a table has it as one. Matrices in arrays, LoRA and
look-ups stay where they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cimsim.costs.op_units import ATTENTION, OpWork, owners
from cimsim.errors import MappingError
from cimsim.ir import Elementwise, MatMul, Move, Norm, Op, Reduce, Softmax
from cimsim.schedule.graph import Graph, Node
from cimsim.spec import Architecture

Runs = tuple[tuple[OpWork, int], ...]
"""Runs of a table's ops, each with how often."""


def tabled_ops(graph: Graph, architecture: Architecture) -> dict[str, str]:
    """Op -> the first op of the group that a table has as one: itself, or the scores of attention.

    Raises MappingError for attention that is not scores, what is done to them alone, and values.
    """
    known = owners(architecture.op_units)
    if not known:
        return {}
    found: dict[str, str] = {}
    if ATTENTION in known:
        for name, node in graph.nodes.items():
            if isinstance(node.any, MatMul) and node.any.stationary_token_axis == "n":
                found |= dict.fromkeys(_attention(graph, name), name)
    for name, node in graph.nodes.items():
        if name not in found and _row_ops(node.any) and _row_ops(node.any) <= known.keys():
            found[name] = name
    return found


def check_refused(graph: Graph, architecture: Architecture, on_clusters: Iterable[str]) -> None:
    """Raise MappingError where the machine refuses what no table has and clusters would do."""
    units = architecture.op_units or {}
    strict = next((name for name, unit in units.items() if unit.others == "refused"), None)
    name = next(iter(on_clusters), None)
    if strict is None or name is None:
        return
    op = graph.nodes[name].any
    wanted = sorted(_row_ops(op) - owners(units).keys()) or [op.kind]
    raise MappingError(
        f"op {name!r} needs {', '.join(wanted)}, which no table of {architecture.name!r} "
        f"lists, and op_units.{strict}.others keeps it from clusters: add it to a table, or set "
        "others to clusters"
    )


def _attention(graph: Graph, scores: str) -> Iterator[str]:
    """Ops from scores to values, each of which alone reads the one before."""
    name = scores
    while True:
        yield name
        op = graph.nodes[name].any
        if name != scores and isinstance(op, MatMul):
            if op.stationary_token_axis == "k":
                return
            raise _no_attention(scores, f"{name!r} is another product")
        readers = graph.out_of(name)
        if len(readers) != 1 or readers[0].stationary:
            raise _no_attention(scores, f"{len(readers)} ops read {name!r}")
        name = readers[0].consumer
        if not isinstance(graph.nodes[name].any, MatMul | Softmax | Elementwise | Move):
            raise _no_attention(scores, f"{name!r} is a {graph.nodes[name].any.kind}")


def _no_attention(scores: str, why: str) -> MappingError:
    return MappingError(
        f"a table has attention as one op, but what follows the scores {scores!r} is not softmax "
        f"and values alone: {why}. Take attention out of the table, and clusters do it."
    )


def _row_ops(op: Op) -> frozenset[str]:
    """The ops of a table that an op of a workload takes, row by row; none of products."""
    return frozenset(work.op for work, _ in runs_of_token(op))


def runs_of_token(op: Op) -> Runs:
    """Runs that a token of `op`, with sizes of its step, takes row by row; none of products."""
    match op:
        case Softmax():
            return ((OpWork("softmax", op.columns), _each(op.rows, op)),)
        case Norm():
            return ((OpWork(f"{op.norm}_norm", op.columns), _each(op.rows, op)),)
        case Elementwise():
            wide = _each(op.elements, op)
            return tuple(
                (OpWork(name.removesuffix("_"), wide), times)
                for name, times in op.functions.items()
            )
        case Reduce():
            name = "argmax" if op.function == "argmax" else "reduce"
            return ((OpWork(name, op.inputs_per_output), _each(op.elements, op)),)
        case Move():
            return ((OpWork("move", _each(op.elements, op)), 1),)
        case _:
            return ()


def _each(size: int, op: Op) -> int:
    return -(-size // op.tokens)


def attention_of(nodes: tuple[Node, ...], phase: int, step: int) -> OpWork:
    """The one run that attention over all tokens of a step is: every head of its sequence."""
    scores = nodes[0].ops[phase].at(step)
    assert isinstance(scores, MatMul)
    heads = -(-scores.batch * scores.m // scores.tokens)
    return OpWork(ATTENTION, heads * scores.k, scores.tokens, scores.n)
