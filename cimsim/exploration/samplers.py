"""Which points of a space are taken: all, side by side, or drawn, each from a seed alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from cimsim.errors import SpecError
from cimsim.exploration.space import Settings, Space
from cimsim.runtime.libraries import library
from cimsim.values.arguments import Seed, checked
from cimsim.values.codec import Codec, member
from cimsim.values.display import brief

Method = Literal["grid", "list", "random", "lhs", "sobol"]
F64 = NDArray[np.float64]
CHUNK = 64
"""Choice: points that are drawn at a time, a power of two as a Sobol sequence wants it."""
DRAWN_MAX = 10_000_000
"""Choice: most points of one sample; a Latin hypercube of them takes 80 MB an axis."""


@checked(SpecError)
@brief
@dataclass(frozen=True)
class Sampling:
    """How points are taken: `grid` all of them, `list` the first values of all axes, then the
    second, and so on; `random`, `lhs` (Latin hypercube) and `sobol` draw `points` from `seed`.

    Raises SpecError for a drawing method without points, and points where nothing is drawn.
    """

    method: Method = "grid"
    points: int | None = None
    seed: Seed = 0

    def __post_init__(self) -> None:
        if self.method in _DRAWN:
            if self.points is None:
                raise SpecError(f"how many points? {self.method} draws them: {self.method}:100.")
            if not 1 <= self.points <= DRAWN_MAX:
                raise SpecError(
                    f"{self.method} draws 1 to {DRAWN_MAX} points, {self.points} were asked for."
                )
        elif self.points is not None:
            raise SpecError(
                f"{self.method} takes all points, so that their number ({self.points}) has no "
                f"effect: leave it out, or draw ({', '.join(_DRAWN)})."
            )

    def size(self, space: Space) -> int:
        """How many points it takes of `space`; raises SpecError where it cannot."""
        if self.points is not None:
            return self.points
        if self.method == "list":
            return _side_by_side(space)
        space.require_end()
        return space.size or 0

    def settings(self, space: Space) -> Iterator[Settings]:
        """The points, one at a time; the same for the same seed."""
        if self.points is not None:
            units = _DRAWN[self.method](len(space.axes), self.points, self.seed)
            return (space.value_at(list(unit)) for unit in units)
        if self.method == "list":
            count = _side_by_side(space)
            axes = space.axes.items()
            return ({name: axis.at(place) for name, axis in axes} for place in range(count))
        return space.grid()


def parse_sample(text: str, seed: int = 0) -> Sampling:
    """The sample that METHOD or METHOD:POINTS names; raises SpecError."""
    methods = get_args(Method)
    codec = Codec(
        "sample",
        SpecError,
        {name: member(_Points, "") for name in methods if name in _DRAWN}
        | {name: member(_All, "") for name in methods if name not in _DRAWN},
    )
    method, given = codec.read(text)
    return Sampling(method, given.get("points"), seed)  # type: ignore[arg-type]


@dataclass(frozen=True)
class _Points:
    points: int | None = None


@dataclass(frozen=True)
class _All:
    pass


def _side_by_side(space: Space) -> int:
    space.require_end()
    sizes = {name: axis.size for name, axis in space.axes.items()}
    if len(set(sizes.values())) > 1:
        told = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise SpecError(
            f"a list takes the values of all axes side by side, but they have different numbers "
            f"of them: {told}."
        )
    return next(iter(sizes.values())) or 0


def _random(axes: int, points: int, seed: int) -> Iterator[F64]:
    drawn = np.random.default_rng(seed)
    for _ in range(points):
        yield drawn.random(axes)


def _latin(axes: int, points: int, seed: int) -> Iterator[F64]:
    _require_scipy("lhs")
    from scipy.stats import qmc

    yield from qmc.LatinHypercube(axes, rng=np.random.default_rng(seed)).random(points)


def _sobol(axes: int, points: int, seed: int) -> Iterator[F64]:
    _require_scipy("sobol")
    from scipy.stats import qmc

    if axes > qmc.Sobol.MAXDIM:
        raise SpecError(f"a Sobol sequence has at most {qmc.Sobol.MAXDIM} axes, got {axes}.")
    sequence = qmc.Sobol(axes, rng=np.random.default_rng(seed))
    for first in range(0, points, CHUNK):
        yield from sequence.random(CHUNK)[: points - first]


def _require_scipy(method: str) -> None:
    library("scipy.stats", f"{method} needs scipy", "sensitivity")


_DRAWN: dict[str, Callable[[int, int, int], Iterator[F64]]] = {
    "random": _random,
    "lhs": _latin,
    "sobol": _sobol,
}
