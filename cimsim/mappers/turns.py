"""Weights that take turns on the same units: which when, and where.

Weights go into turns in the order in which a step comes to them: each turn has as many as a group
of units holds, and groups are taken in rotation. A weight that several ops use, or none, or one of
fewer cells than others stays on units of its own, before the groups. Where all weights fit at a
time, all stay.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cimsim.errors import MappingError
from cimsim.ir import Linear, Workload
from cimsim.mappers.packing import Arrangement, Mapper, TakingTurns
from cimsim.mapping import Grid, Turn
from cimsim.spec import Architecture

CACHE = "cache:"


@dataclass(frozen=True, slots=True)
class Stored:
    """A weight that units of one kind hold, and how often.

    `rank` is its place in the order of execution, None where it cannot take turns with others.
    """

    name: str
    grid: Grid
    copies: int
    rank: int | None = None

    @property
    def blocks(self) -> int:
        """Blocks of all copies."""
        return self.copies * self.grid.blocks


def turns_of(mapper: Mapper) -> TakingTurns | None:
    """The mapper under which weights take turns, maybe in another one; None where all stay."""
    if isinstance(mapper, TakingTurns):
        return mapper
    inner = getattr(mapper, "mapper", None)
    return None if inner is None else turns_of(inner)


def ranks(workload: Workload) -> dict[str, int]:
    """Weight -> its place in an order in which every op comes after those that it reads.

    Weights that one op uses and has for itself; ops are taken as early as the workload lists them.
    """
    ops, reads = dict[str, int](), dict[str, set[str]]()
    weights: dict[str, str] = {}
    for _, op in workload.ops():
        ops.setdefault(op.name, len(ops))
        sources = {name for name in op.inputs if not name.startswith(CACHE)}
        reads.setdefault(op.name, set()).update(sources)
        if isinstance(op, Linear) and op.narrow is None:
            weights[op.name] = op.weight
    readers: dict[str, list[str]] = {}
    for name, sources in reads.items():
        for source in sources:
            readers.setdefault(source, []).append(name)
    waiting = {name: len(sources) for name, sources in reads.items()}
    ready = [(ops[name], name) for name, count in waiting.items() if not count]
    heapq.heapify(ready)
    uses, order = Counter(weights.values()), list[str]()
    while ready:
        _, name = heapq.heappop(ready)
        if name in weights and uses[weights[name]] == 1:
            order.append(weights[name])
        for reader in readers.get(name, ()):
            waiting[reader] -= 1
            if not waiting[reader]:
                heapq.heappush(ready, (ops[reader], reader))
    return {weight: rank for rank, weight in enumerate(order)}


def least_units(stored: Sequence[Stored], groups: int) -> int:
    """Units without which weights do not fit: those of weights that stay, and in each group as
    many as the largest of the others takes; no more than all of them take.
    """
    stay = sum(w.blocks for w in stored if w.rank is None)
    largest = max((w.blocks for w in stored if w.rank is not None), default=0)
    return min(stay + groups * largest, sum(w.blocks for w in stored))


def check_one_array(unit: str, architecture: Architecture, mapper: Mapper) -> None:
    """Raise MappingError where stacked arrays would have to be written in turns."""
    tiers = architecture.arrays(unit).tiers
    if turns_of(mapper) is not None and tiers > 1:
        raise MappingError(
            f"mapper {mapper.name!r} rewrites units of one array while others compute; "
            f"{unit}.tiers of architecture {architecture.name!r} is {tiers}: leave it out, or take "
            "another --mapper, under which weights take turns on the arrays of a tile."
        )


def arranged_in_turns(
    stored: Sequence[Stored], mapper: TakingTurns, room: int
) -> tuple[list[Arrangement], list[Turn | None]]:
    """Blocks of weights on `room` units, which are too few for all, and the turn of each weight.

    `room` is at least `least_units`.
    """
    stay, groups = sum(w.blocks for w in stored if w.rank is None), mapper.groups
    size = (room - stay) // groups
    first: dict[str, int] = {}
    turns: dict[str, Turn] = {}
    resident = turn = used = 0
    for weight in sorted(stored, key=lambda w: -1 if w.rank is None else w.rank):
        if weight.rank is None:
            first[weight.name] = resident
            resident += weight.blocks
            continue
        if used + weight.blocks > size:
            turn, used = turn + 1, 0
        first[weight.name] = stay + turn % groups * size + used
        turns[weight.name] = Turn(turn, turn % groups if mapper.release == "group" else None)
        used += weight.blocks
    return [_blocks(w, first[w.name]) for w in stored], [turns.get(w.name) for w in stored]


def _blocks(weight: Stored, first: int) -> Arrangement:
    """Consecutive units, row blocks outermost."""
    shape = (weight.copies, weight.grid.row_blocks, weight.grid.column_blocks)
    units = np.arange(first, first + weight.blocks, dtype=np.int64).reshape(shape)
    zeros = np.broadcast_to(np.int64(0), shape)
    return units, zeros, zeros
