"""How much of an objective each axis explains over the points of a study, and what the front took.

The share of an axis is its main effect alone: the variance of the means of an objective at each
value of the axis, over the variance of the objective at all points (the correlation ratio, Pearson
1905; over a complete grid the first-order Sobol index, Saltelli et al., "Global Sensitivity
Analysis", 2008). Over a complete grid it is exact and shares add up to at most 1; the rest is what
axes do together. Over any other points it is an estimate: axes that were varied together share
what they explain, and an axis without effect has `chance` on average.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from cimsim.exploration.pareto import F64
from cimsim.values.display import brief

Ints: TypeAlias = npt.NDArray[np.int64]

BINS = 8
"""Choice: groups of equal size into which the values of an axis are put where most differ."""
LEAST = 2
"""Choice: points that a value or group has on average, at least; an axis with fewer is not told."""
DECADE = 10.0
"""Choice: objectives above 0 that span more than this factor count by their logarithm."""


@brief
@dataclass(frozen=True)
class AxisEffect:
    """One axis: its share of each objective (0 to 1), and its values on the front.

    `shares` has None where it cannot be told, `note` says why. `taken` are (value or group, points
    of the front, points in all), in rising order.
    """

    axis: str
    shares: Mapping[str, float | None]
    chance: float
    note: str
    taken: tuple[tuple[str, int, int], ...]


@brief
@dataclass(frozen=True)
class Effects:
    """The effects of all axes; `exact` over a complete grid, `logs` are objectives by logarithm."""

    axes: tuple[AxisEffect, ...]
    exact: bool
    logs: tuple[str, ...]


def effects(
    axes: Mapping[str, Sequence[Any]], objectives: Mapping[str, Sequence[float] | F64], front: Ints
) -> Effects:
    """What `axes` (values at each of n points) explain of `objectives` (numbers at each).

    `front` are indices of points. Objectives are finite; an axis has a value at every point.
    """
    exact = _is_grid(axes)
    logs = tuple(key for key, values in objectives.items() if spans_decades(values))
    numbers = {
        key: np.log(values) if key in logs else np.asarray(values, np.float64)
        for key, values in objectives.items()
    }
    found = tuple(_axis(key, values, numbers, front, exact) for key, values in axes.items())
    return Effects(found, exact, logs)


def spans_decades(values: Sequence[float] | F64) -> bool:
    """Whether all values are above 0 and the largest is more than ten times the smallest."""
    return len(values) > 0 and min(values) > 0.0 and max(values) > DECADE * min(values)


def _axis(
    key: str, values: Sequence[Any], objectives: Mapping[str, F64], front: Ints, exact: bool
) -> AxisEffect:
    names, group = _groups(values)
    points, groups = len(values), len(names)
    counts = np.bincount(group, minlength=groups)
    chosen = np.bincount(group[front], minlength=groups)
    taken = tuple(zip(names, chosen.tolist(), counts.tolist(), strict=True))
    chance = 0.0 if exact or points < 2 else (groups - 1) / (points - 1)
    note = ""
    if groups < 2:
        note = "one value"
    elif not exact and points < LEAST * groups:
        note = f"{points} points for {groups} values"
    shares = {
        name: None if note else _share(group, counts, numbers)
        for name, numbers in objectives.items()
    }
    return AxisEffect(key, shares, chance, note, taken)


def _share(group: Ints, counts: Ints, values: F64) -> float | None:
    """Variance of the means of groups over that of all; None where nothing varies."""
    deviations = values - values.mean()
    total = float((deviations**2).sum())
    if total <= len(values) * (np.finfo(np.float64).eps * np.abs(values).max()) ** 2:
        return None
    sums = np.bincount(group, weights=deviations, minlength=len(counts))
    return min(1.0, float((sums**2 / counts).sum()) / total)


def _groups(values: Sequence[Any]) -> tuple[list[str], Ints]:
    """Names of the groups of values, and the group of each point."""
    found = ordered(values)
    if len(found) > BINS and LEAST * len(found) > len(values) and _are_numbers(found):
        return _bins(np.asarray(values, np.float64))
    place = {value: number for number, value in enumerate(found)}
    return [told(value) for value in found], np.array([place[_key(v)] for v in values], np.int64)


def _bins(values: F64) -> tuple[list[str], Ints]:
    """Groups of points of nearly equal size by rising value; equal values stay together."""
    edges = np.unique(np.quantile(values, np.linspace(0.0, 1.0, BINS + 1)[1:-1]))
    group = np.searchsorted(edges, values, side="left")
    used, group = np.unique(group, return_inverse=True)
    members = [values[group == number] for number in range(len(used))]
    return [f"{one.min():.4g} to {one.max():.4g}" for one in members], group.astype(np.int64)


def ordered(values: Sequence[Any]) -> list[Any]:
    """The distinct values, numbers first and rising, then text; lists count as text."""
    distinct = dict.fromkeys(_key(value) for value in values)
    return sorted(distinct, key=lambda v: (not _is_number(v), v if _is_number(v) else 0.0, str(v)))


def told(value: Any) -> str:
    """A value of an axis as text, exact: as JSON has it, text without its quotes."""
    return value if isinstance(value, str) else json.dumps(value)


def _key(value: Any) -> Any:
    """`value` as something that can be counted; True is not 1."""
    return value if isinstance(value, str) or _is_number(value) else told(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _are_numbers(values: Sequence[Any]) -> bool:
    return all(_is_number(value) for value in values)


def _is_grid(axes: Mapping[str, Sequence[Any]]) -> bool:
    """Whether the points are every combination of the values of the axes, each once."""
    if not axes:
        return False
    points = list(zip(*([_key(v) for v in values] for values in axes.values()), strict=True))
    size = 1
    for values in zip(*points, strict=True):
        size *= len(set(values))
    return size == len(points) == len(set(points))
