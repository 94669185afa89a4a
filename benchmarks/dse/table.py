"""A space that was enumerated completely: its designs and what each came to.

`python benchmarks/dse/table.py NAME STORE` makes NAME.npz of the store of

    cimsim sweep benchmarks/dse/NAME.json --store STORE

Values stand in the order of the grid (the last axis fastest), NaN where a design does not fit.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from cimsim.exploration.pareto import F64, hypervolume, nondominated
from cimsim.exploration.plan import load_sweep
from cimsim.exploration.proposers.positions import Positions
from cimsim.exploration.space import Settings, Space
from cimsim.exploration.store import read_store

HERE = Path(__file__).parent
OBJECTIVES = ("latency_s", "energy_J", "area_used_mm2")
MARGIN = 0.1
"""Choice: the reference lies this share of the front's range beyond its worst values."""


@dataclass(frozen=True, eq=False)
class Table:
    """The designs of a space and their objectives (n, 3), in the order of the grid."""

    name: str
    space: Space
    values: F64

    @classmethod
    def load(cls, name: str) -> Table:
        return cls(name, space_of(name), np.load(HERE / f"{name}.npz")["values"])

    @cached_property
    def front(self) -> F64:
        fits = self.values[~np.isnan(self.values).any(axis=1)]
        return fits[nondominated(fits)]

    @cached_property
    def reference(self) -> F64:
        low, high = self.front.min(axis=0), self.front.max(axis=0)
        found: F64 = high + MARGIN * (high - low)
        return found

    @cached_property
    def volume(self) -> float:
        return hypervolume(self.front, self.reference)

    @cached_property
    def _positions(self) -> Positions:
        return Positions(self.space)

    def place(self, settings: Settings) -> int:
        """The row of a design."""
        sizes = [size or 1 for size in self._positions.sizes]
        at = self._positions.position(settings).astype(int)
        return int(np.ravel_multi_index(tuple(at), sizes))

    def reached(self, values: F64) -> float:
        """The share of the true hypervolume that designs with these values cover."""
        fits = values[~np.isnan(values).any(axis=1)]
        return hypervolume(fits, self.reference) / self.volume if len(fits) else 0.0


def space_of(name: str) -> Space:
    axes = load_sweep(HERE / f"{name}.json").plan.axes()
    return Space(axes or {})


def packed(name: str, store: Path) -> Path:
    """NAME.npz of the rows of a store; refuses one that lacks a design."""
    space = space_of(name)
    table = Table(name, space, np.full((space.size or 0, len(OBJECTIVES)), np.nan))
    seen = set()
    for row in read_store(store).rows():
        place = table.place(row.settings)
        seen.add(place)
        if row.status == "done":
            table.values[place] = [float(row.values[key] or 0.0) for key in OBJECTIVES]
    if len(seen) != space.size:
        raise SystemExit(f"{store} has {len(seen)} of {space.size} designs: sweep on.")
    path = HERE / f"{name}.npz"
    np.savez_compressed(path, values=table.values)
    return path


if __name__ == "__main__":
    print(packed(sys.argv[1], Path(sys.argv[2])))
