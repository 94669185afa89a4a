"""A space as numbers: each axis a place in a list or a share of a range."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from cimsim.exploration.pareto import F64
from cimsim.exploration.space import Axis, Choice, Settings, Space
from cimsim.values.field_paths import Value


@dataclass(frozen=True, eq=False)
class Positions:
    """The positions of a space: arrays (n, axes), a place from 0 or, of any number, in [0, 1)."""

    space: Space

    @cached_property
    def sizes(self) -> list[int | None]:
        """How many places each axis has; None where it takes any number."""
        return [axis.size for axis in self.space.axes.values()]

    @cached_property
    def ordered(self) -> list[bool]:
        """Whether neighbours of an axis are alike: numbers that rise or fall, and not names."""
        return [_rises(axis) for axis in self.space.axes.values()]

    def settings(self, position: Sequence[float] | F64) -> Settings:
        """The settings at one position."""
        return {
            name: axis.value(float(at)) if axis.size is None else axis.at(int(at))
            for (name, axis), at in zip(self.space.axes.items(), position, strict=True)
        }

    def position(self, settings: Settings) -> F64:
        """Where settings of the space stand; raises ValueError for others."""
        axes = self.space.axes
        if settings.keys() != axes.keys():
            raise ValueError("other axes")
        return np.array([_place(axis, settings[name]) for name, axis in axes.items()], np.float64)

    def drawn(self, draw: np.random.Generator, count: int) -> F64:
        """Positions anywhere, each axis evenly."""
        return self._from_units(draw.random((count, len(self.space.axes))))

    def spread(self, draw: np.random.Generator, count: int) -> F64:
        """A Latin hypercube: each axis is covered evenly by the `count` positions."""
        axes = len(self.space.axes)
        strata = np.stack([draw.permutation(count) for _ in range(axes)], axis=1)
        return self._from_units((strata + draw.random((count, axes))) / count)

    def grid(self) -> F64:
        """All positions, of a space that has an end."""
        sizes = [range(size or 0) for size in self.sizes]
        return np.stack([g.ravel() for g in np.meshgrid(*sizes, indexing="ij")], axis=1) * 1.0

    def moved(self, draw: np.random.Generator, positions: F64, axes: int) -> F64:
        """Each position with other values on `axes` of its axes: a near one where there is order.

        An axis of one value stays.
        """
        moved = positions.copy()
        for row in moved:
            for a in draw.choice(len(row), size=min(axes, len(row)), replace=False):
                row[a] = self._other(draw, int(a), row[a])
        return moved

    def _other(self, draw: np.random.Generator, a: int, at: float) -> float:
        size = self.sizes[a]
        if size is None:
            step = draw.normal(0.0, 0.1)  # choice: a tenth of the range
            return float(np.clip(at + step, 0.0, np.nextafter(1.0, 0.0)))
        if size == 1:
            return at
        if self.ordered[a]:
            step = 1 if at == 0 or (at < size - 1 and draw.random() < 0.5) else -1
            return at + step
        return float((at + draw.integers(1, size)) % size)

    def _from_units(self, units: F64) -> F64:
        sizes = np.array([size or 0 for size in self.sizes])
        return np.where(sizes > 0, np.floor(units * sizes), units)


def keys(positions: F64) -> Iterator[bytes]:
    """A key for each position, equal where the positions are."""
    return (row.tobytes() for row in np.ascontiguousarray(positions, np.float64))


def _rises(axis: Axis) -> bool:
    if not isinstance(axis, Choice):
        return True
    values = axis.values
    if any(isinstance(v, bool) or not isinstance(v, int | float) for v in values):
        return False
    numbers = [float(v) for v in values if isinstance(v, int | float)]
    steps = [b - a for a, b in pairwise(numbers)]
    return all(step > 0 for step in steps) or all(step < 0 for step in steps)


def _place(axis: Axis, value: Value) -> float:
    """Where a value stands on an axis; raises ValueError where it does not."""
    if isinstance(axis, Choice):
        return float(axis.values.index(value))
    number = float(value) if isinstance(value, int | float) else np.nan
    if not axis.low <= number <= axis.high:
        raise ValueError("beyond the axis")
    if axis.size is None:
        ends = (np.log(axis.low), np.log(axis.high)) if axis.log else (axis.low, axis.high)
        at = np.log(number) if axis.log else number
        return float((at - ends[0]) / (ends[1] - ends[0]))
    places = range(axis.size)
    place = bisect_left(places, number, key=lambda p: float(axis.at(p)))  # type: ignore[arg-type]
    if place == axis.size or axis.at(place) != value:
        raise ValueError("between the values of the axis")
    return float(place)
