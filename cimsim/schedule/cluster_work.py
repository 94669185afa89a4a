"""Work of a cluster stage, block by block: bytes in and out, cycles, and their times."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from cimsim.blocks import PmcaClusters
from cimsim.costs import Busy
from cimsim.engines.program import Duration, IntArray
from cimsim.ir import Linear, MatMul, Op, Reduce, is_argmax, output_elements
from cimsim.schedule.assembler import Assembler, convert, per_block, within_64_bits
from cimsim.schedule.blocks_busy import BlockKinds, BusyBlocks, busy_blocks
from cimsim.schedule.edges import StageEdge
from cimsim.schedule.graph import Node, Stream, plain
from cimsim.schedule.lanes import Lanes
from cimsim.schedule.pair import LoraBranch
from cimsim.schedule.pieces import woken_ps
from cimsim.schedule.plan import Portion
from cimsim.schedule.portions import Amounts, Parted, parted, some_of, total
from cimsim.schedule.stages import MaskedScores, Stage
from cimsim.schedule.work import (
    INDEX_BITS,
    Scores,
    block_elements,
    context,
    dma_times,
    grows,
    meetings_ps,
    on_cores,
    op_busy,
    size_at,
)
from cimsim.unit_kinds import PMCA
from cimsim.units import cycles_to_ps
from cimsim.values.display import brief

Bools: TypeAlias = npt.NDArray[np.bool_]


@brief
@dataclass(frozen=True, slots=True, eq=False)
class Transfers:
    """Times of the DMA transfers of every block, one after the other, see `dma_times`, and bits."""

    share: Parted
    latency: Parted
    engine: Parted
    bits: int | IntArray

    def total(self) -> IntArray:
        """Time (ps) of all three in every block; one value where blocks are equal."""
        parts = (self.share, self.latency, self.engine)
        return sum((np.asarray(part.duration) for part in parts), np.zeros(1, np.int64))

    def of(self, picked: IntArray) -> Transfers:
        """The transfers of some of the blocks."""
        return Transfers(
            self.share.of(picked), self.latency.of(picked), self.engine.of(picked),
            some_of(self.bits, picked),
        )  # fmt: skip

    def named(self, names: Mapping[str, str]) -> Transfers:
        """The same transfers for ops of other names."""
        parts = (self.share, self.latency, self.engine)
        share, latency, engine = (part.named(names) for part in parts)
        return Transfers(share, latency, engine, self.bits)


@brief
@dataclass(frozen=True, slots=True, eq=False)
class BlockTimes:
    """Times of every block, of one of its parts.

    `early` is computed before what the tile sends has arrived, `compute` after it.
    """

    fetch: Transfers
    early: Parted
    compute: Parted
    drain: Transfers

    def of(self, picked: IntArray) -> BlockTimes:
        """The times of some of the blocks."""
        return BlockTimes(
            self.fetch.of(picked), self.early.of(picked), self.compute.of(picked),
            self.drain.of(picked),
        )  # fmt: skip

    def named(self, names: Mapping[str, str]) -> BlockTimes:
        """The same times for ops of other names."""
        return BlockTimes(
            self.fetch.named(names), self.early.named(names), self.compute.named(names),
            self.drain.named(names),
        )  # fmt: skip


@brief
@dataclass(frozen=True, slots=True, eq=False)
class Team:
    """Lanes in a row that work in the same way, and the blocks that they have, lane after lane.

    `sizes` are the blocks of each. Where `apart`, none has more than one a step; `early` where
    there is work before what the tile sends has arrived.
    """

    lanes: range
    sizes: IntArray
    stream: Stream
    times: BlockTimes
    apart: bool
    early: bool


@brief
@dataclass(frozen=True, slots=True, eq=False)
class ClusterWork:
    """The lanes with the times of their blocks; by op the clusters at work on it in all (ps), what
    they are busy with, and its bytes in and out, of every block. `on_cores` where cores multiply,
    as faster than an engine there. `pieces` are the times (ps) for which a cluster is woken, one
    after the other, in every block.
    """

    teams: tuple[Team, ...]
    busy_ps: Amounts
    busy: dict[str, BusyBlocks]
    bytes_moved: Amounts
    on_cores: bool
    pieces: tuple[Duration, ...]

    def named(self, names: Mapping[str, str]) -> ClusterWork:
        """The same work for ops of other names."""
        return ClusterWork(
            tuple(replace(team, times=team.times.named(names)) for team in self.teams),
            {names[op]: amount for op, amount in self.busy_ps.items()},
            {names[op]: blocks for op, blocks in self.busy.items()},
            {names[op]: amount for op, amount in self.bytes_moved.items()},
            self.on_cores,
            self.pieces,
        )


@brief
@dataclass(frozen=True, slots=True, eq=False)
class Demand:
    """What the work is made of: the stage, its blocks, the data it fetches, how it is split.

    `beside` is what arrays send over their own links to clusters in the group at home; others
    fetch it. `stay` where weights are fetched once a cluster, else they come with every block.
    `kind` is the number of the stage, its data and its scores, see `stage_likeness`.
    """

    stage: Stage
    stream: Stream
    fetched: list[StageEdge]
    beside: list[StageEdge]
    scores: MaskedScores
    adapter: LoraBranch | None
    split: bool
    stay: bool
    kind: int

    @property
    def work(self) -> tuple[Hashable, ...]:
        """All that the work of a block depends on, without its names."""
        return self.kind, self.adapter, self.split, self.stay

    def dealt(self, away: frozenset[int]) -> Demand:
        """The same where blocks leave the group in the phases `away`: they fetch all data then."""
        if not away:
            return self
        moved = (
            replace(edge, tokens={p: n for p, n in edge.tokens.items() if p in away})
            for edge in self.beside
        )
        return replace(self, fetched=[*self.fetched, *(edge for edge in moved if edge.tokens)])

    def sources(self) -> IntArray:
        """Transfers of operands that every block takes."""
        found = np.zeros(self.stream.iterations, np.int64)
        for edge in self.fetched:
            found += np.isin(self.stream.phase, tuple(edge.tokens))
        return found


def weight_bytes(pmca: PmcaClusters, stage: Stage) -> int:
    """Bytes of the weights of a cluster stage."""
    return sum(_weights(pmca, stage).values())


def _weights(pmca: PmcaClusters, stage: Stage) -> dict[str, int]:
    """Bytes of the weights of each op that has some; what rounding leaves goes to the last."""
    found: dict[str, int] = {}
    weights = done = 0
    for node in stage.nodes:
        if isinstance(node.any, Linear):
            weights += node.any.words
            through = math.ceil(weights * pmca.value_bits / 8)
            found[node.name], done = through - done, through
    return found


def cluster_work(assembler: Assembler, demand: Demand, lanes: Lanes) -> ClusterWork:
    """Times and bytes of every block of a cluster stage, worked out once for stages alike."""
    mine = [node.name for node in demand.stage.nodes]
    theirs, work = assembler.alike.once(
        ("cluster", likeness(demand, lanes)),
        lambda: (mine, _cluster_work(assembler, demand, lanes)),
    )
    return work if theirs == mine else work.named(dict(zip(theirs, mine, strict=True)))


def likeness(demand: Demand, lanes: Lanes) -> Hashable:
    """All that the work of all blocks of a stage depends on."""
    return lanes, demand.stream, *demand.work


def stage_likeness(
    assembler: Assembler, stage: Stage, fetched: list[StageEdge], beside: list[StageEdge],
    scores: MaskedScores,
) -> int:  # fmt: skip
    """A number of the ops of a stage, of the scores they work on and of what they fetch."""
    graph, nodes = assembler.graph, stage.nodes
    sources = [graph.reads(node.name) for node in nodes]
    masked = [scores.get(node.name) for node in nodes] if scores else ()
    data = [
        (
            edge.stationary, *edge.tokens.items(), graph.nodes[edge.producer].content,
            *[(edge.producer, edge.stationary) in read for read in sources],
        )
        for edge in (*fetched, *beside)
    ]  # fmt: skip
    return assembler.alike.number(
        (
            len(fetched),
            tuple([node.content for node in nodes]),
            tuple([source and source.content for source in masked]),
            *data,
        )
    )


@brief
@dataclass(frozen=True, slots=True, eq=False)
class _Blocks:
    """Times of all blocks, what is `computed` of them without a wake-up, what clusters are busy
    with and what is moved, by op.
    """

    times: BlockTimes
    computed: tuple[Parted, Parted]
    busy: dict[str, BusyBlocks]
    bytes_moved: Amounts


def block_times(
    assembler: Assembler, demand: Demand, parts: IntArray, away: frozenset[int], loads: Bools
) -> BlockTimes:
    """Times of blocks that are cut into so many `parts`; in the phases `away` they leave the group.

    They are not divided among ops. Weights come with those that `loads` marks, see `loads_of`.
    """
    return _blocks(assembler, demand.dealt(away), parts, loads, _undivided).times


def _cluster_work(assembler: Assembler, demand: Demand, lanes: Lanes) -> ClusterWork:
    demand = demand.dealt(lanes.away)
    loads = loads_of(assembler, demand, lanes.count)
    blocks = _blocks(assembler, demand, lanes.parts, loads, parted)
    return ClusterWork(
        _teams(lanes, blocks.times),
        _busy_ps(demand.stage, lanes, *blocks.computed),
        blocks.busy,
        blocks.bytes_moved,
        _on_cores(assembler, demand),
        (blocks.times.early.duration, blocks.times.compute.duration),
    )


def _undivided(time_ps: IntArray, amounts: Amounts, stage: str) -> Parted:
    return Parted(plain(time_ps), ())


def _blocks(
    assembler: Assembler, demand: Demand, parts: IntArray, loads: Bools,
    divided: Callable[[IntArray, Amounts, str], Parted],
) -> _Blocks:  # fmt: skip
    architecture, stage, stream = assembler.architecture, demand.stage, demand.stream
    kinds = BlockKinds(stream, parts)
    before, after = _busy(assembler, demand, kinds)
    none = {stage.name: np.zeros(stream.iterations, np.int64)}
    early = {op: blocks.cycles for op, blocks in before.items()} or none
    late = {op: blocks.cycles for op, blocks in after.items()}
    waiting = _meetings_ps(assembler, demand, kinds)
    bytes_in = _bytes_in(assembler, demand, loads, kinds)
    bytes_out = {stage.name: _bytes_out(assembler, demand, kinds)}
    fetches, drains = _transfers(assembler, demand, loads)

    def compute(cycles: Amounts, waiting: IntArray | int = 0) -> Parted:
        clock = architecture.pmca.clock_MHz
        times = _each(total(cycles), lambda c: cycles_to_ps(c, clock))
        return divided(times + waiting, cycles, stage.name)

    def dma(amounts: Amounts, counts: IntArray) -> Transfers:
        a_part = -(-total(amounts) // parts)
        moves = list(zip(a_part.tolist(), counts.tolist(), strict=True))
        found = {move: number for number, move in enumerate(dict.fromkeys(moves))}
        which = np.array([found[move] for move in moves], np.int64)
        times = [dma_times(architecture, *move) for move in found]
        columns = (within_64_bits(list(part))[which] for part in zip(*times, strict=True))
        share, latency, engine = (divided(column, amounts, stage.name) for column in columns)
        return Transfers(share, latency, engine, plain(8 * a_part))  # counted: bits of a byte

    first, second = compute(early), compute(late, waiting)
    clusters = architecture.units_of(PMCA.name)
    one, two = (each.behind(woken_ps(clusters, each.duration)) for each in (first, second))
    return _Blocks(
        BlockTimes(dma(bytes_in, fetches), one, two, dma(bytes_out, drains)),
        (first, second),
        {op: busy.in_all(parts) for op, busy in (before | after).items()},
        bytes_in | {stage.name: total(bytes_out) + bytes_in.get(stage.name, 0)},
    )


def _teams(lanes: Lanes, times: BlockTimes) -> tuple[Team, ...]:
    """The lanes in as few rows of lanes that work in the same way as there are."""
    through = np.append(0, np.cumsum(lanes.sizes))
    early = np.broadcast_to(times.early.duration, lanes.masks.shape[1:])[lanes.blocks]
    begins = np.maximum.reduceat(early, through[:-1]) > 0
    changes = (np.diff(lanes.apart) != 0) | (np.diff(begins) != 0)
    found = []
    for a, b in pairwise((0, *(np.flatnonzero(changes) + 1).tolist(), lanes.count)):
        here = slice(int(through[a]), int(through[b]))
        everything = b - a == lanes.count
        found.append(
            Team(
                range(a, b),
                lanes.sizes[a:b],
                lanes.stream if everything else lanes.stream.of(here),
                times if lanes.count == 1 else times.of(lanes.blocks[here]),
                bool(lanes.apart[a]),
                bool(begins[a]),
            )
        )
    return tuple(found)


def loads_of(assembler: Assembler, demand: Demand, lanes: int) -> Bools:
    """True for blocks that weights come with: the first of each of so many lanes, those with which
    weights do not stay, and those that follow them.
    """
    stream, adapter, pmca = demand.stream, demand.adapter, assembler.architecture.pmca
    if adapter is None:
        passing = np.full(stream.iterations, not demand.stay)
    else:
        stay = _each(stream.size, lambda n: adapter.tiles(pmca, n).whole)
        passing = stay == 0
    loads = passing.copy()
    loads[lanes:] |= passing[:-lanes]
    loads[:lanes] = True
    return loads


def _transfers(assembler: Assembler, demand: Demand, loads: Bools) -> tuple[IntArray, IntArray]:
    """DMA transfers into and out of the TCDM for every block: operands, and weights that come."""
    stream, adapter, pmca = demand.stream, demand.adapter, assembler.architecture.pmca
    sources = demand.sources()
    if adapter is None:
        linear = sum(isinstance(node.any, Linear) for node in demand.stage.nodes)
        return np.maximum(1, sources + linear * loads), np.ones(stream.iterations, np.int64)

    def fetches(first: bool) -> IntArray:
        return _each(stream.size, lambda n: adapter.tiles(pmca, n).fetches(first=first))

    into = np.where(loads, fetches(True), fetches(False)) + np.maximum(0, sources - 1)
    return into, _each(stream.size, lambda n: adapter.tiles(pmca, n).drains)


def _on_cores(assembler: Assembler, demand: Demand) -> bool:
    """Whether the cores compute a product of any block, faster than the engine that is there."""
    pmca, stream = assembler.architecture.pmca, demand.stream
    if demand.adapter is not None:
        sizes = np.unique(stream.size)
        return any(demand.adapter.tiles(pmca, int(size)).on_cores(pmca) for size in sizes)

    def of(node: Node) -> bool:
        def of_block(p: int, s: int, n: int, e: int) -> int:
            return on_cores(node.ops[p], pmca, s, n, e)

        return bool(np.any(per_block(stream, _varies(demand), of_block)))

    return any(of(n) for n in demand.stage.nodes if isinstance(n.any, Linear | MatMul))


def _busy_ps(stage: Stage, lanes: Lanes, *computed: Parted) -> Amounts:
    """Time (ps) that clusters work on each op in every block, all parts together."""
    found: Amounts = {}
    for times in computed:
        for portion in times.portions or (Portion(stage.name, times.duration),):
            found[portion.op] = found.get(portion.op, 0) + portion.duration * lanes.parts
    return found


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


def _busy(
    assembler: Assembler, demand: Demand, kinds: BlockKinds
) -> tuple[dict[str, BusyBlocks], dict[str, BusyBlocks]]:
    """What one part of every block takes before and after the tile's data is there, by op.

    The last product of LoRA has the merge with it.
    """
    stage, pmca = demand.stage, assembler.architecture.pmca
    if (adapter := demand.adapter) is not None:
        linear = [node.name for node in stage.nodes if isinstance(node.any, Linear)]
        x_a, x_a_b = linear[0], linear[-1]

        def part(i: int) -> BusyBlocks:
            return busy_blocks(kinds, False, lambda p, s, n, e, parts: adapter.busy(pmca, n)[i])

        first, second = {x_a: part(0)}, {x_a_b: part(1)}
        return (first, second) if demand.split else ({}, first | second)

    varies = _varies(demand)

    def busy(node: Node) -> BusyBlocks:
        def of_part(p: int, s: int, n: int, e: int, parts: int) -> Busy:
            return op_busy(node.ops[p], pmca, s, n, e, scores_of(demand, node, p), parts)

        return busy_blocks(kinds, varies, of_part)

    return {}, {node.name: busy(node) for node in stage.nodes}


def _meetings_ps(assembler: Assembler, demand: Demand, kinds: BlockKinds) -> IntArray:
    """Time for which the clusters at work on a block wait for each other, see `meetings_ps`."""

    def of_part(p: int, s: int, n: int, e: int, parts: int) -> int:
        ops = (node.ops[p] for node in demand.stage.nodes)
        return meetings_ps(ops, assembler.architecture, s, n, parts)

    return kinds.each(False, of_part)


def _bytes_in(assembler: Assembler, demand: Demand, loads: Bools, kinds: BlockKinds) -> Amounts:
    """Bytes fetched for every block by the op that reads them: inputs, K and V, weights (see
    `Demand.stay`), spills (those of LoRA, by its first product).
    """
    architecture, stage, stream = assembler.architecture, demand.stage, demand.stream
    pmca, adapter = architecture.pmca, demand.adapter
    full = np.ones(stream.iterations, np.int64)
    found = _inputs(assembler, demand, kinds)

    def add(op: str, amount: IntArray) -> None:
        found[op] = found.get(op, 0) + amount

    for op, held in _weights(pmca, stage).items():
        add(op, held * loads)
    if adapter is not None:
        first = stage.nodes[0].name
        if not demand.fetched:  # X is the workload's own input
            x_bits = adapter.in_features * adapter.vectors * architecture.activation_bits
            add(first, -(-stream.size * x_bits // 8))
        buffered = _each(stream.size, lambda n: adapter.tiles(pmca, n).buffered_bytes)
        add(first, 2 * buffered)
    return found or {stage.name: 0 * full}


def _inputs(assembler: Assembler, demand: Demand, kinds: BlockKinds) -> Amounts:
    """Bytes of inputs, K and V that every block fetches, by the op that reads them.

    Bytes of several ops are rounded up as they come together; the last has what that leaves.
    """
    stage, architecture = demand.stage, assembler.architecture
    reads = _reads(assembler, demand)
    found: Amounts = {}
    before = np.zeros(demand.stream.iterations, np.int64)
    varies = _varies(demand) or any(
        "tokens" in op.growth and "tokens" not in stage.nodes[0].ops[p].growth
        for edge in demand.fetched
        for p, op in assembler.graph.nodes[edge.producer].ops.items()
        if p in edge.tokens
    )
    for count, (name, _) in enumerate(reads, 1):

        def values(p: int, s: int, n: int, e: int, parts: int, count: int = count) -> int:
            moved = kept = 0.0
            for op, edges in reads[:count]:
                moved += sum(_edge_values(assembler, stage, edge, p, s, n, e) for edge in edges)
                kept += _kv_values(stage, op, p, s, n, e)
            held = kept * architecture.pmca.value_bits / 8.0
            return math.ceil(moved * architecture.activation_bits / 8.0 + held)

        through = kinds.each(varies, values)
        found[name], before = through - before, through
    return found


def _reads(assembler: Assembler, demand: Demand) -> list[tuple[str, list[StageEdge]]]:
    """The ops of the stage that fetch something, each with the edges that it is first to read."""
    pending, found = list(demand.fetched), []
    stage = demand.stage
    for node in stage.nodes:
        sources = assembler.graph.reads(node.name)
        mine = [edge for edge in pending if (edge.producer, edge.stationary) in sources]
        pending = [edge for edge in pending if edge not in mine]
        op = node.any
        if mine or (isinstance(op, MatMul) and op.stationary_token_axis != "none"):
            found.append((node.name, mine))
    return found


def _bytes_out(assembler: Assembler, demand: Demand, kinds: BlockKinds) -> IntArray:
    last, bits = demand.stage.nodes[-1], assembler.architecture.activation_bits
    if is_argmax(last.any):
        bits = INDEX_BITS

    def amount(p: int, s: int, n: int, e: int, parts: int) -> int:
        values = block_elements(last.ops[p], s, n, e, scores_of(demand, last, p))
        return math.ceil(values * bits / 8.0)

    return kinds.each(_varies(demand), amount)


def _edge_values(
    assembler: Assembler, stage: Stage, edge: StageEdge, p: int, s: int, n: int, e: int
) -> float:
    """Values fetched over `edge` for a block; the stationary operand is counted by `_kv_values`."""
    if edge.stationary or p not in edge.tokens:
        return 0.0
    producer = assembler.graph.nodes[edge.producer].ops[p]
    now = producer.at(s)
    values, consumer = output_elements(now), stage.nodes[0].ops[p]
    if producer.tokens == consumer.tokens and not consumer.gathers:
        return values * n / now.tokens
    if isinstance(consumer, Reduce):  # such as that of the last token's logits alone
        values = min(values, consumer.elements * size_at(consumer, "inputs_per_output", s))
    return float(values) if e == n else 0.0


def _kv_values(stage: Stage, name: str, p: int, s: int, n: int, e: int) -> float:
    """Values of K or V that op `name` reads, up to the context of a block."""
    op: Op = next(node.ops[p] for node in stage.nodes if node.name == name)
    if not isinstance(op, MatMul) or op.stationary_token_axis == "none":
        return 0.0
    other = size_at(op, "n" if op.stationary_token_axis == "k" else "k", s)
    return float(op.stationary_batch * context(op, s, n, e) * other)
