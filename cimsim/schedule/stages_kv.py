"""Actors of attention products in arrays: K or V written as tokens arrive, queries against it.

Every head has units of its own, so that the products of a query take no longer with the context
once it fills the rows of a unit; what moves does, and the energy. With grouped-query attention the
queries that share a K/V head follow each other over the link and through the units. Partial sums of
row blocks meet in a tree. A token is a row of V, written at once, but a column of K: each of its
rows takes a write.

With a sliding window a head holds the rows of the window and two more: a row is written over the
one that has left the window, so the writer is at most one row ahead of the queries.

Units that are gated are woken for the queries of each block of tokens, all of a head, and for each
row that is written; they do one at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cimsim.blocks import Link
from cimsim.costs.memory import access_energy_J
from cimsim.costs.tile import link_energy_J, transfer_ps
from cimsim.engines.program import Duration, Get, IntArray, Put
from cimsim.ir import MatMul
from cimsim.mapping import KvStore
from cimsim.schedule.assembler import Assembler, convert, per_block, within_64_bits
from cimsim.schedule.drafts import Timed
from cimsim.schedule.edges import StageEdge
from cimsim.schedule.formulas import check_clock
from cimsim.schedule.graph import Stream, build_stream, phase_sums, plain
from cimsim.schedule.pieces import gated, woken_ps
from cimsim.schedule.plan import Priced
from cimsim.schedule.stages import Stage
from cimsim.schedule.work import context, is_masked
from cimsim.spec import Architecture
from cimsim.unit_kinds import AttentionArrays, are_attention_arrays
from cimsim.values.display import brief


def add_kv_stage(
    assembler: Assembler,
    stage: Stage,
    store: KvStore,
    stream: Stream,
    stationary: list[tuple[StageEdge, int]],
    gets: list[Get],
    puts: list[Put],
    *,
    buffered: frozenset[int],
) -> None:
    """Add the write and compute actors of one attention product.

    Results go to the buffer in the phases `buffered`, in others to clusters beside the arrays.
    """
    ring = _is_ring(stage, store)
    written = [
        Get(
            _add_writer(assembler, stage, store, edge, buffer, ring=ring),
            1 if ring else edge.get_counts(stream),
        )
        for edge, buffer in stationary
    ]
    architecture = assembler.architecture
    arrays = _arrays(assembler, store)
    ops = {phase: _matmul(op) for phase, op in stage.nodes[0].ops.items()}
    varies = any(is_masked(op) or op.growth for op in ops.values())
    unit = store.unit

    def key(value: str) -> Hashable:
        return "K/V", value, stage.nodes[0].content, store.unit, store.grid, stream, buffered

    def sizes() -> _Products:
        kept = per_block(stream, varies, lambda p, s, n, e: context(ops[p], s, n, e))
        return _Products(ops, stream, kept)

    product = assembler.alike.once(key("products"), sizes)

    def amounts(value: str) -> int | IntArray:
        def found() -> int | IntArray:
            return product.amount(value, store, arrays, architecture.activation_bits)

        return assembler.alike.once(key(value), found)

    def moved(way: str) -> int:
        def on(machine: Architecture) -> Duration:
            arrays = _attention_arrays(machine, unit)
            if way == "load":
                return product.loaded_ps(store, arrays, machine.tile_link)
            return product.sent_ps(store, arrays, machine.tile_link, buffered)

        return assembler.formulas.number(key(way), on)

    def computed(machine: Architecture) -> Duration:
        arrays = _attention_arrays(machine, unit)
        return woken_ps(arrays, product.passed_ps(store, arrays))

    in_bits, out_bits, macs = amounts("in"), amounts("out"), amounts("macs")
    compute = assembler.formulas.number(key("compute"), computed)
    if gated(arrays):
        assembler.wake(store.unit, store.working_units, stream, compute)
    entry, done = (assembler.fifo(f"{stage.name}:{s}") for s in ("in", "out"))
    kept = stream.in_phases(buffered)
    assembler.actor(
        stage, "read", stream, *gets, *assembler.access("buffer", in_bits),
        Timed(moved("load"), "link", store.working_units, bits=in_bits), Put(entry),
    )  # fmt: skip
    assembler.actor(
        stage, "compute", stream, Get(entry), *written,
        _at_work(assembler, stage, store, compute, store.working_units), Put(done),
    )  # fmt: skip
    assembler.actor(
        stage, "send", stream, Get(done),
        Timed(moved("send"), "link", store.working_units, bits=out_bits),
        *assembler.access("buffer", out_bits, kept), *puts,
    )  # fmt: skip
    sums, results = (
        tuple(assembler.phase_sums(stream, amounts(what))) for what in ("sums", "results")
    )
    assembler.book(
        stage, ProductTally(store.unit, stream, in_bits, out_bits, macs, kept, sums, results)
    )


@brief
@dataclass(frozen=True, slots=True, eq=False)
class ProductTally:
    """An attention product in arrays: for the blocks of `stream` bits in and out, products, and 1
    where results go to the buffer; partial sums and results by phase.
    """

    unit: str
    stream: Stream
    in_bits: int | IntArray
    out_bits: int | IntArray
    macs: int | IntArray
    kept: int | IntArray
    sums: tuple[float, ...]
    results: tuple[float, ...]

    def priced(self, architecture: Architecture) -> Iterator[Priced]:
        """Energy of arrays, link and buffer."""
        arrays, link = _attention_arrays(architecture, self.unit), architecture.tile_link
        added = [arrays.adders_J(*each) for each in zip(self.sums, self.results, strict=True)]
        for component in added[0]:
            yield Priced(0, self.unit, component, tuple([part[component] for part in added]))
        near = link.near
        beside = np.multiply(self.out_bits, 0 if near is link else 1 - np.asarray(self.kept))
        moved = np.add(self.in_bits, self.out_bits) - beside
        moved = link_energy_J(link, 1.0) * moved.astype(np.float64)
        moved = moved + link_energy_J(near, 1.0) * beside
        stored = np.add(self.in_bits, np.multiply(self.out_bits, self.kept))
        for unit, component, energy in (
            (self.unit, "attention", arrays.mac_J * np.asarray(self.macs, np.float64)),
            ("link", "tile_link", moved),
            ("buffer", "access", access_energy_J(architecture.buffer, 1.0) * np.asarray(stored)),
        ):
            by_phase = phase_sums(self.stream, energy, len(self.sums))
            yield Priced(0, unit, component, tuple(by_phase))


@dataclass(frozen=True, slots=True)
class WriteTally:
    """Rows of K or V written into their units, by phase: `values` of a row in all heads."""

    unit: str
    values: int
    rows: tuple[float, ...]

    def priced(self, architecture: Architecture) -> Iterator[Priced]:
        """Energy of arrays, and of buffer and link for what is written."""
        arrays, buffer = _attention_arrays(architecture, self.unit), architecture.buffer
        bits, link = self.values * architecture.activation_bits, architecture.tile_link
        written = tuple([arrays.write_J(self.values * n) for n in self.rows])
        yield Priced(0, self.unit, "kv_write", written)
        read = tuple([access_energy_J(buffer, bits * n) for n in self.rows])
        yield Priced(0, "buffer", "access", read)
        moved = tuple([link_energy_J(link, bits * n) for n in self.rows])
        yield Priced(0, "link", "tile_link", moved)


def _at_work(assembler: Assembler, stage: Stage, store: KvStore, time: int, units: int) -> Timed:
    """Units that multiply or are written; those that are gated do one after the other."""
    if not gated(_arrays(assembler, store)):
        return Timed(time, store.unit, units)
    name = f"{store.unit} of {stage.name}"
    return Timed(time, store.unit, units, assembler.resource(name, 1, "fifo"))


def _arrays(assembler: Assembler, store: KvStore) -> AttentionArrays:
    return _attention_arrays(assembler.architecture, store.unit)


def _attention_arrays(architecture: Architecture, unit: str) -> AttentionArrays:
    arrays = architecture.arrays(unit)
    assert are_attention_arrays(arrays)
    return arrays


def _matmul(op: object) -> MatMul:
    assert isinstance(op, MatMul)
    return op


def _vectors(op: MatMul) -> int:
    """Query vectors a token that share one stationary head."""
    return op.batch // op.stationary_batch * -(-op.m // op.tokens)


class _Products:
    """What the blocks of `stream` multiply: `ops` by phase, over `kept` stationary tokens.

    The context is that of all of a block for each of its tokens.
    """

    def __init__(self, ops: dict[int, MatMul], stream: Stream, kept: int | IntArray) -> None:
        self._ops, self._stream = ops, stream
        self._k, self._n = (self._size(axis, kept) for axis in ("k", "n"))

    def _each(self, of: Callable[[MatMul], int]) -> IntArray:
        """A number of the op that every block is of."""
        table = np.zeros(max(self._ops) + 1, np.int64)
        for phase, op in self._ops.items():
            table[phase] = of(op)
        found: IntArray = table[self._stream.phase]
        return found

    def _size(self, axis: Literal["k", "n"], kept: int | IntArray) -> IntArray:
        grows = self._each(lambda op: op.stationary_token_axis == axis) > 0
        return np.where(grows, kept, self._each(lambda op: getattr(op, axis)))

    def amount(
        self, what: str, store: KvStore, arrays: AttentionArrays, activation_bits: int
    ) -> int | IntArray:
        """Bits in, bits out or MACs of every block.

        Or, where it fills several row blocks, the partial sums and the results that they are added
        to.
        """
        vectors = self._each(lambda op: op.batch * -(-op.m // op.tokens)) * self._stream.size
        k, n = self._k, self._n
        if what == "in":
            return _product(vectors, k, activation_bits)
        if what == "out":
            return _product(vectors, n, arrays.output_bits)
        if what in ("sums", "results"):
            blocks = -(-k // store.grid.block_rows)
            return _product(vectors, n, (blocks if what == "sums" else 1) * (blocks > 1))
        return _product(vectors, k, n)

    def loaded_ps(self, store: KvStore, arrays: AttentionArrays, link: Link) -> int | IntArray:
        """Time (ps) of the queries of every block into a unit.

        All vectors of the queries that share a head follow one head of the transfer.
        """
        rows = np.minimum(self._k, store.grid.block_rows)
        bits = _product(self._vectors(), rows, arrays.input_bits)
        return convert(bits, lambda b: transfer_ps(b, link))

    def passed_ps(self, store: KvStore, arrays: AttentionArrays) -> int | IntArray:
        """Time (ps) of the queries of every block through a unit, the one with the most rows."""
        rows, columns = np.minimum(self._k, store.grid.block_rows), store.grid.block[1]
        each = np.stack(np.broadcast_arrays(rows, self._vectors()))
        found, inverse = np.unique(each, axis=1, return_inverse=True)
        times = [arrays.passage_ps((k, columns), n)[0] for k, n in found.T.tolist()]
        return plain(within_64_bits(times)[inverse.ravel()])

    def sent_ps(
        self, store: KvStore, arrays: AttentionArrays, link: Link, buffered: frozenset[int]
    ) -> int | IntArray:
        """Time (ps) of the results of every block, added and out of a unit.

        In the phases `buffered` over all of the link, in others to clusters beside.
        """
        grid = store.grid
        columns = np.minimum(self._n, grid.block_columns)
        bits = _product(self._vectors(), columns, arrays.output_bits)
        far = convert(bits, lambda b: transfer_ps(b, link))
        near = convert(bits, lambda b: transfer_ps(b, link.near))
        blocks = plain(-(-self._k // grid.block_rows))
        added = np.asarray(convert(blocks, arrays.adders_ps))
        kept = np.asarray(self._stream.in_phases(buffered))
        over = np.broadcast_to(np.where(kept, far, near) + added, self._stream.phase.shape)
        return plain(over)

    def _vectors(self) -> IntArray:
        """Query vectors of every block that share one stationary head."""
        return self._each(_vectors) * self._stream.size


def _product(*factors: int | IntArray) -> int | IntArray:
    """The product for every block; raises SimulationError beyond what the event clock counts."""
    check_clock(math.prod(int(np.max(factor)) for factor in factors))
    return plain(np.asarray(math.prod(factors)))


def _is_ring(stage: Stage, store: KvStore) -> bool:
    """Whether the units hold fewer rows than a step brings: those of a sliding window."""
    for op in map(_matmul, stage.nodes[0].ops.values()):
        held = store.grid.columns if op.stationary_token_axis == "n" else store.grid.rows
        if op.tokens > held:
            return True
    return False


def _add_writer(
    assembler: Assembler,
    stage: Stage,
    store: KvStore,
    edge: StageEdge,
    buffer: int,
    *,
    ring: bool,
) -> int:
    """The actor that writes K or V rows into their units; returns the buffer it signals on.

    Where the units are a `ring` it is the writer that waits for a whole step, if one must.
    """
    architecture = assembler.architecture
    arrays = _arrays(assembler, store)
    op = _matmul(stage.nodes[0].any)
    graph = assembler.graph
    stream = build_stream(edge.tokens, graph.steps, 1, edge.growth, graph.sequences)
    ops = {phase: _matmul(node) for phase, node in stage.nodes[0].ops.items()}
    axis = op.stationary_token_axis
    width = op.n if axis == "k" else op.k
    grid = store.grid
    across = grid.block_columns if axis == "k" else grid.block_rows
    per_unit = min(width, across)

    def rows(phase: int) -> int:
        """Stationary rows that one iteration of the writer brings."""
        new = getattr(ops[phase], axis) if phase == 0 else edge.tokens[phase]
        return -(-new // edge.tokens[phase])

    bits = store.heads * width
    read = per_block(
        stream, False,
        lambda p, s, n, e: rows(p) * bits * architecture.activation_bits,
    )  # fmt: skip

    def written_ps(machine: Architecture) -> Duration:
        arrays = _attention_arrays(machine, store.unit)
        token_ps = arrays.write_ps(per_unit) if axis == "k" else per_unit * arrays.write_ps(1)
        return woken_ps(arrays, per_block(stream, False, lambda p, s, n, e: rows(p) * token_ps))

    def moved_ps(machine: Architecture) -> Duration:
        bits, link = per_unit * machine.activation_bits, machine.tile_link
        return per_block(stream, False, lambda p, s, n, e: transfer_ps(rows(p) * bits, link))

    key = "K/V written", stage.nodes[0].content, store.unit, store.grid, stream
    write = assembler.formulas.number((*key, "write"), written_ps)
    port = assembler.formulas.number((*key, "port"), moved_ps)
    units = store.heads * -(-width // across)
    if gated(arrays):
        assembler.wake(store.unit, units, stream, write)
    signal = assembler.fifo(f"{stage.name}:written", 1 if ring else edge.capacity)
    assembler.actor(
        stage, "write", stream, Get(buffer, edge.get_counts(stream) if ring else 1),
        *assembler.access("buffer", read),
        Timed(port, "link", units, bits=read), _at_work(assembler, stage, store, write, units),
        Put(signal),
    )  # fmt: skip
    counts = per_block(stream, False, lambda p, s, n, e: rows(p))
    written = tuple(assembler.phase_sums(stream, counts))
    assembler.book(stage, WriteTally(store.unit, bits, written))
    return signal
