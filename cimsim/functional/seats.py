"""Where the blocks of a converted model stand in their tiles, as the one Mapping says.

Blocks in one tile see each other through their wires: cells of a weight load the lines of others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cimsim.analog.places import Moment, TilePlace
from cimsim.functional.layers import AnalogLayer
from cimsim.functional.operands import F32, programmed
from cimsim.mapping import Mapping as WeightMapping
from cimsim.mapping import Placement


@dataclass(frozen=True, eq=False)
class _Seat:
    """A block of one product, the tile that it is in and its corner there, in weights."""

    layer: AnalogLayer
    replica: int
    number: int
    tile: tuple[int, int]
    corner: tuple[int, int]


@dataclass(frozen=True, eq=False)
class _Beside:
    """The block of a seat on one chip, as another block of the tile sees it."""

    seat: _Seat
    chip: int

    @property
    def corner(self) -> tuple[int, int]:
        """Its first row and column, in weights."""
        return self.seat.corner

    def cells(self, moment: Moment) -> F32:
        """Its conductances [S, P, R, C] at that time."""
        layer = self.seat.layer
        copy = layer.copies(self.seat.replica)[self.chip]
        bar = programmed(layer.weight_KN(), layer.recipe, copy.seed, copy.places)
        return bar.conductances(self.seat.number, moment)

    def version(self) -> object:
        """Equal as long as its weight is the same."""
        return self.seat.layer.state()


def seat(layers: Mapping[str, AnalogLayer], mapping: WeightMapping) -> None:
    """Tell every copy in `layers` where its blocks stand and what is stored beside them."""
    seats: dict[tuple[AnalogLayer, int], list[_Seat]] = {}
    tiles: dict[tuple[int, int], list[_Seat]] = {}
    for name, layer in layers.items():
        for found in _seats(layer, mapping.placements[name]):
            seats.setdefault((found.layer, found.replica), []).append(found)
            tiles.setdefault(found.tile, []).append(found)
    sizes = {part: _size(mapping.placements[name])
             for name, layer in layers.items() for part in layer.parts()}  # fmt: skip
    for (layer, replica), own in seats.items():
        for chip, copy in enumerate(layer.copies(replica)):
            copy.places = tuple(
                TilePlace(*sizes[layer], *block.corner,
                      tuple(_Beside(s, chip) for s in tiles[block.tile] if s is not block))
                for block in sorted(own, key=lambda s: s.number)
            )  # fmt: skip


def _size(placement: Placement) -> tuple[int, int]:
    """Rows and columns of a tile, in weights."""
    return placement.grid.block_rows, placement.grid.block_columns


def _seats(layer: AnalogLayer, placement: Placement) -> list[_Seat]:
    parts, driven = layer.parts(), placement.grid.driven
    found = []
    for at in np.ndindex(placement.units.shape):
        replica, row, column = at
        part, inside = divmod(column, driven)
        tier = 0 if placement.tier is None else int(placement.tier[at])
        corner = int(placement.row_offset[at]), int(placement.column_offset[at])
        tile = int(placement.units[at]), tier
        found.append(_Seat(parts[part], replica, row * driven + inside, tile, corner))
    return found
