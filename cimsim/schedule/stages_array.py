"""Actors of matrices that stay in their array, whatever kind of unit that is.

Read (buffer, network, input registers), compute, send (accumulate, scale, network, buffer).
Tiles of one weight that share nothing work in lock-step and are one actor; `group_tiles=False`
gives each its own, with the same times.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from cimsim.costs.memory import access_energy_J
from cimsim.costs.tile import (
    link_energy_J,
)
from cimsim.engines.program import Get, Hold, IntArray, Put, Use
from cimsim.ir import Linear
from cimsim.mapping import Placement
from cimsim.schedule.assembler import Assembler, Timed
from cimsim.schedule.graph import Stream
from cimsim.schedule.stages import Stage
from cimsim.unit_kinds import Arrays


@dataclass(frozen=True, slots=True)
class UnitGroup:
    """Units of one replica that move in lock-step; `shared` is the unit that others use too."""

    columns: int
    units: int
    shared: int | None


def lanes_of(
    placement: Placement, replica: int, shared: frozenset[int], grouped: bool
) -> list[UnitGroup]:
    """Lock-step groups of the blocks of one replica: equal width, nothing shared."""
    grid = placement.grid
    widths = [b - a for a, b in map(grid.column_range, range(grid.column_blocks))]
    units = placement.units[replica]
    if grouped and not _holds(units, shared):
        counts = Counter(widths)
        return [UnitGroup(width, n * grid.row_blocks, None) for width, n in counts.items()]
    return [
        UnitGroup(widths[c], 1, int(units[r, c]) if int(units[r, c]) in shared else None)
        for r in range(grid.row_blocks)
        for c in range(grid.column_blocks)
    ]


def _holds(units: IntArray, shared: frozenset[int]) -> bool:
    """Whether one of `units` is shared with others."""
    return bool(shared) and not shared.isdisjoint(units.ravel().tolist())


def add_array_stage(
    assembler: Assembler,
    stage: Stage,
    placement: Placement,
    stream: Stream,
    shared: frozenset[int],
    gets: list[Get],
    puts: list[Put],
    *,
    through_buffer: bool,
    grouped: bool,
) -> None:
    """Add the actors of a linear op whose weight is in arrays."""
    op = stage.nodes[0].any
    assert isinstance(op, Linear)
    architecture = assembler.architecture
    arrays = architecture.arrays(placement.unit)
    vector = arrays.vector(placement.grid, architecture.tile_link)
    vectors = {p: -(-_rows(node) // node.tokens) for p, node in stage.nodes[0].ops.items()}
    in_bits = op.in_features * architecture.activation_bits
    out_bits = op.out_features * vector.output_bits

    def times(one: int) -> int | IntArray:
        """Time or bits of all vectors of a block, `one` each."""
        return assembler.per_block(stream, False, lambda p, s, n, e: one * n * vectors[p])

    packed = _holds(placement.units, shared)
    ports = (vector.load_ps, vector.send_ps) if packed else None
    into: list[Put] = []
    out_of: list[Get] = []
    for replica in range(placement.replicas):
        turn = _turns(stream, placement.replicas, replica)
        mine = _part(stream, placement.replicas, replica)
        for number, lane in enumerate(lanes_of(placement, replica, shared, grouped)):
            entry, done = _add_lane(
                assembler, stage, f"{replica}.{number}", arrays, placement.unit, lane, mine,
                vectors, ports,
            )  # fmt: skip
            into.append(Put(entry, turn))
            out_of.append(Get(done, turn))
    units = placement.units.size
    assembler.actor(
        stage, "read", stream, *gets, *assembler.access("buffer", times(in_bits)),
        None if packed else Timed(Hold(times(vector.load_ps)), "link", units), *into,
    )  # fmt: skip
    assembler.actor(
        stage, "send", stream, *out_of,
        None if packed else Timed(Hold(times(vector.send_ps)), "link", units),
        *(assembler.access("buffer", times(out_bits)) if through_buffer else ()), *puts,
    )  # fmt: skip
    _book(assembler, stage, placement, stream, vectors, through_buffer)


def _add_lane(
    assembler: Assembler, stage: Stage, number: str, arrays: Arrays, unit: str,
    lane: UnitGroup, stream: Stream, vectors: dict[int, int], ports: tuple[int, int] | None,
) -> tuple[int, int]:  # fmt: skip
    """Actors of one lane; returns its entry and exit buffers.

    With `ports`, the time (ps) of a vector into and out of its tile, the lane moves its own data,
    over ports that it shares with the other weights of the tile.
    """
    name = f"{stage.name}:{number}"
    entry, done = assembler.fifo(f"{name}:in"), assembler.fifo(f"{name}:out")
    times = assembler.per_block(
        stream, False, lambda p, s, n, e: arrays.passage_ps(lane.columns, n * vectors[p])[0]
    )
    busy: Hold | Use = Hold(times)
    if lane.shared is not None:
        busy = Use(assembler.resource(f"{unit} {lane.shared}", 1, "fifo"), times)
    compute = Timed(busy, unit, lane.units)
    load, send = (
        _port(assembler, lane, unit, way, stream, vectors, ports) for way in ("in", "out")
    )
    if arrays.converter is None:
        steps = (Get(entry), load, compute, send, Put(done))
        assembler.actor(stage, f"compute{number}", stream, *steps)
        return entry, done
    held = assembler.fifo(f"{name}:sample")
    assembler.actor(stage, f"compute{number}", stream, Get(entry), load, compute, Put(held))
    last = arrays.passage_ps(lane.columns, 1)[1]
    convert = Timed(Hold(last), arrays.converter, lane.units)
    assembler.actor(stage, f"convert{number}", stream, Get(held), convert, send, Put(done))
    return entry, done


def _port(
    assembler: Assembler, lane: UnitGroup, unit: str, way: str, stream: Stream,
    vectors: dict[int, int], ports: tuple[int, int] | None,
) -> Timed | None:  # fmt: skip
    """A lane's own transfer into (`in`) or out of (`out`) its tile, if it makes one."""
    if ports is None:
        return None
    once = ports[way == "out"]
    times = assembler.per_block(stream, False, lambda p, s, n, e: once * n * vectors[p])
    if lane.shared is None:
        return Timed(Hold(times), "link", lane.units)
    port = assembler.resource(f"port {way} of {unit} {lane.shared}", 1, "fifo")
    return Timed(Use(port, times), "link")


