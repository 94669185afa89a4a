"""Work of a cluster stage, block by block: bytes in and out, cycles, and their times."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cimsim.blocks import PmcaClusters
from cimsim.engines.program import IntArray
from cimsim.ir import Linear, MatMul, Op, output_elements
from cimsim.schedule.assembler import Assembler, convert
from cimsim.schedule.edges import StageEdge
from cimsim.schedule.graph import Node, Stream, plain
from cimsim.schedule.lanes import Lanes
from cimsim.schedule.pair import LoraBranch
from cimsim.schedule.stages import MaskedScores, Stage
from cimsim.schedule.work import (
    Scores,
    block_elements,
    context,
    dma_ps,
    grows,
    op_cycles,
    size_at,
)
from cimsim.units import cycles_to_ps
from cimsim.values.display import brief


@brief
@dataclass(frozen=True, slots=True, eq=False)
class BlockTimes:
    """Times (ps) of every block, of one of its parts; one int where they are equal.

    `early` is computed before what the tile sends has arrived, `compute` after it.
    """

    fetch: int | IntArray
    early: int | IntArray
    compute: int | IntArray
    drain: int | IntArray

    def of(self, picked: npt.NDArray[np.bool_]) -> BlockTimes:
        """The times of some of the blocks."""
        return BlockTimes(
            *(
                times if isinstance(times, int) else plain(times[picked])
                for times in (self.fetch, self.early, self.compute, self.drain)
            )
        )


@brief
@dataclass(frozen=True, slots=True, eq=False)
class ClusterWork:
    """Times of every block, the clusters at work on it in all (ps), and its bytes in and out."""

    times: BlockTimes
    busy_ps: IntArray
    bytes_moved: IntArray


@brief
@dataclass(frozen=True, slots=True, eq=False)
class Demand:
    """What the work is made of: the stage, its blocks, the data it fetches, how it is split.

    `stay` where weights are fetched once a cluster, else they come with every block.
    """

    stage: Stage
    stream: Stream
    fetched: list[StageEdge]
    scores: MaskedScores
    adapter: LoraBranch | None
    split: bool
    stay: bool


def weight_bytes(pmca: PmcaClusters, stage: Stage) -> int:
    """Bytes of the weights of a cluster stage."""
    weights = sum(
        node.any.in_features * node.any.out_features
        for node in stage.nodes
        if isinstance(node.any, Linear)
    )
    return math.ceil(weights * pmca.value_bits / 8)


def cluster_work(assembler: Assembler, demand: Demand, lanes: Lanes) -> ClusterWork:
    """Times and bytes of every block of a cluster stage."""
    architecture = assembler.architecture
    early, late = _cycles(assembler, demand, lanes)
    bytes_in = _bytes_in(assembler, demand, lanes)
    bytes_out = _bytes_out(assembler, demand)
    linear = sum(isinstance(node.any, Linear) for node in demand.stage.nodes)
    transfers = max(1, len(demand.fetched) + linear)

    def compute_ps(cycles: int) -> int:
        return cycles_to_ps(cycles, architecture.pmca.clock_MHz)

    def dma(amount: IntArray, count: int) -> IntArray:
        return _each(-(-amount // lanes.parts), lambda b: dma_ps(architecture, b, count))

    first, second = _each(early, compute_ps), _each(late, compute_ps)
    parts = (dma(bytes_in, transfers), first, second, dma(bytes_out, 1))
    return ClusterWork(
        BlockTimes(*(plain(part) for part in parts)),
        (first + second) * lanes.parts,
        bytes_in + bytes_out,
    )


def _each(values: IntArray, function: Callable[[int], int]) -> IntArray:
    one = plain(values)
    if isinstance(one, int):
        return np.full(values.size, function(one), np.int64)
    result = convert(values, function)
    assert isinstance(result, np.ndarray)
    return result


def scores_of(demand: Demand, node: Node, phase: int) -> Scores | None:
    """The operation whose masked scores `node` works on in `phase`, if it does."""
    source = demand.scores.get(node.name)
    op = source.ops.get(phase) if source is not None else None
    return op if isinstance(op, Scores) else None


def _varies(demand: Demand) -> bool:
    return any(
        grows(op, scores_of(demand, node, p))
        for node in demand.stage.nodes
        for p, op in node.ops.items()
    )


def _cycles(assembler: Assembler, demand: Demand, lanes: Lanes) -> tuple[IntArray, IntArray]:
    """Cycles before and after the tile's data is there, of one part of every block."""
    stream, pmca = demand.stream, assembler.architecture.pmca
    full = np.ones(stream.iterations, np.int64)
    if demand.adapter is not None:
        of_block = demand.adapter.cycles
        first = _each(stream.size, lambda n: of_block(pmca, n)[0])
        second = _each(stream.size, lambda n: of_block(pmca, n)[1])
        if demand.split:
            return first, second
        return 0 * full, first + second
    parts = {int(p): int(n) for p, n in zip(stream.phase, lanes.parts, strict=True)}

    def cycles(p: int, s: int, n: int, e: int) -> int:
        return sum(
            op_cycles(node.ops[p], pmca, s, n, e, scores_of(demand, node, p), parts[p])
            for node in demand.stage.nodes
        )

    return 0 * full, full * assembler.per_block(stream, _varies(demand), cycles)


