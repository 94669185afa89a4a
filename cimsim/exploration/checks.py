"""What is refused before anything runs: axes that collide, and values that no point can have."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator, Mapping

from cimsim.errors import CimsimError, SpecError
from cimsim.exploration.points import Base, resolve
from cimsim.exploration.space import Axis, Choice, Settings, Space
from cimsim.values.field_paths import Value

TRIED = 64
"""Choice: values of an axis that are tried, and points that a value is tried in."""


def check_space(base: Base, space: Space) -> None:
    """Raise what is wrong with an axis or with one of its values (SpecError, WorkloadError, ...).

    A value is wrong if no point that has it can be made. One that goes with some values of the
    other axes only is right; points without them become rows that say so.
    """
    _check_names(base, space.axes)
    for name, axis in space.axes.items():
        for value in _tried(axis):
            if (problem := _alone(base, {name: value})) is not None:
                _require_one(base, _points_with(space, name, value), problem)


def check_points(base: Base, points: Iterable[Settings]) -> Space:
    """The axes that listed points span; raises as `check_space` does."""
    listed = list(points)
    values: dict[str, list[Value]] = {}
    for settings in listed:
        for name, value in settings.items():
            if value not in values.setdefault(name, []):
                values[name].append(value)
    space = Space({name: Choice(tuple(found)) for name, found in values.items()})
    _check_names(base, space.axes)
    for name, axis in space.axes.items():
        for value in _tried(axis):
            if (problem := _alone(base, {name: value})) is not None:
                having = (s for s in listed if name in s and s[name] == value)
                _require_one(base, itertools.islice(having, TRIED), problem)
    return space


def _check_names(base: Base, axes: Mapping[str, Axis]) -> None:
    for name in axes:
        inside = [other for other in axes if other.startswith(f"{name}.")]
        if inside:
            raise SpecError(
                f"{name} and {inside[0]} are varied, and one is part of the other: vary one."
            )
    devices = [name for name in axes if name.startswith("rram.accuracy.device")]
    if "noise" in axes and devices:
        raise SpecError(f"noise takes the place of {devices[0]}: vary one of them.")
    for what in ("architecture", "workload"):
        if getattr(base, what) is not None and what in axes:
            raise SpecError(f"{what} is given and varied: leave the given one out.")
        if getattr(base, what) is None and what not in axes:
            raise SpecError(f"no {what} was given, and none is varied: name one.")


def _alone(base: Base, settings: Settings) -> CimsimError | None:
    """What is wrong with settings."""
    try:
        resolve(base, settings)
    except CimsimError as problem:
        return problem
    return None


def _require_one(base: Base, points: Iterable[Settings], problem: CimsimError) -> None:
    """Raise what is wrong with the last of `points` unless one of them can be made."""
    for settings in points:
        found = _alone(base, settings)
        if found is None:
            return
        problem = found
    raise problem


def _tried(axis: Axis) -> Iterator[Value]:
    """Values of an axis: all, or some with both ends."""
    if axis.size is None:
        yield from (axis.value(0.0), axis.value(0.5), axis.value(1.0))
    elif axis.size <= TRIED:
        yield from map(axis.at, range(axis.size))
    else:
        yield from (axis.at(place * (axis.size - 1) // (TRIED - 1)) for place in range(TRIED))


def _points_with(space: Space, name: str, value: Value) -> Iterator[Settings]:
    """Points that have `value` on an axis: all if they are few, else some."""
    others = {other: axis for other, axis in space.axes.items() if other != name}
    if not others:
        yield {name: value}
        return
    rest = Space(others)
    if rest.size is not None and rest.size <= TRIED:
        yield from ({**settings, name: value} for settings in rest.grid())
        return
    drawn = random.Random(0)
    for _ in range(TRIED):
        yield {**rest.value_at([drawn.random() for _ in others]), name: value}
