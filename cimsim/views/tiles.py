"""Where weights and K/V stores lie: every unit that holds something, what of, and how full."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cimsim.mapping import IntArray, Mapping
from cimsim.spec import Architecture
from cimsim.values.display import brief
from cimsim.views.canvas import starred
from cimsim.views.palette import GREY, LINES

OTHERS = "others"
NAMED = 5
"""Choice: kinds of layers with a colour of their own."""


@brief
@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """A unit, or several next to each other: the first, what they hold, and how full they are.

    `group` is the place of the kind of layer that takes most of it; `filled` is the share of its
    cells that hold something, `held` what, by the share of these cells.
    """

    first: int
    group: int
    filled: float
    held: tuple[tuple[str, float], ...]


@brief
@dataclass(frozen=True, slots=True, eq=False)
class TileMap:
    """The units of one kind up to the last that holds something, `each` of them a tile.

    `count` is how many are built, `used` how many hold something; `groups` are kinds of layers,
    those of a model's blocks as one.
    """

    unit: str
    count: int
    used: int
    each: int
    groups: tuple[str, ...]
    tiles: tuple[Tile, ...]

    @property
    def length(self) -> int:
        """Tiles up to the last one, empty ones with them."""
        return 1 + max(tile.first for tile in self.tiles) // self.each

    @property
    def filled(self) -> float:
        """Mean share of cells that hold something, of units in use."""
        return sum(tile.filled for tile in self.tiles) * self.each / self.used

    @property
    def title(self) -> str:
        """What is shown, in a line."""
        several = f", {self.each} to a square" if self.each > 1 else ""
        last = min(self.count, self.length * self.each)
        rest = f"; {last + 1:,} to {self.count:,} are empty" if last < self.count else ""
        return (
            f"{self.unit}: {self.used:,} of {self.count:,} in use, {self.filled:.1%} full, by "
            f"number{several}{rest}"
        )


def tile_maps(mapping: Mapping, architecture: Architecture, most: int) -> list[TileMap]:
    """A map for each kind of unit that holds something, of at most `most` tiles."""
    kinds = [unit for unit, used in mapping.units_used.items() if used]
    found = (_map(mapping, architecture, unit, most) for unit in kinds)
    return [one for one in found if one is not None]


def _map(mapping: Mapping, architecture: Architecture, unit: str, most: int) -> TileMap | None:
    parts = list(_parts(mapping, unit))
    if not parts:
        return None
    names = [name for name, _, _ in parts]
    last = max(int(units.max()) for _, units, _ in parts)
    each = -(-(last + 1) // most)
    groups = _groups(parts)
    cells: dict[int, Counter[int]] = {}
    for number, (_, units, shares) in enumerate(parts):
        sums = np.bincount(units // each, shares, last // each + 1)
        for place in np.flatnonzero(sums).tolist():
            cells.setdefault(place, Counter())[number] += float(sums[place])  # type: ignore[assignment]
    kept = sorted(dict.fromkeys(groups.values()), key=OTHERS.__eq__)
    tiles = []
    for place, held in sorted(cells.items()):
        total = sum(held.values())
        by_group: Counter[str] = Counter()
        for number, share in held.items():
            by_group[groups[names[number]]] += share
        tiles.append(
            Tile(
                place * each, kept.index(by_group.most_common(1)[0][0]), total / each,
                tuple((names[n], share / total) for n, share in held.most_common()),
            )
        )  # fmt: skip
    used = np.unique(np.concatenate([units for _, units, _ in parts])).size
    count = architecture.units[unit].count
    return TileMap(unit, count, int(used), each, tuple(kept), tuple(tiles))


Part = tuple[str, IntArray, npt.NDArray[np.float64]]
"""What is held, its units, and the share of each unit's cells that it takes."""


def _parts(mapping: Mapping, unit: str) -> Iterator[Part]:
    """What units of a kind hold: weights, block by block, and K/V stores.

    Of weights that take turns those that are there at rest.
    """
    here = [p for p in mapping.placements.values() if p.unit == unit and p.units.size]
    tiers = max((int(p.tier.max()) + 1 for p in here if p.tier is not None), default=1)
    for placed in here:
        room = placed.grid.block_rows * placed.grid.block_columns
        held, units = np.tile(placed.grid.held().ravel(), placed.replicas), placed.units.ravel()
        if (only := mapping.standing(placed)) is not None:
            held, units = held[only], units[only]
        if units.size:
            yield placed.weight, units, held / (room * tiers)
    for store in mapping.kv.values():
        if store.unit == unit and store.units:
            room = store.grid.block_rows * store.grid.block_columns
            held = np.tile(store.grid.held().ravel(), store.heads * store.sequences)
            yield store.op, np.arange(store.first_unit, store.first_unit + store.units), held / room


def _groups(parts: list[Part]) -> dict[str, str]:
    """Name -> kind of layer: names alike but for numbers; the smallest kinds are others."""
    sizes: Counter[str] = Counter()
    for name, units, _ in parts:
        sizes[starred(name)] += units.size
    named = [kind for kind, _ in sizes.most_common(NAMED + (len(sizes) == NAMED + 1))]
    return {name: kind if (kind := starred(name)) in named else OTHERS for name, _, _ in parts}


def columns_of(tiles: int) -> int:
    """Squares beside each other: about four times as many as below each other."""
    return max(1, min(tiles, round(2.0 * math.sqrt(tiles))))


def tile_colours(groups: Sequence[str]) -> list[str]:
    """Colours of kinds of layers; others are grey."""
    return [GREY if name == OTHERS else LINES[place] for place, name in enumerate(groups)]
