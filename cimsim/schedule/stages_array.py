"""Actors of matrices that stay in their array: analog tiles and SRAM units.

Read (buffer, network, input registers), compute, send (accumulate, scale, network, buffer).
Tiles of one weight that share nothing work in lock-step and are one actor; `group_tiles=False`
gives each its own, with the same times.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from cimsim.blocks import CrossbarTiles, SramUnits
from cimsim.costs.memory import access_energy_J, access_ps
from cimsim.costs.sram import product_energy_J, product_ps
from cimsim.costs.tile import (
    convert_ps,
    integrate_ps,
    link_energy_J,
    load_ps,
    mvm_energy_J,
    send_ps,
    transfer_ps,
)
from cimsim.engines.program import Get, Hold, IntArray, Put, Use
from cimsim.ir import Linear
from cimsim.mapping import Placement
from cimsim.schedule.assembler import Assembler, Timed
from cimsim.schedule.graph import Stream
from cimsim.schedule.stages import Stage
from cimsim.units import cycles_to_ps


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
    """Add the actors of a linear op whose weight is on tiles or SRAM units."""
    op = stage.nodes[0].any
    assert isinstance(op, Linear)
    architecture = assembler.architecture
    array = architecture.rram if placement.unit == "rram" else architecture.sram
    assert array is not None
    vectors = {p: -(-_rows(node) // node.tokens) for p, node in stage.nodes[0].ops.items()}
    in_bits = op.in_features * architecture.activation_bits
    out_bits = op.out_features * array.output_bits
    banks = assembler.buffer_banks()
    read = access_ps(architecture.buffer, in_bits)
    load = _load_ps(assembler, array, placement)
    write = access_ps(architecture.buffer, out_bits)
    send = _send_ps(assembler, array, placement)

    def times(duration: int) -> int | IntArray:
        return assembler.per_block(stream, False, lambda p, s, n, e: duration * n * vectors[p])

    packed = _holds(placement.units, shared)
    ports = (load, send) if packed else None
    into: list[Put] = []
    out_of: list[Get] = []
    for replica in range(placement.replicas):
        turn = _turns(stream, placement.replicas, replica)
        mine = _part(stream, placement.replicas, replica)
        for number, lane in enumerate(lanes_of(placement, replica, shared, grouped)):
            entry, done = _add_lane(
                assembler, stage, f"{replica}.{number}", placement.unit, lane, mine, vectors,
                ports,
            )  # fmt: skip
            into.append(Put(entry, turn))
            out_of.append(Get(done, turn))
    units = placement.units.size
    assembler.actor(
        stage, "read", stream, *gets, Timed(Use(banks, times(read)), "buffer"),
        None if packed else Timed(Hold(times(load)), "link", units), *into,
    )  # fmt: skip
    assembler.actor(
        stage, "send", stream, *out_of,
        None if packed else Timed(Hold(times(send)), "link", units),
        Timed(Use(banks, times(write)), "buffer") if through_buffer else None, *puts,
    )  # fmt: skip
    _book(assembler, stage, placement, stream, vectors, through_buffer)


def _add_lane(
    assembler: Assembler, stage: Stage, number: str, unit: str, lane: UnitGroup, stream: Stream,
    vectors: dict[int, int], ports: tuple[int, int] | None,
) -> tuple[int, int]:  # fmt: skip
    """Actors of one lane; returns its entry and exit buffers.

    With `ports`, the time (ps) of a vector into and out of its tile, the lane moves its own data,
    over ports that it shares with the other weights of the tile.
    """
    architecture = assembler.architecture
    array = architecture.rram if unit == "rram" else architecture.sram
    assert array is not None
    name = f"{stage.name}:{number}"
    entry, done = assembler.fifo(f"{name}:in"), assembler.fifo(f"{name}:out")
    times, conversion = _lane_times(assembler, array, lane, stream, vectors)
    busy: Hold | Use = Hold(times)
    if lane.shared is not None:
        busy = Use(assembler.resource(f"{unit} {lane.shared}", 1, "fifo"), times)
    compute = Timed(busy, unit, lane.units)
    load, send = (
        _port(assembler, lane, unit, way, stream, vectors, ports) for way in ("in", "out")
    )
    if conversion is None:
        steps = (Get(entry), load, compute, send, Put(done))
        assembler.actor(stage, f"compute{number}", stream, *steps)
        return entry, done
    held = assembler.fifo(f"{name}:sample")
    assembler.actor(stage, f"compute{number}", stream, Get(entry), load, compute, Put(held))
    convert = Timed(Hold(conversion), "adc", lane.units)
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


def _lane_times(
    assembler: Assembler, array: CrossbarTiles | SramUnits, lane: UnitGroup, stream: Stream,
    vectors: dict[int, int],
) -> tuple[int | IntArray, int | IntArray | None]:  # fmt: skip
    """Occupation of the array, and of its converters behind it where there are any."""
    if isinstance(array, SramUnits):
        return (
            assembler.per_block(
                stream, False, lambda p, s, n, e: product_ps(array, n * vectors[p])
            ),
            None,
        )
    columns = lane.columns * array.cells_per_weight
    first, second = integrate_ps(array, columns), convert_ps(array, columns)
    return (
        assembler.per_block(stream, False, lambda p, s, n, e: first * n * vectors[p]),
        assembler.per_block(stream, False, lambda p, s, n, e: second),
    )


def _load_ps(assembler: Assembler, array: CrossbarTiles | SramUnits, placement: Placement) -> int:
    rows = min(placement.grid.rows, placement.grid.block_rows)
    link = assembler.architecture.tile_link
    if isinstance(array, SramUnits):
        return transfer_ps(rows * array.input_bits, link)
    return load_ps(array, link, rows)


def _send_ps(assembler: Assembler, array: CrossbarTiles | SramUnits, placement: Placement) -> int:
    grid, link = placement.grid, assembler.architecture.tile_link
    outputs = min(grid.columns, grid.block_columns)
    if isinstance(array, SramUnits):
        levels = (grid.row_blocks - 1).bit_length()
        return cycles_to_ps(levels, array.clock_MHz) + transfer_ps(
            outputs * array.output_bits, link
        )
    return send_ps(array, link, outputs, grid.row_blocks)


def _book(
    assembler: Assembler, stage: Stage, placement: Placement, stream: Stream,
    vectors: dict[int, int], through_buffer: bool,
) -> None:  # fmt: skip
    architecture, grid = assembler.architecture, placement.grid
    array = architecture.rram if placement.unit == "rram" else architecture.sram
    assert array is not None
    per_phase = np.array([vectors.get(p, 0) for p in range(len(assembler.graph.steps))])
    runs = assembler.phase_sums(stream, stream.size * per_phase[stream.phase])
    if isinstance(array, SramUnits):
        parts = {"products": product_energy_J(array, grid.rows * grid.columns)}
    else:
        parts = mvm_energy_J(array, grid.rows, grid.columns, grid.row_blocks, grid.column_blocks)
    in_bits = grid.rows * architecture.activation_bits
    out_bits = grid.columns * array.output_bits
    for component, energy in parts.items():
        assembler.charge(stage, placement.unit, component, [energy * n for n in runs])
    moved = link_energy_J(architecture.tile_link, in_bits + out_bits)
    assembler.charge(stage, "link", "tile_link", [moved * n for n in runs])
    stored = access_energy_J(architecture.buffer, in_bits + out_bits * through_buffer)
    assembler.charge(stage, "buffer", "access", [stored * n for n in runs])
