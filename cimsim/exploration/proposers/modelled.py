"""cimsim's own search: learn each objective, then evaluate what may be on the front.

It begins with a Latin hypercube. From then on a Gaussian process of every objective (its logarithm,
where all are positive) says what each untried design may come to at best: its expected value less
its doubt. Those that no evaluated design beats even so are the designs that may be on the front; of
them it takes the one furthest ahead of the front, then the next, taking the first to be as it was
expected (active learning of a front: Zuluaga et al., ICML 2013; distance ahead of a front: maximin
improvement, Svenson and Santner, Computational Statistics and Data Analysis 94, 2016). Limits and
shortages are learnt as one more value, which keeps out designs that probably break them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cimsim.exploration.pareto import F64, BoolArray, nondominated
from cimsim.exploration.proposers.positions import Positions, keys
from cimsim.exploration.proposers.protocol import DesignOutcome, SearchSetup
from cimsim.exploration.proposers.surrogate import Fitted, Surrogate
from cimsim.exploration.space import Settings

STARTS_AN_AXIS = 4
"""Choice: designs of the Latin hypercube for each axis, ..."""
STARTS_SHARE = 0.2
"""... and at most this share of all trials."""
POOL = 2048
"""Choice: untried designs that are looked at for a step: half near the front, half anywhere."""
DOUBTED = 192
"""Choice: those with the best expectations, of which the doubt is worked out."""
STEP = 4
"""Choice: designs that are chosen at once, before any of them is known."""
REFIT = 1.3
"""Choice: shapes are found anew when there are so many times as many designs."""


@dataclass(frozen=True, eq=False)
class _Tried:
    """All that is known: positions (n, axes), costs (n, k; NaN without results), excess (n)."""

    at: F64
    costs: F64
    excess: F64

    def fine(self) -> BoolArray:
        """Which have results and keep to their limits."""
        return ~np.isnan(self.costs).any(axis=1) & (self.excess <= 0.0)


class FrontModel:
    """Proposes what the surrogates of the objectives take to be on the front."""

    def __init__(self, asked: SearchSetup) -> None:
        self.positions = Positions(asked.space)
        self.draw = np.random.default_rng(asked.seed)
        axes = len(asked.space.axes)
        self._starts = max(2, min(STARTS_AN_AXIS * axes, int(STARTS_SHARE * asked.trials)))
        self._ready = list(self.positions.spread(self.draw, self._starts))
        self._tried = _Tried(np.empty((0, axes)), np.empty((0, asked.objectives)), np.empty(0))
        self._seen: set[bytes] = set()
        self._models = [Surrogate(self.positions) for _ in range(asked.objectives + 1)]
        self._fitted_at = 0

    def propose(self) -> Settings:
        """The starts first, then what the models choose, then anything."""
        if not self._ready:
            self._ready = self._chosen()
        row = self._ready.pop(0)
        self._seen.update(keys(row[None]))
        return self.positions.settings(row)

    def learn(self, settings: Settings, outcome: DesignOutcome) -> None:
        """Keep what a design came to; one that was not proposed takes the place of a start."""
        tried = self._tried
        at = self.positions.position(settings)[None]
        fresh = next(keys(at)) not in self._seen
        if fresh and len(self._ready) > 1 and len(tried.at) < self._starts:
            self._ready.pop()
        self._seen.update(keys(at))
        lacking = (np.nan,) * tried.costs.shape[1]
        costs = np.array([lacking if outcome.costs is None else outcome.costs], np.float64)
        self._tried = _Tried(
            np.concatenate([tried.at, at]),
            np.concatenate([tried.costs, costs]),
            np.concatenate([tried.excess, [outcome.excess]]),
        )

    def _chosen(self) -> list[F64]:
        """The next few designs."""
        pool = self._pool()
        if len(pool) and not np.isnan(self._tried.costs).any(axis=1).all():
            picked = self._best(pool, STEP)
            if picked:
                return [pool[i] for i in picked]
        return list(pool[:STEP]) or list(self.positions.drawn(self.draw, STEP))

    def _pool(self) -> F64:
        """Untried designs, in random order: near the front and anywhere, or all if they are few."""
        sizes = self.positions.sizes
        if None not in sizes and np.prod([float(s or 0) for s in sizes]) <= POOL:
            found = self.positions.grid()
        else:
            anywhere = self.positions.drawn(self.draw, POOL // 2)
            best = self._best_known()
            near = best[self.draw.integers(len(best), size=POOL // 2)] if len(best) else anywhere
            half = len(near) // 2
            moved = [self.positions.moved(self.draw, near[:half], 1)]
            moved.append(self.positions.moved(self.draw, near[half:], 2))
            found = np.concatenate([*moved, anywhere])
        found = np.unique(found, axis=0)
        new = [key not in self._seen for key in keys(found)]
        return self.draw.permutation(found[new])

    def _best_known(self) -> F64:
        """The designs of the front so far; else those least beyond their limits."""
        tried, fine = self._tried, self._tried.fine()
        if fine.any():
            found: F64 = tried.at[fine][nondominated(tried.costs[fine])]
            return found
        finite = np.isfinite(tried.excess)
        nearest = tried.excess == tried.excess[finite].min(initial=np.inf)
        near: F64 = tried.at[finite & nearest]
        return near

    def _best(self, pool: F64, count: int) -> list[int]:
        """The designs of the pool furthest ahead of the front, at best, one after another."""
        done = ~np.isnan(self._tried.costs).any(axis=1)
        at, costs = self._tried.at[done], self._tried.costs[done]
        logs = [_plain(column) for column in costs.T]
        known = np.stack(logs, axis=1)
        if len(self._tried.at) >= REFIT * self._fitted_at:
            self._fitted_at = len(self._tried.at)
            for model, column in zip(self._models, logs, strict=False):
                model.fit_shapes(at, column)
        models = [m.fit(at, column) for m, column in zip(self._models, logs, strict=False)]
        expected = np.stack([model.expected(pool) for model in models], axis=1)
        fits = self._fits(pool)
        fine = self._tried.fine()[done]
        front = known[fine][nondominated(known[fine])] if fine.any() else np.empty((0, len(logs)))
        return _furthest(front, expected, models, pool, fits, count)

    def _fits(self, pool: F64) -> BoolArray:
        """Which designs of the pool probably have results and keep to their limits."""
        tried = self._tried
        broken = (~tried.fine()).astype(np.float64)
        if not broken.any():
            return np.ones(len(pool), np.bool_)
        model = self._models[-1]
        if self._fitted_at == len(tried.at):
            model.fit_shapes(tried.at, broken)
        expected = model.fit(tried.at, broken).expected(pool)
        found: BoolArray = expected <= max(0.5, float(expected.min()))
        return found


def _plain(column: F64) -> F64:
    """The logarithm of costs that are all of one sign, the same order; others as they are."""
    if (column > 0).all():
        return np.log(column)
    return -np.log(-column) if (column < 0).all() else column


def _furthest(
    front: F64, expected: F64, models: Sequence[Fitted], pool: F64, fits: BoolArray, count: int
) -> list[int]:
    """Rows of the pool that lie furthest ahead of the front at their best, one after another."""
    everything = np.concatenate([front, expected[fits]])
    low = everything.min(axis=0)
    span = np.where(everything.max(axis=0) > low, everything.max(axis=0) - low, 1.0)
    front, expected = (front - low) / span, (expected - low) / span
    fitting = np.flatnonzero(fits)
    near = fitting[np.argsort(_beaten(front, expected[fitting]), kind="stable")[:DOUBTED]]
    doubts = np.stack([m.doubt(pool[near]) for m in models], axis=1) / span
    hopes = expected[near] - doubts
    chosen: list[int] = []
    for _ in range(min(count, len(near))):
        depths = _beaten(front, hopes)
        depths[chosen] = np.inf
        best = int(np.argmin(depths))
        chosen.append(best)
        front = np.concatenate([front, expected[near[best]][None]])
    return [int(near[place]) for place in chosen]


def _beaten(front: F64, points: F64) -> F64:
    """How deep each point lies behind the front: below 0 for those that it does not dominate."""
    depth: F64 = points.sum(axis=1)
    if len(front):
        depth = (points[:, None, :] - front[None, :, :]).min(axis=2).max(axis=1)
    return depth