def _bytes_in(assembler: Assembler, demand: Demand, lanes: Lanes) -> IntArray:
    """Bytes fetched for every block: inputs, K and V, weights (see `Demand.stay`), spills."""
    architecture, stage, stream = assembler.architecture, demand.stage, demand.stream
    pmca, adapter = architecture.pmca, demand.adapter

    def values(p: int, s: int, n: int, e: int) -> int:
        moved = sum(_edge_values(assembler, stage, edge, p, s, n, e) for edge in demand.fetched)
        kept = _kv_values(stage, p, s, n, e) * pmca.value_bits / 8.0
        return math.ceil(moved * architecture.activation_bits / 8.0 + kept)

    full = np.ones(stream.iterations, np.int64)
    amounts = full * assembler.per_block(stream, _varies(demand), values)
    loads = np.arange(stream.iterations) < lanes.count if demand.stay else full
    amounts = amounts + weight_bytes(pmca, stage) * loads
    if adapter is None:
        return amounts
    if not demand.fetched:  # X is the workload's own input
        x_bits = adapter.in_features * adapter.vectors * architecture.activation_bits
        amounts = amounts + -(-stream.size * x_bits // 8)
    return amounts + 2 * _each(stream.size, lambda n: adapter.spill_bytes(pmca, n))


def _bytes_out(assembler: Assembler, demand: Demand) -> IntArray:
    last, bits = demand.stage.nodes[-1], assembler.architecture.activation_bits
    full = np.ones(demand.stream.iterations, np.int64)

    def amount(p: int, s: int, n: int, e: int) -> int:
        values = block_elements(last.ops[p], s, n, e, scores_of(demand, last, p))
        return math.ceil(values * bits / 8.0)

    return full * assembler.per_block(demand.stream, _varies(demand), amount)


def _edge_values(
    assembler: Assembler, stage: Stage, edge: StageEdge, p: int, s: int, n: int, e: int
) -> float:
    """Values fetched over `edge` for a block; the stationary operand is counted by `_kv_values`."""
    if edge.stationary or p not in edge.tokens:
        return 0.0
    producer = assembler.graph.nodes[edge.producer].ops[p]
    values = output_elements(producer.at(s)) if producer.growth else output_elements(producer)
    consumer = stage.nodes[0].ops[p]
    if producer.tokens == consumer.tokens and not consumer.gathers:
        return values * n / producer.tokens
    return float(values) if e == n else 0.0


def _kv_values(stage: Stage, p: int, s: int, n: int, e: int) -> float:
    """Values of K or V up to the context of a block."""
    total = 0.0
    for node in stage.nodes:
        op: Op = node.ops[p]
        if isinstance(op, MatMul) and op.stationary_token_axis != "none":
            other = size_at(op, "n" if op.stationary_token_axis == "k" else "k", s)
            total += op.stationary_batch * context(op, s, n, e) * other
    return total
