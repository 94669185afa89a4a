"""Mappers: how blocks of weights are laid onto units of one kind.

A mapper is any object with `name`, `copies` and `arrange`; a user passes an own one in Python. With
`demand` as well it is refused on a machine that is too small before anything is laid out.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol, runtime_checkable

import numpy as np

from cimsim.errors import MappingError
from cimsim.mapping import Grid, IntArray
from cimsim.values.arguments import AtLeast, checked
from cimsim.values.codec import MAIN, Codec, member
from cimsim.values.display import brief

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


@runtime_checkable
class Counting(Protocol):
    """A mapper that knows how many units it takes without laying anything out."""

    def demand(self, grids: list[tuple[Grid, int]]) -> int:
        """Units that `arrange` takes for (grid, copies) where clusters leave no gaps."""


@runtime_checkable
class Spreading(Protocol):
    """A mapper that may leave rows of a unit empty, so that a matrix takes more units."""

    def rows_used(self, unit: str, rows: int) -> int:
        """Most rows that one matrix uses of a unit of kind `unit` with `rows` rows."""


def rows_of_a_matrix(mapper: Mapper, unit: str, rows: int) -> int:
    """Most rows that a matrix uses of a unit with `rows` rows: all, where `mapper` says no less."""
    return mapper.rows_used(unit, rows) if isinstance(mapper, Spreading) else rows


def demand_of(mapper: Mapper, grids: list[tuple[Grid, int]]) -> int:
    """Units that `mapper` takes, or at least takes where it does not count: what weights fill."""
    if isinstance(mapper, Counting):
        return mapper.demand(grids)
    weights = sum(copies * grid.weights for grid, copies in grids)
    unit = max((grid.block_rows * grid.block_columns for grid, _ in grids), default=1)
    return -(-weights // unit)


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


@checked(MappingError)
@brief
@dataclass(frozen=True, slots=True)
class OneBlockPerTile:
    """Every block of a weight has a unit of its own; `replicate` names weights and copies.

    Of an SRAM unit a matrix, and K or V, uses at most `sram_rows_used` rows (None: all): where rows
    share a multiplier, fewer of them take fewer passes and more units. Raises MappingError for less
    than a row, or more than a unit has.
    """

    replicate: tuple[tuple[str, int], ...] = ()
    sram_rows_used: int | None = None
    name: str = "one-per-tile"

    def __post_init__(self) -> None:
        if self.sram_rows_used is not None and self.sram_rows_used < 1:
            raise MappingError(f"sram_rows_used is 1 or more, got {self.sram_rows_used}")

    def rows_used(self, unit: str, rows: int) -> int:
        """All rows, or those of SRAM units that are asked for."""
        if unit != "sram" or self.sram_rows_used is None:
            return rows
        if self.sram_rows_used > rows:
            raise MappingError(
                f"sram_rows_used is {self.sram_rows_used}, but an SRAM unit has {rows} rows "
                "(sram.rows): ask for as many or fewer, or leave it out for all"
            )
        return self.sram_rows_used

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
            zeros = np.broadcast_to(np.int64(0), shape)
            arrangements.append((units.reshape(shape), zeros, zeros))
            position += copies * grid.blocks
        return arrangements

    def demand(self, grids: list[tuple[Grid, int]]) -> int:
        """A unit for every block of every copy."""
        return sum(copies * grid.blocks for grid, copies in grids)


@checked(MappingError)
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
            heights, widths = grid.sizes()
            whole = (heights == grid.block_rows) & (widths == grid.block_columns)
            for copy in range(copies):
                count = int(whole.sum())
                units[copy][whole] = np.arange(position, position + count)
                position += count
                partial += [
                    (
                        int(heights[r, c]),
                        _taken(int(widths[r, c]), grid, grids[0][0]),
                        index,
                        (copy, int(r), int(c)),
                    )
                    for r, c in np.argwhere(~whole)
                ]
        if partial:
            self._shelve(partial, arrangements, grids[0][0], position)
        return arrangements

    def demand(self, grids: list[tuple[Grid, int]]) -> int:
        """Whole blocks, and the units that shelves of equal partial blocks fill, class by class."""
        whole, partial = 0, Counter[tuple[int, int]]()
        for grid, copies in grids:
            for height, width, count in grid.kinds():
                if (height, width) == (grid.block_rows, grid.block_columns):
                    whole += copies * count
                else:
                    partial[height, _taken(width, grid, grids[0][0])] += copies * count
        shelves: list[Bins] = []
        units: list[Bins] = []
        for (height, width), count in sorted(partial.items(), reverse=True):
            unit = grids[0][0]
            shelves, opened = first_fit(shelves, width, count, unit.block_columns)
            units, _ = first_fit(units, height, opened, unit.block_rows)
        return whole + sum(number for _, number in units)

    @staticmethod
    def _shelve(
        partial: list[tuple[int, int, int, tuple[int, int, int]]],
        arrangements: list[Arrangement],
        unit: Grid,
        first: int,
    ) -> None:
        shelves: list[list[int]] = []  # unit, row, height, next free column
        filled: list[int] = []  # next free row of each opened unit
        size, at_shelf, at_unit = (0, 0), 0, 0
        for height, width, index, at in sorted(partial, key=lambda p: (-p[0], -p[1])):
            if (height, width) != size:  # blocks of one size never fit where the last did not
                at_shelf, at_unit = 0, at_unit if height == size[0] else 0
                size = height, width
            while at_shelf < len(shelves) and shelves[at_shelf][3] + width > unit.block_columns:
                at_shelf += 1
            if at_shelf == len(shelves):
                while at_unit < len(filled) and filled[at_unit] + height > unit.block_rows:
                    at_unit += 1
                if at_unit == len(filled):
                    filled.append(0)
                shelves.append([first + at_unit, filled[at_unit], height, 0])
                filled[at_unit] += height
            shelf = shelves[at_shelf]
            units, row_offset, column_offset = arrangements[index]
            units[at], row_offset[at], column_offset[at] = shelf[0], shelf[1], shelf[3]
            shelf[3] += width


@checked(MappingError)
@brief
@dataclass(frozen=True, slots=True)
class TakingTurns(OneBlockPerTile):
    """Weights that do not fit at a time take turns on `groups` groups of units, written meanwhile.

    One group is written when what it holds is done, two while the other computes. `release` says
    whether all units of a group wait for each other, or each is written once it is free itself. As
    one-per-tile where all weights fit.
    """

    groups: Annotated[int, AtLeast(1), MAIN] = 1
    release: Literal["group", "unit"] = "group"
    name: str = "reload"


def _taken(width: int, grid: Grid, unit: Grid) -> int:
    """Columns of `unit` that so many of `grid` take, of which a row of an array may have more."""
    return -(-width * unit.block_columns // grid.block_columns)


Bins = tuple[int, int]
"""How much of a bin is used, and how many such bins stand in a row."""


def first_fit(bins: list[Bins], size: int, count: int, capacity: int) -> tuple[list[Bins], int]:
    """`bins` after `count` items of one `size` went each to the first that fits, and bins opened.

    Each bin holds `capacity`; equal neighbours are counted together, so that no time goes with
    `count`.
    """
    filled: list[Bins] = []
    for used, number in bins:
        each = (capacity - used) // size
        full = min(number, count // each) if each else 0
        rest = count - full * each if each and full < number else 0
        count -= full * each + rest
        filled += [(used + each * size, full), (used + rest * size, 1 if rest else 0)]
        filled.append((used, number - full - (1 if rest else 0)))
    each = capacity // size
    full, rest = divmod(count, each)
    filled += [(each * size, full), (rest * size, 1 if rest else 0)]
    return [entry for entry in filled if entry[1]], full + bool(rest)


MAPPERS: dict[str, type[OneBlockPerTile] | type[DensePacking]] = {
    "one-per-tile": OneBlockPerTile,
    "dense": DensePacking,
    "reload": TakingTurns,
}


MAPPER_CODEC: Codec[OneBlockPerTile | DensePacking] = Codec(
    "mapper", MappingError, {name: member(kind) for name, kind in MAPPERS.items()}
)


@checked(MappingError)
def mapper_named(mapper: Mapper | str | None) -> Mapper:
    """The mapper that a text names; a mapper as it is; one block a tile for None.

    Raises MappingError listing the known names and options.
    """
    if not isinstance(mapper, str):
        return OneBlockPerTile() if mapper is None else mapper
    return MAPPER_CODEC.parse(mapper)
