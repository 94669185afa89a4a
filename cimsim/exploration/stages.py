"""From cheap to dear: events alone, a task on few chips, the task on all of them.

A design is mapped and scheduled, and not run if its bounds break a limit or another design beats
them. Without an accuracy there is one stage. With one, a design is simulated first: if it breaks a
limit already, nothing is measured. Then the task is measured on `FEW` chips: at best its mean is at
the end of Student's 95 % interval, so that 1 design in 40 is left out whose mean over all chips
would lie above. Rows of these stages are stored under digests of their own, without `accuracy`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from cimsim.exploration.objectives import Constraint, Objective, number_of
from cimsim.exploration.outputs import ACCURACY
from cimsim.exploration.points import Base, Point
from cimsim.exploration.rivals import Rivals
from cimsim.exploration.rows import Row
from cimsim.exploration.seeking import SearchStage, Values
from cimsim.exploration.space import Settings
from cimsim.exploration.sweep import point_of

FEW = 3
"""Choice: the fewest chips of which a mean has an interval (`cimsim.accuracy.statistics`)."""
SPREAD = f"{ACCURACY}.noisy_std"
AT_MOST, AT_LEAST = f"{ACCURACY}_at_most", f"{ACCURACY}_at_least"
"""What the mean over all chips probably is, as a row of few chips has it."""


def stages_of(
    base: Base, objectives: Sequence[Objective], constraints: Sequence[Constraint]
) -> list[SearchStage]:
    """The stages of designs that start from `base`, the last one exact."""
    exact = SearchStage(
        lambda settings: point_of(base, settings), lambda row: dict(row.values), _same
    )
    if base.scoring is None:
        return [replace(exact, against=_against)]
    high = any(o.maximise for o in objectives if o.key == ACCURACY)
    high = high or any(c.sense == ">=" for c in constraints if c.key == ACCURACY)
    plain = replace(base, scoring=None)
    events = SearchStage(
        lambda settings: point_of(plain, _without_chips(settings)),
        lambda row: {**row.values, ACCURACY: math.inf if high else -math.inf},
        _same,
        _against,
    )
    if base.scoring.seeds <= FEW:
        return [events, exact]
    few = replace(base, scoring=base.scoring.model_copy(update={"seeds": FEW}))
    return [
        events,
        SearchStage(
            lambda settings: point_of(few, settings),
            lambda row: {**row.values, ACCURACY: row.values.get(AT_MOST if high else AT_LEAST)},
            _hidden,
        ),
        exact,
    ]


def _against(point: Point, rivals: Rivals) -> Point:
    return replace(point, rivals=rivals)


def _same(row: Row) -> Row:
    return row


def _hidden(row: Row) -> Row:
    """A row of few chips: what the accuracy probably is, in place of it."""
    if row.status != "done":
        return row
    from cimsim.accuracy.statistics import CONFIDENCE, student_t

    mean, std = number_of(row.values, ACCURACY), number_of(row.values, SPREAD)
    half = student_t(CONFIDENCE, FEW - 1) * std / math.sqrt(FEW)
    values: Values = {**row.values, ACCURACY: None}
    return replace(row, values=values | {AT_MOST: mean + half, AT_LEAST: mean - half})


def _without_chips(settings: Settings) -> Settings:
    """Settings without those of the accuracy alone."""
    return {name: value for name, value in settings.items() if name not in ("noise", "seed")}
