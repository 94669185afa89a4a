"""Wear levelling: every so many switches what they write goes to other units of the machine.

The units that switches write into, with all that stands in them, have `places` on the machine, each
of as many units. `every` switches write into one place, then the weights are written into the next,
whole and over contents that have nothing to do with them: that switch is the move. Switch k, from 0
on, writes into place floor(k / every) mod places. Registers move with the units that they are
beside. Distances on the die are those of the first place.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cimsim.errors import CapacityError
from cimsim.mapping import IntArray, Placement
from cimsim.mapping import Mapping as Places
from cimsim.serving.requests import Levelling
from cimsim.serving.switches import Switch
from cimsim.spec import Architecture
from cimsim.unit_kinds import KINDS
from cimsim.values.display import brief


def most_writes(levelling: Levelling, switches: int) -> int:
    """Switches that write into the place that has most of them, out of so many."""
    rounds, rest = divmod(switches, levelling.every * levelling.places)
    return rounds * levelling.every + min(rest, levelling.every)


@brief
@dataclass(frozen=True, slots=True, eq=False)
class Rotation:
    """Where each switch writes: `weights` have the same place, `units` of each kind a place."""

    levelling: Levelling | None
    weights: frozenset[str]
    units: Mapping[str, int]

    def place(self, number: int) -> int:
        """Of the switch of this number, from 0 on; 0 where nothing is levelled."""
        if self.levelling is None or not self.weights:
            return 0
        return number // self.levelling.every % self.levelling.places

    def moves(self, number: int) -> bool:
        """Whether the switch of this number finds its weights in another place."""
        return number > 0 and self.place(number) != self.place(number - 1)


STILL = Rotation(None, frozenset(), {})
"""Nothing moves."""


def rotation(
    levelling: Levelling | None,
    architecture: Architecture,
    mapping: Places,
    switches: Collection[Switch],
) -> Rotation:
    """That of a stream of these switches; what shares a unit with a written weight moves as well.

    Raises CapacityError for more places than the machine has room for.
    """
    if levelling is None:
        return STILL
    weights, units = set[str](), dict[str, int]()
    for kind in sorted({write.unit for switch in switches for write in switch.pulsed}):
        parts = [w.units for s in switches for w in s.pulsed if w.unit == kind]
        moved = _moved([p for p in mapping.placements.values() if p.unit == kind], parts)
        weights.update(moved)
        placed = (mapping.placements[name].units.ravel() for name in moved)
        units[kind] = int(np.unique(np.concatenate([*placed])).size)
        _fit(levelling, architecture, mapping, kind, units[kind])
    return Rotation(levelling, frozenset(weights), units)


def _moved(placements: Sequence[Placement], written: Sequence[IntArray]) -> set[str]:
    """Weights that have a block in one of the units, and all that share a unit with them."""
    here, names = np.unique(np.concatenate([*written])), set[str]()
    while True:
        more = [p for p in placements if p.weight not in names and np.isin(p.units, here).any()]
        if not more:
            return names
        names.update(p.weight for p in more)
        here = np.unique(np.concatenate([here, *(p.units.ravel() for p in more)]))


def _fit(
    levelling: Levelling, architecture: Architecture, mapping: Places, kind: str, units: int
) -> None:
    built = architecture.units[kind].count
    wanted = mapping.used(kind) + (levelling.places - 1) * units
    if wanted > built:
        noun = KINDS[kind].noun
        raise CapacityError(
            f"levelling.places {levelling.places} takes {levelling.places - 1} further places of "
            f"{units} {noun} beside {mapping.used(kind)} in use; the machine has {built}.",
            unit=noun, demand=wanted, bound=built,
            levers=("Lower levelling.places", f"raise {kind}.{KINDS[kind].bound}"),
        )  # fmt: skip


def further_mm2(rotation: Rotation, architecture: Architecture, further: int) -> float:
    """Area (mm2) of so many places beyond the first."""
    return sum(
        architecture.units[kind].area_mm2(further * count) for kind, count in rotation.units.items()
    )
