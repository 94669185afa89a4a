"""The front of stored rows: which designs no other beats, its knee, and what binds each."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from cimsim.errors import CimsimError
from cimsim.exploration.effects import Effects, effects
from cimsim.exploration.gathered import Gathered
from cimsim.exploration.objectives import Constraint, Objective, number_of, parse_objectives
from cimsim.exploration.outputs import BOUND
from cimsim.exploration.pareto import F64, knee, nondominated
from cimsim.exploration.rows import Row
from cimsim.values.display import brief

MOST = 4
"""Choice: outputs of a store that are taken as objectives where nobody named any, at most."""


DRAWN = 4_000
"""Choice: dominated rows that are kept beside a front, for pictures; of more, an even choice."""


@brief
@dataclass(frozen=True)
class Front:
    """Rows that no other dominates, by their first objective, the best first.

    `knee` is the place in `rows` of the one nearest to the best of every objective. `dominated`
    are other rows that keep to all limits, an even choice of `DRAWN` where there are more than
    that: `beaten` counts them all. `beyond` counts those that break a limit, `infeasible` those
    that do not fit, `unknown` those that lack the value of an objective, and `pruned` those that
    were not run because they are none of the front. `effects` are those of the axes over all rows
    that keep to the limits.
    """

    objectives: tuple[Objective, ...]
    constraints: tuple[Constraint, ...]
    rows: tuple[Row, ...]
    knee: int
    dominated: tuple[Row, ...]
    beaten: int
    beyond: int
    infeasible: int
    unknown: int
    pruned: int
    effects: Effects = field(repr=False)

    @property
    def why(self) -> tuple[str, ...]:
        """What binds each row of the front (the output `bound`), empty where it is not stored."""
        return tuple(str(row.values.get(BOUND) or "") for row in self.rows)

    @property
    def points(self) -> int:
        """Rows in all."""
        counted = len(self.rows) + self.beaten
        return counted + self.beyond + self.infeasible + self.unknown + self.pruned

    @property
    def note(self) -> str:
        """How many rows are what, in a line."""
        told = [f"{len(self.rows)} on the front", f"{self.beaten} dominated"]
        limits = " or ".join(str(limit) for limit in self.constraints)
        for count, what in (
            (self.infeasible, "infeasible"), (self.beyond, f"beyond {limits}"),
            (self.unknown, "without a value of an objective"), (self.pruned, "pruned"),
        ):  # fmt: skip
            told += [f"{count} {what}"] * (count > 0)
        return f"{self.points} point{'s' * (self.points != 1)}: {', '.join(told)}"


def front_of(
    rows: Iterable[Row],
    objectives: Sequence[Objective] | str,
    constraints: Sequence[Constraint | str] = (),
    *,
    complete: bool = True,
) -> Front:
    """The front of the rows that are done and keep to every constraint.

    Objectives and constraints are values, or texts such as `latency_s,energy_J,-accuracy` and
    `area_used_mm2<=400`. Rows are gone through twice, and few are held: of the others their
    settings and objectives, 8 bytes a number. Raises CimsimError for a key that no row has (with
    the names near it), or that is no number, where no row is left, and where a row that was pruned
    for other objectives or limits may be on this front, unless it need not be `complete`: a search
    runs some designs alone.
    """
    sought = parse_objectives(objectives) if isinstance(objectives, str) else tuple(objectives)
    limits = tuple(Constraint.of(one) if isinstance(one, str) else one for one in constraints)
    again = list(rows) if isinstance(rows, Iterator) else rows
    seen = Gathered(sought, limits)
    for place, row in enumerate(again):
        seen.add(place, row)
    seen.check()
    values = seen.costs()
    best = nondominated(values)
    order = np.flatnonzero(best)[np.lexsort(values[best].T[::-1])]
    if complete:
        _check_pruned(seen.pruned_at_best, seen.pruned_keys, seen.pruned, values[best])
    others = np.flatnonzero(~best)
    chosen = others[np.unique(np.linspace(0, len(others) - 1, min(len(others), DRAWN)).astype(int))]
    places = np.frombuffer(seen.places, np.int64) if seen.places else np.zeros(0, np.int64)
    wanted = {int(places[i]) for i in (*order, *chosen)}
    held = {place: row for place, row in enumerate(again) if place in wanted}
    return Front(
        sought, limits, tuple(held[int(places[i])] for i in order), knee(values[order]),
        tuple(held[int(places[i])] for i in chosen), len(others), seen.beyond, seen.infeasible,
        seen.unknown, seen.pruned,
        effects(seen.axes(), {o.key: o.sign * values[:, i] for i, o in enumerate(sought)}, order),
    )  # fmt: skip


def _check_pruned(best: Sequence[F64], keys: str, pruned: int, front: F64) -> None:
    """Raise CimsimError unless no row that was not run can be better than all of a front."""
    for one in best:
        if not (front <= one).all(axis=1).any():
            raise CimsimError(
                f"some of {pruned} points that were pruned may be on this front: of {keys} "
                "alone they have bounds, and no row that keeps to the limits beats one of them. "
                "Seek what they were pruned for, or sweep once more without --prune: that runs "
                "them, and nothing else."
            )


def objectives_of(study: Mapping[str, str], rows: Iterable[Row]) -> tuple[Objective, ...]:
    """What a study sought, or else the outputs that it kept, as far as they are numbers.

    Rows are gone through more than once. Raises CimsimError where they are too many to be all
    meant.
    """
    if "objectives" in study:
        return parse_objectives(study["objectives"])
    keys = dict.fromkeys(key for row in rows for key in row.values)
    numbers = [key for key in keys if any(_has(row, key) for row in rows)]
    if len(numbers) > MOST:
        raise CimsimError(
            f"the store has {len(numbers)} outputs: say which of them are sought, such as "
            f"--objectives {','.join(numbers[:2])} (it has {', '.join(numbers)})."
        )
    return tuple(Objective.of(key) for key in numbers)


def _has(row: Row, key: str) -> bool:
    return math.isfinite(number_of(row.values, key))
