"""Mapping: which block of which weight sits on which tile or SRAM unit; both paths read it.

A weight of in_features x out_features is cut into row blocks (partial sums, accumulated after
conversion) and column blocks. Every block goes to one array; an array holds one block, or several
small ones where the mapper packs. Of a weight in groups (a grouped convolution) only the groups are
stored, several on the diagonal of an array where they fit. A unit is one array, or several stacked
ones (tiers) of which one works at a time. `Placement.units[replica, row_block, column_block]` is
the unit index, `tier` the array in it, `row_offset`/`column_offset` say where in the array the
block starts. Weights that take turns on the same units are written there while the machine runs
(`Turn`). `Written` says what of a weight is written into which units, whoever asks for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Protocol

import numpy as np
import numpy.typing as npt

from cimsim.errors import MappingError
from cimsim.ir import Narrow
from cimsim.values.arguments import checked
from cimsim.values.display import brief

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
WeightUnit = str
"""The name of a kind of unit (see `cimsim.unit_kinds`)."""


@dataclass(frozen=True)
class Grid:
    """How a rows x columns matrix is cut into blocks of at most block_rows x block_columns.

    A matrix of `groups` is as many equal blocks on a diagonal. As many whole groups as fit stand
    on the diagonal of one array; a group that does not fit is cut like a matrix of its own. Blocks
    of columns are counted through all groups, blocks of rows within a group: the partial sums of
    one result. `narrow` are weights of fewer cells, of which a row of an array has more. Of a
    matrix of which only so many `nonzeros` are held, each comes with its place.
    """

    rows: int
    columns: int
    block_rows: int
    block_columns: int
    groups: int = field(default=1, repr=False)
    narrow: Narrow | None = field(default=None, repr=False)
    nonzeros: int | None = field(default=None, repr=False)

    @property
    def weights(self) -> int:
        """Weights of the matrix, those that are held."""
        if self.nonzeros is not None:
            return self.nonzeros
        return self.rows * self.columns // self.groups

    @property
    def words(self) -> int:
        """Words that memory holds of the matrix: weights, and the place of each nonzero."""
        # counted: a value and its place
        return self.weights if self.nonzeros is None else 2 * self.nonzeros

    @cached_property
    def group(self) -> tuple[int, int]:
        """Rows and columns of one group."""
        return self.rows // self.groups, self.columns // self.groups

    @cached_property
    def packed(self) -> int:
        """Groups on the diagonal of one array; 1 where a group fills several."""
        rows, columns = self.group
        fitting = min(self.block_rows // rows, self.block_columns // columns)
        return max(1, min(fitting, self.groups))

    @cached_property
    def part(self) -> tuple[int, int]:
        """Rows and columns of the groups that are packed together, cut or not."""
        rows, columns = self.group
        return self.packed * rows, self.packed * columns

    @cached_property
    def row_blocks(self) -> int:
        """Blocks along the inputs of one result."""
        return -(-self.part[0] // self.block_rows)

    @cached_property
    def driven(self) -> int:
        """Blocks that one input is driven into."""
        return -(-self.part[1] // self.block_columns)

    @cached_property
    def column_blocks(self) -> int:
        """Blocks along the outputs."""
        return -(-self.groups // self.packed) * self.driven

    @cached_property
    def blocks(self) -> int:
        """All blocks."""
        return self.row_blocks * self.column_blocks

    @cached_property
    def block(self) -> tuple[int, int]:
        """Rows and columns of the largest block."""
        rows, columns = self.part
        return min(rows, self.block_rows), min(columns, self.block_columns)

    def row_range(self, block: int, column_block: int = 0) -> tuple[int, int]:
        """First and one past the last input of a row block in the groups of a column block."""
        rows, part = self.part[0], column_block // self.driven
        start, stop = part * rows, min(self.rows, (part + 1) * rows)
        first = start + block * self.block_rows
        return first, min(stop, first + self.block_rows)

    def column_range(self, block: int) -> tuple[int, int]:
        """First and one past the last output of a column block."""
        part, number = divmod(block, self.driven)
        start, stop = part * self.part[1], min(self.columns, (part + 1) * self.part[1])
        first = start + number * self.block_columns
        return first, min(stop, first + self.block_columns)

    def sizes(self) -> tuple[IntArray, IntArray]:
        """Rows and columns of every block, [row_blocks, column_blocks], not to be written to."""
        return _sizes(self)

    def kinds(self) -> Iterator[tuple[int, int, int]]:
        """Rows and columns of equal blocks, and how many there are; without laying them out."""
        rows, columns = self.group
        whole, left = divmod(self.groups, self.packed)
        for groups, count in ((self.packed, whole), (left, 1)):
            down, high = divmod(groups * rows, self.block_rows)
            across, wide = divmod(groups * columns, self.block_columns)
            found = (
                (self.block_rows, self.block_columns, count * down * across),
                (self.block_rows, wide, count * down),
                (high, self.block_columns, count * across),
                (high, wide, count),
            )
            yield from (kind for kind in found if all(kind))

    def held(self) -> IntArray:
        """Weights in every block, [row_blocks, column_blocks]: those of its groups alone."""
        heights, widths = self.sizes()
        if self.packed == 1:
            return heights * widths
        return heights * self.group[1]


@lru_cache(maxsize=1024)  # choice: more grids than a model has
def _sizes(grid: Grid) -> tuple[IntArray, IntArray]:
    """`Grid.sizes`, which every switch between two tasks asks of every weight."""
    rows, columns = grid.part
    part, number = np.divmod(np.arange(grid.column_blocks), grid.driven)
    across = number * grid.block_columns
    left = np.minimum(columns, grid.columns - part * columns) - across
    down = np.arange(grid.row_blocks)[:, None] * grid.block_rows
    under = np.minimum(rows, grid.rows - part * rows) - down
    widths = np.broadcast_to(np.minimum(left, grid.block_columns), under.shape)
    heights = np.minimum(under, grid.block_rows)
    heights.flags.writeable = False
    return heights, widths


@dataclass(frozen=True, slots=True)
class Turn:
    """When weights that take turns are on their units: those of lower `number` come before.

    Units of one `group` are written once all of them are free, without one (None) each once it is.
    """

    number: int
    group: int | None = None


@brief
@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """One weight on its units; arrays have the shape (replicas, row_blocks, column_blocks).

    `role` is `base`, `narrow`, `outliers`, or what of an adapter the weight is: `lora_a`, `lora_b`
    or `saved`.
    `tier` is the array of its unit that has a block, None where a unit is one array. `turn` is when
    it is written in each step, None where it stays.
    """

    weight: str
    unit: WeightUnit
    role: str
    grid: Grid
    units: IntArray
    row_offset: IntArray
    column_offset: IntArray
    tier: IntArray | None = None
    turn: Turn | None = None

    @property
    def replicas(self) -> int:
        """Copies of the weight that work on different tokens."""
        return int(self.units.shape[0])

    @property
    def weights(self) -> int:
        """Weights stored, replicas included."""
        return self.replicas * self.grid.weights

    def written(self, *, erased: bool = False, only: BoolArray | None = None) -> Written:
        """The whole weight, every copy of it, as it is written once; `erased` as in Written.

        `only` says of each block whether it is written, in the order of `units`: at least one is.
        """
        whole = self._written(erased)
        if only is None or only.all():
            return whole
        rows = None if whole.rows is None else whole.rows[only]
        return replace(whole, units=whole.units[only], values=whole.values[only], rows=rows)

    def _written(self, erased: bool) -> Written:
        grid, units = self.grid, self.units.ravel()
        if not units.size:
            whole = np.array([self.replicas * grid.words])
            return Written(self.weight, self.unit, units, whole, erased=erased, narrow=grid.narrow)
        values = np.tile(grid.held().ravel(), self.replicas)
        rows = None
        if grid.groups == 1:
            heights, _ = grid.sizes()
            rows = np.tile(heights.ravel(), self.replicas)
        return Written(
            self.weight, self.unit, units, values, rows=rows, erased=erased, narrow=grid.narrow
        )


@brief
@dataclass(frozen=True, slots=True, eq=False)
class LevelChange:
    """How the cells of what is written differ before and after.

    `share[i, j]` of them hold level i before and level j after, [L, L]; levels stand evenly from
    the least to the largest conductance. Raises MappingError unless shares are those of a whole.
    """

    share: FloatArray

    def __post_init__(self) -> None:
        share = self.share
        square = share.ndim == 2 and share.shape[0] == share.shape[1] > 0
        # choice: shares are sums of doubles
        if not square or not share.min() >= 0.0 or abs(share.sum() - 1.0) > 1e-9:
            raise MappingError(
                "the change of levels is a square of shares that sum to 1, a row for each level "
                f"before, a column for each after; got shape {share.shape}, sum {share.sum():g}."
            )

    @property
    def changed(self) -> float:
        """Share of cells whose level differs."""
        return float(self.share.sum() - self.share.trace())


@checked(MappingError)
@brief
@dataclass(frozen=True, slots=True)
class Correlated:
    """Weights before and after, normal as unknown ones are, with a correlation between the two.

    0: foreign to each other, 1: the same. Raises MappingError for any other number.
    """

    correlation: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.correlation <= 1.0:
            raise MappingError(
                f"the correlation of weights before and after is 0 to 1, got {self.correlation:g}."
            )


@checked(MappingError)
@brief
@dataclass(frozen=True, slots=True)
class Masked:
    """Weights of which a share `zeroed` goes to zero; the others come back from there.

    Raises MappingError for what is no share.
    """

    zeroed: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.zeroed <= 1.0:
            raise MappingError(f"zeroed is a share of weights, 0 to 1, got {self.zeroed:g}.")


@brief
@dataclass(frozen=True, slots=True, eq=False)
class Written:
    """Values of one weight that are written into units of one kind; what a value is, they say.

    `values[i]` values go into the unit of index `units[i]`, for each block of each copy. Where a
    weight has no units of its own (clusters) `units` is empty and `values` has one entry.

    `change` says how their cells or weights change, where that is known; else they held nothing
    (`erased`), or a weight that has nothing to do with the new one. `rows[i]` rows of a unit are
    written; None: as few as hold the values. Raises MappingError where these do not agree or less
    than nothing is written. `narrow` weights take fewer cells than others.
    """

    weight: str
    unit: WeightUnit
    units: IntArray
    values: IntArray
    change: LevelChange | Correlated | Masked | None = None
    rows: IntArray | None = None
    erased: bool = False
    narrow: Narrow | None = None

    def __post_init__(self) -> None:
        if self.values.shape != (self.units.shape if self.units.size else (1,)):
            raise MappingError(
                f"what is written of {self.weight!r} has {self.values.size} numbers for "
                f"{self.units.size} blocks: give one for each, or one where there are no units."
            )
        if self.values.min() < 0:
            raise MappingError(
                f"{self.values.min()} values of {self.weight!r} are to be written; it takes 0 or "
                "more."
            )
        rows = self.rows
        if rows is not None and (rows.shape != self.values.shape or (rows < 1).any()):
            raise MappingError(
                f"the values of {self.weight!r} are written into some rows of each of "
                f"{self.values.size} blocks: give a whole number above 0 for each block."
            )
        if self.erased and self.change is not None:
            raise MappingError(
                f"cells of {self.weight!r} were erased, and changed levels: say one of the two."
            )

    @property
    def count(self) -> int:
        """Values written, in all units together."""
        return int(self.values.sum())


@dataclass(frozen=True, slots=True)
class Registers:
    """Digital state beside the units of a weight that is written: masks, shifts, scales of a task.

    `bits` in all, over every unit. Raises MappingError for fewer than none.
    """

    weight: str
    unit: WeightUnit
    bits: int

    def __post_init__(self) -> None:
        if self.bits < 0:
            raise MappingError(
                f"{self.bits} register bits of {self.weight!r} are to be written; it takes 0 or "
                "more."
            )


@dataclass(frozen=True, slots=True)
class KvStore:
    """Units of one kind that hold the stationary operand of one attention product.

    Every head of every sequence has units of its own; those of one sequence work at a time.
    """

    op: str
    unit: str
    grid: Grid
    heads: int
    first_unit: int
    sequences: int = 1

    @property
    def units(self) -> int:
        """Units reserved, at the longest context."""
        return self.sequences * self.working_units

    @property
    def working_units(self) -> int:
        """Units of one sequence."""
        return self.heads * self.grid.blocks


def values_by_unit(written: Iterable[Written]) -> IntArray:
    """Values to write into each unit that has any; packed blocks add up.

    One number where the values have no unit of their own.
    """
    parts = list(written)
    values = np.concatenate([part.values for part in parts])
    units = np.concatenate([part.units for part in parts])
    if not units.size:
        return np.array([values.sum()], np.int64)
    if not values.all():
        values, units = values[values > 0], units[values > 0]
    if rises(units):
        return values
    _, position = np.unique(units, return_inverse=True)
    return np.bincount(position, values).astype(np.int64)


def held_by(placements: Iterable[Placement], unit: str) -> tuple[IntArray, IntArray]:
    """Units of one kind that hold blocks, in order, and how many blocks each holds."""
    placed = [p.units.ravel() for p in placements if p.unit == unit and p.units.size]
    if not placed:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    units = np.concatenate(placed)
    if rises(units):
        return units, np.broadcast_to(np.int64(1), units.shape)
    return np.unique(units, return_counts=True)


def rises(numbers: IntArray) -> bool:
    """Whether each number is above the one before it, as units are with a block in each."""
    return bool((numbers[1:] > numbers[:-1]).all())


class HasName(Protocol):
    """Something with a name."""

    @property
    def name(self) -> str:
        """What reports call it."""


@brief
@dataclass(frozen=True)
class Mapping:
    """Where everything is: `placements` by weight name, `kv` by op name.

    `units_used` counts the units that hold something by the name of their kind. `clusters` gives,
    for each weight, the first cluster that serves its units and how many do. `adaptation` is the
    value that it was made with (`cimsim.adaptation.adaptation_of`).
    """

    architecture: str
    workload: str
    adaptation: HasName
    mapper: str
    placements: dict[str, Placement]
    kv: dict[str, KvStore]
    units_used: dict[str, int]
    clusters: dict[str, tuple[int, int]]

    def _facts(self) -> dict[str, object]:
        return {
            "workload": self.workload,
            "architecture": self.architecture,
            "adaptation": self.adaptation.name,
            "mapper": self.mapper,
            "weights": len(self.placements),
            "tiles_used": self.used("rram"),
            "sram_units_used": self.used("sram"),
            "cell_utilisation": self.cell_utilisation,
        }

    def used(self, unit: str) -> int:
        """Units of a kind that hold something; 0 of a kind that the machine lacks."""
        return self.units_used.get(unit, 0)

    @cached_property
    def cell_utilisation(self) -> float:
        """Share of the used tiles' weight positions that hold a weight, in tiers that are used."""
        return self._filled / self._held if self._held else 0.0

    @property
    def _filled(self) -> float:
        """Arrays that the weights would fill; those of fewer cells fill less."""
        placed = (p for p in self.placements.values() if p.unit == "rram")
        return sum(self._standing(p) / (p.grid.block_rows * p.grid.block_columns) for p in placed)

    def _standing(self, placement: Placement) -> int:
        """Weights of a placement that units hold at rest."""
        only = self.standing(placement)
        if only is None:
            return placement.weights
        held = np.tile(placement.grid.held().ravel(), placement.replicas)
        return int(held[only].sum())

    def standing(self, placement: Placement) -> BoolArray | None:
        """Which blocks of a weight, in the order of `units`, its units hold when a step has ended:
        those of the last turn. None: all of a weight that stays.
        """
        if placement.turn is None:
            return None
        last = self._last_turns[placement.unit][placement.units.ravel()]
        return np.asarray(last == placement.turn.number)

    @cached_property
    def in_turns(self) -> frozenset[str]:
        """Kinds of unit on which weights take turns."""
        return frozenset(p.unit for p in self.placements.values() if p.turn is not None)

    @cached_property
    def _last_turns(self) -> dict[str, IntArray]:
        """Kind of unit -> the last turn of each unit, -1 where it has none."""
        found: dict[str, IntArray] = {}
        for p in self.placements.values():
            if p.turn is not None:
                units = p.units.ravel()
                last = found.get(p.unit, np.zeros(0, np.int64))
                more = int(units.max()) + 1 - last.size
                last = np.pad(last, (0, max(0, more)), constant_values=-1)
                last[units] = np.maximum(last[units], p.turn.number)
                found[p.unit] = last
        return found

    @property
    def _held(self) -> int:
        return self._arrays_used("rram") if self._filled else 0

    def _arrays_used(self, unit: str) -> int:
        """Arrays that hold something: units, or the tiers of theirs that are used."""
        placed = [(p.units.ravel(), p.tier.ravel()) for p in self.placements.values()
                  if p.unit == unit and p.tier is not None]  # fmt: skip
        if not placed:
            return self.used(unit)
        units, tiers = (np.concatenate(found) for found in zip(*placed, strict=True))
        return int(np.unique(tiers * (units.max() + 1) + units).size)

    def digest(self) -> str:
        """sha256 over all that `placements`, `kv` and `clusters` say: equal where they are."""
        sha = hashlib.sha256()
        for name in sorted(self.placements):
            p = self.placements[name]
            served = self.clusters.get(name)
            sha.update(repr((name, p.unit, p.role, p.units.shape, p.grid, served)).encode())
            if p.grid.groups > 1:
                sha.update(repr(p.grid.groups).encode())
            if p.grid.nonzeros is not None:
                sha.update(repr(p.grid.nonzeros).encode())
            if p.turn is not None:
                sha.update(repr(p.turn).encode())
            tier = () if p.tier is None else (p.tier,)
            for array in (p.units, p.row_offset, p.column_offset, *tier):
                sha.update(array.tobytes())
        for name in sorted(self.kv):
            sha.update(repr(self.kv[name]).encode())
        return sha.hexdigest()
