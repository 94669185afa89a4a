"""Actors of matrices that stay in their array, whatever kind of unit that is.

Read (buffer, network, input registers), compute, send (accumulate, scale, network, buffer).
Tiles of one weight that share nothing work in lock-step and are one actor; `group_tiles=False`
gives each its own, with the same times. Copies of a weight take tokens in turn; each reads and
sends over ports of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from cimsim.blocks import Link
from cimsim.costs.columns import applied_pJ, number_count
from cimsim.costs.memory import access_energy_J
from cimsim.costs.power import wake_ps
from cimsim.costs.tile import PJ, link_energy_J
from cimsim.engines.program import Duration, Get, IntArray, Put
from cimsim.ir import ColumnScale, Linear
from cimsim.mapping import Grid, Placement
from cimsim.schedule.assembler import Assembler, per_block
from cimsim.schedule.drafts import Timed
from cimsim.schedule.formulas import Formula
from cimsim.schedule.graph import Stream, plain
from cimsim.schedule.pieces import gated, piece_ps
from cimsim.schedule.plan import Bits, Priced
from cimsim.schedule.stages import Stage
from cimsim.spec import Architecture
from cimsim.unit_kinds import Arrays, VectorCost, are_arrays, holding
from cimsim.values.display import brief

PerVector = Callable[[int], int]
"""A number, or a time (ps), of so many vectors."""


@dataclass(frozen=True, slots=True)
class UnitGroup:
    """Units of one replica that move in lock-step; `shared` is the unit that others use too.

    `block` are rows and columns of weights of the largest, `taken` and `given` their shares of the
    layer's inputs and results.
    """

    block: tuple[int, int]
    units: int
    shared: int | None
    taken: float
    given: float


@brief
@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A weight in arrays: its stage, its units, those of them that others use too (`shared`), and
    how many vectors a token has by phase.

    Results go to the buffer in the phases `buffered`, in others to clusters beside the arrays.
    `columns` are the numbers on those of the units that have work.
    """

    assembler: Assembler
    stage: Stage
    placement: Placement
    columns: ColumnScale | None
    shared: frozenset[int]
    vectors: dict[int, int]
    buffered: frozenset[int]

    @property
    def op(self) -> Linear:
        """The layer in its first phase."""
        return _linear(self.stage.nodes[0].any)

    @property
    def arrays(self) -> Arrays:
        """All units of the kind."""
        machine, unit, grid = self.assembler.architecture, self.placement.unit, self.placement.grid
        key = "arrays", unit, grid.narrow
        return self.assembler.alike.once(key, lambda: arrays_of(machine, unit, grid))

    @property
    def packed(self) -> bool:
        """Whether a unit is shared, so that each lane moves its own data over the unit's ports."""
        return _holds(self.placement.units, self.shared)

    def per_token(self, stream: Stream, amount: PerVector) -> int | IntArray:
        """`amount` of the number of vectors of each token: bits, or a time (ps)."""
        return per_block(stream, False, lambda p, s, n, e: amount(n * self.vectors[p]))

    def time(self, stream: Stream, key: Hashable, amount: Callable[[Arrays], PerVector]) -> int:
        """The number of the time (ps) that arrays take for the vectors of each token.

        `key` tells `amount` from others of the layer.
        """
        unit, grid = self.placement.unit, self.placement.grid

        def on(machine: Architecture) -> Duration:
            return self.per_token(stream, amount(arrays_of(machine, unit, grid)))

        return self.number(stream, key, on)

    def number(self, stream: Stream, key: Hashable, formula: Formula) -> int:
        """The number of a formula that is the same in layers alike."""
        return self.assembler.formulas.number((key, self.alike(stream)), formula)

    def alike(self, stream: Stream) -> Hashable:
        """All that times of the layer depend on beside the machine."""
        unit, grid, counts = self.placement.unit, self.placement.grid, tuple(self.vectors.items())
        return unit, grid, self.columns, counts, self.buffered, stream

    def vector(self, machine: Architecture, link: Link) -> VectorCost:
        """What a vector costs on `machine`, over `link`."""
        grid = self.placement.grid
        return arrays_of(machine, self.placement.unit, grid).vector(grid, link, self.columns)

    def loaded(self, stream: Stream) -> int:
        """The number of the time of the inputs of each token into their units."""

        def on(machine: Architecture) -> Duration:
            return self.per_token(stream, self.vector(machine, machine.tile_link).all_loaded_ps)

        return self.number(stream, "loaded", on)

    def sent(self, stream: Stream) -> int:
        """The number of the time of the results of each token out of their units."""

        def on(machine: Architecture) -> Duration:
            link = machine.tile_link
            far = self.per_token(stream, self.vector(machine, link).all_sent_ps)
            if link.near is link:
                return far
            near = self.per_token(stream, self.vector(machine, link.near).all_sent_ps)
            kept = np.broadcast_to(stream.in_phases(self.buffered), stream.phase.shape)
            return plain(np.where(kept, far, near))

        return self.number(stream, "sent", on)

    def carried(self, way: str, stream: Stream, share: float = 1.0) -> Bits:
        """A share of the bits of each token that go into the units (`in`) or come out of them."""
        # Not `self`: the plan keeps it, and would keep the assembler with it.
        unit, grid, columns = self.placement.unit, self.placement.grid, self.columns
        vectors = self.vectors

        def on(machine: Architecture) -> npt.NDArray[np.float64]:
            if way == "in":
                each = grid.rows * machine.activation_bits
            else:
                vector = arrays_of(machine, unit, grid).vector(grid, machine.tile_link, columns)
                each = grid.columns * vector.output_bits
            bits = per_block(stream, False, lambda p, s, n, e: n * vectors[p] * each)
            return share * np.asarray(bits, np.float64)

        return on

    def stored(self, stream: Stream) -> tuple[Timed, ...]:
        """The results of each token into the buffer, in the phases `buffered`."""
        columns = self.placement.grid.columns

        def bits(machine: Architecture) -> int | IntArray:
            each = columns * self.vector(machine, machine.tile_link).output_bits
            return self.per_token(stream, lambda n: n * each)

        where = stream.in_phases(self.buffered)
        return self.assembler.access_of("buffer", ("stored", self.alike(stream)), bits, where)


