"""What is refused before anything runs: axes that collide, and values that no point can have."""

from __future__ import annotations

import itertools
import random
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence

from cimsim.adaptation import adaptation_text
from cimsim.errors import CapacityError, CimsimError, SpecError
from cimsim.exploration.outputs import check_named
from cimsim.exploration.points import Base, Point, Variant, resolve
from cimsim.exploration.scoring import Mapped, Scores
from cimsim.exploration.space import Axis, Choice, Settings, Space
from cimsim.mappers import MAPPER_CODEC
from cimsim.report.fold import UNITS
from cimsim.schedule.pipelines import Auto, format_pipeline
from cimsim.values.field_paths import Value

TRIED = 64
"""Choice: values of an axis that are tried, and points that a value is tried in."""
FITTED = 8
"""Choice: points without room for the workload that are passed over until a task is held against
one with room."""
_TILES = "rram.accuracy"
_RUNS = ("unmerged", "merged")


class Beforehand:
    """What is wrong with a point, as far as it is known without a run.

    Whether there is room is not asked: what does not fit is a row. Where accuracies are measured,
    `scores` holds model and task against the mapping.
    """

    def __init__(self, base: Base, scores: Scores | None = None) -> None:
        self.base, self.scores = base, scores if base.scoring is not None else None
        self._right: set[Hashable] = set()

    def wrong(self, settings: Settings) -> CimsimError | None:
        """What is wrong with settings; a CapacityError where a task cannot be held against a
        mapping that has no room.
        """
        try:
            point = resolve(self.base, settings)
        except CimsimError as problem:
            return problem
        device = [f"{name}={value}" for name, value in settings.items() if name.startswith(_TILES)]
        key = (
            point.traced, adaptation_text(point.adaptation), MAPPER_CODEC.label(point.mapper),
            format_pipeline(point.pipeline), *point.architecture.blocks, *device,
            None if point.scoring is None else point.scoring.noise,
        )  # fmt: skip
        if key in self._right:
            return None
        found = self._of(point)
        if self.scores is None and isinstance(found, CapacityError):
            found = None
        if found is None:
            self._right.add(key)
        return found

    def _of(self, point: Point) -> CimsimError | None:
        workload = self.base.traced(point.traced)
        mode = "peak-int8" if workload.accounting == "paper" else "calibrated"
        for gpu in self.base.baselines:
            try:
                gpu.estimate(workload, mode)
            except CimsimError as problem:
                return SpecError(f"{gpu.name} cannot stand beside {workload.name!r}: {problem}")
        machine, mapper = point.architecture, point.mapper
        try:
            if not isinstance(point.pipeline, Auto):
                adapted = point.adaptation.apply(workload)
                machine, mapper = point.pipeline.prepare(adapted, machine, mapper)
            placed = Mapped(workload, machine, point.adaptation, mapper)
            if self.scores is None or point.scoring is None:
                placed.mapping()
            else:
                self.scores.check(placed, point.scoring)
        except CimsimError as problem:
            return problem
        return None

    def require_one(self, points: Iterable[Settings], problem: CimsimError) -> None:
        """Raise what is wrong with the last of `points` unless one of them can be made."""
        full = 0
        for settings in points:
            found = self.wrong(settings)
            full += isinstance(found, CapacityError)
            if found is None or full >= FITTED:
                return
            problem = problem if isinstance(found, CapacityError) else found
        if not isinstance(problem, CapacityError):
            raise problem


def check_space(base: Base, space: Space, scores: Scores | None = None) -> None:
    """Raise what is wrong with an axis or with one of its values (SpecError, WorkloadError, ...).

    A value is wrong if no point that has it can be made. One that goes with some values of the
    other axes only is right; points without them become rows that say so.
    """
    _check_names(base, space.axes)
    known = Beforehand(base, scores)
    for name, axis in space.axes.items():
        for value in _tried(axis):
            if (problem := known.wrong({name: value})) is not None:
                known.require_one(_points_with(space, name, value), problem)


def check_points(base: Base, points: Iterable[Settings], scores: Scores | None = None) -> Space:
    """The axes that listed points span; raises as `check_space` does."""
    listed = list(points)
    values: dict[str, list[Value]] = {}
    for settings in listed:
        for name, value in settings.items():
            if value not in values.setdefault(name, []):
                values[name].append(value)
    space = Space({name: Choice(tuple(found)) for name, found in values.items()})
    _check_names(base, space.axes)
    known = Beforehand(base, scores)
    for name, axis in space.axes.items():
        for value in _tried(axis):
            if (problem := known.wrong({name: value})) is not None:
                having = (s for s in listed if name in s and s[name] == value)
                known.require_one(itertools.islice(having, TRIED), problem)
    return space


def check_keys(base: Base, space: Space, outputs: Sequence[str]) -> None:
    """Raise SpecError for an output below a phase, GPU or unit that no point of the space has."""
    axis = space.axes.get("workload")
    asked = axis.values if isinstance(axis, Choice) else (None,)
    workloads = [
        base.traced(Variant(name)) for name in asked if name is None or isinstance(name, str)
    ]
    gpus = [gpu.name for gpu in base.baselines]
    names: dict[str, Sequence[str]] = {
        "phases": list(dict.fromkeys(phase.name for one in workloads for phase in one.phases)),
        "baselines": [*gpus, *(f"{name}, LoRA {run}" for name in gpus for run in _RUNS)],
    }
    if all(one.accounting != "paper" for one in workloads):
        names["energy_by_unit_J"] = UNITS
    for key in outputs:
        check_named(key, names)


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
