"""Mappers: how blocks of weights are laid onto units of one kind.

A mapper is any object with `name`, `copies` and `arrange`; a user passes an own one in Python.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from cimsim.display import brief
from cimsim.errors import MappingError
from cimsim.mapping.model import Grid, IntArray

Arrangement = tuple[IntArray, IntArray, IntArray]


class Mapper(Protocol):
    """Lays weights onto units."""

    @property
    def name(self) -> str:
        """What `--mapper` and the report call it."""

    def copies(self, weight: str) -> int:
        """Replicas of `weight`, at least 1."""

    def arrange(self, grids: list[tuple[Grid, int]], group: int) -> list[Arrangement]:
        """Unit index, row offset and column offset of every block of every (grid, copies).

        Arrays have the shape (copies, row_blocks, column_blocks). `group` units share a cluster:
        a weight should not straddle a cluster that it does not fill.
        """


def _replicas(replicate: tuple[tuple[str, int], ...], weight: str) -> int:
    for pattern, count in replicate:
        if weight == pattern or (pattern.endswith("*") and weight.startswith(pattern[:-1])):
            if count < 1:
                raise MappingError(f"replicas of {pattern!r} must be at least 1, got {count}")
            return count
    return 1


def _aligned(position: int, size: int, group: int) -> int:
    """First unit at or after `position` such that `size` units straddle no cluster needlessly."""
    room = group - position % group
    return position if size <= room or room == group else position + room


@brief
@dataclass(frozen=True, slots=True)
class OneBlockPerTile:
    """Every block of a weight has a unit of its own; `replicate` names weights and copies."""

    replicate: tuple[tuple[str, int], ...] = ()
    name: str = "one-per-tile"

    def copies(self, weight: str) -> int:
        """Replicas of `weight`; a trailing * in `replicate` matches a prefix."""
        return _replicas(self.replicate, weight)

    def arrange(self, grids: list[tuple[Grid, int]], group: int) -> list[Arrangement]:
        """Consecutive units, row blocks outermost."""
        arrangements: list[Arrangement] = []
        position = 0
        for grid, copies in grids:
            position = _aligned(position, copies * grid.blocks, group)
            shape = (copies, grid.row_blocks, grid.column_blocks)
            units = np.arange(position, position + copies * grid.blocks, dtype=np.int64)
            zeros = np.zeros(shape, np.int64)
            arrangements.append((units.reshape(shape), zeros, zeros))
            position += copies * grid.blocks
        return arrangements


@brief
@dataclass(frozen=True, slots=True)
class DensePacking:
    """Blocks smaller than a unit share units, a block of a unit working at a time.

    Shelf packing, tallest blocks first (first-fit decreasing height).
    """

    replicate: tuple[tuple[str, int], ...] = ()
    name: str = "dense"

    def copies(self, weight: str) -> int:
        """Replicas of `weight`; a trailing * in `replicate` matches a prefix."""
        return _replicas(self.replicate, weight)

    def arrange(self, grids: list[tuple[Grid, int]], group: int) -> list[Arrangement]:
        """Whole blocks first in the weights' order, partial ones on shelves behind them."""
        del group  # a packed unit serves several weights wherever it is
        arrangements: list[Arrangement] = []
        partial: list[tuple[int, int, int, tuple[int, int, int]]] = []
        position = 0
        for index, (grid, copies) in enumerate(grids):
            shape = (copies, grid.row_blocks, grid.column_blocks)
            units = np.full(shape, -1, np.int64)
            arrangements.append((units, np.zeros(shape, np.int64), np.zeros(shape, np.int64)))
            heights = [b - a for a, b in map(grid.row_range, range(grid.row_blocks))]
            widths = [b - a for a, b in map(grid.column_range, range(grid.column_blocks))]
            whole = np.outer(
                np.equal(heights, grid.block_rows), np.equal(widths, grid.block_columns)
            )
            for copy in range(copies):
                count = int(whole.sum())
                units[copy][whole] = np.arange(position, position + count)
                position += count
                partial += [
                    (heights[r], widths[c], index, (copy, int(r), int(c)))
                    for r, c in np.argwhere(~whole)
                ]
        if partial:
            self._shelve(partial, arrangements, grids[0][0], position)
        return arrangements

    @staticmethod
    def _shelve(
        partial: list[tuple[int, int, int, tuple[int, int, int]]],
        arrangements: list[Arrangement],
        unit: Grid,
        first: int,
    ) -> None:
        shelves: list[list[int]] = []  # unit, row, height, next free column
        filled: list[int] = []  # next free row of each opened unit
        for height, width, index, at in sorted(partial, key=lambda p: (-p[0], -p[1])):
            shelf = next((s for s in shelves if s[3] + width <= unit.block_columns), None)
            if shelf is None:
                room = next(
                    (u for u, row in enumerate(filled) if row + height <= unit.block_rows), None
                )
                if room is None:
                    room = len(filled)
                    filled.append(0)
                shelf = [first + room, filled[room], height, 0]
                filled[room] += height
                shelves.append(shelf)
            units, row_offset, column_offset = arrangements[index]
            units[at], row_offset[at], column_offset[at] = shelf[0], shelf[1], shelf[3]
            shelf[3] += width


MAPPERS: dict[str, type[OneBlockPerTile] | type[DensePacking]] = {
    "one-per-tile": OneBlockPerTile,
    "dense": DensePacking,
}
