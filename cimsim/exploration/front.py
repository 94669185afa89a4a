"""The front of stored rows: which designs no other beats, its knee, and what binds each."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cimsim.errors import CimsimError
from cimsim.exploration.objectives import (
    Constraint,
    Objective,
    costs,
    excess_of,
    number_of,
    parse_objectives,
)
from cimsim.exploration.outputs import BOUND
from cimsim.exploration.pareto import F64, knee, nondominated
from cimsim.exploration.rivals import broken_by, costs_at_best
from cimsim.exploration.rows import Row
from cimsim.values.display import brief, shown

MOST = 4
"""Choice: outputs of a store that are taken as objectives where nobody named any, at most."""


@brief
@dataclass(frozen=True)
class Front:
    """Rows that no other dominates, by their first objective, the best first.

    `knee` is the place in `rows` of the one nearest to the best of every objective. `dominated`
    are the other rows that keep to all limits; `beyond` counts those that do not, `infeasible`
    those that do not fit, `unknown` those that lack the value of an objective, and `pruned` those
    that were not run because they are none of the front.
    """

    objectives: tuple[Objective, ...]
    constraints: tuple[Constraint, ...]
    rows: tuple[Row, ...]
    knee: int
    dominated: tuple[Row, ...]
    beyond: int
    infeasible: int
    unknown: int
    pruned: int = 0

    @property
    def why(self) -> tuple[str, ...]:
        """What binds each row of the front (the output `bound`), empty where it is not stored."""
        return tuple(str(row.values.get(BOUND) or "") for row in self.rows)

    @property
    def points(self) -> int:
        """Rows in all."""
        counted = len(self.rows) + len(self.dominated)
        return counted + self.beyond + self.infeasible + self.unknown + self.pruned

    @property
    def note(self) -> str:
        """How many rows are what, in a line."""
        told = [f"{len(self.rows)} on the front", f"{len(self.dominated)} dominated"]
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
    `area_used_mm2<=400`. Raises CimsimError for a key that no row has (with the names near it), or
    that is no number, where no row is left, and where a row that was pruned for other objectives or
    limits may be on this front, unless it need not be `complete`: a search runs some designs alone.
    """
    sought = parse_objectives(objectives) if isinstance(objectives, str) else tuple(objectives)
    limits = tuple(Constraint.of(one) if isinstance(one, str) else one for one in constraints)
    everything = list(rows)
    done = [row for row in everything if row.status == "done"]
    if not done:
        raise CimsimError(_nothing(everything))
    for key in (*(one.key for one in sought), *(one.key for one in limits)):
        _check(key, done)
    known = [row for row in done if all(_has(row, one.key) for one in sought)]
    kept = [row for row in known if excess_of(row.values, limits) == 0.0]
    if not kept:
        what = " and ".join(str(limit) for limit in limits) or "its objectives"
        raise CimsimError(
            f"none of {len(done)} feasible points keeps to {what}: widen the limit, or sweep "
            "further."
        )
    values = costs([row.values for row in kept], sought)
    best = nondominated(values)
    order = np.flatnonzero(best)[np.lexsort(values[best].T[::-1])]
    pruned = [row for row in everything if row.status == "pruned"]
    if complete:
        _check_pruned(pruned, sought, limits, values[best])
    return Front(
        sought, limits, tuple(kept[i] for i in order), knee(values[order]),
        tuple(kept[i] for i in np.flatnonzero(~best)), len(known) - len(kept),
        len(everything) - len(done) - len(pruned), len(done) - len(known), len(pruned),
    )  # fmt: skip


def _check_pruned(
    pruned: Sequence[Row], sought: Sequence[Objective], limits: Sequence[Constraint], front: F64
) -> None:
    """Raise CimsimError unless no row that was not run can be better than all of a front."""
    for row in pruned:
        best = costs_at_best(row.bounds, sought)
        if not broken_by(row.bounds, limits) and not (front <= best).all(axis=1).any():
            keys = ", ".join(row.bounds)
            raise CimsimError(
                f"some of {len(pruned)} points that were pruned may be on this front: of {keys} "
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


def _nothing(rows: Sequence[Row]) -> str:
    if not rows:
        return "the store is empty: no point has been evaluated yet."
    if any(row.status == "pruned" for row in rows):
        return "the rows are of points that were pruned alone: sweep without --prune."
    return (
        f"none of {len(rows)} stored points is feasible, so there is no front. The first: "
        f"{rows[0].shortage}"
    )


def _check(key: str, rows: Sequence[Row]) -> None:
    """Raise CimsimError for a key that none of the rows has as a number."""
    if any(_has(row, key) for row in rows):
        return
    names = list(dict.fromkeys(name for row in rows for name in row.values))
    if key in names:
        held = next((row.values[key] for row in rows if row.values.get(key) is not None), None)
        raise CimsimError(f"{shown(key)} is no number in any row, but such as {shown(held)}.")
    near = difflib.get_close_matches(key, names, n=3, cutoff=0.4) or names
    raise CimsimError(
        f"no row has a value {shown(key)}; near it: {', '.join(near)}. What a sweep stores is "
        "said with its outputs."
    )