def lanes_of(
    placement: Placement, replica: int, shared: frozenset[int], grouped: bool
) -> list[UnitGroup]:
    """Lock-step groups of the blocks of one replica: equal width, nothing shared."""
    grid = placement.grid
    heights, wide = grid.sizes()
    taken, given = heights / heights.sum(), wide / wide.sum()
    widths: list[int] = wide[0].tolist()
    units = placement.units[replica]
    if grouped and not _holds(units, shared):
        counts = Counter(widths)
        return [
            UnitGroup(
                (grid.block[0], width),
                n * grid.row_blocks,
                None,
                float(taken[wide == width].sum()),
                float(given[wide == width].sum()),
            )
            for width, n in counts.items()
        ]
    return [
        UnitGroup(
            (int(heights[r, c]), widths[c]),
            1,
            int(units[r, c]) if int(units[r, c]) in shared else None,
            float(taken[r, c]),
            float(given[r, c]),
        )
        for r in range(grid.row_blocks)
        for c in range(grid.column_blocks)
    ]


def at_work(
    placement: Placement, columns: ColumnScale | None
) -> tuple[Placement, ColumnScale | None]:
    """The column blocks that have work, with the numbers on theirs.

    Those that hold no kept channel have none, where kept ones are neighbours; channels of a weight
    in groups belong to their inputs and do not move.
    """
    grid = placement.grid
    if columns is None or grid.groups > 1:
        return placement, columns
    skipped = columns.skips(grid.columns, grid.block_columns)
    if not skipped:
        return placement, columns
    working = replace(grid, columns=grid.columns - skipped)
    share = min(1.0, columns.kept_share * grid.columns / working.columns)
    return (
        replace(placement, grid=working, units=placement.units[:, :, : working.column_blocks]),
        columns.model_copy(update={"kept_share": share}),
    )


def arrays_of(architecture: Architecture, unit: str, grid: Grid) -> Arrays:
    """The units of a weight, as it sees them."""
    found = holding(architecture.arrays(unit), grid.narrow)
    assert are_arrays(found)
    return found


def _holds(units: IntArray, shared: frozenset[int]) -> bool:
    """Whether one of `units` is shared with others."""
    return bool(shared) and not shared.isdisjoint(units.ravel().tolist())


def count_columns(assembler: Assembler, stage: Stage, placement: Placement) -> None:
    """Count the bits of numbers on the columns of a weight in arrays."""
    op = _linear(stage.nodes[0].any)
    if op.columns is not None:
        numbers = number_count(op.columns, placement.grid)
        bits = numbers * op.columns.bits * placement.replicas
        assembler.column_bits.setdefault(placement.unit, {})[op.weight] = bits


