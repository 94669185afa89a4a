"""A search at work: what it asks for next, what it makes of a row, and what it leaves out.

A design goes through stages, the cheap one first (`cimsim.exploration.stages`). After each, what it
may come to at best is known; if it breaks a limit even so, or a design that is done beats it even
so, the dearer stages are left out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from cimsim.exploration.executors import Executor, rows_of
from cimsim.exploration.objectives import Constraint, Objective, costs, excess_of
from cimsim.exploration.pareto import dominates
from cimsim.exploration.points import Point
from cimsim.exploration.proposers import DesignOutcome, Proposer
from cimsim.exploration.proposers.positions import Positions, keys
from cimsim.exploration.rivals import Leaders, Rivals, costs_at_best, excess_at_best
from cimsim.exploration.rows import Row, Scalar
from cimsim.exploration.space import Settings, Space
from cimsim.exploration.store import Store
from cimsim.exploration.sweep import Reached, Tell
from cimsim.values.display import brief

PATIENCE = 50
"""Choice: known designs that are proposed in a row before one is drawn that was not tried."""
DRAWS = 1000
"""Choice: draws for one that was not tried; after them a space with an end is looked through."""

Values = dict[str, Scalar]


@dataclass(frozen=True)
class SearchStage:
    """One way to evaluate settings, and what a design may come to at best by its row.

    `point` gives a row at once for settings that make no design; `kept` is what is stored of a
    row. The last stage knows exactly. `against` gives a point rivals, which may rule it out by its
    bounds before it is run; none where a stage cannot.
    """

    point: Callable[[Settings], Point | Row]
    at_best: Callable[[Row], Values]
    kept: Callable[[Row], Row]
    against: Callable[[Point, Rivals], Point] | None = None


@brief
@dataclass
class Progress(Reached):
    """How far a search is: designs of `total`, as in `Reached`.

    Besides, `beyond` break a limit, and `spared` were left out before their last stage; those that
    are `pruned` were not even run. `same` are proposals of designs that were known, and count as
    none.
    """

    beyond: int = 0
    spared: int = 0

    @property
    def points(self) -> int:
        """Designs that are through."""
        return self.stored + self.spared

    @property
    def stored(self) -> int:
        """Those that have a row of the last stage."""
        return self.found + self.done + self.infeasible + self.beyond + self.pruned


@dataclass(eq=False)
class Seeker:
    """Proposes points to an executor, stores their rows and learns from them."""

    space: Space
    proposer: Proposer
    stages: Sequence[SearchStage]
    objectives: Sequence[Objective]
    constraints: Sequence[Constraint]
    store: Store
    reached: Progress
    tell: Tell
    _positions: Positions = field(init=False)
    _known: dict[bytes, DesignOutcome | None] = field(default_factory=dict)
    _at_work: dict[str, list[tuple[Settings, int]]] = field(default_factory=dict)
    _next: deque[Point] = field(default_factory=deque)
    _leaders: Leaders = field(init=False)

    def __post_init__(self) -> None:
        self.begun = 0
        self._positions = Positions(self.space)
        self._draw = np.random.default_rng(0)
        self._leaders = Leaders(tuple(self.objectives), tuple(self.constraints))

    def recall(self, rows: Sequence[Row]) -> None:
        """Learn what is stored of this space, in its order, as if it had just been proposed."""
        for row in rows:
            try:
                key = self._key(row.settings)
            except ValueError:
                continue
            if row.status == "pruned":
                self._recall_pruned(key, row)
            elif key not in self._known and self._digest(row.settings, -1) == row.digest:
                self._known[key] = None
                self.begun += 1
                self._through(row.settings, self.stages[-1].at_best(row), row)
                self.reached.found += 1

    def _recall_pruned(self, key: bytes, row: Row) -> None:
        """Learn a design that was not run, if it would not be run now either."""
        if key in self._known or self._digest(row.settings, 0) != row.digest:
            return
        if self._leaders.now.rule_out(row.bounds):
            self._known[key] = None
            self.begun += 1
            self.reached.found += 1
            self._learn_bounds(row)

    def run(self, executor: Executor) -> None:
        """Search until there are enough designs, or no more in the space.

        An executor takes the last points while others are at work: those go on to their dearer
        stages in a round of their own.
        """
        self.tell(self.reached)
        self._round(executor)
        while self._next:
            self._round(executor)

    def _round(self, executor: Executor) -> None:
        with rows_of(executor, self._points()) as rows:
            for row in rows:
                self._take(row)

    def _points(self) -> Iterator[Point]:
        """The points to evaluate, taken one at a time."""
        while True:
            if self._next:
                yield self._against(self._next.popleft())
            elif self.begun >= self.reached.total or (settings := self._new()) is None:
                return
            else:
                self.begun += 1
                self._enter(settings, 0)

    def _against(self, point: Point) -> Point:
        """A point with its rivals, if its stage asks for them."""
        _, stage = self._at_work[point.digest][0]
        against = self.stages[stage].against
        return point if against is None else against(point, self._leaders.now)

    def _take(self, row: Row) -> None:
        """Store a row, and send its design to its next stage or learn what it came to."""
        row_of = self._at_work.pop(row.digest)
        for place, (settings, stage) in enumerate(row_of):
            if place == 0:
                row = row if row.status == "pruned" else self.stages[stage].kept(row)
                self.store.add(row)
            self._after(settings, stage, row, again=place > 0)

    def _enter(self, settings: Settings, stage: int) -> None:
        """Have settings evaluated by a stage, unless its row is stored or is on its way."""
        point = self.stages[stage].point(settings)
        stored = self.store.row(point.digest)
        if stored is not None and self._holds(stored):
            self._after(settings, stage, stored, again=True)
        elif isinstance(point, Row):
            self.store.add(point)
            self._after(settings, stage, point)
        else:
            waiting = self._at_work.setdefault(point.digest, [])
            waiting.append((settings, stage))
            if len(waiting) == 1:
                self._next.append(point)

    def _holds(self, stored: Row) -> bool:
        """Whether a stored row stands for its design: one that was pruned, if it would be again."""
        return stored.status != "pruned" or self._leaders.now.rule_out(stored.bounds)

    def _after(self, settings: Settings, stage: int, row: Row, again: bool = False) -> None:
        if row.status == "pruned":
            if again:
                self.reached.found += 1
            else:
                self.reached.pruned += 1
            self._learn_bounds(replace(row, settings=settings))
            return
        values = self.stages[stage].at_best(row)
        last = stage == len(self.stages) - 1
        if last or row.status != "done":
            self._count(row, values, again)
            self._through(settings, values, row)
        elif self._ruled_out(values):
            self.reached.spared += 1
            found = self._costs(values)
            known = found if found is not None and np.isfinite(found).all() else None
            self._learn(settings, DesignOutcome(known, excess_of(values, self.constraints)))
        else:
            self._enter(settings, stage + 1)

    def _count(self, row: Row, values: Values, again: bool) -> None:
        if again:
            self.reached.found += 1
        elif row.status != "done":
            self.reached.infeasible += 1
        elif excess_of(values, self.constraints) > 0.0:
            self.reached.beyond += 1
        else:
            self.reached.done += 1

    def _through(self, settings: Settings, values: Values, row: Row) -> None:
        """Learn a design that needs no further stage."""
        found = self._costs(values)
        if row.status != "done" or found is None:
            self._learn(settings, DesignOutcome(None, float("inf")))
            return
        self._leaders.add(replace(row, values=values))
        self._learn(settings, DesignOutcome(found, excess_of(values, self.constraints)))

    def _learn_bounds(self, row: Row) -> None:
        """Learn a design that was not run as if it were as good as it may be."""
        best = costs_at_best(row.bounds, self.objectives)
        known = tuple(best.tolist()) if np.isfinite(best).all() else None
        self._learn(
            row.settings, DesignOutcome(known, excess_at_best(row.bounds, self.constraints))
        )

    def _learn(self, settings: Settings, outcome: DesignOutcome) -> None:
        self._known[self._key(settings)] = outcome
        self.proposer.learn(settings, outcome)
        self.tell(self.reached)

    def _costs(self, values: Values) -> tuple[float, ...] | None:
        found = costs([values], self.objectives)[0]
        return None if np.isnan(found).any() else tuple(found.tolist())

    def _ruled_out(self, at_best: Values) -> bool:
        """Whether a design breaks a limit or is beaten, even at its best."""
        found = self._costs(at_best)
        if excess_of(at_best, self.constraints) > 0.0 or found is None:
            return True
        return bool(dominates(self._leaders.now.costs, np.array(found)).any())

    def _new(self) -> Settings | None:
        """Settings that were not tried; None where there are none left."""
        for _ in range(PATIENCE):
            settings = self.proposer.propose()
            key = self._key(settings)
            if key not in self._known:
                self._known[key] = None
                return settings
            self.reached.same += 1
            if (outcome := self._known[key]) is not None:
                self.proposer.learn(settings, outcome)
        if self.space.size is not None and len(self._known) >= self.space.size:
            return None
        anywhere = (self._positions.drawn(self._draw, 1)[0] for _ in range(DRAWS))
        tried = map(self._positions.settings, anywhere)
        found = next(filter(self._is_new, tried), None)
        if found is None and self.space.size is not None:
            found = next(filter(self._is_new, self.space.grid()), None)
        if found is not None:
            self._known[self._key(found)] = None
        return found

    def _is_new(self, settings: Settings) -> bool:
        return self._key(settings) not in self._known

    def _digest(self, settings: Settings, stage: int) -> str:
        return self.stages[stage].point(settings).digest

    def _key(self, settings: Settings) -> bytes:
        return next(keys(self._positions.position(settings)[None]))
