"""Tile map as a picture: a square for each unit, in the colour of the layers that it holds."""

from __future__ import annotations

from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING

import numpy as np

from cimsim.simulation import Simulation
from cimsim.views.canvas import area_key, end_of, label, picture
from cimsim.views.palette import PALE
from cimsim.views.simulation import INCHES, POINTS, WRAPPED, Width, title_lines
from cimsim.views.tiles import TileMap, columns_of, tile_colours, tile_maps

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TILES = 8192
"""Choice: squares of a map, as small as are still seen."""
SQUARE, REST_INCH, KEY_INCH = 0.055, 0.35, 0.17
"""Choice: least side of a square, height of what stands around a map and of a line of its legend
(inches).
"""
KEYS: dict[Width, int] = {"column": 1, "page": 2}
"""Choice: names of layers beside each other."""


def save_tilemap(simulation: Simulation, path: Path, width: Width = "page") -> None:
    """A map of every kind of unit that holds something, below each other; raises OutputError."""
    found = tile_maps(simulation.mapping, simulation.architecture, TILES)
    most = int(INCHES[width] / SQUARE) - 4
    shapes = [_shape(one, most) for one in found]
    lines = [-(-len(one.groups) // KEYS[width]) for one in found]
    heights = [
        INCHES[width] * down / across + REST_INCH + KEY_INCH * keys
        for (down, across), keys in zip(shapes, lines, strict=True)
    ]
    with picture(path, INCHES[width], sum(heights) + 0.4, 0) as (figure, _):
        panels = figure.subplots(len(found), 1, squeeze=False, height_ratios=heights)[:, 0]
        figure.suptitle(title_lines(simulation.report, width), fontsize=POINTS)
        for axes, one, shape in zip(panels, found, shapes, strict=True):
            _draw(axes, one, shape, width)


def _shape(found: TileMap, most: int) -> tuple[int, int]:
    across = min(most, max(columns_of(found.length), min(most, 32)))
    return -(-found.length // across), across


def _draw(axes: Axes, found: TileMap, shape: tuple[int, int], width: Width) -> None:
    """Squares by number, left to right and downwards; empty ones are pale."""
    squares = np.full((shape[0] * shape[1], 3), 255, np.uint8)
    squares[: found.length] = _bytes(PALE)
    colours = np.array([_bytes(colour) for colour in tile_colours(found.groups)], np.uint8)
    for tile in found.tiles:
        squares[tile.first // found.each] = colours[tile.group]
    axes.imshow(squares.reshape(*shape, 3), interpolation="nearest", aspect="equal")
    axes.set_title("\n".join(wrap(label(found.title, 200), WRAPPED[width])), fontsize=POINTS)
    axes.axis("off")
    keys = [
        area_key(end_of(name, 60), facecolor=colour)
        for name, colour in zip(found.groups, tile_colours(found.groups), strict=True)
    ]
    axes.legend(
        handles=keys, fontsize=POINTS, frameon=False, loc="upper left", bbox_to_anchor=(0, 0),
        ncols=KEYS[width], borderpad=0, handlelength=1.2,
    )  # fmt: skip


def _bytes(colour: str) -> tuple[int, ...]:
    """Red, green and blue of a colour such as #0072B2."""
    return tuple(bytes.fromhex(colour.removeprefix("#")))