def add_array_stage(
    assembler: Assembler,
    stage: Stage,
    placement: Placement,
    stream: Stream,
    shared: frozenset[int],
    gets: list[Get],
    puts: list[Put],
    *,
    buffered: frozenset[int],
    grouped: bool,
) -> None:
    """Add the actors of a linear op whose weight is in arrays.

    Results go to the buffer in the phases `buffered`, in others to clusters beside the arrays.
    """
    vectors = {p: -(-_linear(node).rows // node.tokens) for p, node in stage.nodes[0].ops.items()}
    op = _linear(stage.nodes[0].any)
    placement, columns = at_work(placement, op.columns)
    layer = Layer(assembler, stage, placement, columns, shared, vectors, buffered)
    copies = placement.replicas
    into: list[Put] = []
    out_of: list[Get] = []
    for copy in range(copies) if copies > 1 else ():
        entry, done = (assembler.fifo(f"{stage.name}:{way}{copy}") for way in ("deal", "collect"))
        turn = np.asarray(np.arange(stream.iterations) % copies == copy, np.int64)
        into.append(Put(entry, turn))
        out_of.append(Get(done, turn))
        mine = stream.of(slice(copy, None, copies))
        _add_copy(layer, copy, mine, [Get(entry)], [Put(done)], grouped)
    if copies > 1:
        assembler.actor(stage, "deal", stream, *gets, *into)
        assembler.actor(stage, "collect", stream, *out_of, *puts)
    else:
        _add_copy(layer, 0, stream, gets, puts, grouped)
    _book(layer, stream)


def _add_copy(
    layer: Layer, copy: int, stream: Stream, gets: list[Get], puts: list[Put], grouped: bool
) -> None:
    """Actors of one copy of the weight, for its own tokens."""
    assembler, stage = layer.assembler, layer.stage
    lanes = lanes_of(layer.placement, copy, layer.shared, grouped)
    _wake(layer, lanes, stream)
    ends = [_add_lane(layer, f"{copy}.{n}", lane, stream) for n, lane in enumerate(lanes)]

    def port(time: int, way: str) -> Timed | None:
        units = layer.placement.units[copy].size
        carried = layer.carried(way, stream)
        return None if layer.packed else Timed(time, "link", units, bits=carried)

    number = "" if layer.placement.replicas == 1 else str(copy)
    bits = layer.op.in_features * assembler.architecture.activation_bits
    read = assembler.access("buffer", layer.per_token(stream, lambda n: n * bits))
    assembler.actor(
        stage, f"read{number}", stream, *gets, *read,
        port(layer.loaded(stream), "in"),
        *(Put(entry) for entry, _ in ends),
    )  # fmt: skip
    assembler.actor(
        stage, f"send{number}", stream, *(Get(done) for _, done in ends),
        port(layer.sent(stream), "out"), *layer.stored(stream), *puts,
    )  # fmt: skip


def _wake(layer: Layer, lanes: list[UnitGroup], stream: Stream) -> None:
    """Count the pieces of work of units that are gated: all vectors of a token in one unit."""
    if not gated(layer.arrays):
        return
    units: Counter[tuple[tuple[int, int], bool]] = Counter()
    for lane in lanes:
        units[lane.block, lane.shared is not None] += lane.units
    for (block, shared), count in units.items():

        def on(arrays: Arrays, block: tuple[int, int] = block, shared: bool = shared) -> PerVector:
            return lambda vectors: piece_ps(arrays, block, vectors, one_by_one=shared)

        time = layer.time(stream, ("woken", block, shared), on)
        layer.assembler.wake(layer.placement.unit, count, stream, time)


def _add_lane(layer: Layer, number: str, lane: UnitGroup, stream: Stream) -> tuple[int, int]:
    """Actors of one lane; returns its entry and exit buffers.

    A converter has the first vector of a token while the array has the next; it starts the last
    one when the array has ended. A unit that is gated takes the next token when its converter is
    done; one that is shared, too, does one thing at a time.
    """
    assembler, stage, arrays = layer.assembler, layer.stage, layer.arrays
    name = f"{stage.name}:{number}"
    entry, done = assembler.fifo(f"{name}:in"), assembler.fifo(f"{name}:out")
    load, send = (_port(layer, lane, way, stream) for way in ("in", "out"))
    block = lane.block

    def compute(what: str, vectors: PerVector, *, woken: bool = True) -> Timed:
        def on(arrays: Arrays) -> PerVector:
            before_ps = wake_ps(arrays.power_states) if woken else 0
            return lambda n: before_ps + arrays.passage_ps(block, vectors(n))[0]

        return _busy(layer, lane, layer.time(stream, (what, block), on))

    def convert(what: str, vectors: PerVector) -> Timed:
        def on(arrays: Arrays) -> PerVector:
            one = arrays.passage_ps(block, 1)[1]
            return lambda n: vectors(n) * one

        return _converts(layer, lane, layer.time(stream, (what, block), on))

    if arrays.converter is None:
        steps = (Get(entry), load, compute("compute", lambda n: n), send, Put(done))
        assembler.actor(stage, f"compute{number}", stream, *steps)
        return entry, done
    held = assembler.fifo(f"{name}:sample")
    computed: list[Timed | Put] = [compute("compute first", lambda n: 1), Put(held)]
    converted: list[Timed | Get] = [Get(held)]
    if max(layer.vectors.values()) > 1:
        ended = assembler.fifo(f"{name}:last")
        computed += [compute("compute rest", lambda n: n - 1, woken=False), Put(ended)]
        converted += [convert("convert others", lambda n: n - 1), Get(ended)]
    converted.append(convert("convert last", lambda n: 1))
    one_by_one = gated(arrays) and lane.shared is None
    off = [assembler.fifo(f"{name}:off", 1, 1)] if one_by_one else []
    begun, ended_too = map(Get, off), map(Put, off)
    assembler.actor(stage, f"compute{number}", stream, Get(entry), load, *begun, *computed)
    assembler.actor(stage, f"convert{number}", stream, *converted, *ended_too, send, Put(done))
    return entry, done


def _busy(layer: Layer, lane: UnitGroup, time: int) -> Timed:
    """A lane's arrays at work on every token."""
    array = None if lane.shared is None else _array(layer, lane)
    return Timed(time, layer.placement.unit, lane.units, array)


def _converts(layer: Layer, lane: UnitGroup, time: int) -> Timed:
    """A lane's converters at work; within the time of the array, where a gated unit is shared.

    Stacked arrays take turns at the converters of their unit.
    """
    arrays, converter = layer.arrays, layer.arrays.converter
    assert converter is not None
    if lane.shared is None or not (gated(arrays) or arrays.tiers > 1):
        return Timed(time, converter, lane.units)
    if gated(arrays):
        return Timed(time, converter, lane.units, _array(layer, lane))
    name = f"{converter} of {layer.placement.unit} {lane.shared}"
    return Timed(time, converter, lane.units, layer.assembler.resource(name, 1, "fifo"))


def _array(layer: Layer, lane: UnitGroup) -> int:
    """The resource of an array that blocks of several weights share."""
    return layer.assembler.resource(f"{layer.placement.unit} {lane.shared}", 1, "fifo")


def _port(layer: Layer, lane: UnitGroup, way: str, stream: Stream) -> Timed | None:
    """A lane's own transfer into (`in`) or out of (`out`) its tile, if it makes one."""
    if not layer.packed:
        return None
    time = layer.loaded(stream) if way == "in" else layer.sent(stream)
    bits = layer.carried(way, stream, lane.taken if way == "in" else lane.given)
    if lane.shared is None:
        return Timed(time, "link", lane.units, bits=bits)
    name = f"port {way} of {layer.placement.unit} {lane.shared}"
    resource = layer.assembler.resource(name, 1, "fifo")
    return Timed(time, "link", resource=resource, bits=bits)


def _linear(op: object) -> Linear:
    assert isinstance(op, Linear)
    return op


def _book(layer: Layer, stream: Stream) -> None:
    assembler, placement = layer.assembler, layer.placement
    per_phase = np.array([layer.vectors.get(p, 0) for p in range(len(assembler.graph.steps))])
    runs = assembler.phase_sums(stream, stream.size * per_phase[stream.phase])
    tally = ArrayTally(placement.unit, placement.grid, layer.columns, tuple(runs), layer.buffered)
    assembler.book(layer.stage, tally)


@dataclass(frozen=True, slots=True)
class ArrayTally:
    """Vectors through a matrix in arrays, by phase; results go to the buffer where `buffered`."""

    unit: str
    grid: Grid
    columns: ColumnScale | None
    vectors: tuple[float, ...]
    buffered: frozenset[int]

    def priced(self, architecture: Architecture) -> Iterator[Priced]:
        """Energy of arrays, and of link and buffer for inputs and results."""
        runs, link = self.vectors, architecture.tile_link
        arrays = arrays_of(architecture, self.unit, self.grid)
        vector = arrays.vector(self.grid, link, self.columns)
        in_bits = self.grid.rows * architecture.activation_bits
        out_bits = self.grid.columns * vector.output_bits
        for component, energy in arrays.vector_J(self.grid, self.columns).items():
            yield Priced(0, self.unit, component, tuple([energy * n for n in runs]))
        if self.columns is not None:
            node, bits = architecture.technology_nm, vector.output_bits
            each_J = applied_pJ(self.columns, vector.results, bits, node) * PJ
            yield Priced(0, self.unit, "columns", tuple([each_J * n for n in runs]))
        near, moved = link.near, []
        for phase, n in enumerate(runs):
            beside = out_bits * (near is not link and phase not in self.buffered)
            each = link_energy_J(link, in_bits + out_bits - beside) + link_energy_J(near, beside)
            moved.append(each * n)
        yield Priced(0, "link", "tile_link", tuple(moved))
        stored = [
            access_energy_J(architecture.buffer, in_bits + out_bits * (phase in self.buffered)) * n
            for phase, n in enumerate(runs)
        ]
        yield Priced(0, "buffer", "access", tuple(stored))
