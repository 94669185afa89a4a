"""What a design is held against before it is run: the limits, and designs that are done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from cimsim.errors import SpecError
from cimsim.exploration.objectives import Constraint, Objective, costs, excess_of
from cimsim.exploration.pareto import F64, dominates
from cimsim.exploration.rows import Row
from cimsim.report.least import AT_LEAST, EXACT, Bounds, is_bounded
from cimsim.values.display import brief, shown

SENT = 512
"""Choice: designs that a point is held against at most; each takes 100 bytes on its way."""

Told = Mapping[str, float]
"""Bounds of a design as its row has them: `at_least.KEY` and `at_most.KEY`."""


def told_of(
    bounds: Bounds, objectives: Sequence[Objective], constraints: Sequence[Constraint]
) -> dict[str, float]:
    """The bounds that tell how good a design is at best; those that it has."""
    sides = {(one.key, one.maximise) for one in objectives}
    sides |= {(one.key, one.sense == ">=") for one in constraints}
    return {
        _name(key, above): values[key]
        for key, above in sorted(sides)
        if key in (values := bounds.at_most if above else bounds.at_least)
    }


def costs_at_best(told: Told, objectives: Sequence[Objective]) -> F64:
    """What each objective costs at best, less is better; NaN where there is no bound."""
    named = {one.key: told.get(_name(one.key, one.maximise)) for one in objectives}
    return np.array(costs([named], objectives)[0])


def broken_by(told: Told, constraints: Sequence[Constraint]) -> str:
    """What limit a design breaks even at its best, in words; "" where it may keep to all."""
    for limit in constraints:
        best = told.get(_name(limit.key, limit.sense == ">="))
        if best is not None and limit.excess(best) > 0.0:
            return f"{limit.key} is {best:.6g} at best, the limit is {limit}"
    return ""


def excess_at_best(told: Told, constraints: Sequence[Constraint]) -> float:
    """How far a design is beyond its limits even at its best, 0 where it may keep to all."""
    best = ((c, told.get(_name(c.key, c.sense == ">="))) for c in constraints)
    return sum(limit.excess(value) for limit, value in best if value is not None)


def _name(key: str, above: bool) -> str:
    return f"at_most.{key}" if above else f"at_least.{key}"


@brief
@dataclass(frozen=True, eq=False)
class Rivals:
    """Limits, and designs that keep to them, by digest and costs (n, k; less is better)."""

    objectives: tuple[Objective, ...]
    constraints: tuple[Constraint, ...]
    digests: tuple[str, ...]
    costs: F64

    def beaten_by(self, told: Told) -> str:
        """The digest of a design that beats one with these bounds, "" where none is known to."""
        best = costs_at_best(told, self.objectives)
        if np.isnan(best).any():
            return ""
        beats = dominates(self.costs, best)
        return self.digests[int(np.argmax(beats))] if beats.any() else ""

    def rule_out(self, told: Told) -> bool:
        """Whether a design with these bounds breaks a limit or is beaten in any case."""
        return bool(broken_by(told, self.constraints) or self.beaten_by(told))


@brief
@dataclass(eq=False)
class Leaders:
    """The designs so far that keep to all limits and that no other beats."""

    objectives: tuple[Objective, ...]
    constraints: tuple[Constraint, ...] = ()
    _digests: list[str] = field(default_factory=list)
    _costs: F64 = field(init=False)
    _now: Rivals | None = None

    def __post_init__(self) -> None:
        self._costs = np.empty((0, len(self.objectives)))

    def add(self, row: Row) -> None:
        """Take in a row that is done, unless another beats it."""
        if row.status != "done" or excess_of(row.values, self.constraints) > 0.0:
            return
        found = costs([row.values], self.objectives)
        if np.isnan(found).any() or dominates(self._costs, found[0]).any():
            return
        stays = ~dominates(-self._costs, -found[0])
        kept = [digest for digest, stay in zip(self._digests, stays, strict=True) if stay]
        self._costs, self._digests = (
            np.append(self._costs[stays], found, axis=0),
            [*kept, row.digest],
        )
        self._now = None

    @property
    def now(self) -> Rivals:
        """What the next design is held against: all of them, or an even choice of many."""
        if self._now is None:
            count = len(self._digests)
            places = np.unique(np.linspace(0, count - 1, min(count, SENT)).astype(int))
            digests = tuple(self._digests[at] for at in places)
            self._now = Rivals(self.objectives, self.constraints, digests, self._costs[places])
        return self._now


def check_bounded(objectives: Sequence[Objective]) -> None:
    """Raise SpecError for an objective of which no design has a bound: nothing could be pruned."""
    for one in objectives:
        if not is_bounded(one.key, above=one.maximise):
            known = ", ".join([*AT_LEAST[:2], *EXACT[:2]])
            raise SpecError(
                f"{shown(one.text)} has no bound before a design is run, so that none could be "
                f"pruned: seek others ({known}, energies and areas by part), or leave out --prune."
            )