def _rows(op: object) -> int:
    assert isinstance(op, Linear)
    return op.rows


def _turns(stream: Stream, replicas: int, replica: int) -> int | IntArray:
    """1 in the iterations that replica number `replica` serves: tokens are dealt in turn."""
    if replicas == 1:
        return 1
    return np.asarray(np.arange(stream.iterations) % replicas == replica, np.int64)


def _part(stream: Stream, replicas: int, replica: int) -> Stream:
    return stream if replicas == 1 else stream.of(slice(replica, None, replicas))


def _book(
    assembler: Assembler, stage: Stage, placement: Placement, stream: Stream,
    vectors: dict[int, int], through_buffer: bool,
) -> None:  # fmt: skip
    architecture, grid = assembler.architecture, placement.grid
    vector = architecture.arrays(placement.unit).vector(grid, architecture.tile_link)
    per_phase = np.array([vectors.get(p, 0) for p in range(len(assembler.graph.steps))])
    runs = assembler.phase_sums(stream, stream.size * per_phase[stream.phase])
    in_bits = grid.rows * architecture.activation_bits
    out_bits = grid.columns * vector.output_bits
    for component, energy in vector.energy_J.items():
        assembler.charge(stage, placement.unit, component, [energy * n for n in runs])
    moved = link_energy_J(architecture.tile_link, in_bits + out_bits)
    assembler.charge(stage, "link", "tile_link", [moved * n for n in runs])
    stored = access_energy_J(architecture.buffer, in_bits + out_bits * through_buffer)
    assembler.charge(stage, "buffer", "access", [stored * n for n in runs])
