"""The numbers of a machine that have a range, and which of them can move no time."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cimsim.costs.components import names_model
from cimsim.spec import Architecture
from cimsim.values.display import brief
from cimsim.values.history import value_at

_ENERGY = re.compile(r"_(fJ|pJ|mW|uW)(_per_(bit|byte|cycle|mm))*$")


@brief
@dataclass(frozen=True)
class Ranged:
    """A number with the ends of its range."""

    path: str
    value: float
    low: float
    high: float
    source: str

    @property
    def folds(self) -> bool:
        """Whether it is an energy or a power, by its unit, and so moves no time."""
        return bool(_ENERGY.search(self.path))

    @property
    def ends(self) -> tuple[float, float]:
        """Both ends, whole where the value is."""
        if isinstance(self.value, int):
            return round(self.low), round(self.high)
        return self.low, self.high


def _number(data: Mapping[str, Any], path: str) -> float:
    """The number at a path, whole where its field is; those of models are none, 1 or 1.0."""
    value = value_at(data, path)
    assert isinstance(value, int | float)
    return float(value) if names_model(path) else value


def doubled(machine: Architecture) -> tuple[Ranged, ...]:
    """Assumed numbers of `machine` that have no range, from half to twice their value.

    Whole ones are rounded, and move by one at least. Numbers that are 0 have neither, and are left
    out.
    """
    data = machine.model_dump(mode="json", exclude_none=True)
    why, found = machine.assumed(), []
    for path in machine.without_range():
        value = _number(data, path)
        low, high = value / 2, value * 2
        if isinstance(value, int):
            low, high = min(round(low), value - 1), max(round(high), value + 1)
        if value:
            found.append(Ranged(path, value, low, high, why[path]))
    return tuple(found)


def ranged(machine: Architecture) -> tuple[Ranged, ...]:
    """The numbers of `machine` that have a range, in the order of their paths."""
    data = machine.model_dump(mode="json", exclude_none=True)
    found = []
    for path, (low, high, source) in sorted(machine.ranges.items()):
        value = _number(data, path)
        found.append(Ranged(path, value, low, high, source))
    return tuple(found)
