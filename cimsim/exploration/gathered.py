"""What a front needs of every row, gathered in one pass: numbers, not rows."""

from __future__ import annotations

import difflib
import math
from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np

from cimsim.errors import CimsimError
from cimsim.exploration.objectives import Constraint, Objective, excess_of, number_of
from cimsim.exploration.pareto import F64
from cimsim.exploration.rivals import broken_by, costs_at_best
from cimsim.exploration.rows import Row
from cimsim.values.display import brief, shown


@brief
class Gathered:
    """Rows that were added, one after the other: settings and costs of those that may be on a
    front, and how many others there are of each kind.
    """

    def __init__(self, sought: Sequence[Objective], limits: Sequence[Constraint]) -> None:
        self.sought, self.limits = tuple(sought), tuple(limits)
        self._keys = (*(o.key for o in self.sought), *(limit.key for limit in self.limits))
        self.places, self.beyond, self.infeasible = array("q"), 0, 0
        self.unknown, self.pruned, self.pruned_keys = 0, 0, ""
        self.pruned_at_best: list[F64] = []
        self._done, self._first_short = 0, ""
        self._costs = array("d")
        self._axes: dict[str, Values] = {}
        self._names: dict[str, object] = {}
        self._numbers: set[str] = set()

    def add(self, place: int, row: Row) -> None:
        """Take in the row that stands at `place`."""
        if row.status == "pruned":
            self.pruned += 1
            if not broken_by(row.bounds, self.limits):
                self.pruned_at_best.append(costs_at_best(row.bounds, self.sought))
                self.pruned_keys = ", ".join(row.bounds)
            return
        if row.status != "done":
            self._first_short = self._first_short or row.shortage
            self.infeasible += 1
            return
        self._done += 1
        for key, value in row.values.items():
            if value is not None:
                self._names[key] = self._names.get(key) or value
        for key in self._keys:
            if key not in self._numbers and math.isfinite(number_of(row.values, key)):
                self._numbers.add(key)
        found = [one.sign * number_of(row.values, one.key) for one in self.sought]
        if not all(map(math.isfinite, found)):
            self.unknown += 1
        elif excess_of(row.values, self.limits) > 0.0:
            self.beyond += 1
        else:
            self._keep(place, row, found)

    def _keep(self, place: int, row: Row, found: Sequence[float]) -> None:
        for name in row.settings:
            if name not in self._axes:
                self._axes[name] = Values([None] * len(self.places))
        for name, values in self._axes.items():
            values.add(row.settings.get(name))
        self.places.append(place)
        self._costs.extend(found)

    def costs(self) -> F64:
        """What the kept rows cost (n, k), less is better."""
        return np.array(self._costs, np.float64).reshape(-1, len(self.sought))

    def axes(self) -> dict[str, Sequence[Any]]:
        """The values of each axis at the kept rows."""
        return {name: values.held for name, values in self._axes.items()}

    def check(self) -> None:
        """Raise CimsimError where there is no front, and for a key that no row has as a number."""
        if not self._done:
            raise CimsimError(self._nothing())
        for key in self._keys:
            self._check(key)
        if not self.places:
            what = " and ".join(str(limit) for limit in self.limits) or "its objectives"
            raise CimsimError(
                f"none of {self._done} feasible points keeps to {what}: widen the limit, or sweep "
                "further."
            )

    def _nothing(self) -> str:
        if not self.infeasible and not self.pruned:
            return "the store is empty: no point has been evaluated yet."
        if self.pruned:
            return "the rows are of points that were pruned alone: sweep without --prune."
        return (
            f"none of {self.infeasible} stored points is feasible, so there is no front. The "
            f"first: {self._first_short}"
        )

    def _check(self, key: str) -> None:
        if key in self._numbers:
            return
        if key in self._names:
            held = shown(self._names[key])
            raise CimsimError(f"{shown(key)} is no number in any row, but such as {held}.")
        names = list(self._names)
        near = difflib.get_close_matches(key, names, n=3, cutoff=0.4) or names
        raise CimsimError(
            f"no row has a value {shown(key)}; near it: {', '.join(near)}. What a sweep stores is "
            "said with its outputs."
        )


class Values:
    """Values of an axis one after the other, as plain numbers as long as they are of one kind."""

    def __init__(self, before: Sequence[object] = ()) -> None:
        self.held: Any = []
        self._texts: dict[str, str] = {}
        for value in before:
            self.add(value)

    def add(self, value: object) -> None:
        """Take in one more."""
        code = {int: "q", float: "d"}.get(type(value))
        if not self.held and code is not None:
            self.held = array(code)
        if isinstance(self.held, array):
            if self.held.typecode == code:
                self.held.append(value)
                return
            self.held = list(self.held)
        self.held.append(self._texts.setdefault(value, value) if isinstance(value, str) else value)
