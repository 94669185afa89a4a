"""Reprogramming: what writing a model's cells, or an adapter's memory, costs.

Each kind of unit prices its own writes (see `cimsim.unit_kinds`); one kind is written after the
other.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from cimsim.adaptation import programmed, switched
from cimsim.errors import MappingError
from cimsim.ir import Workload
from cimsim.mapping import IntArray, Mapping, Written, rises
from cimsim.report import Reprogramming
from cimsim.spec import Architecture


def first_programming(
    workload: Workload, architecture: Architecture, mapping: Mapping
) -> Reprogramming:
    """Writing every weight of the mapping once, adapter included."""
    del workload
    return reprogramming(architecture, programmed(mapping))


def adapter_switch(
    workload: Workload, architecture: Architecture, mapping: Mapping
) -> Reprogramming:
    """Putting another adapter of the same shape, with the weights saved with it, in its place.

    `workload` is the one before adaptation; what is written is for its adaptation to say.
    """
    return reprogramming(architecture, switched(mapping, workload, workload))


def reprogramming(architecture: Architecture, written: Iterable[Written]) -> Reprogramming:
    """What it costs to write all of `written`, one after the other where they share a unit.

    Raises MappingError for units that the machine lacks.
    """
    units, by_unit = architecture.units, dict[str, list[Written]]()
    for part in written:
        if part.unit not in units:
            raise MappingError(
                f"{part.weight!r} is to be written into {part.unit!r} units, which architecture "
                f"{architecture.name!r} lacks: write what units hold that it has."
            )
        by_unit.setdefault(part.unit, []).append(part)
    return Reprogramming.of(
        unit.write(_values_by_unit(by_unit[name]), architecture.cluster_link)
        for name, unit in units.items()
        if name in by_unit
    )


def _values_by_unit(written: list[Written]) -> IntArray:
    """Values to write into each unit that has any; packed blocks add up.

    One number where the values have no unit of their own.
    """
    values = np.concatenate([part.values for part in written])
    units = np.concatenate([part.units for part in written])
    if not units.size:
        return np.array([values.sum()], np.int64)
    if not values.all():
        values, units = values[values > 0], units[values > 0]
    if rises(units):
        return values
    _, position = np.unique(units, return_inverse=True)
    return np.bincount(position, values).astype(np.int64)
