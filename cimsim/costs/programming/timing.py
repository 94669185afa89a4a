"""How long writing cells takes, and what limits it.

Rows of a tile are written one after the other, cells of a row in groups of `cells_in_parallel`, and
the slowest cell of a group decides: the expected largest number of pulses of so many cells. Tiles
are written in rounds of `tiles_in_parallel`, the fullest first, and the fullest of a round sets its
time. Where a current limits the cells of the machine, groups are as large as is fastest. Not
modelled: that of tiles with as much to do one is slower by chance (the sum over a tile's cells
spreads little).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cimsim.blocks import CrossbarTiles
from cimsim.costs.programming.pulses import PulseCounts
from cimsim.costs.tile import write_pulse_ps
from cimsim.mapping import FloatArray, IntArray, Written
from cimsim.units import ps_to_seconds
from cimsim.values.display import brief

Limit = Literal["rows", "tiles", "current", "link", "port", ""]
"""What sets the time of a write: rows of one tile in series, tiles that wait for each other, the
current of the machine, the link or a port; nothing is written in no time."""


@brief
@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """Rows that are written: how many, of how many cells, with which pulses, of which tile.

    `kind` is the place in `counts`, which has no two that are one.
    """

    rows: FloatArray
    width: FloatArray
    kind: IntArray
    counts: tuple[PulseCounts, ...]
    tile: IntArray
    tiles: int

    def pulses(self, group: int) -> FloatArray:
        """Pulses until all rows of each tile are done, [tiles], the fullest tile first."""
        each = np.empty(self.width.size)
        for kind, of in enumerate(self.counts):
            here = self.kind == kind
            widths, which = np.unique(self.width[here], return_inverse=True)
            each[here] = row_pulses(of, widths, group)[which]
        found = np.zeros(self.tiles)
        np.add.at(found, self.tile, self.rows * each)
        return np.sort(found)[::-1]


def row_pulses(counts: PulseCounts, width: FloatArray, group: int) -> FloatArray:
    """Expected pulses until rows of `width` cells are done in groups of `group`."""
    whole = np.floor(width / group)
    full, rest = counts.slowest(np.array([group])), counts.slowest(width - whole * group)
    return np.asarray(whole * full + rest)


@dataclass(frozen=True, slots=True)
class CellsTime:
    """Time (s) of a write of cells, what limits it, and how many `tiles` it goes into.

    Writes that share the machine's drivers take no less than the sum of their `shared_s`: its time
    were as many tiles written at a time as may be, all alike.
    """

    time_s: float
    limit: Limit
    tiles: int
    shared_s: float


def cells_time(
    tiles: CrossbarTiles, written: Sequence[Written], counts: Sequence[PulseCounts]
) -> CellsTime:
    """Time of the pulses with their reads.

    `counts[i]` are the pulses of the cells that `written[i]` goes into.
    """
    rows = _rows(tiles, written, counts)
    if not rows.tiles:
        return CellsTime(0.0, "", 0, 0.0)
    scheme = tiles.write
    all_at_a_time, pulse_s = scheme.tiles_in_parallel, ps_to_seconds(write_pulse_ps(tiles))
    most = min(all_at_a_time, rows.tiles)
    pulses = rows.pulses(scheme.cells_in_parallel)
    free = found = _rounds(pulses, most)
    limit, shared = _free_limit(most, rows.tiles), pulses.sum() / all_at_a_time
    if (cells := scheme.cells_at_a_time) is not None:
        groups = _groups(cells, scheme.cells_in_parallel, most)
        found = min(_rounds(rows.pulses(group), min(most, cells // group)) for group in groups)
        shared = min(
            rows.pulses(group).sum() / min(all_at_a_time, cells // group)
            for group in _groups(cells, scheme.cells_in_parallel, all_at_a_time)
        )
        limit = "current" if found > free else limit
    return CellsTime(found * pulse_s, limit if found else "", rows.tiles, float(shared) * pulse_s)


def _free_limit(at_a_time: int, tiles: int) -> Limit:
    return "rows" if at_a_time == tiles else "tiles"


def _rounds(fullest_first: FloatArray, at_a_time: int) -> float:
    """Sum over rounds of the fullest tile of each."""
    return float(fullest_first[:: max(at_a_time, 1)].sum())


def _groups(cells: int, most_cells: int, most_tiles: int) -> list[int]:
    """Sizes of groups that a current for `cells` cells allows, the largest for each tile count."""
    tiles = np.arange(1, min(most_tiles, cells) + 1)
    found: list[int] = np.unique(np.minimum(most_cells, cells // tiles)).tolist()
    return found


def devices(tiles: CrossbarTiles, written: Written) -> float:
    """Cells of a value, both of a pair."""
    if written.narrow is None:
        return tiles.devices_per_weight
    return written.narrow.cells * tiles.devices_per_weight / tiles.cells_per_weight


def _rows_of(tiles: CrossbarTiles, written: Written) -> IntArray:
    """As few rows as hold the values."""
    cells = tiles.cells_per_weight if written.narrow is None else written.narrow.cells
    return np.asarray(-(-written.values // int(tiles.columns // cells)), np.int64)


def _rows(tiles: CrossbarTiles, written: Sequence[Written], counts: Sequence[PulseCounts]) -> _Rows:
    distinct = {of: place for place, of in enumerate(dict.fromkeys(counts))}
    kind = np.repeat([distinct[of] for of in counts], [part.values.size for part in written])
    values = np.concatenate([part.values for part in written])
    homes = np.concatenate(
        [part.units if part.units.size else np.full(1, -1, np.int64) for part in written]
    )
    rows = np.concatenate([_rows_of(tiles, p) if p.rows is None else p.rows for p in written])
    per_value = np.repeat(
        [devices(tiles, part) for part in written], [part.values.size for part in written]
    )
    some = values > 0
    values, rows, kind, homes = values[some], rows[some], kind[some], homes[some]
    _, tile = np.unique(homes, return_inverse=True)
    width = values * per_value[some] / rows
    count = int(tile.max()) + 1 if tile.size else 0
    return _Rows(rows.astype(np.float64), width, kind, tuple(distinct), tile, count)
