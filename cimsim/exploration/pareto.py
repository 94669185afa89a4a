"""Which of many points no other beats in everything, the volume that they beat, and their knee.

All values are minimised: whoever has one to maximise hands in its negative
(`cimsim.exploration.objectives`). A point dominates another if it is at most as large in every
objective and smaller in one.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from cimsim.errors import CimsimError

F64: TypeAlias = npt.NDArray[np.float64]
BoolArray: TypeAlias = npt.NDArray[np.bool_]

OBJECTIVES_MAX = 4
"""Most objectives of an exact hypervolume."""


def nondominated(values: F64) -> BoolArray:
    """True for each row of `values` (n, k) that no other row dominates; equal rows share theirs.

    Takes n comparisons of k values for each row of the front. Raises CimsimError for NaN.
    """
    rows = _rows(values)
    unique, back = np.unique(rows, axis=0, return_inverse=True)
    kept: BoolArray = np.zeros(len(unique), np.bool_)
    left = np.arange(len(unique))
    while left.size:
        first = left[0]
        kept[first] = True
        left = left[(unique[left] < unique[first]).any(axis=1)]
    found: BoolArray = kept[back.reshape(-1)]
    return found


def dominates(values: F64, point: F64) -> BoolArray:
    """True for each row of `values` (n, k) that dominates `point` (k)."""
    found: BoolArray = np.logical_and(
        (values <= point).all(axis=1), (values < point).any(axis=1), dtype=np.bool_
    )
    return found


def hypervolume(values: F64, reference: F64) -> float:
    """The volume between `reference` (k) and the rows of `values` (n, k), exact, k from 1 to 4.

    The volume of what at least one row dominates and that dominates `reference`; in the product of
    the units of the objectives. A row that is not below the reference in everything adds nothing.
    Dimensions are swept one by one, as in Fonseca et al., "An improved dimension-sweep algorithm
    for the hypervolume indicator" (CEC 2006). Raises CimsimError for NaN, infinite values or other
    numbers of objectives.
    """
    rows, corner = _rows(values), np.asarray(reference, np.float64)
    if corner.shape != rows.shape[1:] or not 1 <= len(corner) <= OBJECTIVES_MAX:
        raise CimsimError(
            f"a hypervolume of values {rows.shape} below a reference {corner.shape} cannot be "
            f"taken: one row a point, one column an objective, 1 to {OBJECTIVES_MAX} of them."
        )
    if not (np.isfinite(rows).all() and np.isfinite(corner).all()):
        raise CimsimError("a hypervolume needs finite values: leave out points without a result.")
    inside = rows[(rows < corner).all(axis=1)]
    return _volume((corner - inside)[nondominated(inside)]) if len(inside) else 0.0


def knee(values: F64) -> int:
    """The row of a front `values` (n, k) nearest to the best of every objective, the first of many.

    Distances are Euclidean, with each objective as a share of its range over the front (compromise
    programming: Yu, Management Science 19(8), 1973). Raises CimsimError where there is no row.
    """
    rows = _rows(values)
    if not len(rows):
        raise CimsimError("a front without a point has no knee.")
    best, worst = rows.min(axis=0), rows.max(axis=0)
    span = np.where(worst > best, worst - best, 1.0)
    return int(np.argmin((((rows - best) / span) ** 2).sum(axis=1)))


def _rows(values: F64) -> F64:
    rows = np.asarray(values, np.float64)
    if rows.ndim != 2 or np.isnan(rows).any():
        raise CimsimError("points of a front are rows of numbers, one column an objective, no NaN.")
    return rows


def _volume(sides: F64) -> float:
    """The volume of a union of boxes from the origin of `sides` (n, k), none within another.

    The last side is cut into slabs, the longest first: each box adds what it alone covers in the
    other dimensions, times its length.
    """
    if sides.shape[1] == 1:
        return float(sides.max())
    sides = sides[np.argsort(-sides[:, -1], kind="stable")]
    if sides.shape[1] == 2:
        return _area(sides)
    if sides.shape[1] == 3:
        return _solid(sides)
    total = 0.0
    for i, side in enumerate(sides):
        total += side[-1] * _alone(side[:-1], sides[:i, :-1])
    return float(total)


def _alone(side: F64, others: F64) -> float:
    """The volume of the box of `side` outside those of `others`."""
    shared = np.minimum(others, side)
    within = _volume(shared[nondominated(-shared)]) if len(shared) else 0.0
    return float(np.prod(side)) - within


def _area(sides: F64) -> float:
    """The area of a union of rectangles, the highest first."""
    width, total = 0.0, 0.0
    for x, y in sides.tolist():
        if x > width:
            total, width = total + (x - width) * y, x
    return total


def _solid(sides: F64) -> float:
    """The volume of a union of boxes, the longest in the last dimension first."""
    stairs = _Stairs()
    return float(sum(z * stairs.add(x, y) for x, y, z in sides.tolist()))


class _Stairs:
    """The outline of a union of rectangles from the origin: widths rise, heights fall."""

    def __init__(self) -> None:
        self.widths: list[float] = []
        self.depths: list[float] = []
        """Heights with the other sign, so that both lists rise."""

    def add(self, x: float, y: float) -> float:
        """Put a rectangle in; the area that it adds."""
        widths, depths = self.widths, self.depths
        end = bisect_left(widths, x)
        if end < len(widths) and -depths[end] >= y:
            return 0.0
        start = bisect_left(depths, -y)
        stop = bisect_right(widths, x)
        left = widths[start - 1] if start else 0.0
        floor = -depths[stop] if stop < len(depths) else 0.0
        area = (x - left) * (y - floor)
        edge, low = left, floor
        for width, depth in zip(widths[start:stop], depths[start:stop], strict=True):
            area -= (width - edge) * (-depth - low)
            edge = width
        widths[start:stop], depths[start:stop] = [x], [-y]
        return area
